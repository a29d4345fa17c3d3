from __future__ import annotations

import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from scipy.ndimage import affine_transform, zoom

from napari_cryodrgn.imaging import FourierGrid, Lattice, pixels_to_images, slice_points
from napari_cryodrgn.particles import rotations_from_euler
from napari_cryodrgn.widgets.view_camera import turn_to

BOX = 24
EULER = [(0, 0, 0), (40, 70, -20), (-130, 110, 80), (15, 180, 5), (90, 90, 90)]


def hand(box: int = BOX) -> np.ndarray:
    """Blobs that look different from all sides, and in a mirror: (z, y, x)."""
    grid = np.mgrid[:box, :box, :box] - box // 2
    volume = np.zeros((box,) * 3, np.float32)
    for x, y, z, height in ((0, 0, 0, 1), (5, 0, 0, 1.5), (0, 3, 0, 1), (0, 7, 0, 2), (0, 0, 4, 3)):
        centre = np.reshape((z, y, x), (3, 1, 1, 1))
        volume += height * np.exp(-((grid - centre) ** 2).sum(0) / 4)
    return volume


def projected(volume: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Greatest density along the beam, as the particle's image shows it: (y, x)."""
    # A place p of the image frame shows the object at R^T p; here in (z, y, x).
    back = rotation.T[::-1, ::-1]
    centre = np.full(3, BOX // 2)
    return affine_transform(volume, back, centre - back @ centre, order=1).max(0)


def test_the_projection_is_that_of_the_program():
    """What `projected` calls x, y and the beam is what the simulation does."""
    rotation = rotations_from_euler([EULER[1]])[0]
    volume, lattice, grid = hand(), Lattice.create(BOX), FourierGrid(BOX, BOX // 2 - 1)
    points = slice_points(torch.from_numpy(rotation).float()[None], lattice.k)
    pixels = grid.sample(grid.transform(torch.from_numpy(volume)[None]), points)
    image = pixels_to_images(pixels, lattice)[0].numpy()
    back = rotation.T[::-1, ::-1]
    centre = np.full(3, BOX // 2)
    total = affine_transform(volume, back, centre - back @ centre, order=1).sum(0)
    assert np.corrcoef(image.ravel(), total.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("euler", EULER)
@pytest.mark.parametrize("orientation", [("towards", "down", "right"), ("away", "up", "left")])
def test_x_is_right_and_y_is_down(euler, orientation):
    viewer = ViewerModel()
    viewer.scene.camera.orientation = orientation
    rotation = rotations_from_euler([euler])[0]

    turn_to(viewer, rotation)

    x, y, beam = rotation[:, ::-1]
    camera = viewer.scene.camera
    np.testing.assert_allclose(camera.up_direction, -y, atol=1e-6)
    np.testing.assert_allclose(np.abs(np.dot(camera.view_direction, beam)), 1, atol=1e-6)
    assert viewer.dims.ndisplay == 3


@pytest.mark.parametrize("towards", ["towards", "away"])
def test_the_canvas_shows_the_projection(make_napari_viewer, towards):
    viewer = make_napari_viewer(show=True)
    viewer.window._qt_viewer.canvas.size = (240, 240)
    viewer.scene.camera.orientation = (towards, "down", "right")
    volume = hand()
    viewer.add_image(volume, rendering="mip", colormap="gray", interpolation3d="linear")
    for euler in EULER[1:3]:
        rotation = rotations_from_euler([euler])[0]

        turn_to(viewer, rotation)
        viewer.scene.camera.center, viewer.scene.camera.zoom = (BOX // 2,) * 3, 8
        shot = viewer.screenshot(canvas_only=True, flash=False)[..., 0].astype(float)

        expected = zoom(projected(volume, rotation), 8, order=1)
        high, wide = shot.shape
        top, left = (high - len(expected)) // 2, (wide - len(expected)) // 2
        seen = shot[top : top + len(expected), left : left + len(expected)]
        assert seen.shape == expected.shape
        found = {
            (across, down): np.corrcoef(seen.ravel(), expected[::down, ::across].ravel())[0, 1]
            for across in (1, -1)
            for down in (1, -1)
        }
        assert found[1, 1] > 0.93, found
        assert all(value < 0.85 for flips, value in found.items() if flips != (1, 1)), found
