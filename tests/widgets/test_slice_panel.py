from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QPoint, Qt

from napari_cryodrgn.analysis import find_clusters, save_clusters
from napari_cryodrgn.analysis.slices import axis_plane, cut, low_pass, view_plane
from napari_cryodrgn.errors import RunFolderError
from napari_cryodrgn.particles import ParticleSet
from napari_cryodrgn.widgets.decode_model import DecodeModel
from napari_cryodrgn.widgets.inspector_model import InspectorModel
from napari_cryodrgn.widgets.qt_tools import GuiThread, colors
from napari_cryodrgn.widgets.slice_panel import SlicePanel
from napari_cryodrgn.widgets.slice_volumes import CONSENSUS, MEAN, PARTICLE

N, BOX, SIZE = 30, 32, 9.0
RELOAD = 200  # milliseconds until a changed layer is read again


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
        return not (model.volumes.busy or waits)

    qtbot.waitUntil(rests, timeout=20_000)


def test_says_that_there_is_nothing_and_rests_until_it_is_seen(panel, run, qtbot):
    assert "no volume to cut" in panel.text.text()
    assert not panel.pictures.isVisible()
    panel.inspector.set_run(run)
    assert not run.decoded
    assert panel.model.slices is None
    panel.set_active(True)
    settle(panel, qtbot)
    assert panel.pictures.isVisible()
    assert not panel.text.isVisible()
    assert run.decoded
    assert panel.size().width() == 360


