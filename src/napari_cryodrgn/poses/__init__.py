"""SO(3) x R²: grids, distances, and branch-and-bound search."""

from .grids import half_turn, shift_grid, so3_grid, so3_half_grid, so3_spacing, zyz_matrix
from .pose_posterior import Peak, PosePosterior, PosteriorSampler
from .refine import PoseRefinement, RefinedPoses
from .results import (
    LevelStatistics,
    SearchResult,
    SearchSettings,
    SearchStatistics,
    SearchTrace,
    TracedLevel,
    posterior,
)
from .rotations import Alignment, align_poses, angular_distance, expmap, flip_hand, logmap
from .sampling import SliceSampler
from .search import PoseSearch

__all__ = [
    "Alignment",
    "LevelStatistics",
    "Peak",
    "PosePosterior",
    "PoseRefinement",
    "PoseSearch",
    "PosteriorSampler",
    "RefinedPoses",
    "SearchResult",
    "SearchSettings",
    "SearchStatistics",
    "SearchTrace",
    "SliceSampler",
    "TracedLevel",
    "align_poses",
    "angular_distance",
    "expmap",
    "flip_hand",
    "logmap",
    "half_turn",
    "posterior",
    "shift_grid",
    "so3_grid",
    "so3_half_grid",
    "so3_spacing",
    "zyz_matrix",
]
