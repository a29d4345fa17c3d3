"""Bad input: an error before anything is written, or a warning and a result that is finite."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from napari_cryodrgn.errors import CryodrgnError
from napari_cryodrgn.imaging import hinge, simulate
from napari_cryodrgn.poses import SearchSettings
from napari_cryodrgn.training import Settings, reconstruct
from napari_cryodrgn.training.checks import (
    check_contrast,
    check_count,
    check_density,
    check_images,
    check_shifts,
    check_views,
    check_zdim,
)
from napari_cryodrgn.training.consensus import PoseAssignment, search_all
from napari_cryodrgn.training.half_maps import reconstruct_volume


@pytest.fixture(scope="module")
def simulation() -> Any:
    return simulate(hinge(), 60, 24, 12.0, snr=0.5, seed=8)


def low_passed(images: Any, shell: float) -> Any:
    """Nothing is left from ``shell`` cycles per box upwards."""
    box = images.shape[-1]
    radius = np.hypot(np.fft.fftfreq(box, 1 / box)[:, None], np.fft.rfftfreq(box, 1 / box))
    return np.fft.irfft2(np.fft.rfft2(images) * (radius < shell), s=(box, box))


def padded(images: Any) -> Any:
    """Zero outside the inscribed circle."""
    x = np.arange(images.shape[-1]) - images.shape[-1] // 2
    return images * (np.hypot(x[:, None], x) < 0.47 * images.shape[-1])


def with_value(value: float, at: int = 41) -> Any:
    def change(images: Any) -> Any:
        images = images.copy()
        images[at, 5, 5] = value
        return images

    return change


def with_flat(*at: int) -> Any:
    def change(images: Any) -> Any:
        images = images.copy()
        images[list(at)] = 7.0
        return images

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_value(np.nan), "particles.mrcs: Image 42 has pixels that are NaN or infinite. Leave"),
        (with_value(-np.inf), "Image 42 has pixels that are NaN or infinite"),
        (lambda x: np.full_like(x, 70.1), "all images are constant; nothing"),
        (lambda x: low_passed(x, 3.5), "nothing finer than 96 Å .shell 3 of 11.*without a low-"),
    ],
)
def test_useless_images_stop_the_run_before_it_begins(
    simulation: Any, altered: Any, settings: Any, change: Any, words: str
) -> None:
    wanted = settings()
    with pytest.raises(CryodrgnError, match=words):
        next(iter(reconstruct(wanted, altered(simulation, change))))
    assert not wanted.output.exists()


@pytest.mark.parametrize(
    ("n", "changes", "words"),
    [
        (1, {}, "1 particles are too few; at least 20"),
        (10, {}, "10 particles are too few"),
        (60, {"zdim": 8}, "zdim: 8 latent dimensions are too many for 60 particles.*at most 6"),
    ],
)
def test_too_few_particles(
    particles: Any, settings: Any, n: int, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(CryodrgnError, match=words):
        next(iter(reconstruct(settings(**changes), particles.select(slice(0, n)))))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_flat(6, 9), r"2 of 60 images \(number 7, 10\) are constant"),
        (with_value(5e3), r"1 of 60 images \(number 42\) are more than 10 times as strong"),
        (lambda x: low_passed(x, 8.5), "nothing finer than 36.0 Å .shell 8 of 11"),
        (padded, "masked or padded"),
        (lambda x: -x, "Set invert_contrast the other way"),
    ],
)
def test_odd_images_are_told_of(
    simulation: Any, altered: Any, make_data: Any, change: Any, words: str
) -> None:
    data = make_data(altered(simulation, change))
    assert len(data.warnings) == 1
    assert re.search(words, data.warnings[0])
    rotations, shifts = torch.from_numpy(simulation.rotations), torch.from_numpy(simulation.shifts)
    fit = reconstruct_volume(data, rotations, shifts, 11.0)
    assert bool(fit.volume.isfinite().all())
    noise = data.residual_noise(fit.volume, rotations, shifts, 11.0, torch.arange(60))
    assert not bool(noise.isnan().any())


def test_a_run_on_odd_images_ends_well(simulation: Any, altered: Any, settings: Any) -> None:
    """Blank images among masked ones without high frequencies."""

    def change(images: Any) -> Any:
        return with_flat(6, 9)(low_passed(padded(images), 9.5))

    wanted: Settings = settings()
    for event in reconstruct(wanted, altered(simulation, change)):
        values = [v for v in vars(event).values() if isinstance(v, np.ndarray)]
        assert all(np.isfinite(v).all() for v in values), event
    assert (wanted.output / "reconstruct.mrc").is_file()


def test_blank_images_have_no_say(simulation: Any, altered: Any, make_data: Any) -> None:
    data = make_data(altered(simulation, with_flat(6, 9)))
    rotations, shifts = torch.from_numpy(simulation.rotations), torch.from_numpy(simulation.shifts)
    others = torch.tensor([i for i in range(60) if i not in (6, 9)])
    _, numerator, weight = data.back_project(rotations, shifts, 8.0)
    _, expected, expected_weight = data.back_project(rotations, shifts, 8.0, index=others)
    torch.testing.assert_close(numerator, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(weight, expected_weight, rtol=1e-4, atol=1e-4)


def test_empty_shells_do_not_count(simulation: Any, altered: Any, make_data: Any) -> None:
    data = make_data(altered(simulation, lambda x: low_passed(x, 8.5)))
    assert data.lattice.limit == 8.0
    assert data.pixels.shape[1] == len(data.lattice) == len(data.cropped(20).lattice)
    assert len(data.cropped(16).lattice) == data.lattice.count(7)
    whole = make_data(altered(simulation, lambda x: x))
    # The shells that count weigh what they did, whatever the others hold.
    ratio = (data.noise[1:8] / data.scale) / (whole.noise[1:8] / whole.scale)
    assert ratio.tolist() == pytest.approx([1.0] * 7, abs=0.1)


def test_masked_images_are_not_taken_for_clean_ones(
    simulation: Any, altered: Any, make_data: Any
) -> None:
    data = make_data(altered(simulation, padded))
    power = torch.stack([x.abs().square().mean(0) for _, x, _ in data.batches(100)]).mean(0)
    assert data.lattice.shell_mean(power)[1:].tolist() == pytest.approx([1.0] * 11, abs=0.01)


def views(tilt: float, n: int, seed: int) -> torch.Tensor:
    """Views within about ``tilt`` degrees of one, with any angle in the plane."""
    random = np.random.default_rng(seed)
    angles = [random.uniform(0, 360, n), random.normal(0, tilt, n), random.uniform(0, 360, n)]
    turned = Rotation.from_euler("ZYZ", np.stack(angles, 1), degrees=True).as_matrix()
    return torch.from_numpy(turned.transpose(0, 2, 1)).float()


@pytest.mark.parametrize("n", [20, 50, 200, 2000])
def test_views(n: int) -> None:
    for seed in range(10):
        uniform = Rotation.random(n, rng=np.random.default_rng(seed)).as_matrix()
        assert check_views(torch.from_numpy(uniform)) is None
        narrow = check_views(views(12.0, n, seed))
        assert narrow is not None
        assert "preferred orientation" in narrow
    # Side views from all round see everything.
    flat = torch.from_numpy(Rotation.from_euler("Y", 90, degrees=True).as_matrix()).float()
    around = Rotation.from_euler("Z", np.linspace(0, 360, n)[:, None], degrees=True).as_matrix()
    assert check_views(flat @ torch.from_numpy(around).float()) is None


@pytest.mark.parametrize(("reach", "fault"), [(2.0, False), (2.5, False), (5.0, True)])
def test_shifts_beyond_the_search(
    still: Any, altered: Any, make_data: Any, reach: float, fault: bool
) -> None:
    simulation = simulate(still, 100, 32, 9.0, snr=0.3, max_shift=reach, seed=4)
    data = make_data(altered(simulation, lambda x: x))
    volume = torch.from_numpy(simulation.volumes) * data.scale
    settings = SearchSettings(levels=2, keep=(4,), last_limit=10.0, max_shift=2.5)
    *_, found = search_all(data, volume, settings)
    assert isinstance(found, PoseAssignment)
    message = check_shifts(found.shifts, 2.5)
    assert (message is not None) == fault
    assert message is None or message.startswith("max_shift: ")


@pytest.mark.parametrize("seed", range(3))
def test_contrast_shows_at_given_poses(particles: Any, make_data: Any, seed: int) -> None:
    some = particles.select(np.random.default_rng(seed).permutation(120)[:60])
    rotations, shifts = torch.from_numpy(some.rotations), torch.from_numpy(some.shifts)
    for inverted in (False, True):
        data = make_data(some, invert_contrast=inverted)
        volume = reconstruct_volume(data, rotations, shifts, 8.0).volume
        assert (check_density(volume) is not None) == inverted
        assert any("invert_contrast" in w for w in data.warnings) == inverted


def test_wrong_sign_of_the_ctf_shows(particles: Any, make_data: Any) -> None:
    wrong = replace(particles.ctf, phase_shift=particles.ctf.phase_shift + 180)
    assert any(
        "CTF has the wrong sign" in w for w in make_data(replace(particles, ctf=wrong)).warnings
    )
    assert make_data(particles).warnings == ()


def test_noise_alone_has_no_contrast() -> None:
    random = torch.Generator().manual_seed(0)
    for _ in range(20):
        assert check_contrast(torch.randn(500, generator=random)) is None
        assert check_density(torch.randn(16, 16, 16, generator=random)) is None


def test_small_numbers() -> None:
    assert check_count(1000) is None
    assert "30 particles are few" in str(check_count(30))
    assert check_zdim(0, 20) is None
    assert check_zdim(2, 200) is None
    assert "Try 3," in str(check_zdim(4, 390))
    assert "Try 0 (one structure)" in str(check_zdim(1, 60))
    assert check_images(torch.ones(50)) is None
    many = torch.ones(50)
    many[:9] = 0
    assert "9 of 50 images (number 1, 2, 3, 4, 5, ...) are constant" in str(check_images(many))
