"""The search as it is traced, and the posterior over poses."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from napari_cryodrgn.errors import CryodrgnError
from napari_cryodrgn.imaging import Lattice, shift_phases
from napari_cryodrgn.poses import (
    PosePosterior,
    PoseSearch,
    PosteriorSampler,
    SearchSettings,
    angular_distance,
    so3_spacing,
)

SETTINGS = SearchSettings(last_limit=14.0, keep=(16,), risk=0.0)
BOUND = replace(SETTINGS, keep=(48,), risk=0.05)


def posterior_of(search: PoseSearch, pixels: Tensor, ctf: Tensor) -> PosePosterior:
    draw = PosteriorSampler(search.sampler, SETTINGS.last_limit, SETTINGS.max_shift + 0.7)
    return draw(pixels, ctf, search.trace(pixels, ctf).cells)


def test_every_level_accounts_for_all_poses(take_pictures: Any) -> None:
    p = take_pictures(40, 0.1)
    search = PoseSearch(p.lattice, p.volumes[[5]], BOUND)
    search(p.pixels[:30], p.ctf[:30])
    before = deepcopy(search.statistics)

    trace = search.trace(p.pixels[30:31], p.ctf[30:31])

    assert search.statistics == before
    assert len(trace.levels) == SETTINGS.levels + 1
    scored = 72 * SETTINGS.n_side**3 * 25
    for level in trace.levels:
        assert level.scored == scored
        assert 0 < level.kept <= len(level.scores) <= scored
        assert len(level.rotations) == len(level.shifts) == min(48, scored)
        assert bool((level.scores.diff() <= 0).all())
        scored = 32 * level.kept
    assert sum(level.by_bound for level in trace.levels) > 0
    assert trace.levels[-1].by_bound == 0
    limits = [level.limit for level in trace.levels]
    assert limits == sorted(limits)
    assert limits[-1] == SETTINGS.last_limit


def test_a_trace_that_is_no_longer_wanted_is_given_up(take_pictures: Any) -> None:
    p = take_pictures(1, 0.1)
    search = PoseSearch(p.lattice, p.volumes[[5]], SETTINGS)
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 3

    before = deepcopy(search.statistics)
    with pytest.raises(CryodrgnError, match="given up"):
        search.trace(p.pixels, p.ctf, stop)
    assert len(asked) == 4
    assert search.statistics == before


def test_the_bound_of_another_search_is_used(take_pictures: Any) -> None:
    p = take_pictures(40, 0.1)
    measured = PoseSearch(p.lattice, p.volumes[[5]], BOUND)
    measured(p.pixels[:30], p.ctf[:30])
    other = PoseSearch(p.lattice, p.volumes[[5]], BOUND)
    assert not any(level.by_bound for level in other.trace(p.pixels[30:31], p.ctf[30:31]).levels)

    other.use_bound_of(measured)

    one, two = (s.trace(p.pixels[30:31], p.ctf[30:31]) for s in (measured, other))
    assert [level.kept for level in one.levels] == [level.kept for level in two.levels]


def test_the_trace_finds_what_the_search_finds(take_pictures: Any) -> None:
    p = take_pictures(4, 0.3)
    search = PoseSearch(p.lattice, p.volumes[[5]], SETTINGS)
    for i in range(4):
        found = search(p.pixels[i : i + 1], p.ctf[i : i + 1])
        cells = search.trace(p.pixels[i : i + 1], p.ctf[i : i + 1]).cells
        assert float(cells.scores[0, 0]) > float(found.scores[0, 0]) - 1
        assert cells.rotations.shape == (1, 16, 3, 3)


def test_an_exact_projection_has_one_peak_within_the_grid_step(take_pictures: Any) -> None:
    p = take_pictures(6, float("inf"))
    search = PoseSearch(p.lattice, p.volumes[[5]], SETTINGS)
    step = math.degrees(so3_spacing(72 * SETTINGS.n_side**3)) / 2**SETTINGS.levels
    for i in range(6):
        # Noise so weak that other poses are out of the question.
        found = posterior_of(search, 20 * p.pixels[i : i + 1], 20 * p.ctf[i : i + 1])
        best = found.peaks[0]
        assert best.mass > 0.99
        assert found.effective_poses == pytest.approx(1, abs=0.05)
        assert float(angular_distance(best.rotation, p.rotations[i])) < 1.5 * step
        assert found.width < step


def test_two_fold_symmetry_gives_two_equal_peaks(take_pictures: Any) -> None:
    p = take_pictures(6, 0.5)
    volume = p.volumes[5]
    # Half a turn about z; the voxel in the middle is the centre.
    turned = torch.roll(volume.flip(1, 2), (1, 1), (1, 2))
    turned[:, 0], turned[:, :, 0] = 0, 0
    search = PoseSearch(p.lattice, (volume + turned)[None], SETTINGS)
    axis = torch.diag(torch.tensor([-1.0, -1.0, 1.0]))
    ctf = p.ctf[:1]
    for rotation in p.rotations[:4]:
        slices = search.sampler.of_all(rotation[None], len(ctf[0, : _count(p.lattice)]))[0]
        pixels = slices * ctf[:, : _count(p.lattice)]
        found = posterior_of(search, pixels, ctf[:, : _count(p.lattice)])
        first, second = found.peaks[:2]
        assert sum(peak.mass > 0.05 for peak in found.peaks) == 2
        assert first.mass == pytest.approx(0.5, abs=0.12)
        assert float(angular_distance(first.rotation @ axis, second.rotation)) < 3
        assert found.effective_poses == pytest.approx(2, abs=0.1)


def _count(lattice: Lattice) -> int:
    return lattice.count(SETTINGS.last_limit)


def test_the_posterior_is_calibrated(take_pictures: Any) -> None:
    n = 24
    p = take_pictures(n, 0.1)
    search = PoseSearch(p.lattice, p.volumes[[5]], SETTINGS)
    below, shift_ratio = [], []
    for i in range(n):
        found = posterior_of(search, p.pixels[i : i + 1], p.ctf[i : i + 1])
        assert float(found.weights.sum()) == pytest.approx(1, abs=1e-4)
        best = found.peaks[0]
        off = angular_distance(found.rotations, best.rotation)
        truth = angular_distance(p.rotations[i], best.rotation)
        below.append(float(found.weights[off < truth].sum()))
        shift_ratio.append(float((p.shifts[i] - best.shift).norm()) / best.shift_width)
    # The truth is a draw like any other: its rank is uniform, to 2.5 standard deviations.
    rank = torch.tensor(below)
    assert abs(float(rank.mean()) - 0.5) < 2.5 * math.sqrt(1 / 12 / n)
    assert abs(float((rank < 0.75).float().mean()) - 0.75) < 2.5 * math.sqrt(0.75 * 0.25 / n)
    assert 0.6 < torch.tensor(shift_ratio).square().mean().sqrt() < 1.6


def test_moving_the_image_moves_the_posterior(take_pictures: Any) -> None:
    p = take_pictures(1, 0.5)
    by = torch.tensor([3.0, -4.0])
    search = PoseSearch(p.lattice, p.volumes[[5]], SETTINGS)
    here = posterior_of(search, p.pixels, p.ctf)
    far = p.pixels * shift_phases(p.lattice.k, p.lattice.box, -by)
    back = far * shift_phases(p.lattice.k, p.lattice.box, by)
    there = posterior_of(search, back, p.ctf).moved(by)
    torch.testing.assert_close(there.peaks[0].shift, here.peaks[0].shift + by, atol=0.02, rtol=0)
