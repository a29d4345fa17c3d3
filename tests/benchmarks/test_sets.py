"""The benchmarks' particle sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.report import markdown
from benchmarks.rows import Row
from benchmarks.scaling_rows import exponent
from benchmarks.sets import (
    SETS,
    make,
    swinging_domain,
    two_motions,
    two_states,
    two_swinging_domains,
)


def test_a_seed_makes_the_molecule_and_the_images(tmp_path: Path) -> None:
    (a, _), (b, _), (c, _) = (
        make("swing64", seed, tmp_path / name, n=3, box=32)
        for seed, name in ((1, "a"), (1, "b"), (2, "c"))
    )
    images = [star.with_name("particles.mrcs").read_bytes()[1024:] for star in (a, b, c)]
    assert images[0] == images[1] != images[2]


def test_a_quarter_swings_by_sixty_degrees_and_fits_the_box() -> None:
    positions = swinging_domain(1000).positions(torch.tensor([0.0, 1.0]))
    moved = (positions[1] - positions[0]).norm(dim=-1) > 1e-3
    assert float(moved.float().mean()) == pytest.approx(0.25, abs=0.01)
    start, end = (p[moved] - p[moved].mean(0) for p in positions)
    u, _, vt = torch.linalg.svd(start.T @ end)
    trace = float(torch.trace(u @ vt))
    assert np.degrees(np.arccos((trace - 1) / 2)) == pytest.approx(60, abs=0.1)
    # What a reconstruction can hold: 42 % of the box.
    assert float(positions.norm(dim=-1).max()) < 0.42 * SETS["swing64"].width


def test_the_second_motion_says_nothing_about_the_first() -> None:
    t = torch.from_numpy(np.random.default_rng(0).random(4000, dtype=np.float32))
    both = two_motions(t).numpy()
    assert abs(np.corrcoef(both.T)[0, 1]) < 0.05
    assert np.allclose(both.std(0), 12**-0.5, atol=0.01)
    assert float(two_states(t).mean()) == pytest.approx(0.5, abs=0.03)


def test_each_of_two_domains_follows_its_own_coordinate() -> None:
    molecule = two_swinging_domains(1000)
    # Nearly the same first coordinate, another second one.
    t = torch.tensor([0.5, 0.5 + 0.4 / 89])
    first, second = molecule.positions(t)[:, [-400, -100]].diff(dim=0)[0].norm(dim=-1)
    assert second > 10 * first


def test_truth_says_the_coordinates(tmp_path: Path) -> None:
    star, truth = make("two_motions", 1000, tmp_path, n=4, box=32)
    with np.load(star.with_name("truth.npz")) as saved:
        assert np.array_equal(saved["coordinates"], truth.coordinates)
        assert saved["coordinates"].shape == (4, 2)


def test_results_read_well_when_a_seed_failed() -> None:
    row = Row("work", "goal", "want", (1, 2), lambda b, s: {}, lambda e: f"{len(e)} good")
    entries = [{"seed": 1, "x": 0.25, "minutes": 1.0}, {"seed": 2, "error": "no", "minutes": 0.1}]
    text = markdown({"one": row}, {"one": {"hardware": "this", "entries": entries}})
    assert "| [one](#one) | work | goal | want | 1 good (1 failed) | 1 |" in text
    assert "| 1 | 0.25 | 1 |  |" in text


def test_exponent_of_a_power() -> None:
    assert exponent([1, 10, 100, 1000], [5, 50, 500, 5000]) == 1
