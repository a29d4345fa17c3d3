"""SO(3) x R²: grids, distances, and branch-and-bound search."""

from .grids import shift_grid, so3_grid, so3_spacing, zyz_matrix
from .rotations import Alignment, align_poses, angular_distance, expmap, flip_hand
from .search import PoseSearch, SearchResult, SearchSettings, SearchStatistics

__all__ = [
    "Alignment",
    "PoseSearch",
    "SearchResult",
    "SearchSettings",
    "SearchStatistics",
    "align_poses",
    "angular_distance",
    "expmap",
    "flip_hand",
    "shift_grid",
    "so3_grid",
    "so3_spacing",
    "zyz_matrix",
]
