"""Preprocessing: what is done to an image, and the set that comes of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from napari_cryodrgn.errors import CryodrgnError, ParticleFileError
from napari_cryodrgn.imaging import (
    CTF,
    Atoms,
    CTFParameters,
    Lattice,
    Simulation,
    images_to_pixels,
    pixels_to_images,
)
from napari_cryodrgn.particles import ParticleSet, StackWriter, read, write_simulation
from napari_cryodrgn.particles.origin import read_origin
from napari_cryodrgn.particles.preprocessing import (
    PreprocessSettings,
    fourier_crop,
    preprocess,
    process,
)

MakeStack = Callable[..., NDArray[np.float32]]
MakeStar = Callable[..., Path]

PLAIN = PreprocessSettings(normalise=False)
OPTICS = {
    "rlnOpticsGroup": "1",
    "rlnOpticsGroupName": "opticsGroup1",
    "rlnVoltage": "300.000000",
    "rlnSphericalAberration": "2.700000",
    "rlnAmplitudeContrast": "0.100000",
    "rlnImagePixelSize": "2.500000",
    "rlnImageSize": "32",
}


def run(particles: ParticleSet, folder: Path, settings: PreprocessSettings) -> ParticleSet:
    *fractions, result = preprocess(particles, folder, settings)
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert isinstance(result, ParticleSet)
    return result


def blob(n: int, box: int, pixel_size: float, ctf: bool) -> tuple[Simulation, NDArray[np.float32]]:
    """A molecule without noise in any box of 192 Å, and its images; the same for each box."""
    random = np.random.default_rng(3)
    # Blobs of 11 Å deviation hold nothing finer than 12 Å, which a pixel of 6 Å can show.
    molecule = Atoms(random.uniform(-20, 20, (1, 30, 3)), 11.0)
    rotations = Rotation.random(n, rng=random).as_matrix().astype(np.float32)
    shifts = (random.uniform(-6, 6, (n, 2)) / pixel_size).astype(np.float32)
    defocus = random.uniform(8000, 20000, n)
    parameters = CTFParameters.create(defocus + 300, defocus, 30.0)
    t = np.zeros(n, np.float32)
    images = molecule.project(
        torch.from_numpy(t),
        torch.from_numpy(rotations),
        torch.from_numpy(shifts),
        box,
        pixel_size,
    )
    if ctf:
        lattice = Lattice.create(box)
        transfer = CTF(parameters, lattice.k, box, pixel_size)(slice(None))
        images = pixels_to_images(images_to_pixels(images, lattice) * transfer, lattice)
    volume = molecule.volume(0.0, box, pixel_size).numpy()[None]
    simulation = Simulation(
        molecule, box, pixel_size, parameters, rotations, shifts, t, volume, t[:1], 0.0, 0
    )
    return simulation, images.numpy()


@pytest.mark.parametrize("ctf", [False, True])
def test_a_cropped_projection_is_the_projection_in_the_small_box(ctf: bool) -> None:
    _, large = blob(5, 64, 3.0, ctf)
    _, small = blob(5, 32, 6.0, ctf)
    cropped = fourier_crop(torch.from_numpy(large), 32).numpy()
    # A pixel four times as large holds four times the density.
    assert np.abs(4 * cropped - small).max() < 1e-5 * np.abs(small).max()


def test_poses_and_ctf_on_disk_are_those_of_the_small_box(tmp_path: Path) -> None:
    large, _ = blob(6, 64, 3.0, True)
    star = write_simulation(tmp_path / "large", large)
    particles = run(read(star), tmp_path / "small", PreprocessSettings(32, normalise=False))
    small, images = blob(6, 32, 6.0, True)
    assert (particles.box, particles.pixel_size) == (32, 6.0)
    assert np.abs(4 * particles.images.read(slice(None)) - images).max() < 1e-5 * images.max()
    assert np.abs(particles.rotations - small.rotations).max() < 1e-5
    assert np.abs(particles.shifts - small.shifts).max() < 1e-5
    assert np.abs(particles.shifts * 6 - large.shifts * 3).max() < 1e-5
    for name, values in vars(small.ctf).items():
        assert np.allclose(getattr(particles.ctf, name), values, atol=1e-5)


def test_the_centre_stays_in_the_centre() -> None:
    d, box = 48, 20
    x = np.arange(d) - d // 2
    spot = np.exp(-(x[:, None] ** 2 + x**2) / 50).astype(np.float32)
    cropped = fourier_crop(torch.from_numpy(spot[None]), box)[0].numpy()
    assert np.unravel_index(cropped.argmax(), cropped.shape) == (box // 2, box // 2)
    around = cropped[1:, 1:]
    assert np.allclose(around, around[::-1, ::-1], atol=1e-6)


def test_axes_and_ends_are_treated_alike() -> None:
    images = torch.randn(3, 40, 40, generator=torch.Generator().manual_seed(0))
    cropped = fourier_crop(images, 16)
    turned = fourier_crop(images.transpose(1, 2).contiguous(), 16)
    mirrored = fourier_crop(images.flip(1).roll(1, 1), 16)
    assert torch.allclose(turned, cropped.transpose(1, 2), atol=1e-6)
    assert torch.allclose(mirrored, cropped.flip(1).roll(1, 1), atol=1e-6)
    assert torch.allclose(cropped.mean((1, 2)), images.mean((1, 2)), atol=1e-6)


@pytest.mark.parametrize("box", [32, 64])
def test_the_background_gets_mean_0_and_deviation_1(box: int) -> None:
    random = np.random.default_rng(1)
    scale, level = np.array([0.01, 1, 300])[:, None, None], np.array([5, -200, 0])[:, None, None]
    raw = random.normal(size=(3, 64, 64))
    raw[:, 24:40, 24:40] += 20
    images = process(torch.tensor(level + scale * raw).float(), box, PreprocessSettings())
    x = np.arange(box) - box // 2
    outside = np.hypot(x[:, None], x) > 0.75 * box / 2
    background = images.numpy()[:, outside]
    assert np.abs(background.mean(1)).max() < 1e-4
    assert np.abs(background.std(1) - 1).max() < 1e-4
    assert images[:, box // 2, box // 2].min() > 5


def test_a_blank_image_and_a_masked_one_are_only_centred() -> None:
    x = torch.arange(64) - 32
    disc = 7.0 + (torch.hypot(x[:, None].float(), x.float()) < 16).float()
    images = process(torch.stack([torch.full((64, 64), 7.0), disc]), 32, PreprocessSettings())
    assert images[0].abs().max() < 1e-5
    assert float(images[1, 16, 16]) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("normalise", [False, True])
def test_the_window_fades_into_the_background(normalise: bool) -> None:
    images = 40 + torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(0))
    plain = process(images, 64, PreprocessSettings(normalise=normalise))
    windowed = process(images, 64, PreprocessSettings(normalise=normalise, window=True))
    level = 0.0 if normalise else 40.0
    assert (windowed[:, :4, :4] - level).abs().max() < 0.1
    assert torch.allclose(windowed[:, 16:48, 16:48], plain[:, 16:48, 16:48], atol=1e-5)
    assert not torch.allclose(windowed[:, 2, 32], plain[:, 2, 32], atol=0.05)


def test_inverted_contrast_is_the_opposite() -> None:
    images = torch.randn(2, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(process(images, 32, PreprocessSettings(None, False, False, True)), -images)
    assert torch.equal(
        process(images, 16, PreprocessSettings(invert=True)),
        -process(images, 16, PreprocessSettings()),
    )


def test_the_input_is_left_alone() -> None:
    images = torch.randn(2, 32, 32, generator=torch.Generator().manual_seed(0))
    before = images.clone()
    process(images, 32, PreprocessSettings(None, True, True, True))
    assert torch.equal(images, before)


def test_columns_of_31_stay_but_for_what_follows_the_box(
    tmp_path: Path, make_stack: MakeStack, make_star: MakeStar
) -> None:
    make_stack(tmp_path / "raw.mrcs", n=3, box=32)
    names = [f"{i}@raw.mrcs" for i in (2, 3, 1)]
    star = make_star(tmp_path / "a.star", names, [OPTICS], rlnOriginXAngst=["5.00", "-1.1", "0"])
    before = read(star)
    after = run(before, tmp_path / "out", PreprocessSettings(16))
    assert before.table is not None
    assert after.table is not None
    assert after.table.version == "3.1"
    assert after.table.columns == before.table.columns
    for name in before.table.columns:
        if name != "rlnImageName":
            assert after.table.column(name) == before.table.column(name), name
    assert after.table.column("rlnImageName") == [f"00000{i}@particles.mrcs" for i in (1, 2, 3)]
    assert before.table.optics is not None
    assert after.table.optics is not None
    changed = {"rlnImagePixelSize": ("5",), "rlnImageSize": ("16",)}
    known = before.table.optics.values(before.table.optics.columns)
    assert after.table.optics.values(after.table.optics.columns) == {**known, **changed}
    assert np.allclose(after.shifts * 5, before.shifts * 2.5)
    assert np.allclose(after.shifts[:, 0], [-1, 0.22, 0])


def test_magnification_and_origins_in_pixels_of_30_follow_the_box(
    tmp_path: Path, make_stack: MakeStack, make_star: MakeStar
) -> None:
    make_stack(tmp_path / "raw.mrcs", n=2, box=48)
    star = make_star(
        tmp_path / "a.star",
        ["1@raw.mrcs", "2@raw.mrcs"],
        None,
        rlnOriginXAngst=None,
        rlnOriginYAngst=None,
        rlnOriginX=["3", "-1.5"],
        rlnOriginY="0",
        rlnOriginXPrior="6",
        rlnMagnification="50000",
        rlnDetectorPixelSize="7.0",
        rlnVoltage="300",
        rlnSphericalAberration="2.7",
        rlnAmplitudeContrast="0.1",
    )
    before = read(star)
    after = run(before, tmp_path / "out", PreprocessSettings(16))
    assert after.pixel_size == pytest.approx(3 * before.pixel_size)
    assert after.table is not None
    assert after.table.version == "3.0"
    wanted = {
        "rlnDetectorPixelSize": ["7.0"] * 2,
        "rlnMagnification": ["16666.6667"] * 2,
        "rlnOriginX": ["1", "-0.5"],
        "rlnOriginXPrior": ["2"] * 2,
        "rlnComment": ["two words"] * 2,
    }
    assert {name: after.table.column(name) for name in wanted} == wanted
    assert np.allclose(3 * after.shifts, before.shifts)


def test_a_table_is_the_same_in_one_part_or_many(
    tmp_path: Path, make_stack: MakeStack, make_star: MakeStar, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_stack(tmp_path / "raw.mrcs", n=7, box=32)
    star = make_star(tmp_path / "a.star", [f"{i}@raw.mrcs" for i in range(1, 8)], [OPTICS])
    rotations = Rotation.random(7, rng=np.random.default_rng(0)).as_matrix()
    particles = read(star).with_poses(rotations, np.arange(14).reshape(7, 2))
    whole = run(particles, tmp_path / "whole", PreprocessSettings(16))
    monkeypatch.setattr("napari_cryodrgn.particles.rescaled_star._ROWS_AT_ONCE", 3)
    parts = run(particles, tmp_path / "parts", PreprocessSettings(16))
    assert parts.source.read_bytes() == whole.source.read_bytes()
    assert np.allclose(parts.shifts * 2, particles.shifts, atol=1e-5)


def test_poses_without_a_pixel_size_in_the_table_follow_the_box(
    tmp_path: Path, make_stack: MakeStack, make_star: MakeStar
) -> None:
    make_stack(tmp_path / "raw.mrcs", n=2, box=32, pixel_size=2.5)
    optics = {k: v for k, v in OPTICS.items() if k != "rlnImagePixelSize"}
    changes = dict.fromkeys(("rlnOriginXAngst", "rlnOriginYAngst", "rlnAngleRot", "rlnAngleTilt"))
    names = ["1@raw.mrcs", "2@raw.mrcs"]
    bare = read(make_star(tmp_path / "a.star", names, [optics], **changes))
    before = bare.with_poses(np.tile(np.eye(3), (2, 1, 1)), [[2, -4], [6, 1]])
    after = run(before, tmp_path / "out", PreprocessSettings(16))
    assert after.pixel_size == 5
    assert np.allclose(after.shifts * 2, before.shifts)


def test_a_bad_origin_is_found_before_any_image_is_read(
    tmp_path: Path, make_stack: MakeStack, make_star: MakeStar, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_stack(tmp_path / "raw.mrcs", n=2, box=32, pixel_size=2.5)
    names = ["1@raw.mrcs", "2@raw.mrcs"]
    star = make_star(tmp_path / "a.star", names, [OPTICS], rlnOriginXPrior=["1", "None"])
    with pytest.raises(ParticleFileError, match=r"a\.star \[rlnOriginXPrior\]: Row 2"):
        list(preprocess(read(star), tmp_path / "out", PreprocessSettings(16)))
    # Nothing of it changes in the same box.
    assert len(run(read(star), tmp_path / "out", PreprocessSettings())) == 2


def test_a_contrast_given_when_reading_is_written(
    tmp_path: Path, make_stack: MakeStack, make_star: MakeStar
) -> None:
    make_stack(tmp_path / "raw.mrcs", n=2, box=32, pixel_size=2.5)
    optics = {k: v for k, v in OPTICS.items() if k != "rlnAmplitudeContrast"}
    star = make_star(tmp_path / "a.star", ["1@raw.mrcs", "2@raw.mrcs"], [optics])
    after = run(read(star, amplitude_contrast=0.07), tmp_path / "out", PreprocessSettings(16))
    assert after.ctf is not None
    assert np.allclose(after.ctf.amplitude_contrast, 0.07)


def test_new_poses_are_written(tmp_path: Path, make_stack: MakeStack, make_star: MakeStar) -> None:
    make_stack(tmp_path / "raw.mrcs", n=2, box=32, pixel_size=2.5)
    star = make_star(tmp_path / "a.star", ["1@raw.mrcs", "2@raw.mrcs"], [OPTICS])
    rotations = Rotation.random(2, rng=np.random.default_rng(0)).as_matrix()
    before = read(star).with_poses(rotations, [[2, -4], [0, 1]])
    after = run(before, tmp_path / "out", PreprocessSettings(16))
    assert np.allclose(after.rotations, rotations, atol=1e-5)
    assert np.allclose(after.shifts, [[1, -2], [0, 0.5]], atol=1e-5)


def test_a_selection_of_a_bare_stack_knows_where_it_came_from(
    tmp_path: Path, make_stack: MakeStack
) -> None:
    images = make_stack(tmp_path / "raw.mrcs", n=9, box=32, pixel_size=1.5)
    particles = read(tmp_path / "raw.mrcs").select([7, 2, 5])
    after = run(particles, tmp_path / "out", PLAIN)
    assert np.array_equal(after.images.read(slice(None)), images[[7, 2, 5]])
    assert after.pixel_size == 1.5
    origin = read_origin(after.source)
    assert origin is not None
    assert origin.path.samefile(tmp_path / "raw.mrcs")
    assert origin.rows.tolist() == [7, 2, 5]
    assert (origin.box, origin.pixel_size) == (32, 1.5)


def test_real_samples(tmp_path: Path, shared_data: Path) -> None:
    before = read(shared_data / "formats" / "relion31.star")
    after = run(before, tmp_path / "out", PreprocessSettings(64, invert=True))
    assert len(after) == len(before)
    assert after.pixel_size == pytest.approx(before.pixel_size * 4)
    assert np.allclose(after.shifts * 4, before.shifts, atol=1e-4)
    for name in vars(before.ctf):
        assert np.array_equal(getattr(after.ctf, name), getattr(before.ctf, name))
    images = after.images.read(slice(None))
    x = np.arange(64) - 32
    background = images[:, np.hypot(x[:, None], x) > 24]
    assert np.allclose(background.std(1), 1, atol=1e-4)


@pytest.mark.parametrize(("box", "where"), [(34, "16 to 32"), (17, "even"), (14, "16 to 32")])
def test_a_box_that_does_not_fit_is_refused(
    tmp_path: Path, make_stack: MakeStack, box: int, where: str
) -> None:
    make_stack(tmp_path / "raw.mrcs", n=2, box=32, pixel_size=2.5)
    with pytest.raises(CryodrgnError, match=f"box: {box} px .*{where}"):
        list(preprocess(read(tmp_path / "raw.mrcs"), tmp_path / "out", PreprocessSettings(box)))
    assert not (tmp_path / "out").exists()


def test_an_unknown_pixel_size_is_refused(tmp_path: Path, make_stack: MakeStack) -> None:
    make_stack(tmp_path / "raw.mrcs", n=2, box=32)
    with pytest.raises(CryodrgnError, match=r"raw\.mrcs: the pixel size is not known"):
        list(preprocess(read(tmp_path / "raw.mrcs"), tmp_path / "out", PLAIN))


def test_a_set_made_of_a_preprocessed_one_leads_to_the_original(
    tmp_path: Path, make_stack: MakeStack, make_star: MakeStar
) -> None:
    make_stack(tmp_path / "raw.mrcs", n=6, box=64)
    names = [f"{i}@raw.mrcs" for i in (6, 5, 4, 3, 2, 1)]
    star = make_star(tmp_path / "a.star", names, [{**OPTICS, "rlnImageSize": "64"}])
    once = run(read(star).select([5, 1, 2]), tmp_path / "once", PreprocessSettings(32))
    twice = run(once.select([2, 0]), tmp_path / "twice", PreprocessSettings(16))
    assert twice.origin is not None
    assert twice.origin.path.samefile(star)
    assert twice.origin.rows.tolist() == [2, 5]
    assert (twice.origin.box, twice.origin.pixel_size) == (64, 2.5)
    assert twice.pixel_size == 10
    assert np.allclose(twice.shifts * 4, read(star).shifts[[2, 5]])


def test_a_cryosparc_set_gets_a_star_file(tmp_path: Path, make_stack: MakeStack) -> None:
    make_stack(tmp_path / "raw.mrcs", n=4, box=32, pixel_size=2.5)
    fields = [
        ("uid", "<u8"),
        ("blob/path", "S20"),
        ("blob/idx", "<u4"),
        ("blob/shape", "<u4", 2),
        ("blob/psize_A", "<f4"),
        ("blob/sign", "<f4"),
        ("ctf/df1_A", "<f4"),
        ("ctf/df2_A", "<f4"),
        ("ctf/df_angle_rad", "<f4"),
        ("ctf/accel_kv", "<f4"),
        ("ctf/cs_mm", "<f4"),
        ("ctf/amp_contrast", "<f4"),
        ("ctf/phase_shift_rad", "<f4"),
        ("alignments3D/split", "<u4"),
        ("alignments3D/shift", "<f4", 2),
        ("alignments3D/pose", "<f4", 3),
        ("alignments3D/psize_A", "<f4"),
    ]
    rows = [
        (9 + i, b">raw.mrcs", i, (32, 32), 2.5, 1.0, 15000 + i, 14000, 0.3, 300, 2.7, 0.1, 0)
        + (i % 2, (2.0, -4.0), (0.1 * i, 0.2, 0.3), 2.5)
        for i in (3, 1, 0)
    ]
    np.save(tmp_path / "set.cs.npy", np.array(rows, np.dtype(fields)))
    (tmp_path / "set.cs.npy").rename(tmp_path / "set.cs")
    before = read(tmp_path / "set.cs")
    after = run(before, tmp_path / "out", PreprocessSettings(16))
    assert (len(after), after.pixel_size) == (3, 5)
    assert np.allclose(after.rotations, before.rotations, atol=1e-5)
    assert np.allclose(after.shifts * 2, before.shifts, atol=1e-5)
    assert np.array_equal(after.half_sets, before.half_sets)
    for name, values in vars(before.ctf).items():
        assert np.allclose(getattr(after.ctf, name), values, 1e-6, 1e-5), name
    assert after.origin is not None
    assert after.origin.path.samefile(tmp_path / "set.cs")
    assert after.origin.rows.tolist() == [0, 1, 2]


def test_optics_groups_that_differ_a_little_keep_their_ctf(
    tmp_path: Path, make_stack: MakeStack, make_star: MakeStar
) -> None:
    make_stack(tmp_path / "raw.mrcs", n=3, box=32)
    groups = [OPTICS, {**OPTICS, "rlnOpticsGroup": "2", "rlnImagePixelSize": "2.502"}]
    names = [f"{i}@raw.mrcs" for i in (1, 2, 3)]
    star = make_star(tmp_path / "a.star", names, groups, rlnOpticsGroup=["1", "2", "1"])
    before = read(star)
    after = run(before, tmp_path / "out", PreprocessSettings(16))
    assert after.pixel_size == pytest.approx(5)
    for name, values in vars(before.ctf).items():
        assert np.allclose(getattr(after.ctf, name), values, 1e-7), name


def test_no_particles_are_refused(tmp_path: Path, make_stack: MakeStack) -> None:
    make_stack(tmp_path / "raw.mrcs", n=2, box=32, pixel_size=2.5)
    with pytest.raises(CryodrgnError, match="no particles"):
        list(preprocess(read(tmp_path / "raw.mrcs").select([]), tmp_path / "out", PLAIN))


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "NaN or infinite"), (3e38, "too large to compute with")]
)
def test_a_bad_image_is_named(tmp_path: Path, value: float, message: str) -> None:
    images = np.random.default_rng(0).normal(size=(5, 32, 32)).astype(np.float32)
    images[3, :9] = value
    with StackWriter(tmp_path / "raw.mrcs", 32, 2.5) as writer, np.errstate(over="ignore"):
        writer.write(images)
    with pytest.raises(ParticleFileError, match=rf"raw\.mrcs: Image 4 .*{message}"):
        list(preprocess(read(tmp_path / "raw.mrcs"), tmp_path / "out", PreprocessSettings(16)))


def test_the_particles_own_files_are_not_overwritten(
    tmp_path: Path, make_stack: MakeStack, make_star: MakeStar
) -> None:
    make_stack(tmp_path / "particles.mrcs", n=2, box=32, pixel_size=2.5)
    star = make_star(tmp_path / "a.star", ["1@particles.mrcs", "2@particles.mrcs"], [OPTICS])
    before = (tmp_path / "particles.mrcs").read_bytes()
    for source in (tmp_path / "particles.mrcs", star):
        with pytest.raises(CryodrgnError, match="one of the files to be read"):
            list(preprocess(read(source), tmp_path, PLAIN))
    assert (tmp_path / "particles.mrcs").read_bytes() == before


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, make_stack: MakeStack) -> None:
    make_stack(tmp_path / "raw.mrcs", n=2, box=32, pixel_size=2.5)
    with pytest.raises(ParticleFileError, match="folder cannot be made"):
        list(preprocess(read(tmp_path / "raw.mrcs"), tmp_path / "raw.mrcs" / "out", PLAIN))


def test_only_what_is_meant_to_be_there_is_left(tmp_path: Path, make_stack: MakeStack) -> None:
    make_stack(tmp_path / "raw.mrcs", n=4, box=32, pixel_size=2.5)
    run(read(tmp_path / "raw.mrcs"), tmp_path / "out", PreprocessSettings(16))
    assert sorted(os.listdir(tmp_path / "out")) == [
        "particles.mrcs",
        "particles.origin.json",
        "particles.preprocess.json",
        "particles.star",
    ]
