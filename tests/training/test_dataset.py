from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from napari_cryodrgn.errors import TrainingError
from napari_cryodrgn.imaging import CTF, CTFParameters, images_to_pixels
from napari_cryodrgn.particles import ParticleSet
from napari_cryodrgn.training import Settings
from napari_cryodrgn.training.consensus import reconstruct_volume
from napari_cryodrgn.training.dataset import load


def poses(particles: ParticleSet) -> tuple[torch.Tensor, torch.Tensor]:
    assert particles.rotations is not None
    assert particles.shifts is not None
    return torch.from_numpy(particles.rotations), torch.from_numpy(particles.shifts)


def test_pixels_are_the_images_in_units_of_the_noise(particles: Any, make_data: Any) -> None:
    data = make_data(particles)
    assert len(data) == len(particles)
    assert data.box == 24
    assert data.pixel_size == pytest.approx(12.0)
    images = torch.from_numpy(particles.images.read(range(5)))
    images = images - images.mean((1, 2), keepdim=True)
    pixels, ctf = data.batch(torch.arange(5))
    unit = data.noise[data.lattice.shell]
    expected = images_to_pixels(images, data.lattice) * data.scale / unit
    torch.testing.assert_close(pixels, expected, rtol=1e-3, atol=1e-4)
    exact = CTF(particles.ctf, data.lattice.k, 24, 12.0)(slice(0, 5)) / unit
    torch.testing.assert_close(ctf, exact)


def test_noise_is_whitened(toy: Any, make_data: Any) -> None:
    """What the true volume leaves is noise of unit power, in every shell."""
    particles, _ = toy
    data = make_data(particles)
    rotations, shifts = poses(particles)
    power = torch.stack([x.abs().square().mean(0) for _, x, _ in data.batches(100)]).mean(0)
    shells = data.lattice.shell_mean(power)
    # There is little signal at the highest frequencies, and noise is all that is left.
    assert shells[14:].tolist() == pytest.approx([1.0] * len(shells[14:]), abs=0.35)
    assert shells[2] > 5
    fit = reconstruct_volume(data, rotations, shifts, 15.0)
    noise = data.residual_noise(fit.volume, rotations, shifts, 15.0, torch.arange(len(data)))
    assert noise.shape == data.noise.shape
    # No one volume explains a moving molecule, but nearly.
    assert bool((noise[1:] >= data.noise[1:] * 0.9).all())
    assert bool((noise[1:] <= data.noise[1:] * 1.5).all())


def test_inverted_contrast_is_turned(particles: Any, make_data: Any) -> None:
    plain, turned = make_data(particles), make_data(particles, invert_contrast=True)
    torch.testing.assert_close(turned.pixels, -plain.pixels)


def test_box_crops_in_fourier_space(particles: Any, make_data: Any) -> None:
    whole, small = make_data(particles), make_data(particles, box=16)
    assert small.box == 16
    assert small.pixel_size == pytest.approx(18.0)
    n = len(small.lattice)
    torch.testing.assert_close(
        small.pixels / small.scale, whole.pixels[:, :n] / whole.scale, rtol=1e-4, atol=1e-3
    )
    again = whole.cropped(16)
    assert again.box == 16
    assert again.pixel_size == pytest.approx(18.0)
    _, expected = whole.batch(slice(0, 4), 7)
    _, found = again.batch(slice(0, 4), 7)
    torch.testing.assert_close(found, expected)
    assert whole.cropped(32) is whole


def test_without_ctf(particles: Any, make_data: Any) -> None:
    data = make_data(replace(particles, ctf=None))
    _, ctf = data.batch(torch.arange(3))
    torch.testing.assert_close(ctf, (1 / data.noise[data.lattice.shell]).expand(3, -1))


def test_known_poses_give_the_volume(toy: Any, make_data: Any) -> None:
    particles, _ = toy
    data = make_data(particles)
    rotations, shifts = poses(particles)
    found = reconstruct_volume(data, rotations, shifts, 15.0)
    truth = np.load(particles.source.parent / "truth.npz")["vols"].mean(0)
    assert np.corrcoef(found.volume.flatten(), truth.ravel())[0, 1] > 0.9
    assert found.fsc[0] == 1
    assert float(found.fsc[2:6].min()) > 0.8
    assert found.resolution_shell > 8
    # Shifts with the wrong sign cost resolution.
    assert reconstruct_volume(data, rotations, -shifts, 15.0).resolution_shell < (
        found.resolution_shell
    )
    weighted = reconstruct_volume(data, rotations, shifts, 15.0, weighted=True)
    assert np.corrcoef(weighted.volume.flatten(), truth.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pixel_size": None}, "pixel size is not known"),
        ({"box": 26}, "larger than the particles' box of 24 px"),
    ],
)
def test_faults_are_named(
    particles: Any, tmp_path: Any, changes: dict[str, Any], words: str
) -> None:
    if "pixel_size" in changes:
        particles, changes = replace(particles, **changes), {}
    settings = Settings.model_validate({"output": tmp_path / "run", **changes})
    with pytest.raises(TrainingError, match=words):
        next(load(particles, settings, torch.device("cpu")))


def test_ctf_of_the_cropped_box(particles: Any, make_data: Any) -> None:
    """A frequency in cycles per box is the same in Å whatever the box."""
    data = make_data(particles, box=16)
    _, ctf = data.batch(slice(0, 3))
    parameters: CTFParameters = particles.ctf.select([0, 1, 2])
    expected = CTF(parameters, data.lattice.k, 24, 12.0)(slice(None))
    torch.testing.assert_close(ctf, expected / data.noise[data.lattice.shell])
