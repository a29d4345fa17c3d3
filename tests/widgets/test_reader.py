from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_cryodrgn.particles import ParticleSet, read, write_volume
from napari_cryodrgn.widgets import sample_data
from napari_cryodrgn.widgets.layers import LazyStack, bright_level
from napari_cryodrgn.widgets.reader import get_reader, read_layers


def add(viewer: ViewerModel, layer: tuple) -> object:
    data, options, kind = layer
    assert kind == "image"
    return viewer.add_image(data, **options)


@pytest.mark.parametrize(
    ("path", "ours"),
    [("a.mrc", True), ("a.MRCS", True), ("a.star", True), ("a.map", True), ("a.cs", True)]
    + [("a.tif", False), ("a.txt", False)],
)
def test_which_files_are_ours(path, ours):
    assert (get_reader(path) is not None) == ours
    assert (get_reader([path, "b.mrcs"]) is not None) == ours


@pytest.mark.parametrize("name", ["particles.star", "particles.mrcs"])
def test_particles_are_a_lazy_stack_in_angstrom(star, name):
    (layer,) = read_layers(str(star.parent / name))
    data, options, _ = layer

    assert isinstance(data, np.memmap)
    assert data.shape == (30, 1, 32, 32)
    assert options["name"] == name
    assert options["scale"] == (1, 1, 9.0, 9.0)
    assert isinstance(options["metadata"]["particles"], ParticleSet)
    low, high = options["contrast_limits"]
    assert data.min() < low < high < data.max()


def test_a_volume_is_a_surface_in_angstrom(tmp_path):
    density = np.zeros((16, 16, 16), np.float32)
    density[5:11, 5:11, 5:11] = 2
    path = tmp_path / "map.mrc"
    write_volume(path, density, 3.5)

    layer = add(ViewerModel(), *read_layers(str(path)))

    np.testing.assert_array_equal(layer.data, density)
    np.testing.assert_allclose(layer.scale, 3.5)
    assert layer.rendering == "iso"
    assert 0.2 < layer.iso_threshold < 1.8


def test_stack_and_volume_share_a_viewer_and_their_units(star, tmp_path):
    path = tmp_path / "map.mrc"
    write_volume(path, np.ones((16, 16, 16), np.float32), 3.5)
    viewer = ViewerModel()

    add(viewer, *read_layers(str(star)))
    add(viewer, *read_layers(str(path)))

    # None would mean that the units disagree: napari then draws without them.
    assert [str(unit) for unit in viewer.layers.extent.units] == ["pixel"] + ["angstrom"] * 3


def test_unknown_pixel_size_is_no_unit(tmp_path):
    path = tmp_path / "map.mrc"
    write_volume(path, np.ones((16, 16, 16), np.float32), None)

    (layer,) = read_layers(str(path))

    assert "units" not in layer[1]
    assert layer[1]["scale"] == (1, 1, 1)


@pytest.mark.parametrize("name", ["broken.mrcs", "broken.star", "missing.mrc"])
def test_a_file_that_cannot_be_read_is_a_message_and_no_layer(tmp_path, notifications, name):
    path = tmp_path / name
    if name.startswith("broken"):
        path.write_text("no such thing")

    assert read_layers(str(path)) == [(None,)]

    ((severity, message),) = notifications
    assert severity == "error"
    assert name in message


def test_one_bad_file_among_good_ones(star, tmp_path, notifications):
    layers = read_layers([str(star), str(tmp_path / "missing.star")])

    assert [options["name"] for _, options, _ in layers] == ["particles.star"]
    assert len(notifications) == 1


def test_a_lazy_stack_is_indexed_like_an_array(particles):
    images = particles.images.select([4, 2, 9, 7])
    whole = images.read(slice(None))[:, None]
    stack = LazyStack(images)

    assert stack.shape == whole.shape
    for key in (
        2,
        -1,
        slice(1, 3),
        (0, 0),
        (slice(None), 0, slice(3, 5)),
        (1, slice(None), slice(None), slice(None)),
        (..., 3),
        [3, 0],
    ):
        np.testing.assert_array_equal(stack[key], whole[key])
    np.testing.assert_array_equal(np.asarray(stack), whole)


def test_images_out_of_order_are_shown_lazily(star, particles):
    from napari_cryodrgn.widgets.layers import stack_layer

    layer = add(ViewerModel(), stack_layer(particles.select([9, 3]), "two"))

    assert isinstance(layer.data, LazyStack)
    np.testing.assert_array_equal(layer.data[0, 0], particles.images.read([9])[0])


def test_an_image_that_cannot_be_read_is_shown_empty_and_told_once(tmp_path, star, notifications):
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in ("particles.star", "particles.mrcs"):
        (folder / name).write_bytes((star.parent / name).read_bytes())
    stack = LazyStack(read(folder / "particles.star").images)
    (folder / "particles.mrcs").unlink()

    assert not stack[3].any()
    assert not stack[3].any()
    assert len(notifications) == 1


def test_bright_level_is_of_the_molecule_not_the_box():
    volume = np.zeros((20, 20, 20), np.float32)
    volume[8:12, 8:12, 8:16] = 3

    assert bright_level(volume) == pytest.approx(3)
    assert bright_level(np.zeros((4, 4, 4), np.float32)) == 1
    assert bright_level(np.full((4, 4, 4), np.nan, np.float32)) == 1


def test_the_sample_is_made_once(tmp_path, monkeypatch):
    monkeypatch.setattr(sample_data, "PARTICLES", 20)
    monkeypatch.setattr(sample_data, "_folder", lambda: Path(tmp_path / "sample"))

    ((data, options, _),) = sample_data.moving_molecule()
    made = (tmp_path / "sample" / "particles.mrcs").stat().st_mtime_ns
    sample_data.moving_molecule()

    assert data.shape == (20, 1, 48, 48)
    assert options["metadata"]["particles"].has_poses
    assert (tmp_path / "sample" / "particles.mrcs").stat().st_mtime_ns == made


def test_a_sample_without_a_place_in_the_cache(tmp_path, monkeypatch):
    occupied = tmp_path / "file"
    occupied.write_text("not a folder")
    monkeypatch.setattr(sample_data, "PARTICLES", 20)
    monkeypatch.setattr(sample_data, "_folder", lambda: occupied / "sample")
    monkeypatch.setattr(sample_data.tempfile, "mkdtemp", lambda **_: str(tmp_path / "spare"))

    ((data, _, _),) = sample_data.moving_molecule()

    assert len(data) == 20
    assert (tmp_path / "spare" / "particles.star").exists()


def test_a_broken_sample_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(sample_data, "PARTICLES", 20)
    monkeypatch.setattr(sample_data, "_folder", lambda: Path(tmp_path))
    (tmp_path / "particles.star").write_text("half of a")

    ((data, _, _),) = sample_data.moving_molecule()

    assert len(data) == 20


def test_files_of_cryodrgn_and_relion(shared_data):
    folder = shared_data / "cryodrgn-run"
    viewer = ViewerModel()

    stack = add(viewer, *read_layers(str(folder / "particles.star")))
    volume = add(viewer, *read_layers(str(folder / "reference_volumes" / "vol_001.mrc")))

    assert stack.data.shape[1] == 1
    assert stack.data.shape[2] == stack.data.shape[3]
    assert volume.data.ndim == 3
    assert 0 < volume.iso_threshold < volume.data.max()
