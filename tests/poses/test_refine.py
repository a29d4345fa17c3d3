from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from napari_cryodrgn.poses import PoseRefinement, SliceSampler, angular_distance, expmap


def engine(p: Any, states: list[int], steps: int = 6) -> PoseRefinement:
    return PoseRefinement(SliceSampler(p.lattice, p.volumes[states], 14.0), 14.0, steps)


def displaced(p: Any, degrees: float, pixels: float) -> tuple[Any, Any]:
    """The true poses turned by so many degrees and shifted by so many pixels."""
    random = torch.Generator().manual_seed(4)
    axis = torch.nn.functional.normalize(torch.randn(len(p.pixels), 3, generator=random), dim=1)
    way = torch.nn.functional.normalize(torch.randn(len(p.pixels), 2, generator=random), dim=1)
    return expmap(math.radians(degrees) * axis) @ p.rotations, p.shifts + pixels * way


def test_refinement_finds_the_pose_of_clear_images(take_pictures: Any) -> None:
    p = take_pictures(60, 10.0)
    start, moved = displaced(p, 2.0, 0.5)
    found = engine(p, [5])(p.pixels, p.ctf, start, moved)
    errors = angular_distance(found.rotations, p.rotations)
    assert float(errors.median()) < 0.5
    assert float(errors.quantile(0.9)) < 1
    assert float((found.shifts - p.shifts).norm(dim=1).median()) < 0.05
    assert bool((found.scores >= found.before).all())
    identity = found.rotations @ found.rotations.transpose(1, 2)
    torch.testing.assert_close(identity, torch.eye(3).expand_as(identity), atol=1e-5, rtol=0)


@pytest.mark.parametrize("degrees", [0.0, 5.0, 40.0])
def test_no_score_ever_falls(take_pictures: Any, degrees: float) -> None:
    p = take_pictures(60, 0.1)
    start, moved = displaced(p, degrees, 0.3)
    for steps in (1, 4):
        found = engine(p, [5], steps)(p.pixels, p.ctf, start, moved)
        assert bool((found.scores >= found.before).all())
        assert float(found.scores.mean()) > float(found.before.mean())
        # What is said of the end is what the next refinement says of its beginning.
        again = engine(p, [5])(p.pixels, p.ctf, found.rotations, found.shifts)
        torch.testing.assert_close(again.before, found.scores, atol=1e-3, rtol=1e-4)


def test_each_image_has_its_volume(take_pictures: Any) -> None:
    p = take_pictures(40, 10.0)
    start, moved = displaced(p, 2.0, 0.5)
    states = torch.arange(40) % 2
    found = engine(p, [5, 0])(p.pixels, p.ctf, start, moved, states)
    alone = engine(p, [5])(p.pixels, p.ctf, start, moved)
    torch.testing.assert_close(found.scores[::2], alone.scores[::2], atol=0.1, rtol=1e-3)
    assert bool((found.scores[1::2] < alone.scores[1::2]).all())


def test_an_image_of_nothing_stays_where_it_is(take_pictures: Any) -> None:
    p = take_pictures(4, 1.0)
    found = engine(p, [5])(0 * p.pixels, 0 * p.ctf, p.rotations, p.shifts)
    assert torch.equal(found.rotations, p.rotations)
    assert torch.equal(found.shifts, p.shifts)
    assert not found.scores.any()


def test_spread_is_that_of_the_errors(take_pictures: Any) -> None:
    p = take_pictures(200, 0.1)
    found = engine(p, [5])(p.pixels, p.ctf, p.rotations, p.shifts)
    relative = found.rotations @ p.rotations.transpose(1, 2)
    turn = torch.stack(
        [
            relative[:, 2, 1] - relative[:, 1, 2],
            relative[:, 0, 2] - relative[:, 2, 0],
            relative[:, 1, 0] - relative[:, 0, 1],
        ],
        1,
    )
    errors = torch.cat([turn / 2, found.shifts - p.shifts], 1)
    units = torch.linalg.solve_triangular(found.spread, errors[..., None], upper=False)[..., 0]
    # Standard normal, were the model linear and the volume exact.
    assert float(units.square().median(0).values.sqrt().mean()) == pytest.approx(0.674, rel=0.25)
