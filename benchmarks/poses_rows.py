"""Rows about the speed and accuracy of the pose search, against volumes that are known."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from napari_cryodrgn.poses import PoseSearch, SearchSettings
from napari_cryodrgn.training.dataset import Dataset

from .peer import pose_search_time
from .rows import Bench, Entry, Row, span
from .scores import pose_errors
from .sets import Truth
from .volumes import dataset, true_volume

_BATCH = 50
_CLUSTERS, _FINE = 10, 40


def _search(
    data: Dataset, volumes: Tensor, settings: SearchSettings, index: Tensor
) -> tuple[Tensor, float]:
    """Rotations (n, 3, 3) of the particles ``index``, and the seconds it took, set-up included."""
    start = time.perf_counter()
    search = PoseSearch(data.lattice, volumes, settings)
    found = [
        search(pixels, ctf).rotations[:, 0]
        for _, pixels, ctf in data.batches(_BATCH, settings.last_limit, index)
    ]
    return torch.cat(found), time.perf_counter() - start


def shared_volume(bench: Bench, seed: int) -> Entry:
    """One volume, D = 32: 4,608 rotations x 25 shifts, then five levels to L = 15."""
    star, truth = bench.make("ribo32", seed)
    data = dataset(star)
    volume = true_volume(truth, 0.0, data)[None]
    settings = SearchSettings(first_limit=8.0, last_limit=15.0, levels=5)
    index = torch.arange(len(data))
    rotations, seconds = min(
        (_search(data, volume, settings, index) for _ in range(3)), key=lambda r: r[1]
    )
    entry: Entry = {
        "images_per_second": round(len(data) / seconds, 1),
        **pose_errors(rotations.numpy(), truth.rotations),
    }
    n = 4 if bench.tiny else 16
    # Its grid of shifts is one of 36, 100 or 196 here; ours has 25. The last is its default.
    for name, grid in (("cryodrgn", 3), ("cryodrgn_default_shifts", 7)):
        told = pose_search_time(
            star,
            bench.folder / "cryodrgn",
            n=n,
            batch=4,
            first_limit=8,
            last_limit=15,
            levels=5,
            max_shift=2.5,
            shift_grid=grid,
        )
        entry[f"{name}_seconds_per_image"] = round(told["seconds_per_image"], 3)
        entry[f"{name}_shifts"] = told["shifts"]
        entry[f"{name}_ratio"] = round(told["seconds_per_image"] * len(data) / seconds)
    return entry


def clustered_volumes(bench: Bench, seed: int) -> Entry:
    """Ten volumes along a motion, D = 64, against each image's own (one of 40) true volume.

    ``joint`` searches pose and volume together, ``assigned`` knows which of the ten.
    """
    star, truth = bench.make("adk64", seed)
    data = dataset(star)
    settings = SearchSettings(
        last_limit=min(24.0, data.lattice.limit),
        levels=5,
        max_shift=data.box / 16 + 1,
        shift_step=data.box / 25.6,
    )
    ten, forty = _along(truth, data, _CLUSTERS), _along(truth, data, _FINE)
    joint, seconds = _search(data, ten, settings, torch.arange(len(data)))
    assigned, assigned_seconds = _by_group(truth, data, ten, settings)
    own, _ = _by_group(truth, data, forty, settings)
    errors = {
        name: pose_errors(found.numpy(), truth.rotations)["median_degrees"]
        for name, found in (("joint", joint), ("assigned", assigned), ("true", own))
    }
    return {
        "images_per_second": round(len(data) / assigned_seconds, 1),
        "images_per_second_joint": round(len(data) / seconds, 1),
        "median_degrees": errors["assigned"],
        "median_degrees_joint": errors["joint"],
        "median_degrees_true_volume": errors["true"],
    }


def _along(truth: Truth, data: Dataset, n: int) -> Tensor:
    """True volumes (n, D, D, D) at the middles of ``n`` equal parts of the motion."""
    return torch.stack([true_volume(truth, (i + 0.5) / n, data) for i in range(n)])


def _by_group(
    truth: Truth, data: Dataset, volumes: Tensor, settings: SearchSettings
) -> tuple[Tensor, float]:
    """Each particle against the one of ``volumes`` that is nearest to its own conformation."""
    group = torch.from_numpy(truth.t * len(volumes)).long().clamp(max=len(volumes) - 1)
    rotations, total = torch.zeros(len(data), 3, 3), 0.0
    for g in group.unique():
        index = (group == g).nonzero()[:, 0]
        rotations[index], seconds = _search(data, volumes[g : g + 1], settings, index)
        total += seconds
    return rotations, total


ROWS = {
    "poses32": Row(
        "pose search, D = 32, 4,608 rotations x shifts, shared volume",
        "150 x cryodrgn's PoseSearch, 300 images/s",
        "600 images/s",
        (1000,),
        shared_volume,
        lambda entries: (
            f"{span(entries, 'images_per_second', '{:.0f}')} images/s, "
            f"{span(entries, 'cryodrgn_ratio', '{:.0f}')} x cryodrgn with 36 shifts, "
            f"{span(entries, 'cryodrgn_default_shifts_ratio', '{:.0f}')} x with its default 196; "
            f"{span(entries, 'median_degrees')}°"
        ),
    ),
    "poses64": Row(
        "pose search, D = 64, 10 z-clusters",
        "150 images/s, median error within 10 % of the true-volume search",
        "300 images/s",
        (1000,),
        clustered_volumes,
        lambda entries: (
            f"{span(entries, 'images_per_second', '{:.0f}')} images/s at "
            f"{span(entries, 'median_degrees')}° (true volumes "
            f"{span(entries, 'median_degrees_true_volume')}°); volume found with the pose: "
            f"{span(entries, 'images_per_second_joint', '{:.0f}')} images/s at "
            f"{span(entries, 'median_degrees_joint')}°"
        ),
    ),
}
