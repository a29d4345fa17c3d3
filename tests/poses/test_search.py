from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from napari_cryodrgn.imaging import FourierGrid, shift_phases, slice_points
from napari_cryodrgn.poses import PoseSearch, SearchSettings, angular_distance

QUICK = SearchSettings(last_limit=14.0)


def search(p: Any, states: list[int], n_best: int = 1, settings: SearchSettings = QUICK) -> Any:
    engine = PoseSearch(p.lattice, p.volumes[states], settings)
    return engine(p.pixels, p.ctf, n_best), engine.statistics


def test_poses_of_noiseless_images(take_pictures: Any) -> None:
    pictures = take_pictures(60, float("inf"))
    found, _ = search(pictures, [5])
    errors = angular_distance(found.rotations[:, 0], pictures.rotations)
    assert float(errors.median()) < 1.5
    assert float(errors.quantile(0.9)) < 4
    off = (found.shifts[:, 0] - pictures.shifts).norm(dim=1)
    assert float(off.median()) < 0.15
    assert not found.states.any()


def test_poses_of_noisy_images(take_pictures: Any) -> None:
    pictures = take_pictures(60, 0.1)
    found, statistics = search(pictures, [5])
    errors = angular_distance(found.rotations[:, 0], pictures.rotations)
    assert float(errors.median()) < 6
    off = (found.shifts[:, 0] - pictures.shifts).norm(dim=1)
    assert float(off.median()) < 0.6
    n_rotations = 72 * QUICK.n_side**3
    levels = statistics.by_level
    assert len(levels) == QUICK.levels
    assert levels[0][0] == 60 * n_rotations
    assert statistics.considered == sum(level[0] for level in levels)
    assert statistics.capped == sum(level[2] for level in levels)
    for keep, (considered, kept, capped) in zip(QUICK.keep, levels, strict=False):
        assert 60 <= kept <= min(considered, 60 * keep)
        assert 0 <= capped <= 60
    offered = 60 * sum(QUICK.keep[: QUICK.levels])
    assert statistics.bounded == offered - sum(level[1] for level in levels)


def test_scores_are_likelihood_ratios_and_descend(take_pictures: Any) -> None:
    pictures = take_pictures(20, 0.2)
    found, _ = search(pictures, [5], n_best=6)
    assert found.rotations.shape == (20, 6, 3, 3)
    assert found.shifts.shape == (20, 6, 2)
    assert found.scores.shape == found.states.shape == (20, 6)
    assert bool((found.scores.diff(dim=1) <= 0).all())
    # |X|² - |X - C S|² of the best pose, summed over the pixels up to the limit.
    count = pictures.lattice.count(QUICK.last_limit)
    k = pictures.lattice.k[:count]
    grid = FourierGrid(32, QUICK.last_limit)
    points = slice_points(found.rotations[:, 0], k)
    predicted = grid.sample(grid.transform(pictures.volumes[5])[None], points)
    predicted = predicted * pictures.ctf[:, :count]
    predicted = predicted * shift_phases(k, 32, -found.shifts[:, 0])
    image = pictures.pixels[:, :count]
    ratio = image.abs().square().sum(1) - (image - predicted).abs().square().sum(1)
    torch.testing.assert_close(found.scores[:, 0], ratio, rtol=1e-3, atol=0.5)


def test_states_are_told_apart(take_pictures: Any) -> None:
    pictures = take_pictures(60, float("inf"), still=False)
    found, _ = search(pictures, [1, 5, 9])
    state = found.states[:, 0]
    clear = torch.tensor([min(abs(t - v) for v in (0.1, 0.5, 0.9)) < 0.12 for t in pictures.t])
    truth = (pictures.t[clear] * 2.5 - 0.25).round().long()
    assert int(clear.sum()) > 20
    assert float((state[clear] == truth).float().mean()) > 0.9
    errors = angular_distance(found.rotations[:, 0], pictures.rotations)
    assert float(errors.median()) < 3


def test_shifts_stay_in_range(take_pictures: Any) -> None:
    pictures = take_pictures(10, float("inf"), max_shift=0.0)
    settings = SearchSettings(max_shift=0.0)
    found, _ = search(pictures, [5], settings=settings)
    assert not found.shifts.any()
    errors = angular_distance(found.rotations[:, 0], pictures.rotations)
    assert float(errors.median()) < 3


@pytest.mark.parametrize("levels", [1, 3])
def test_more_levels_are_finer(take_pictures: Any, levels: int) -> None:
    pictures = take_pictures(20, float("inf"))
    found, statistics = search(pictures, [5], settings=SearchSettings(levels=levels))
    errors: Tensor = angular_distance(found.rotations[:, 0], pictures.rotations)
    # The grid's cells are 15 degrees wide, and halve with each level.
    assert float(errors.median()) < 15 / 2**levels
    assert len(statistics.by_level) == levels


def test_an_image_without_particle_scores_low(take_pictures: Any) -> None:
    pictures = take_pictures(20, 0.2)
    found, _ = search(pictures, [5])
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(*pictures.pixels.shape, 2, generator=random) / 2**0.5
    engine = PoseSearch(pictures.lattice, pictures.volumes[[5]], QUICK)
    empty = engine(torch.view_as_complex(noise), pictures.ctf)
    assert float(empty.scores.max()) < 0.5 * float(found.scores.median())