def test_the_picture_is_the_plane_of_the_particles_volume(opened, run, qtbot):
    volume = run.decode(run.latents.mu[0])
    np.testing.assert_allclose(opened.pictures.a.image.image, volume[BOX // 2], atol=1e-5)
    opened.across.setCurrentIndex(opened.across.findData("view"))
    opened.offset.setValue(2 * SIZE)
    settle(opened, qtbot)
    expected = cut(volume, SIZE, view_plane(run.rotations[0], 2 * SIZE), BOX, SIZE)
    np.testing.assert_allclose(opened.pictures.a.image.image, expected, atol=1e-5)
    opened.inspector.set_particle(7)
    settle(opened, qtbot)
    volume = run.decode(run.latents.mu[7])
    expected = cut(volume, SIZE, view_plane(run.rotations[7], 2 * SIZE), BOX, SIZE)
    np.testing.assert_allclose(opened.pictures.a.image.image, expected, atol=1e-5)


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
    assert not opened.pictures.b_box.isVisible()
    qtbot.mouseClick(opened.keep, Qt.MouseButton.LeftButton)
    settle(opened, qtbot)
    assert "Correlation:<br>1.000 in this plane<br>1.000" in opened.pictures.numbers.text()
    opened.inspector.set_particle(3)
    settle(opened, qtbot)
    a, b = (run.decode(run.latents.mu[i])[BOX // 2] for i in (3, 0))
    # B in the scale of A.
    whole = [run.decode(run.latents.mu[i]) for i in (3, 0)]
    scale = np.vdot(whole[0], whole[1]) / np.vdot(whole[1], whole[1])
    assert abs(scale - 1) > 0.02
    np.testing.assert_allclose(opened.pictures.b.image.image, scale * b, atol=0.01)
    shown = opened.pictures.b.image.image
    np.testing.assert_allclose(opened.pictures.difference.image.image, a - shown, atol=1e-5)
    low, high = opened.pictures.difference.image.levels
    assert low == -high
    np.testing.assert_array_equal(opened.pictures.a.image.levels, opened.pictures.b.image.levels)
    wanted = np.corrcoef(a.ravel(), b.ravel())[0, 1]
    assert f"{wanted:.3f} in this plane" in opened.pictures.numbers.text()
    opened.second.setCurrentIndex(opened.second.findData(CONSENSUS))
    settle(opened, qtbot)
    shown, consensus = opened.pictures.b.image.image, run.consensus().data[BOX // 2]
    assert np.corrcoef(shown.ravel(), consensus.ravel())[0, 1] > 0.9999
    assert opened.second.currentText() == "consensus"
    opened.second.setCurrentIndex(0)
    settle(opened, qtbot)
    assert not opened.pictures.difference_box.isVisible()


def test_layers_of_the_viewer_can_be_cut_too(opened, viewer, qtbot):
    random = np.random.default_rng(1)
    data = random.normal(size=(10, 12, 14)).astype(np.float32)
    layer = viewer.add_image(data, name="other", scale=(2,) * 3, translate=(5, 6, 7))
    viewer.add_image(np.zeros((6, 6)), name="flat")
    assert [opened.first.itemText(i) for i in range(opened.first.count())] == [
        *("this particle's", "consensus", "mean of all latents", "other")
    ]
    opened.first.setCurrentIndex(3)
    opened.across.setCurrentIndex(opened.across.findData("y"))
    settle(opened, qtbot)
    np.testing.assert_allclose(opened.pictures.a.image.image[2:12], data[:, 6], atol=1e-5)
    assert set(opened.plane.layer.data[0][:, 1]) == {6 + 6 * 2}
    layer.data[:, 6] = 4.0
    layer.refresh()
    qtbot.wait(RELOAD)
    settle(opened, qtbot)
    np.testing.assert_allclose(opened.pictures.a.image.image[2:12], 4.0)
    layer.name = "renamed"
    assert opened.first.itemText(3) == "renamed"
    viewer.layers.remove(layer)
    settle(opened, qtbot)
    assert opened.model.keys[0] == PARTICLE
    assert opened.pictures.a.image.image.shape == (BOX, BOX)


def test_runs_that_lack_something(opened, fake_run, tmp_path, qtbot):
    still = fake_run(tmp_path / "still", zdim=0, n_particles=3)
    opened.inspector.set_run(still)
    settle(opened, qtbot)
    assert opened.model.keys[0] == CONSENSUS
    assert opened.pictures.a_text.text() == "Consensus"
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
    assert not opened.pictures.isVisible()
    assert opened.plane.layer is None


def test_power_of_the_slice_beside_that_of_the_image(opened, run, qtbot):
    power = opened.power
    power.wanted.setChecked(True)
    settle(opened, qtbot)
    assert power.data_text.text() == "Image 0 (1/Å)"
    image = opened.inspector.images.of(run).pixels([0])[0].abs().square()
    rings = opened.inspector.images.of(run).lattice.shell_mean(image)[1:]
    frequencies, drawn = power.plot.images.getData()
    np.testing.assert_allclose(drawn, np.log10(rings.numpy()), rtol=1e-4)
    np.testing.assert_allclose(frequencies, (np.arange(15) + 1) / (BOX * SIZE))
    ring = power._shown.power.noise_from
    assert power.noise.text() == f"Noise dominates beyond {BOX * SIZE / ring:.3g} Å."
    assert power.plot.noise.value() == pytest.approx(ring / (BOX * SIZE))
    before = power.slice.image.image.copy()
    power.with_ctf.setChecked(False)
    assert np.nanmax(np.abs(power.slice.image.image - before)) > 1
    power.rows.setCurrentIndex(1)
    settle(opened, qtbot)
    assert power.data_text.text() == "Mean of 30 of all 30 images (1/Å)"
    opened.inspector.set_mask(np.arange(N) < 4)
    settle(opened, qtbot)
    assert power.data_text.text() == "Mean of 4 of 4 selected images (1/Å)"


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
        slices, _ = cut_through(density, None, axis_plane(axis, offset))
        slice_plane.show(slices, "ball")
        viewer.scene.camera.set_view_direction((1, 0, 0), (0, -1, 0))
        assert low <= red() / whole <= high
    slice_plane.set_open(False)
    assert red() > 0.9 * whole
    slice_plane.close()


def test_a_volume_of_a_particle_that_was_left_is_not_taken_for_the_next(opened, run, qtbot):
    late = []
    opened.model.volumes._decode.decoded.connect(late.append)
    opened.inspector.set_particle(2)
    settle(opened, qtbot)
    opened.inspector.set_particle(3)
    settle(opened, qtbot)
    assert opened.model.first.name == "particle 3"
    opened.model.volumes._decode.decoded.emit(
        next(d for d in late if d.z[0] == run.latents.mu[2, 0])
    )
    settle(opened, qtbot)
    np.testing.assert_array_equal(opened.model.first.data, run.decode(run.latents.mu[3]))
    opened.keep.click()
    assert opened.model.volumes.kept.name == "particle 3, kept"


def test_what_was_chosen_comes_back_once_it_is_there(opened, run, fake_run, tmp_path, qtbot):
    early = fake_run(tmp_path / "early", zdim=0, n_particles=3)
    opened.inspector.set_run(early)
    settle(opened, qtbot)
    assert opened.model.keys[0] == CONSENSUS
    opened.inspector.set_run(run)
    settle(opened, qtbot)
    assert opened.model.keys[0] == PARTICLE
    assert opened.first.currentText() == "this particle's"
    opened.first.setCurrentIndex(opened.first.findData(CONSENSUS))
    opened.inspector.set_run(early)
    opened.inspector.set_run(run)
    settle(opened, qtbot)
    assert opened.model.keys[0] == CONSENSUS


def test_means_and_clusters_can_be_cut(opened, run, qtbot):
    mu = run.latents.mu
    clusters = find_clusters(mu, 2)
    save_clusters(run.folder, clusters, mu)
    opened.set_active(False)
    opened.set_active(True)
    settle(opened, qtbot)
    texts = [opened.second.itemText(i) for i in range(opened.second.count())]
    assert texts == ["nothing", "consensus", "mean of all latents", "Cluster 1", "Cluster 2"]
    opened.first.setCurrentIndex(opened.first.findText("Cluster 2"))
    opened.second.setCurrentIndex(opened.second.findData(MEAN))
    settle(opened, qtbot)
    expected = run.decode(clusters.centres[1])[BOX // 2]
    np.testing.assert_allclose(opened.pictures.a.image.image, expected, atol=1e-5)
    assert any(np.allclose(z, mu.mean(0)) for z in run.decoded)
    assert opened.pictures.b_text.text() == "B: mean of all latents"


def test_another_slice_in_napari_is_no_other_volume(opened, viewer, qtbot):
    random = np.random.default_rng(1)
    layer = viewer.add_image(random.normal(size=(20,) * 3), name="other")
    opened.first.setCurrentIndex(opened.first.findText("other"))
    settle(opened, qtbot)
    before, changes = opened.model.first, []
    opened.model.volume_changed.connect(lambda: changes.append(1))
    viewer.dims.ndisplay = 2
    viewer.dims.set_point(0, 5)
    qtbot.wait(RELOAD)
    settle(opened, qtbot)
    assert not changes
    assert opened.model.first is before
    layer.data = layer.data + 1
    assert opened.model.first is before  # it is read in the background, a moment later
    qtbot.wait(RELOAD)
    settle(opened, qtbot)
    assert len(changes) == 1
    np.testing.assert_allclose(opened.model.first.data, before.data + 1, atol=1e-5)


def test_what_was_made_of_another_run_is_dropped_unseen(opened, viewer, run, fake_run, tmp_path):
    layer = viewer.add_image(np.ones((8,) * 3), name="gone")
    opened.set_active(False)
    viewer.layers.remove(layer)
    assert opened.first.findText("gone") == -1
    assert layer not in opened.model.volumes._heard
    volume = weakref.ref(opened.model.first)
    opened.inspector.set_run(fake_run(tmp_path / "other"))
    gc.collect()
    assert volume() is None
    assert opened.model.slices is None


def test_a_decoder_that_others_use_is_asked_for_nothing_twice(viewer, run, qtbot):
    gui = GuiThread()
    model, decode = InspectorModel(gui.post), DecodeModel(gui.post)
    panel = SlicePanel(model, viewer, gui.post, colors("dark"), decode)
    qtbot.addWidget(panel)
    decode.set_run(run)
    model.set_run(run)
    decode.settle(model.z)
    qtbot.waitUntil(lambda: not decode.busy)
    told = []
    decode.decoded.connect(told.append)
    panel.set_active(True)
    settle(panel, qtbot)
    assert not told
    assert panel.model.first.name == "particle 0"
    # Nobody else asks for it.
    model.set_particle(4)
    settle(panel, qtbot)
    assert panel.model.first.name == "particle 4"
    panel.close_panel()
    # It belongs to the others.
    decode.settle(run.latents.mu[5])
    qtbot.waitUntil(lambda: not decode.busy)
    decode.close()
    model.close()
    qtbot.wait(1)


def test_volumes_are_blurred_to_what_the_half_maps_vouch_for(panel, run, qtbot):
    fsc = "\n".join(f"{i},{BOX * SIZE / i},{max(1 - 0.125 * i, 0)}" for i in range(1, 16))
    (run.folder / "fsc.csv").write_text(f"shell,resolution_angstrom,fsc\n{fsc}\n")
    panel.inspector.set_run(run)
    panel.set_active(True)
    settle(panel, qtbot)
    resolution = BOX * SIZE / ((1 - 0.143) / 0.125)
    assert panel.model.low_pass == pytest.approx(resolution, rel=1e-3)
    assert panel.low_pass.text.text() == f"{resolution:.3g} Å"
    sharp = run.decode(run.latents.mu[0])
    blurred = low_pass(sharp, SIZE, panel.model.low_pass)
    np.testing.assert_allclose(panel.pictures.a.image.image, blurred[BOX // 2], atol=1e-5)
    panel.low_pass.slider.setValue(0)
    settle(panel, qtbot)
    assert panel.low_pass.text.text() == "none"
    np.testing.assert_allclose(panel.pictures.a.image.image, sharp[BOX // 2], atol=1e-5)


def test_the_plane_does_not_hide_the_volume(opened, viewer, run, qtbot):
    camera = viewer.scene.camera
    # napari looks along z at first: straight onto the plane.
    assert 0.3 < abs(np.array(camera.view_direction)[0]) < 0.9
    vertices, faces, _ = opened.plane.layer.data
    away = np.linalg.norm(vertices[np.unique(faces)] - BOX // 2 * SIZE, axis=1)
    reach = opened.model.slices.reach
    assert reach <= BOX * SIZE / 2
    assert away.max() == pytest.approx(reach, rel=1e-4)
    # Its rim is round.
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    found, counts = np.unique(edges, axis=0, return_counts=True)
    rim = np.unique(found[counts == 1])
    place = np.linalg.norm(vertices[rim] - BOX // 2 * SIZE, axis=1)
    np.testing.assert_allclose(place, reach, rtol=1e-4)
    assert 100 < len(faces) < 2 * (BOX - 1) ** 2
    assert not opened.turn.isVisible()
    opened.across.setCurrentIndex(opened.across.findData("view"))
    settle(opened, qtbot)
    qtbot.mouseClick(opened.turn, Qt.MouseButton.LeftButton)
    along = run.rotations[0][2][::-1]
    assert abs(float(np.array(camera.view_direction) @ along)) == pytest.approx(1, abs=1e-5)
    # The user's view stays from now on. In an empty viewer napari itself would set it.
    viewer.add_image(np.ones((BOX,) * 3), scale=(SIZE,) * 3)
    opened.set_active(False)
    opened.leave_viewer()
    opened.set_active(True)
    settle(opened, qtbot)
    assert abs(float(np.array(camera.view_direction) @ along)) == pytest.approx(1, abs=1e-5)
    # Beyond the volume there is hardly anything to see, but no error.
    opened.offset.setValue(BOX * SIZE / 2)
    settle(opened, qtbot)
    assert len(opened.plane.layer.data[1]) == 2


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
