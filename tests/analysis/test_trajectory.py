"""Paths through latent space: equal steps, and particles that lead round a gap."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_cryodrgn.analysis.trajectory import equal_arc, neighbour_path, through
from napari_cryodrgn.errors import CryodrgnError


def horseshoe(n: int = 3000, zdim: int = 3) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Particles along most of a circle of radius 5, and how far round each is."""
    random = np.random.default_rng(1)
    angle = random.uniform(0, 1.7 * np.pi, n)
    mu = 0.1 * random.normal(size=(n, zdim))
    mu[:, 0] += 5 * np.cos(angle)
    mu[:, 1] += 5 * np.sin(angle)
    return mu.astype(np.float32), angle


def test_steps_are_equal_along_the_line() -> None:
    corner = np.array([[0, 0], [0, 3], [1, 3], [1, 3], [4, 3]], np.float32)
    path = equal_arc(corner, 8)
    assert path.dtype == np.float32
    expected = [[0, 0], [0, 1], [0, 2], [0, 3], [1, 3], [2, 3], [3, 3], [4, 3]]
    np.testing.assert_allclose(path, expected, atol=1e-6)


def test_the_ends_are_kept_and_no_step_is_longer_than_its_share() -> None:
    points = np.random.default_rng(2).normal(size=(9, 5)).astype(np.float32).cumsum(0)
    path = equal_arc(points, 40)
    np.testing.assert_allclose(path[[0, -1]], points[[0, -1]], rtol=1e-5)
    share = np.linalg.norm(np.diff(points, axis=0), axis=1).sum() / 39
    assert np.linalg.norm(np.diff(path, axis=0), axis=1).max() <= share * 1.0001


def test_lines_without_length() -> None:
    point = np.array([[1, 2]], np.float32)
    np.testing.assert_array_equal(equal_arc(point, 3), np.repeat(point, 3, 0))
    np.testing.assert_array_equal(equal_arc(np.repeat(point, 4, 0), 2), np.repeat(point, 2, 0))
    np.testing.assert_array_equal(equal_arc(np.array([[0, 0], [2, 2]], np.float32), 1), [[0, 0]])


@pytest.mark.parametrize(
    ("points", "n", "words"),
    [(np.zeros((2, 2)), 0, "at least 1, got 0"), (np.zeros((0, 2)), 5, r"got \(0, 2\)")],
)
def test_no_path_at_all(points: NDArray[np.float32], n: int, words: str) -> None:
    with pytest.raises(CryodrgnError, match=words):
        equal_arc(points.astype(np.float32), n)


def test_the_path_follows_the_particles_round_the_gap() -> None:
    mu, angle = horseshoe()
    start, end = int(angle.argmin()), int(angle.argmax())
    path = neighbour_path(mu, start, end)
    assert (path[0], path[-1]) == (start, end)
    assert len(set(path.tolist())) == len(path)
    # Round the ring, nearly always forward, and never over the gap between its ends.
    assert np.diff(angle[path]).min() > -0.2
    assert np.diff(angle[path]).max() < 0.5
    np.testing.assert_allclose(np.linalg.norm(mu[path, :2], axis=1), 5, atol=0.5)
    np.testing.assert_array_equal(neighbour_path(mu, end, start)[[0, -1]], [end, start])


def test_it_prefers_where_particles_are_dense() -> None:
    random = np.random.default_rng(3)
    # A straight line of few particles, and a detour of half again its length of many.
    along = np.linspace(0, 10, 30)
    sparse = np.stack([along, np.zeros(30)], axis=1)
    bend = np.linspace(0, 10, 3000)
    dense = np.stack([bend, 6 * (1 - np.abs(bend - 5) / 5)], axis=1)
    mu = np.concatenate([sparse, dense]) + 0.02 * random.normal(size=(3030, 2))
    path = neighbour_path(mu.astype(np.float32), 0, 29)
    assert mu[path, 1].max() > 5


