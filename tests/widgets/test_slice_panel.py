from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QPoint, Qt

from napari_cryodrgn.analysis.slices import axis_plane, cut, view_plane
from napari_cryodrgn.errors import RunFolderError
from napari_cryodrgn.particles import ParticleSet
from napari_cryodrgn.widgets.inspector_model import InspectorModel
from napari_cryodrgn.widgets.qt_tools import GuiThread, colors
from napari_cryodrgn.widgets.slice_model import CONSENSUS, PARTICLE
from napari_cryodrgn.widgets.slice_panel import SlicePanel

N, BOX, SIZE = 30, 32, 9.0


@pytest.fixture
def run(tmp_path: Path, fake_run, star: Path, particles: ParticleSet):
    run = fake_run(tmp_path, n_particles=N, particles_path=star, box=BOX, pixel_size=SIZE)
    run.rotations, run.shifts = particles.rotations, particles.shifts
    return run


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel(ndisplay=3)


@pytest.fixture
def panel(viewer: ViewerModel, qtbot) -> Iterator[SlicePanel]:
    gui = GuiThread()
    model = InspectorModel(gui.post)
    panel = SlicePanel(model, viewer, gui.post, colors("dark"))
    qtbot.addWidget(panel)
    panel.resize(360, 900)
    panel.show()
    yield panel
    panel.close_panel()
    model.close()
    # Answers on their way belong to this test.
    qtbot.wait(1)


@pytest.fixture
def opened(panel: SlicePanel, run, qtbot) -> SlicePanel:
    panel.inspector.set_run(run)
    panel.set_active(True)
    settle(panel, qtbot)
    return panel


def settle(panel: SlicePanel, qtbot) -> None:
    def rests() -> bool:
        model = panel.model
        waits = model._background.waits_for("cut") or panel.power.model._background.waits_for(
            "power"
        )
        return not (model.busy or waits)

    qtbot.waitUntil(rests, timeout=20_000)


def test_says_that_there_is_nothing_and_rests_until_it_is_seen(panel, run, qtbot):
    assert "no volume to cut" in panel.text.text()
    assert not panel.a_box.isVisible()
    panel.inspector.set_run(run)
    assert not run.decoded
    assert panel.model.slices is None
    panel.set_active(True)
    settle(panel, qtbot)
    assert panel.a_box.isVisible()
    assert not panel.text.isVisible()
    assert run.decoded
    assert panel.size().width() == 360


