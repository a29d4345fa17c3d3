from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_cryodrgn.particles import euler_from_rotations, rotations_from_euler

degrees = st.floats(-180, 180)


def test_against_scipy() -> None:
    angles = np.random.default_rng(0).uniform(-180, 180, (50, 3))
    # SciPy turns the object where RELION turns the axes: one is the other's inverse.
    expected = Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix()
    np.testing.assert_allclose(rotations_from_euler(angles), expected, atol=1e-12)


@settings(deadline=None)
@given(degrees, st.floats(0, 180), degrees)
def test_angles_give_back_the_matrix(rot: float, tilt: float, psi: float) -> None:
    matrix = rotations_from_euler([[rot, tilt, psi]])
    back = rotations_from_euler(euler_from_rotations(matrix))
    np.testing.assert_allclose(back, matrix, atol=2e-6)
    single = rotations_from_euler(euler_from_rotations(matrix.astype(np.float32)))
    np.testing.assert_allclose(single, matrix, atol=5e-6)


@pytest.mark.parametrize("tilt", [0.0, 180.0])
def test_degenerate_tilt(tilt: float) -> None:
    matrix = rotations_from_euler([[30.0, tilt, 50.0]])
    rot, same, _ = euler_from_rotations(matrix)[0]
    assert rot == 0
    assert same == pytest.approx(tilt)
