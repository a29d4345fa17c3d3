from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from napari_cryodrgn.imaging import FourierGrid, shift_phases, slice_points
from napari_cryodrgn.poses import PoseSearch, SearchSettings, angular_distance, posterior
from napari_cryodrgn.poses.bound import EQUAL

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
    # Too few images to know the bound.
    assert statistics.images == statistics.calibrating == 60
    assert statistics.pruned == statistics.cap_decided == 0
    assert statistics.levels[0].scored == 60 * 72 * QUICK.n_side**3 * 25


def test_the_bound_drops_candidates_and_spares_winners(take_pictures: Any) -> None:
    p = take_pictures(180, 0.1)
    wide = replace(QUICK, keep=(48, 24, 12, 6, 3), risk=0.05)
    engine = PoseSearch(p.lattice, p.volumes[[5]], wide)
    free = PoseSearch(p.lattice, p.volumes[[5]], replace(wide, risk=0.0))
    engine(p.pixels[:60], p.ctf[:60])
    assert engine.statistics.calibrating == 60
    found = engine(p.pixels[60:], p.ctf[60:])
    expected = free(p.pixels[60:], p.ctf[60:])
    statistics = engine.statistics
    assert (statistics.images, statistics.calibrating) == (180, 60)
    for level, statistic in enumerate(statistics.levels):
        assert statistic.images == 120
        assert 120 <= statistic.kept <= statistic.offered <= 120 * wide.cap(level)
        assert 0 <= statistic.capped <= 120
    assert statistics.pruned > 0.1
    assert 0 < statistics.cap_decided < 0.8
    assert free.statistics.pruned == free.statistics.calibrating == 0
    # The risk is that of an image; twice as many would be four standard deviations.
    lost = found.scores[:, 0] < expected.scores[:, 0] - 2 * EQUAL
    assert float(lost.float().mean()) <= 0.1


def test_the_edge_of_the_range_is_reported(take_pictures: Any) -> None:
    p = take_pictures(60, float("inf"), max_shift=4.0)
    _, narrow = search(p, [5], settings=replace(QUICK, max_shift=2.0, shift_step=1.0))
    _, wide = search(p, [5], settings=replace(QUICK, max_shift=5.0))
    assert narrow.edge_area == pytest.approx(1 - 0.75**2)
    # Three in four lie beyond the narrow range.
    assert narrow.at_edge > 0.7
    assert wide.at_edge < 0.2


def test_shifted_images_have_shifted_poses(take_pictures: Any) -> None:
    p = take_pictures(40, 0.5, max_shift=1.0)
    moved = p.pixels * shift_phases(p.lattice.k, p.lattice.box, torch.tensor([1.25, -1.25]).neg())
    here, _ = search(p, [5])
    there = PoseSearch(p.lattice, p.volumes[[5]], QUICK)(moved, p.ctf)
    by = (there.shifts - here.shifts)[:, 0]
    torch.testing.assert_close(by.median(0).values, torch.tensor([1.25, -1.25]), atol=1e-3, rtol=0)
    same = angular_distance(there.rotations[:, 0], here.rotations[:, 0]) < 0.1
    assert float(same.float().mean()) > 0.9


def test_posterior(take_pictures: Any) -> None:
    p = take_pictures(20, 0.1)
    found, _ = search(p, [5], n_best=8)
    weights = posterior(found)
    torch.testing.assert_close(weights.sum(1), torch.ones(20))
    assert bool((weights.diff(dim=1) <= 0).all())
    # Odds are likelihood ratios.
    ratio = (found.scores[:, 0] - found.scores[:, 1]).exp()
    torch.testing.assert_close(weights[:, 0] / weights[:, 1], ratio, rtol=1e-3, atol=0)


def test_nearly_equal_volumes_are_searched_as_one(take_pictures: Any) -> None:
    p = take_pictures(60, 0.5, still=False)
    one = PoseSearch(p.lattice, p.volumes, replace(QUICK, likeness=10.0))
    each = PoseSearch(p.lattice, p.volumes, replace(QUICK, likeness=0.0))
    a, b = one(p.pixels, p.ctf), each(p.pixels, p.ctf)
    assert one.statistics.levels[0].scored * len(p.volumes) == each.statistics.levels[0].scored
    errors = [angular_distance(x.rotations[:, 0], p.rotations).median() for x in (a, b)]
    assert errors[0] < 1.1 * errors[1] + 0.1
    assert float((a.scores - b.scores).mean()) > -0.5


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
    assert len(statistics.levels) == levels


def test_an_image_without_particle_scores_low(take_pictures: Any) -> None:
    pictures = take_pictures(20, 0.2)
    found, _ = search(pictures, [5])
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(*pictures.pixels.shape, 2, generator=random) / 2**0.5
    engine = PoseSearch(pictures.lattice, pictures.volumes[[5]], QUICK)
    empty = engine(torch.view_as_complex(noise), pictures.ctf)
    assert float(empty.scores.max()) < 0.5 * float(found.scores.median())