def test_the_picture_is_the_plane_of_the_particles_volume(opened, run, qtbot):
    volume = run.decode(run.latents.mu[0])
    np.testing.assert_allclose(opened.a.image.image, volume[BOX // 2], atol=1e-5)
    opened.across.setCurrentIndex(opened.across.findData("view"))
    opened.offset.setValue(2 * SIZE)
    settle(opened, qtbot)
    expected = cut(volume, SIZE, view_plane(run.rotations[0], 2 * SIZE), BOX, SIZE)
    np.testing.assert_allclose(opened.a.image.image, expected, atol=1e-5)
    opened.inspector.set_particle(7)
    settle(opened, qtbot)
    volume = run.decode(run.latents.mu[7])
    expected = cut(volume, SIZE, view_plane(run.rotations[7], 2 * SIZE), BOX, SIZE)
    np.testing.assert_allclose(opened.a.image.image, expected, atol=1e-5)


def test_the_slider_moves_the_plane_flat_and_in_the_viewer(opened, viewer, run, qtbot):
    layer = opened.plane.layer
    slider = opened.slider
    middle = QPoint(slider.width() // 2, slider.height() // 2)
    qtbot.mousePress(slider, Qt.MouseButton.LeftButton, pos=middle)
    qtbot.mouseMove(slider, middle + QPoint(slider.width() // 8, 0))
    qtbot.mouseRelease(slider, Qt.MouseButton.LeftButton)
    settle(opened, qtbot)
    offset = opened.offset.value()
    assert 0 < offset < BOX * SIZE / 2
    assert opened.plane.layer is layer
    # World coordinates (z, y, x): voxel BOX // 2 is the centre.
    vertices, _, values = layer.data
    np.testing.assert_allclose(vertices[:, 0], BOX // 2 * SIZE + offset, rtol=1e-5)
    assert (vertices[:, 1:].min(), vertices[:, 1:].max()) == (0, (BOX - 1) * SIZE)
    volume = run.decode(run.latents.mu[0])
    expected = cut(volume, SIZE, axis_plane("z", offset), BOX, SIZE)
    np.testing.assert_allclose(values.reshape(BOX, BOX), expected, atol=1e-5)


def test_the_plane_in_the_viewer_comes_and_goes_with_the_panel(opened, viewer, qtbot):
    layer = opened.plane.layer
    layer.visible = False
    opened.offset.setValue(9)
    settle(opened, qtbot)
    assert not layer.visible  # the user's will
    layer.visible = True
    opened.set_active(False)
    assert not layer.visible
    opened.set_active(True)
    settle(opened, qtbot)
    assert layer.visible
    opened.in_viewer.setChecked(False)
    assert not layer.visible
    viewer.layers.remove(layer)
    opened.in_viewer.setChecked(True)
    assert opened.plane.layer in viewer.layers
    opened.leave_viewer()
    assert not viewer.layers


def test_volumes_are_cut_open_on_the_side_of_the_eye(opened, viewer, qtbot):
    solid = viewer.add_image(np.ones((BOX,) * 3), scale=(SIZE,) * 3)
    flat = viewer.add_image(np.ones((BOX, BOX)))
    viewer.scene.camera.set_view_direction((1, 0.2, 0), (0, -1, 0))
    opened.offset.setValue(18)
    settle(opened, qtbot)
    (plane,) = solid.experimental_clipping_planes
    assert not flat.experimental_clipping_planes
    assert not opened.plane.layer.experimental_clipping_planes
    assert plane.position == pytest.approx((BOX // 2 * SIZE + 18, *[BOX // 2 * SIZE] * 2))
    # What stays lies behind the plane.
    along = np.array(viewer.scene.camera.view_direction)
    assert float(along @ plane.normal) > 0.9
    viewer.scene.camera.set_view_direction((-1, 0.2, 0), (0, -1, 0))
    behind = np.array(viewer.scene.camera.view_direction)
    assert float(along @ behind) < -0.9
    assert float(behind @ plane.normal) > 0.9
    late = viewer.add_image(np.ones((BOX,) * 3), scale=(SIZE,) * 3)
    assert late.experimental_clipping_planes == solid.experimental_clipping_planes
    assert not opened.plane.layer.experimental_clipping_planes
    opened.open.setChecked(False)
    assert not solid.experimental_clipping_planes
    opened.open.setChecked(True)
    opened.set_active(False)
    assert not solid.experimental_clipping_planes


def test_two_volumes_at_the_same_place_and_their_difference(opened, run, qtbot):
    assert not opened.b_box.isVisible()
    qtbot.mouseClick(opened.keep, Qt.MouseButton.LeftButton)
    settle(opened, qtbot)
    assert "Correlation:<br>1.000 in this plane<br>1.000" in opened.numbers.text()
    opened.inspector.set_particle(3)
    settle(opened, qtbot)
    a, b = (run.decode(run.latents.mu[i])[BOX // 2] for i in (3, 0))
    np.testing.assert_allclose(opened.b.image.image, b, atol=1e-5)
    np.testing.assert_allclose(opened.difference.image.image, a - b, atol=1e-5)
    low, high = opened.difference.image.levels
    assert low == -high
    np.testing.assert_array_equal(opened.a.image.levels, opened.b.image.levels)
    wanted = np.corrcoef(a.ravel(), b.ravel())[0, 1]
    assert f"{wanted:.3f} in this plane" in opened.numbers.text()
    opened.second.setCurrentIndex(opened.second.findData(CONSENSUS))
    settle(opened, qtbot)
    np.testing.assert_allclose(opened.b.image.image, run.consensus().data[BOX // 2], atol=1e-5)
    assert opened.second.currentText() == "consensus"
    opened.second.setCurrentIndex(0)
    settle(opened, qtbot)
    assert not opened.difference_box.isVisible()


def test_layers_of_the_viewer_can_be_cut_too(opened, viewer, qtbot):
    random = np.random.default_rng(1)
    data = random.normal(size=(10, 12, 14)).astype(np.float32)
    layer = viewer.add_image(data, name="other", scale=(2,) * 3, translate=(5, 6, 7))
    viewer.add_image(np.zeros((6, 6)), name="flat")
    assert [opened.first.itemText(i) for i in range(opened.first.count())] == [
        *("this particle's", "consensus", "other")
    ]
    opened.first.setCurrentIndex(2)
    opened.across.setCurrentIndex(opened.across.findData("y"))
    settle(opened, qtbot)
    np.testing.assert_allclose(opened.a.image.image[2:12], data[:, 6], atol=1e-5)
    assert set(opened.plane.layer.data[0][:, 1]) == {6 + 6 * 2}
    layer.data[:, 6] = 4.0
    layer.refresh()
    settle(opened, qtbot)
    np.testing.assert_allclose(opened.a.image.image[2:12], 4.0)
    layer.name = "renamed"
    assert opened.first.itemText(2) == "renamed"
    viewer.layers.remove(layer)
    settle(opened, qtbot)
    assert opened.model.keys[0] == PARTICLE
    assert opened.a.image.image.shape == (BOX, BOX)


def test_runs_that_lack_something(opened, fake_run, tmp_path, qtbot):
    still = fake_run(tmp_path / "still", zdim=0, n_particles=3)
    opened.inspector.set_run(still)
    settle(opened, qtbot)
    assert opened.model.keys[0] == CONSENSUS
    assert opened.a_text.text() == "Consensus"
    # No poses: no view to lie across.
    item = opened.across.model().item(opened.across.findData("view"))
    assert not item.isEnabled()
    opened.power.wanted.setChecked(True)
    assert "no poses yet" in opened.power.text.text()

    early = fake_run(tmp_path / "early", zdim=0, n_particles=3)

    def none() -> None:
        raise RunFolderError(early.folder, "reconstruct.mrc is not there yet.")

    early.consensus = none
    opened.inspector.set_run(early)
    settle(opened, qtbot)
    assert "reconstruct.mrc is not there yet" in opened.text.text()
    assert not opened.a_box.isVisible()
    assert opened.plane.layer is None


def test_power_of_the_slice_beside_that_of_the_image(opened, run, qtbot):
    power = opened.power
    power.wanted.setChecked(True)
    settle(opened, qtbot)
    assert power.data_text.text() == "Image 0"
    image = opened.inspector.images.of(run).pixels([0])[0].abs().square()
    rings = opened.inspector.images.of(run).lattice.shell_mean(image)[1:]
    frequencies, drawn = power.plot.images.getData()
    np.testing.assert_allclose(drawn, np.log10(rings.numpy()), rtol=1e-4)
    np.testing.assert_allclose(frequencies, (np.arange(15) + 1) / (BOX * SIZE))
    before = power.slice.image.image.copy()
    power.with_ctf.setChecked(False)
    assert np.nanmax(np.abs(power.slice.image.image - before)) > 1
    power.rows.setCurrentIndex(1)
    settle(opened, qtbot)
    assert power.data_text.text() == "Mean of 30 of all 30 images"
    opened.inspector.set_mask(np.arange(N) < 4)
    settle(opened, qtbot)
    assert power.data_text.text() == "Mean of 4 of 4 selected images"


def test_power_without_images_and_of_another_cube(opened, run, viewer, tmp_path, qtbot):
    run.particles_path = tmp_path / "gone.star"
    opened.power.wanted.setChecked(True)
    settle(opened, qtbot)
    assert "cannot be read" in opened.power.text.text()
    assert opened.power.slice.isVisible()
    assert not opened.power.data.isVisible()
    layer = viewer.add_image(np.ones((20, 20, 20)), name="small")
    opened.first.setCurrentIndex(opened.first.findText(layer.name))
    settle(opened, qtbot)
    assert "another cube" in opened.power.text.text()
    assert not opened.power.plot.isVisible()


def test_what_lies_in_front_of_the_plane_is_not_drawn(make_napari_viewer, qtbot):
    from napari_cryodrgn.widgets.densities import Density
    from napari_cryodrgn.widgets.slice_plane import SlicePlane
    from napari_cryodrgn.widgets.slice_work import cut_through
    from napari_cryodrgn.widgets.surfaces import mesh

    viewer = make_napari_viewer(show=True, ndisplay=3)
    grid = np.mgrid[:BOX, :BOX, :BOX] - BOX // 2
    ball = np.exp(-np.square(grid).sum(0) / 60).astype(np.float32)
    density = Density("ball", ball, (2.0,) * 3, (float(BOX),) * 3, "Å", framed=True)
    viewer.add_surface(mesh(ball, 0.3), scale=(2,) * 3, colormap="red", shading="none")
    viewer.scene.camera.set_view_direction((1, 0, 0), (0, -1, 0))
    slice_plane = SlicePlane(viewer)
    slice_plane.set_open(True)

    def red() -> int:
        picture = viewer.screenshot(canvas_only=True, flash=False).astype(int)
        return int(((picture[..., 0] > 100) & (picture[..., 2] < 50)).sum())

    whole = red()
    assert whole > 1000
    # Seen edge on, a plane halves the ball, or leaves a cap: its radius is about 17 Å.
    for axis, offset, low, high in (("y", 0, 0.4, 0.6), ("y", 10, 0.05, 0.3), ("z", 30, 0, 0.01)):
        slices, _ = cut_through(density, None, axis_plane(axis, offset), None)
        slice_plane.show(slices, "ball")
        assert low <= red() / whole <= high
    slice_plane.set_open(False)
    assert red() > 0.9 * whole
    slice_plane.close()


def test_a_cut_of_128_voxels_is_quick():
    from time import perf_counter

    volume = np.random.default_rng(0).normal(size=(128,) * 3).astype(np.float32)
    plane = view_plane(np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0], 3.0)
    seconds = []
    for _ in range(5):
        start = perf_counter()
        cut(volume, 1.0, plane, 128, 1.0)
        seconds.append(perf_counter() - start)
    assert min(seconds) < 0.03
