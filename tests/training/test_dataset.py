from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from napari_cryodrgn.errors import TrainingError
from napari_cryodrgn.imaging import CTF, CTFParameters, hinge, images_to_pixels, simulate
from napari_cryodrgn.particles import ParticleSet
from napari_cryodrgn.training import Settings, dataset
from napari_cryodrgn.training.dataset import load
from napari_cryodrgn.training.half_maps import reconstruct_volume


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
    weighted = reconstruct_volume(data, rotations, shifts, 15.0)
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


def filtered(images: Any, gain: Any) -> Any:
    """Images whose transform is multiplied by ``gain`` of the frequency in cycles per box."""
    box = images.shape[-1]
    radius = np.hypot(np.fft.fftfreq(box, 1 / box)[:, None], np.fft.rfftfreq(box, 1 / box))
    return np.fft.irfft2(np.fft.rfft2(images) * gain(radius), s=(box, box))


def test_coloured_noise_is_found_and_found_better_from_the_residual(
    still: Any, altered: Any, make_data: Any
) -> None:
    """Noise with ten times the power at low frequency: E|whitened noise|² is 1 in each shell."""
    simulation = simulate(still, 800, 32, 9.0, snr=np.inf, seed=11)
    level = 3 * float(next(simulation.chunks()).std())

    def gain(k: Any) -> Any:
        return np.sqrt(1 + 9 * np.exp(-((k / 5) ** 2)))

    def add(images: Any) -> Any:
        white = np.random.default_rng(1).standard_normal(images.shape)
        return images + level * filtered(white, gain)

    data = make_data(altered(simulation, add))
    # Mean over the shell of the true power, in units of the data.
    exact = torch.from_numpy(gain(data.lattice.radius.numpy())).float() * level * 32 * data.scale
    truth = data.lattice.shell_mean(exact.square()).sqrt()
    from_corners = (data.noise / truth).square()
    assert from_corners[1:].tolist() == pytest.approx([1.0] * 15, abs=0.25)
    assert float(from_corners[4:].mean()) == pytest.approx(1, abs=0.05)

    rotations, shifts = torch.from_numpy(simulation.rotations), torch.from_numpy(simulation.shifts)
    volume = torch.from_numpy(simulation.volumes[0]) * data.scale
    index = torch.arange(len(data))
    data.noise = data.residual_noise(volume, rotations, shifts, 15.0, index)
    assert (data.noise / truth).square()[1:15].tolist() == pytest.approx([1.0] * 14, abs=0.08)
    again = data.residual_noise(volume, rotations, shifts, 15.0, index)
    torch.testing.assert_close(again, data.noise, rtol=1e-4, atol=0)

    # A volume made from the same images explains some of their noise, and errs: little of each.
    fit = reconstruct_volume(data, rotations, shifts, 15.0)
    fitted = data.residual_noise(fit.volume, rotations, shifts, 15.0, index)
    assert (fitted / truth).square()[1:15].tolist() == pytest.approx([1.0] * 14, abs=0.1)


@pytest.mark.parametrize("factor", [1000.0, 0.001])
def test_units_do_not_matter(particles: Any, altered: Any, make_data: Any, factor: float) -> None:
    simulation = simulate(hinge(), 60, 24, 12.0, snr=0.5, seed=3)
    one, other = (make_data(altered(simulation, lambda x, f=f: x * f)) for f in (1.0, factor))
    for a, b in zip(one.batch(slice(None)), other.batch(slice(None)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(one.noise, other.noise, rtol=1e-4, atol=0)
    assert other.scale == pytest.approx(one.scale / factor, rel=1e-4)


def test_a_lower_limit_is_a_prefix(particles: Any, make_data: Any) -> None:
    data = make_data(particles)
    index = torch.tensor([3, 1, 40])
    for some, whole in zip(data.batch(index, 6), data.batch(index), strict=True):
        assert some.shape[1] == int((data.lattice.radius <= 6).sum())
        assert torch.equal(some, whole[:, : some.shape[1]])


def test_memory_mapped_store_gives_the_same(
    particles: Any, make_data: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = make_data(particles)
    monkeypatch.setattr(dataset, "_IN_MEMORY", 0)
    mapped = make_data(particles)
    assert list((tmp_path / "none").iterdir()) == []
    assert torch.equal(mapped.pixels, in_memory.pixels)
    rotations, shifts = poses(particles)
    volumes = [reconstruct_volume(d, rotations, shifts, 11.0).volume for d in (in_memory, mapped)]
    assert torch.equal(*volumes)
