from __future__ import annotations

from pathlib import Path

import mrcfile
import npe2
import numpy as np
import pytest
from napari.components import ViewerModel

from napari_cryodrgn.errors import ParticleFileError
from napari_cryodrgn.particles import open_stack, read, read_volume, write_volume
from napari_cryodrgn.widgets.layers import stack_layer, volume_layer
from napari_cryodrgn.widgets.reader import read_layers
from napari_cryodrgn.widgets.writers import write_stack_layer, write_volume_layer

MANIFEST = Path(__file__).parents[2] / "src" / "napari_cryodrgn" / "napari.yaml"


@pytest.fixture(autouse=True)
def plugin():
    manager = npe2.PluginManager.instance()
    if "napari-cryodrgn" not in manager:
        manager.register(npe2.PluginManifest.from_file(MANIFEST))


@pytest.fixture
def density() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(12, 12, 12)).astype(np.float32)


def add(viewer: ViewerModel, layer: tuple, **changes):
    data, options, _ = layer
    return viewer.add_image(data, **{**options, **changes})


def test_a_volume_goes_out_as_it_came_in(tmp_path, density):
    write_volume(tmp_path / "in.mrc", density, 3.5)
    viewer = ViewerModel()
    add(viewer, *read_layers(str(tmp_path / "in.mrc")))

    # What File > Save ends in.
    written = viewer.layers.save(str(tmp_path / "out.mrc"), plugin="napari-cryodrgn")

    assert written == [str(tmp_path / "out.mrc")]
    assert (tmp_path / "in.mrc").read_bytes() == (tmp_path / "out.mrc").read_bytes()


def test_voxel_size_and_origin_are_those_of_the_layer(tmp_path, density):
    viewer = ViewerModel()
    add(viewer, volume_layer(density, 2.25, "map"), translate=(30.0, 20.0, -10.0))

    viewer.layers.save(str(tmp_path / "out.mrc"), plugin="napari-cryodrgn")

    with mrcfile.open(tmp_path / "out.mrc") as file:
        np.testing.assert_array_equal(file.data, density)
        assert file.is_volume()
        assert file.voxel_size.x == pytest.approx(2.25)
        origin = file.header.origin
        assert (origin.x, origin.y, origin.z) == pytest.approx((-10, 20, 30))
    assert mrcfile.validate(tmp_path / "out.mrc")


def test_other_units_become_angstrom(tmp_path, density):
    viewer = ViewerModel()
    options = {"scale": (0.2, 0.2, 0.2), "translate": (3.0, 2.0, -1.0), "units": ("nm",) * 3}
    add(viewer, (density, {"name": "map", **options}, "image"))

    viewer.layers.save(str(tmp_path / "out.mrc"), plugin="napari-cryodrgn")
    viewer.layers.save(str(tmp_path / "out.mrcs"), plugin="napari-cryodrgn")

    with mrcfile.open(tmp_path / "out.mrc") as file:
        assert file.voxel_size.x == pytest.approx(2.0)
        origin = file.header.origin
        assert (origin.x, origin.y, origin.z) == pytest.approx((-10, 20, 30))
    assert open_stack(tmp_path / "out.mrcs").pixel_size == pytest.approx(2.0)


def test_an_unknown_pixel_size_stays_unknown(tmp_path, density):
    viewer = ViewerModel()
    add(viewer, volume_layer(density, None, "map"))

    viewer.layers.save(str(tmp_path / "out.map"), plugin="napari-cryodrgn")

    assert read_volume(tmp_path / "out.map").pixel_size is None


def test_a_walk_becomes_numbered_volumes(tmp_path, density):
    viewer = ViewerModel()
    add(viewer, volume_layer(np.stack([density, 2 * density]), 3.0, "walk"))

    written = viewer.layers.save(str(tmp_path / "walk.mrc"), plugin="napari-cryodrgn")

    assert [Path(w).name for w in written] == ["walk_001.mrc", "walk_002.mrc"]
    second = read_volume(written[1])
    np.testing.assert_array_equal(second.data, 2 * density)
    assert second.pixel_size == 3.0


def test_particles_go_out_in_their_order(tmp_path, particles, monkeypatch):
    monkeypatch.setattr("napari_cryodrgn.widgets.writers._CHUNK_PIXELS", 4 * 32**2)
    some = particles.select([7, 3, 21, 4, 4, 11])
    viewer = ViewerModel()
    add(viewer, stack_layer(some, "some"))

    viewer.layers.save(str(tmp_path / "out.mrcs"), plugin="napari-cryodrgn")

    again = read(tmp_path / "out.mrcs")
    np.testing.assert_array_equal(again.images.read(slice(None)), some.images.read(slice(None)))
    assert again.pixel_size == pytest.approx(9.0)


def test_any_stack_of_square_images_can_be_saved(tmp_path):
    images = np.random.default_rng(1).normal(size=(5, 8, 8)).astype(np.float32)
    viewer = ViewerModel()
    viewer.add_image(images, scale=(1, 2, 2))

    viewer.layers.save(str(tmp_path / "out.mrcs"), plugin="napari-cryodrgn")

    stack = open_stack(tmp_path / "out.mrcs")
    np.testing.assert_array_equal(stack.map(), images)
    assert stack.pixel_size == 2.0


def meta(**changes) -> dict:
    return {"scale": (1, 1, 1), "translate": (0, 0, 0), "metadata": {}, **changes}


def test_what_is_no_volume_is_refused(tmp_path, density, particles):
    path = tmp_path / "out.mrc"
    with pytest.raises(ParticleFileError, match=r"Save them as \.mrcs"):
        write_volume_layer(str(path), particles.images, meta(metadata={"particles": particles}))
    with pytest.raises(ParticleFileError, match="shape"):
        write_volume_layer(str(path), density[0], meta())
    with pytest.raises(ParticleFileError, match="no cubes") as error:
        write_volume_layer(str(path), density, meta(scale=(2, 1, 1)))
    assert error.value.field == "scale"
    assert not list(tmp_path.iterdir())


def test_what_is_no_stack_is_refused(tmp_path, density):
    path = tmp_path / "out.mrcs"
    for data in (density[0], density[:, :, :10], np.zeros((2, 3, 8, 8))):
        with pytest.raises(ParticleFileError, match="square images"):
            write_stack_layer(str(path), data, meta())
    with pytest.raises(ParticleFileError, match="even"):
        write_stack_layer(str(path), density[:, :9, :9], meta())
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_named(tmp_path, density):
    with pytest.raises(ParticleFileError, match="missing"):
        write_volume_layer(str(tmp_path / "missing" / "out.mrc"), density, meta())
