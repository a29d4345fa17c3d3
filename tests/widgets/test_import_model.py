from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_cryodrgn.errors import CryodrgnError, ParticleFileError
from napari_cryodrgn.imaging import CTF, Lattice
from napari_cryodrgn.particles import ParticleSet, StackWriter, read, write_poses
from napari_cryodrgn.widgets.import_model import (
    ImportModel,
    Source,
    check_folder,
    concerned_field,
    found,
    low_passes,
    open_source,
    random_rows,
)
from napari_cryodrgn.widgets.particle_preview import ctf_picture, load_preview


@pytest.fixture
def model() -> Iterator[ImportModel]:
    made = ImportModel(lambda answer: answer())
    yield made
    made.close()


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Six images in a stack that does not know its pixel size."""
    images = np.random.default_rng(0).normal(size=(6, 16, 16)).astype(np.float32)
    with StackWriter(tmp_path / "bare.mrcs", 16) as writer:
        writer.write(images)
    return tmp_path / "bare.mrcs"


@pytest.fixture
def poses(tmp_path: Path) -> Path:
    write_poses(tmp_path / "poses.pkl", np.stack([np.eye(3)] * 6), np.ones((6, 2)), 16)
    return tmp_path / "poses.pkl"


def wait(model: ImportModel, action: Callable[[], None]) -> None:
    """Do something and wait for what it does in the background."""
    action()
    for background in (model._background, model._pictures):
        background._executor.submit(lambda: None).result(timeout=20)


def test_a_bare_stack_with_files_beside_it(stack, poses):
    particles = open_source(Source(stack, poses=poses, pixel_size=2.5))

    assert particles.has_poses
    assert particles.pixel_size == 2.5
    np.testing.assert_allclose(particles.shifts, 1, atol=1e-6)


def test_the_pixel_size_of_a_file_goes_before_the_users(star):
    assert open_source(Source(star, pixel_size=2.5)).pixel_size == 9.0


def test_errors_belong_to_the_field_that_has_the_fault(tmp_path):
    source = Source(tmp_path / "a.star", poses=tmp_path / "p.pkl", passthrough=(tmp_path / "b.cs",))

    def about(path: str, **options: str) -> str:
        return concerned_field(source, ParticleFileError(tmp_path / path, "Bad.", **options))

    assert about("a.star") == "path"
    assert about("p.pkl") == "poses"
    assert about("b.cs") == "passthrough"
    assert about("stack.mrcs") == "path"
    assert about("a.star", field="rlnImageName") == "data_folder"
    assert about("a.star", field="rlnAmplitudeContrast") == "amplitude_contrast"
    assert concerned_field(source, ValueError("no file")) == "path"


def test_a_missing_stack_is_about_the_data_folder(star, tmp_path):
    alone = tmp_path / "alone.star"
    alone.write_text(star.read_text())
    source = Source(alone)

    with pytest.raises(ParticleFileError) as error:
        open_source(source)

    assert concerned_field(source, error.value) == "data_folder"
    assert len(open_source(Source(alone, data_folder=star.parent))) == 30


def test_what_was_found(particles):
    rows = found(particles)

    assert rows["Particles"] == "30"
    assert rows["Box"].startswith("32 px")
    assert {"Pixel size", "CTF", "Poses", "Optics groups", "Half sets"} <= set(rows)
    assert "File" not in rows


def test_open_and_correct(model, star, particles):
    wait(model, lambda: model.open(Source(star)))
    assert len(model.particles) == 30
    assert model.in_one_file
    assert model.name == "particles.star"

    model.change_poses("shifts reversed")

    np.testing.assert_allclose(model.particles.shifts, -particles.shifts)
    assert not model.in_one_file
    assert model.name == "particles.star, corrected"


def test_saving_makes_one_file_of_it(model, stack, poses, tmp_path):
    wait(model, lambda: model.open(Source(stack, poses=poses, pixel_size=2.5)))
    assert not model.in_one_file
    model.change_poses("shifts reversed")
    told = []
    model.saved.connect(lambda: told.append(model.particles.source))

    wait(model, lambda: model.save(tmp_path / "one.star"))

    assert told == [tmp_path / "one.star"]
    assert model.in_one_file
    again = read(tmp_path / "one.star")
    np.testing.assert_allclose(again.shifts, -1, atol=1e-4)
    assert again.pixel_size == 2.5


def test_what_was_opened_while_a_file_was_written_stays(model, star, stack, tmp_path):
    wait(model, lambda: model.open(Source(star)))
    told = []
    model.saved.connect(lambda: told.append(model.source))

    def save_and_open() -> None:
        model.save(tmp_path / "saved.star")
        model.open(Source(stack))

    wait(model, save_and_open)

    assert (tmp_path / "saved.star").exists()
    assert model.source == Source(stack)
    assert len(model.particles) == 6
    assert not model.saving
    assert told == []


def test_a_name_that_cannot_be_saved_to(model, star, tmp_path):
    wait(model, lambda: model.open(Source(star)))
    failures = []
    model.failed.connect(lambda field, error: failures.append((field, str(error))))

    wait(model, lambda: model.save(tmp_path / "one.txt"))

    ((field, message),) = failures
    assert field == ""
    assert "one.txt" in message
    assert model.in_one_file


def test_a_second_file_goes_before_the_first(star, stack):
    go_on = threading.Event()

    def slow(source: Source) -> ParticleSet:
        assert go_on.wait(10)
        return open_source(source)

    model = ImportModel(lambda answer: answer(), slow)
    opened = []
    model.changed.connect(lambda: opened.append(model.particles))
    model.open(Source(star))
    model.open(Source(stack))
    go_on.set()

    wait(model, lambda: None)

    assert {len(p) for p in opened if p is not None} == {6}
    model.close()


def test_random_rows_are_different_and_repeatable():
    rows = random_rows(1000, 12, 3)
    assert len(set(rows)) == 12
    assert rows == random_rows(1000, 12, 3) != random_rows(1000, 12, 4)
    assert random_rows(5, 12, 0) == [0, 1, 2, 3, 4]


def test_low_passes_suit_the_box(particles):
    choices = low_passes(particles)
    assert choices
    assert all(2 * 9.0 < choice < 32 * 9.0 for choice in choices)


def test_preview_is_filtered_and_can_be_inverted(particles):
    rows = [4, 2]
    sharp = load_preview(particles, rows, None, False)
    smooth = load_preview(particles, rows, 60.0, False)
    turned = load_preview(particles, rows, 60.0, True)

    assert sharp.rows == (4, 2)
    assert sharp.images.shape == (2, 32, 32)
    assert smooth.images.min() == 0
    assert smooth.images.max() == 255
    steps = [np.abs(np.diff(p.images.astype(float))).mean() for p in (sharp, smooth)]
    assert steps[1] < 0.6 * steps[0]
    correlation = np.corrcoef(smooth.images.ravel(), turned.images.ravel())[0, 1]
    assert correlation < -0.95


def test_the_picture_of_a_ctf_is_the_ctf(particles):
    picture = ctf_picture(particles, 3)
    assert picture is not None
    lattice = Lattice.create(32)
    ctf = CTF(particles.ctf.select([3]), lattice.k, 32, 9.0)(slice(None))[0]
    # The picture has four points where the image has one.
    where = (4 * lattice.k + 64).long()
    np.testing.assert_allclose(picture.image[where[:, 1], where[:, 0]], ctf.numpy(), atol=1e-3)
    assert picture.frequency[-1] == pytest.approx(1 / 18)
    assert picture.curve[0] == pytest.approx(0.1, abs=1e-3)
    assert "µm" in picture.text
    assert torch.isfinite(torch.from_numpy(picture.curve)).all()


def test_no_ctf_no_picture(stack):
    assert ctf_picture(read(stack), 0) is None


def test_folder_for_a_new_set(tmp_path):
    with pytest.raises(CryodrgnError, match="Choose a folder"):
        check_folder("  ")
    (tmp_path / "file").write_text("")
    with pytest.raises(CryodrgnError, match="is a file"):
        check_folder(str(tmp_path / "file"))
    assert check_folder(str(tmp_path / "new")) == tmp_path / "new"


def test_particles_that_the_file_calls_dark(stack):
    dark = ParticleSet(**{**vars(read(stack)), "dark": True})
    model = ImportModel(lambda answer: answer(), lambda _: dark)

    wait(model, lambda: model.open(Source(stack)))

    assert model.inverted
    model.close()
