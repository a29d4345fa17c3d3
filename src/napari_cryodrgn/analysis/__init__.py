"""Looking at runs: latents, volumes, clusters, paths, selections; what to compare them with."""

from .alignment import VolumeFit, align_volumes
from .baseline import Baseline, back_project
from .clusters import Clusters, find_clusters, load_clusters, save_clusters
from .embedding import load_umap, save_umap, umap_embedding
from .lasso import inside_polygon
from .latent import pca
from .particle_values import ParticleValues, Values
from .run import Latents, Products, Run, contour_level
from .run_images import RunImages, open_particles
from .selection_export import export
from .selections import Selections
from .trajectory import equal_arc, neighbour_path, through

__all__ = [
    "Baseline",
    "Clusters",
    "Latents",
    "ParticleValues",
    "Products",
    "Run",
    "RunImages",
    "Selections",
    "Values",
    "VolumeFit",
    "align_volumes",
    "back_project",
    "contour_level",
    "equal_arc",
    "export",
    "find_clusters",
    "inside_polygon",
    "load_clusters",
    "load_umap",
    "neighbour_path",
    "open_particles",
    "pca",
    "save_clusters",
    "save_umap",
    "through",
    "umap_embedding",
]
