from __future__ import annotations

import healpix
import numpy as np
from napari.components import ViewerModel

from napari_cryodrgn.widgets.sphere import DirectionSphere, arrow_mesh, sphere_bars

BOX = 32


def counts(n_side: int = 2) -> np.ndarray:
    return np.arange(12 * n_side**2)


def test_bars_stand_where_particles_are_seen_from():
    vertices, faces, values = sphere_bars(counts(), BOX)

    assert len(vertices) == 8 * 47
    assert len(faces) == 10 * 47
    bars = vertices.reshape(47, 8, 3) - BOX // 2
    heights = np.linalg.norm(bars[:, 4:].mean(1), axis=1) - np.linalg.norm(
        bars[:, :4].mean(1), axis=1
    )
    np.testing.assert_allclose(heights, heights[-1] * np.arange(1, 48) / 47, rtol=1e-4)
    outward = bars.mean(1)[:, ::-1]
    pixels = healpix.vec2pix(2, *outward.T)
    np.testing.assert_array_equal(pixels, np.arange(1, 48))
    np.testing.assert_allclose(values.reshape(47, 8)[:, 0] ** 2, np.arange(1, 48) / 47, rtol=1e-5)


def test_faces_of_a_bar_look_outward():
    one = np.zeros(48, int)
    one[17] = 1
    vertices, faces, _ = sphere_bars(one, BOX)
    corners = vertices[faces].astype(float)[..., ::-1]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    middle = vertices.mean(0)[::-1]

    outward = ((corners.mean(1) - middle) * normals).sum(1)

    assert (outward > 0).all()


def test_the_mesh_does_not_grow_with_the_particles():
    _, few, _ = sphere_bars(np.ones(768, int), BOX)
    _, many, _ = sphere_bars(np.full(768, 2000), BOX)

    assert len(few) == len(many) == 7680


def test_the_arrow_points_at_the_centre():
    vertices, _, _ = arrow_mesh(np.float32([0, 0, 1]), BOX)

    tip, tail = vertices[-2] - BOX // 2, vertices[-1] - BOX // 2
    assert 0 < tip[0] < tail[0]
    np.testing.assert_allclose((tip[1:], tail[1:]), 0, atol=1e-5)


def test_layers_are_in_register_with_a_volume():
    viewer = ViewerModel()
    viewer.add_image(np.zeros((BOX,) * 3, np.float32), scale=(3, 3, 3), units="angstrom")
    sphere = DirectionSphere(viewer)

    sphere.show(counts(), BOX, 3.0)
    sphere.point(np.float32([1, 0, 0]), BOX, 3.0)

    bars = viewer.layers["Viewing directions"]
    centre = bars.data_to_world((BOX // 2,) * 3)
    assert centre == (48, 48, 48)
    assert str(bars.units[0]) == "angstrom"
    sphere.show(counts()[::-1], BOX, 3.0)
    assert len(viewer.layers) == 3
    sphere.remove()
    assert len(viewer.layers) == 1
    assert not sphere.shown


def test_a_deleted_layer_comes_back():
    viewer = ViewerModel()
    sphere = DirectionSphere(viewer)
    sphere.show(counts(), BOX, None)
    sphere.point(np.float32([1, 0, 0]), BOX, None)
    viewer.layers.clear()

    sphere.point(np.float32([1, 0, 0]), BOX, None)
    assert not viewer.layers

    sphere.show(counts(), BOX, None)
    assert len(viewer.layers) == 1
    sphere.remove()


def test_the_camera_goes_back_for_the_sphere_and_returns():
    viewer = ViewerModel(ndisplay=3)
    viewer.add_image(np.zeros((32, 32, 32)))
    sphere = DirectionSphere(viewer)
    camera = viewer.scene.camera
    camera.zoom = 100.0
    sphere.show(np.ones(48, np.intp), 32, 2.0)
    fitted = camera.zoom
    assert 32 * 2.0 * fitted < min(viewer.canvas.size) < 64 * 2.0 * fitted
    sphere.remove()
    assert camera.zoom == 100.0
    # What the user has done since stays.
    sphere.show(np.ones(48, np.intp), 32, 2.0)
    camera.zoom = 7.0
    sphere.remove()
    assert camera.zoom == 7.0
    # The sphere is in view already.
    camera.zoom = fitted / 2
    sphere.show(np.ones(48, np.intp), 32, 2.0)
    assert camera.zoom == fitted / 2
