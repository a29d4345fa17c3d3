from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_cryodrgn.imaging import CTF, Lattice, Map, hinge, images_to_pixels, simulate

BOX, PIXEL_SIZE = 24, 12.0


def test_snr_is_as_stated() -> None:
    noisy = simulate(hinge(), 200, BOX, PIXEL_SIZE, snr=0.2, seed=1)
    clean = simulate(hinge(), 200, BOX, PIXEL_SIZE, snr=np.inf, seed=1)
    assert clean.noise == 0
    signal = np.concatenate(list(clean.chunks()))
    noise = np.concatenate(list(noisy.chunks())) - signal
    assert signal.var() / noise.var() == pytest.approx(0.2, rel=0.03)
    assert noise.std() == pytest.approx(noisy.noise, rel=0.02)
    # White: neighbours know nothing of one another.
    assert abs((noise[..., 1:] * noise[..., :-1]).mean()) < 0.02 * noise.var()


@pytest.mark.parametrize("size", [1, 7, 100])
def test_images_do_not_depend_on_the_chunks(size: int) -> None:
    simulation = simulate(hinge(), 20, BOX, PIXEL_SIZE, seed=4)
    chunks = list(simulation.chunks(size))
    assert [len(c) for c in chunks[:-1]] == [size] * (len(chunks) - 1)
    (whole,) = simulation.chunks()
    found = np.concatenate(chunks)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, whole, atol=1e-5 * np.abs(whole).max())


def test_seed_decides_everything() -> None:
    a, b, c = (simulate(hinge(), 5, BOX, PIXEL_SIZE, seed=s) for s in (1, 1, 2))
    for name in ("rotations", "shifts", "t", "volumes", "noise"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    np.testing.assert_array_equal(next(a.chunks()), next(b.chunks()))
    assert not np.array_equal(a.rotations, c.rotations)
    assert not np.array_equal(next(a.chunks()), next(c.chunks()))


def test_truth_makes_the_images() -> None:
    s = simulate(hinge(), 6, BOX, PIXEL_SIZE, snr=np.inf, max_shift=3, seed=2)
    assert s.n == 6
    assert np.abs(s.shifts).max() <= 3
    assert s.t.min() >= 0
    assert s.t.max() <= 1
    np.testing.assert_allclose(
        s.rotations @ s.rotations.swapaxes(1, 2), np.eye(3) + np.zeros((6, 3, 3)), atol=1e-5
    )
    np.testing.assert_allclose(np.linalg.det(s.rotations), 1, atol=1e-5)
    projections = s.molecule.project(
        *(torch.from_numpy(x) for x in (s.t, s.rotations, s.shifts)), BOX, PIXEL_SIZE
    )
    lattice = Lattice.create(BOX)
    ctf = CTF(s.ctf, lattice.k, BOX, PIXEL_SIZE)(slice(None))
    found = images_to_pixels(torch.from_numpy(next(s.chunks())), lattice)
    expected = images_to_pixels(projections, lattice) * ctf
    torch.testing.assert_close(found, expected, atol=1e-4 * float(expected.abs().max()), rtol=0)


def test_volumes_are_the_truth() -> None:
    s = simulate(hinge(), 2, BOX, PIXEL_SIZE)
    assert s.volumes.shape == (11, BOX, BOX, BOX)
    np.testing.assert_allclose(s.volume_t, np.linspace(0, 1, 11))
    np.testing.assert_array_equal(s.volumes[3], hinge().volume(float(s.volume_t[3]), BOX, 12.0))
    still = simulate(Map(s.volumes[0], 12.0), 2, BOX, PIXEL_SIZE)
    assert still.volumes.shape == (1, BOX, BOX, BOX)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_particles": 0},
        {"box": 25},
        {"box": 6},
        {"pixel_size": 0},
        {"snr": 0},
        {"max_shift": -1},
    ],
)
def test_numbers_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected at least one particle"):
        simulate(hinge(), **{"n_particles": 5, "box": 16, "pixel_size": 4.0, **wrong})  # type: ignore[arg-type]
