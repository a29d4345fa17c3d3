from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Surface

from napari_cryodrgn.widgets import opengl
from napari_cryodrgn.widgets.qt_tools import GuiThread, ShowAs
from napari_cryodrgn.widgets.surfaces import mesh, stacked
from napari_cryodrgn.widgets.volume_view import VolumeView


def ball(radius: float, box: int = 24, centre: float | None = None) -> np.ndarray:
    """Density that falls off linearly from a point, and is 1 at ``radius``."""
    grid = np.mgrid[:box, :box, :box] - (box // 2 if centre is None else centre)
    return np.maximum(1 + radius - np.sqrt((grid**2).sum(0)), 0).astype(np.float32)


@pytest.fixture
def make(qtbot) -> Iterator[Callable[..., VolumeView]]:
    views, gui = [], GuiThread()

    def make(mode: str, **options) -> VolumeView:
        views.append(VolumeView(ViewerModel(), gui.post, mode, **options))
        return views[-1]

    yield make
    for view in views:
        view.close()


def shown(qtbot, view: VolumeView) -> object:
    qtbot.waitUntil(lambda: not view._background.waits_for("volume"), timeout=10_000)
    qtbot.wait(20)
    return view.layer


@pytest.mark.parametrize(("box", "radius", "tolerance"), [(24, 6, 0.1), (100, 30, 0.5)])
def test_a_mesh_lies_where_the_density_crosses_the_level(box, radius, tolerance):
    vertices, faces, values = mesh(ball(radius, box), 1.0)

    distance = np.linalg.norm(vertices - box // 2, axis=1)
    np.testing.assert_allclose(distance, radius, atol=tolerance)
    assert len(values) == len(vertices)
    assert faces.max() < len(vertices)


def test_a_mesh_is_closed_where_the_molecule_touches_the_box():
    _, faces, _ = mesh(np.ones((8, 8, 8), np.float32) + ball(3, 8), 0.5)

    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert len(faces) > 100
    assert (counts == 2).all()


@pytest.mark.parametrize("level", [100.0, np.nan])
def test_a_volume_that_never_crosses_the_level_gives_a_point(level):
    vertices, faces, values = mesh(ball(6), level)

    assert (len(vertices), len(faces), len(values)) == (1, 1, 1)


def test_stacked_meshes_keep_apart():
    one, two = mesh(ball(4), 1.0), mesh(ball(6), 1.0)

    vertices, faces, _ = stacked([one, two])

    assert set(vertices[:, 0]) == {0.0, 1.0}
    step = vertices[:, 0][faces]
    assert (step == step[:, :1]).all()
    np.testing.assert_array_equal(vertices[len(one[0]) :, 1:], two[0])


def test_a_surface_is_updated_in_place_at_one_contour(make, qtbot):
    view = make("surface")
    view.show(ball(4), 3.0, "a", "run", contour=1.0)
    layer = shown(qtbot, view)
    assert isinstance(layer, Surface)
    np.testing.assert_allclose(layer.scale, 3.0)
    assert view._viewer.dims.ndisplay == 3
    view._viewer.scene.camera.zoom = 1.25

    view.show(ball(7), 3.0, "a", "run", contour=0.1)

    assert shown(qtbot, view) is layer
    np.testing.assert_allclose(np.linalg.norm(layer.data[0] - 12, axis=1), 7, atol=0.1)
    assert view._viewer.scene.camera.zoom == 1.25


def sampled(box: int) -> np.ndarray:
    """A ball of radius 18 about (27, 36, 33) in a cube of 72, on a grid of ``box`` voxels."""
    grid = np.mgrid[:box, :box, :box] * (72 / box) - np.reshape([27, 36, 33], (3, 1, 1, 1))
    return np.maximum(19 - np.sqrt((grid**2).sum(0)), 0).astype(np.float32)


def world(layer: object) -> np.ndarray:
    """Points on or in the shape that a layer shows, in the viewer's coordinates."""
    if isinstance(layer, Surface):
        return layer.data[0] * np.array(layer.scale)
    return np.argwhere(layer.data >= layer.iso_threshold) * np.array(layer.scale)


@pytest.mark.parametrize("mode", ["surface", "volume"])
@pytest.mark.parametrize("pixel_size", [2.0, None])
def test_boxes_of_all_sizes_are_shown_at_one_place(make, qtbot, mode, pixel_size):
    view = make(mode)
    camera = view._viewer.scene.camera
    seen = []
    for i, box in enumerate((24, 36, 72, 24, 144)):
        step = 72 / box
        size = pixel_size and pixel_size * step
        view.show(sampled(box), size, "a", "run", contour=1.0, step=step)
        layer = shown(qtbot, view)
        if i == 0:
            camera.angles, camera.zoom = (10, 20, 30), 1.5
            if mode == "volume":
                layer.iso_threshold = 2.0  # the user's own
        points = world(layer) / (pixel_size or 1)
        radius = 17 if mode == "volume" else 18
        np.testing.assert_allclose((points.min(0) + points.max(0)) / 2, [27, 36, 33], atol=1.5)
        np.testing.assert_allclose(np.ptp(points, 0), 2 * radius, atol=2 * step)
        seen.append((layer, camera.center, camera.angles, camera.zoom))
    assert all(one == (layer, camera.center, (10, 20, 30), 1.5) for one in seen)
    assert len(view._viewer.layers) == 1
    if mode == "volume":
        assert layer.iso_threshold == 2.0


def test_a_stream_faster_than_the_view_still_shows(make, qtbot, monkeypatch):
    drawn = []

    def slowly(*arguments):
        threading.Event().wait(0.03)
        drawn.append(arguments[0].shape)
        return mesh(*arguments)

    monkeypatch.setattr("napari_cryodrgn.widgets.volume_work.mesh", slowly)
    view = make("surface")
    placed = []
    for i in range(60):
        view.show(ball(3 + i / 20), 3.0, "a", "run", contour=1.0)
        qtbot.wait(5)
        if view.layer is not None:
            placed.append(len(view.layer.data[0]))
    layer = shown(qtbot, view)

    assert len(set(placed)) > 3  # while they came, and not only when they had ended
    assert len(drawn) < 40
    radius = np.linalg.norm(layer.data[0] - 12, axis=1)
    np.testing.assert_allclose(radius, 3 + 59 / 20, atol=0.1)


@pytest.mark.parametrize("mode", ["surface", "volume"])
def test_the_molecule_and_not_its_box_fills_the_canvas(make, qtbot, mode):
    view = make(mode)
    view.show(ball(4, 64, centre=20), 2.0, "a", "run", contour=1.0)
    shown(qtbot, view)

    camera, canvas = view._viewer.scene.camera, view._viewer.canvas
    np.testing.assert_allclose(camera.center, 40, atol=1)
    assert 0.55 < 16 * camera.zoom / min(canvas.size) < 0.85


def test_the_way_of_showing_can_be_changed(make, qtbot):
    view = make("volume")
    box = ShowAs(view)
    qtbot.addWidget(box)
    view.show(ball(5), 3.0, "a", "run", contour=1.0)
    layer = shown(qtbot, view)
    assert isinstance(layer, Image)
    layer.iso_threshold = 2.0

    box.choice.setCurrentText("surface")

    layer = shown(qtbot, view)
    assert isinstance(layer, Surface)
    assert [one.name for one in view._viewer.layers] == ["a"]
    # The contour that the user had set.
    np.testing.assert_allclose(np.linalg.norm(layer.data[0] - 12, axis=1), 4, atol=0.1)


@pytest.mark.parametrize("mode", ["surface", "volume"])
def test_a_prepared_layer_is_filled_or_taken_back(make, qtbot, mode):
    view = make(mode)
    view.prepare("a", 3.0)
    view.discard()
    assert view.layer is None
    view.prepare("a", 3.0)
    empty = view.layer

    view.show(ball(5), 3.0, "a", "run", contour=1.0)

    assert shown(qtbot, view) is empty
    view.discard()
    assert view.layer is empty


def test_preparing_leaves_the_view_as_it_was(make, monkeypatch):
    view = make("surface")
    viewer = view._viewer
    mine = viewer.add_image(np.zeros((8, 8), np.float32), name="mine")
    viewer.scene.camera.zoom = 3.5
    painted = []
    monkeypatch.setattr(
        "napari_cryodrgn.widgets.volume_view.paint",
        lambda _: painted.append((viewer.dims.ndisplay, view.layer.visible, mine.visible)),
    )

    view.prepare("a", 3.0)

    assert painted == [(3, True, False)]
    assert viewer.dims.ndisplay == 2
    assert (view.layer.visible, mine.visible) == (False, True)
    assert viewer.scene.camera.zoom == 3.5


def test_volumes_are_prepared_in_another_thread(make, qtbot, monkeypatch):
    threads = []

    def spy(*arguments):
        threads.append(threading.current_thread())
        return mesh(*arguments)

    monkeypatch.setattr("napari_cryodrgn.widgets.volume_work.mesh", spy)
    view = make("surface")
    view.show(ball(5), 3.0, "a", "run")
    shown(qtbot, view)

    assert threads
    assert threading.main_thread() not in threads


def test_a_walk_of_surfaces_has_a_slider(make, qtbot):
    view = make("surface")
    view.show_walk(np.stack([ball(4), ball(6)]), 3.0, "walk", 1.0, "run")
    viewer = view._viewer
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=10_000)

    (layer,) = viewer.layers
    assert viewer.dims.nsteps[0] == 2
    viewer.dims.set_current_step(0, 1)
    np.testing.assert_allclose(np.linalg.norm(layer._view_vertices - 12, axis=1), 6, atol=0.1)


def test_a_walk_leaves_the_camera_where_the_volume_was_looked_at(make, qtbot):
    view = make("surface")
    view.show(ball(5), 3.0, "a", "run", contour=1.0)
    shown(qtbot, view)
    camera = view._viewer.scene.camera
    camera.angles, camera.zoom, camera.center = (10, 20, 30), 1.5, (30, 31, 32)

    view.show_walk(np.stack([ball(4), ball(6)]), 3.0, "walk", 1.0, "run")
    qtbot.waitUntil(lambda: len(view._viewer.layers) == 2, timeout=10_000)
    qtbot.wait(20)

    assert (camera.angles, camera.zoom, camera.center) == ((10, 20, 30), 1.5, (30, 31, 32))


@pytest.mark.parametrize(
    ("renderer", "software"),
    [("llvmpipe (LLVM 15.0.6, 256 bits)", True), ("NVIDIA GeForce RTX 4090", False)],
)
def test_software_is_told_from_a_graphics_card(monkeypatch, renderer, software):
    monkeypatch.delenv("LIBGL_ALWAYS_SOFTWARE", raising=False)
    monkeypatch.setattr(opengl, "_renderer", lambda: renderer.lower())

    assert opengl.is_software(SimpleNamespace(window=object())) is software
    assert not opengl.is_software(ViewerModel())
