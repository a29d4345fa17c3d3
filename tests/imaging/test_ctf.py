from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_cryodrgn.imaging import CTF, CTFParameters, Lattice, electron_wavelength

BOX, PIXEL_SIZE = 64, 2.5


def relion_ctf(p: CTFParameters, i: int, k: NDArray[np.float64]) -> NDArray[np.float64]:
    """RELION's formula for one particle, term by term and in double precision."""
    volts = p.voltage[i] * 1e3
    wavelength = 12.2643247 / np.sqrt(volts * (1 + volts * 0.978466e-6))
    s = k / (BOX * PIXEL_SIZE)
    s2 = (s**2).sum(1)
    theta = np.arctan2(s[:, 1], s[:, 0])
    u, v, a = p.defocus_u[i], p.defocus_v[i], np.deg2rad(p.defocus_angle[i])
    defocus = 0.5 * (u + v + (u - v) * np.cos(2 * (theta - a)))
    chi = np.pi * wavelength * defocus * s2
    chi -= np.pi / 2 * p.spherical_aberration[i] * 1e7 * wavelength**3 * s2**2
    chi -= np.deg2rad(p.phase_shift[i])
    w = p.amplitude_contrast[i]
    return np.sqrt(1 - w**2) * np.sin(chi) + w * np.cos(chi)


@pytest.fixture
def parameters() -> CTFParameters:
    return CTFParameters.create(
        [15100, 8000, 30000, 12000],
        [14000, 8000, 27500, 12500],
        [-20.5, 0, 77, 130],
        [300, 200, 300, 120],
        [2.7, 2.0, 0.01, 2.7],
        [0.1, 0.07, 0.1, 0.0],
        [0, 0, 45, 90],
    )


def test_wavelengths_of_common_voltages() -> None:
    # Textbook values in Å.
    voltages = torch.tensor([100.0, 200.0, 300.0])
    expected = torch.tensor([0.03701, 0.02508, 0.01969])
    torch.testing.assert_close(electron_wavelength(voltages), expected, atol=1e-5, rtol=0)


def test_ctf_is_relions(parameters: CTFParameters) -> None:
    lattice = Lattice.create(BOX)
    values = CTF(parameters, lattice.k, BOX, PIXEL_SIZE)(slice(None))
    assert values.shape == (4, len(lattice))
    for i in range(4):
        expected = relion_ctf(parameters, i, lattice.k.double().numpy())
        np.testing.assert_allclose(values[i], expected, atol=1e-5)


def test_ctf_is_positive_at_low_frequency_without_a_phase_plate() -> None:
    k = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    values = CTF(CTFParameters.create(15000, 15000), k, 256, 1.0)(slice(None))
    assert bool((values > 0.1).all())


def test_first_zero_by_hand() -> None:
    # No aberration, no amplitude contrast: sin(pi lambda df s²) first vanishes at lambda df s² = 1.
    wavelength = float(electron_wavelength(torch.tensor(300.0)))
    defocus = 20000.0
    s = (1 / (wavelength * defocus)) ** 0.5
    p = CTFParameters.create(defocus, defocus, 0, 300, 0, 0)
    k = torch.tensor([[s * 100, 0.0], [s * 100 * 0.5**0.5, 0.0]])
    values = CTF(p, k, 100, 1.0)(slice(None))[0]
    assert values.tolist() == pytest.approx([0, 1], abs=1e-4)


def test_index_and_prefix(parameters: CTFParameters) -> None:
    lattice = Lattice.create(BOX)
    ctf = CTF(parameters, lattice.k, BOX, PIXEL_SIZE)
    some = ctf(torch.tensor([2, 0]), 50)
    torch.testing.assert_close(some, ctf(slice(None))[[2, 0], :50])
    torch.testing.assert_close(
        CTF(parameters.select([2, 0]), lattice.k, BOX, PIXEL_SIZE)(slice(None), 50), some
    )


def test_create_broadcasts_and_refuses_other_lengths() -> None:
    p = CTFParameters.create([1, 2, 3], 5, voltage=[200, 300, 300])
    assert len(p) == 3
    assert p.defocus_v.tolist() == [5, 5, 5]
    assert p.select(slice(1, None)).voltage.tolist() == [300, 300]
    with pytest.raises(ValueError, match="shape"):
        CTFParameters.create([1, 2, 3], [1, 2])