def test_a_sample_always_holds_the_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_cryodrgn.analysis.trajectory._SAMPLE", 300)
    mu, angle = horseshoe()
    start, end = int(angle.argmin()), int(angle.argmax())
    path = neighbour_path(mu, start, end)
    assert (path[0], path[-1]) == (start, end)
    assert np.diff(angle[path]).max() < 0.8
    np.testing.assert_array_equal(path, neighbour_path(mu, start, end))
    assert path.tolist() != neighbour_path(mu, start, end, seed=1).tolist()


def test_parts_are_bridged_where_they_come_nearest() -> None:
    random = np.random.default_rng(4)
    # Three bars one above another, and a fourth part that lies off the way.
    bars = [random.uniform((0, y), (10, y + 0.5), (200, 2)) for y in (0, 5, 10)]
    far = random.uniform((40, 40), (41, 41), (200, 2))
    mu = np.concatenate([*bars, far]).astype(np.float32)
    path = neighbour_path(mu, 3, 430)
    part = path // 200
    assert (np.diff(part) >= 0).all()
    assert set(part.tolist()) == {0, 1, 2}
    crossings = np.flatnonzero(np.diff(part))
    gaps = np.linalg.norm(mu[path[crossings + 1]] - mu[path[crossings]], axis=1)
    for gap, lower, upper in zip(gaps, bars, bars[1:], strict=False):
        nearest = np.linalg.norm(lower[:, None] - upper[None], axis=2).min()
        assert gap == pytest.approx(nearest, rel=1e-3)


def test_equal_latents_do_not_cut_the_graph() -> None:
    mu = np.repeat(np.arange(20, dtype=np.float32)[:, None], 50, axis=0)
    path = neighbour_path(mu, 7, 996)
    assert (path[0], path[-1]) == (7, 996)
    values = mu[path, 0]
    assert (np.diff(values) > 0).all()
    # Among equals, the ends are the ones asked for.
    assert neighbour_path(mu, 3, 9).tolist() == [3, 9]
    # So near that their distance rounds to nothing.
    near = (1000 + 1e-4 * np.arange(400, dtype=np.float32))[:, None]
    assert neighbour_path(near, 0, 399)[[0, -1]].tolist() == [0, 399]


def test_few_particles() -> None:
    assert neighbour_path(np.zeros((1, 2), np.float32), 0, 0).tolist() == [0]
    assert neighbour_path(np.eye(2, dtype=np.float32), 1, 0).tolist() == [1, 0]
    assert neighbour_path(horseshoe()[0], 5, 5).tolist() == [5]


def test_through_anchors() -> None:
    mu, angle = horseshoe()
    order = np.argsort(angle)
    anchors = [int(order[i]) for i in (0, 1500, 2999)]
    np.testing.assert_array_equal(through(mu, anchors, graph=False), mu[anchors])
    points = through(mu, anchors, graph=True)
    first, second = (neighbour_path(mu, a, b) for a, b in zip(anchors, anchors[1:], strict=False))
    np.testing.assert_array_equal(points, mu[np.concatenate([first, second[1:]])])
    back = through(mu, [anchors[0], anchors[1], anchors[0]], graph=True)
    np.testing.assert_array_equal(back[[0, -1]], mu[[anchors[0], anchors[0]]])


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize(
    ("anchors", "words"),
    [([], "got 0"), ([4], "got 1"), ([0, 12], "0 to 11"), ([-1, 3], "0 to 11")],
)
def test_anchors_that_make_no_path(anchors: list[int], words: str, graph: bool) -> None:
    with pytest.raises(CryodrgnError, match=words):
        through(np.zeros((12, 2), np.float32), anchors, graph)


def test_latents_that_are_not_finite() -> None:
    mu = np.zeros((12, 2), np.float32)
    mu[3, 1] = np.inf
    with pytest.raises(CryodrgnError, match="not finite"):
        neighbour_path(mu, 0, 1)
