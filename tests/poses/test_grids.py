from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from napari_cryodrgn.imaging import slice_points
from napari_cryodrgn.poses import (
    half_turn,
    shift_grid,
    so3_grid,
    so3_half_grid,
    so3_spacing,
    zyz_matrix,
)


def nearest(grid: Tensor, rotations: Tensor) -> Tensor:
    """Angle in degrees from each rotation to the nearest of a grid."""
    trace = torch.einsum("aij,bij->ab", rotations, grid).max(1).values
    return torch.rad2deg(torch.acos(((trace - 1) / 2).clamp(-1, 1)))


@pytest.mark.parametrize("n_side", [1, 2, 4])
def test_so3_grid_holds_rotations_and_covers(n_side: int, rotations: Tensor) -> None:
    grid = so3_grid(n_side)
    assert grid.shape == (72 * n_side**3, 3, 3)
    torch.testing.assert_close(
        grid @ grid.transpose(1, 2), torch.eye(3).expand(len(grid), 3, 3), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(torch.linalg.det(grid), torch.ones(len(grid)))
    gaps = nearest(grid, rotations)
    spacing = math.degrees(so3_spacing(len(grid)))
    # Half the diagonal of a cell, and a little: cells are no perfect cubes.
    assert float(gaps.max()) < 1.2 * spacing * 3**0.5 / 2
    # No two points coincide.
    others = torch.einsum("aij,bij->ab", grid[:72], grid)
    assert int((others > 3 - 1e-4).sum()) == 72


def test_the_half_grid_and_its_half_turns_are_the_grid() -> None:
    half = so3_half_grid(2)
    both = torch.cat([half, half_turn(half)])
    assert len(both) == len(so3_grid(2))
    assert float(nearest(both, so3_grid(2)).max()) < 0.1
    k = torch.tensor([[1.0, 2.0], [-3.0, 0.5]])
    torch.testing.assert_close(slice_points(half_turn(half), k), -slice_points(half, k))


def test_so3_spacing() -> None:
    # 8 pi² cubic radians shared by cells of edge a.
    assert so3_spacing(72) ** 3 * 72 == pytest.approx(8 * math.pi**2)
    assert math.degrees(so3_spacing(72 * 4**3)) == pytest.approx(60 / 4, rel=0.05)


def test_zyz_matrix_is_relions() -> None:
    random = np.random.default_rng(0)
    angles = random.uniform([-np.pi, 0, -np.pi], [np.pi, np.pi, np.pi], (50, 3))
    found = zyz_matrix(*torch.from_numpy(angles).unbind(1))
    expected = Rotation.from_euler("ZYZ", angles).inv().as_matrix()
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_zyz_matrix_by_hand() -> None:
    # Seen along the direction (tilt 90, rot 90): the object's y axis points at the viewer.
    half = torch.tensor(math.pi / 2, dtype=torch.float64)
    found = zyz_matrix(half, half, torch.zeros_like(half))
    np.testing.assert_allclose(found @ torch.tensor([0, 1, 0.0]).double(), [0, 0, 1], atol=1e-12)


@pytest.mark.parametrize(("extent", "step", "n"), [(2.5, 1.25, 25), (1, 0.4, 36), (2, 100, 4)])
def test_shift_grid(extent: float, step: float, n: int) -> None:
    shifts, spacing = shift_grid(extent, step)
    assert shifts.shape == (n, 2)
    assert float(shifts.max()) == -float(shifts.min()) == extent
    assert len({tuple(s) for s in shifts.tolist()}) == n
    values = shifts[:, 0].unique()
    torch.testing.assert_close(values.diff(), torch.full((len(values) - 1,), spacing))


def test_shift_grid_of_no_extent() -> None:
    shifts, spacing = shift_grid(0, 1)
    assert shifts.tolist() == [[0, 0]]
    assert spacing == 0
