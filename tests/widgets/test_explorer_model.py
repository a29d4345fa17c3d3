from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

import numpy as np
import pytest

from napari_cryodrgn.errors import RunFolderError
from napari_cryodrgn.widgets.explorer_model import ExplorerModel

HERE = Path("/runs/one")


class Harness:
    """A model whose answers arrive in this thread when `settle` waits for them."""

    def __init__(self, open_run: Callable, pca: Callable) -> None:
        self._queue: SimpleQueue = SimpleQueue()
        self.model = ExplorerModel(self._queue.put, open_run, pca)
        self.shown: list = []
        self.failed: list = []
        self.model.decode.decoded.connect(self.shown.append)
        self.model.failed.connect(self.failed.append)

    @property
    def decoded(self) -> list:
        """Volumes in full, without the small ones that go before."""
        return [d for d in self.shown if d.final]

    def settle(self) -> None:
        while self.model.busy:
            self._queue.get(timeout=5)()
        with suppress(Empty):
            while True:
                self._queue.get(timeout=0.3)()

    def open(self, folder: Path) -> ExplorerModel:
        self.model.open(folder)
        self.settle()
        if self.model.run is not None:
            # What was decoded to get ready.
            self.model.run.decoded.clear()
        return self.model


@pytest.fixture
def make(fake_runs, pca) -> Iterator[Callable[..., Harness]]:
    made = []

    def make(*runs) -> Harness:
        made.append(Harness(fake_runs(*runs), pca))
        return made[-1]

    yield make
    for harness in made:
        harness.model.close()


def test_a_click_decodes_its_z(make, fake_run):
    run = fake_run(HERE)
    harness = make(run)
    model = harness.open(HERE)

    model.pick_at([1.0, 0.5], [0.01, 0.01])
    harness.settle()

    assert len(harness.decoded) == 1
    np.testing.assert_allclose(run.decoded[-1], [1.0, 0.5], atol=1e-5)
    assert harness.decoded[0].data.shape == (24, 24, 24)
    assert harness.decoded[0].contour == run.contour()
    away = np.linalg.norm(run.latents.mu - [1.0, 0.5], axis=1)
    assert model.pick.particle == int(np.argmin(away))
    assert model.pick.distance == pytest.approx(away.min(), abs=1e-5)


def test_snapping_decodes_the_particle_itself(make, fake_run):
    run = fake_run(HERE)
    harness = make(run)
    model = harness.open(HERE)
    model.snap = True

    model.pick_at([1.0, 0.5], [0.01, 0.01])
    harness.settle()

    np.testing.assert_array_equal(run.decoded[0], run.latents.mu[model.pick.particle])
    assert model.pick.distance == 0


def test_only_the_last_of_many_clicks_is_answered(make, fake_run):
    harness = make(fake_run(HERE, delay=0.05))
    model = harness.open(HERE)

    for x in np.linspace(-1, 1, 10):
        model.pick_at([x, 0.0], [0.01, 0.01])
    harness.settle()

    # The first, which was on its way, and the last.
    assert len(harness.decoded) <= 2
    assert len(model.run.decoded) <= 2
    assert harness.decoded[-1].z[0] == pytest.approx(1)


def test_a_folder_that_is_no_run_leaves_the_open_one(make, fake_run):
    harness = make(fake_run(HERE))
    model = harness.open(HERE)
    before = model.run, model.space, model.axes

    harness.open(Path("/elsewhere"))

    assert (model.run, model.space, model.axes) == before
    assert isinstance(harness.failed[0], RunFolderError)
    assert not model.busy


def test_latents_that_are_not_finite_are_refused(make, fake_run):
    run = fake_run(HERE)
    run.latents.mu[3, 1] = np.nan
    harness = make(run)

    model = harness.open(HERE)

    assert model.run is None
    assert "not finite" in str(harness.failed[0])


def test_a_run_without_latent_has_a_structure(make, fake_run):
    harness = make(fake_run(HERE, zdim=0))
    model = harness.open(HERE)

    assert model.space is None
    model.pick_at([0.0], [1.0])
    model.decode.show_structure()
    harness.settle()

    assert [d.caption for d in harness.decoded] == ["structure"]


def test_without_a_decoder_a_click_still_names_the_particle(make, fake_run):
    harness = make(fake_run(HERE, can_decode=False))
    model = harness.open(HERE)

    model.pick_at([0.0, 0.0], [0.01, 0.01])
    harness.settle()

    assert model.pick is not None
    assert not harness.decoded
    assert not harness.failed


def test_following_opens_a_run_again_when_it_has_changed(make, fake_run):
    run = fake_run(HERE, finished=False, epoch=1)
    harness = make(run)
    model = harness.open(HERE)
    model.set_axes(("z1", "z0"))
    changes = []
    model.run_changed.connect(lambda: changes.append(1))

    model.follow()
    harness.settle()
    assert not changes
    run.has_changed = True
    model.follow()
    harness.settle()

    assert changes == [1]
    assert model.axes == ("z1", "z0")


def test_a_finished_run_is_not_followed(make, fake_run):
    run = fake_run(HERE, has_changed=True)
    harness = make(run)
    model = harness.open(HERE)
    model.run_changed.connect(pytest.fail)

    model.follow()
    harness.settle()


def test_dragging_gives_small_volumes_and_rest_the_full_one(make, fake_run):
    # Too slow for more than the smallest box.
    run = fake_run(HERE, box=48, delay=0.05)
    harness = make(run)
    model = harness.open(HERE)

    for x in (0.0, 0.1, 0.2):
        model.pick_at([x, 0.0], [0.01, 0.01], moving=True)
        harness.settle()
    assert harness.shown
    assert all(d.box < 48 for d in harness.shown)
    model.pick_at([0.2, 0.0], [0.01, 0.01])
    harness.settle()

    assert harness.shown[-1].box == 48


def test_another_run_drops_what_was_asked_of_the_first(make, fake_run):
    other = Path("/runs/two")
    harness = make(fake_run(HERE, delay=0.05), fake_run(other, zdim=1))
    model = harness.open(HERE)
    model.set_current(np.ones(400, bool))

    model.pick_at([0.0, 0.0], [0.01, 0.01])
    harness.open(other)

    assert model.run.folder == other
    assert model.axes == ("z0",)
    assert model.current_mask is None
    assert model.pick is None
    assert not harness.decoded


def test_a_decoder_that_fails_is_told(make, fake_run):
    run = fake_run(HERE)
    run.decode = lambda *_, **__: np.zeros(1)[5]
    harness = make(run)
    model = harness.open(HERE)

    model.pick_at([0.0, 0.0], [0.01, 0.01])
    harness.settle()

    assert [type(f) for f in harness.failed] == [IndexError]
    assert not model.busy


def test_a_pick_off_the_data_is_known(make, fake_run):
    run = fake_run(HERE)
    model = make(run).open(HERE)

    model.pick_z(run.latents.mu[7])
    assert model.pick.particle == 7
    assert model.pick.off < 2
    model.pick_z(np.array([30.0, 30.0], np.float32))

    assert model.pick.off > 50


def test_any_view_may_pick_a_particle(make, fake_run):
    run = fake_run(HERE)
    harness = make(run)
    model = harness.open(HERE)
    picked = []
    model.picked.connect(picked.append)

    model.pick_particle(11)
    harness.settle()

    assert [p.particle for p in picked] == [11]
    np.testing.assert_array_equal(run.decoded[-1], run.latents.mu[11])


def test_a_polygon_selects_what_is_drawn_inside(make, fake_run):
    run = fake_run(HERE)
    harness = make(run)
    model = harness.open(HERE)

    model.select_inside(np.array([[0, -9], [9, -9], [9, 9], [0, 9]], np.float32))
    harness.settle()

    np.testing.assert_array_equal(model.current_mask, run.latents.mu[:, 0] > 0)


def test_a_range_selects_on_one_axis(make, fake_run):
    run = fake_run(HERE, zdim=1)
    harness = make(run)
    model = harness.open(HERE)

    model.select_inside(np.array([[0, -1], [1, -1], [1, 1], [0, 1]], np.float32))
    harness.settle()

    z = run.latents.mu[:, 0]
    np.testing.assert_array_equal(model.current_mask, (z >= 0) & (z <= 1))


def test_particles_are_coloured_by_what_is_known_of_them(make, fake_run):
    run = fake_run(HERE)
    run.latents.logvar = np.log(np.square(np.linspace(0.1, 0.5, 800).reshape(400, 2)))
    harness = make(run)
    model = harness.open(HERE)
    assert "sigma z1" in model.colours()

    model.set_colour("sigma z1")
    harness.settle()
    np.testing.assert_allclose(model.shown.data, np.linspace(0.1, 0.5, 800)[1::2], rtol=1e-4)
    model.set_limits((0.2, 0.3))

    expected = (model.shown.data >= 0.2) & (model.shown.data <= 0.3)
    np.testing.assert_array_equal(model.within_limits(), expected)
    model.set_colour("density")
    harness.settle()
    assert model.shown is None
    assert model.within_limits() is None


def test_an_embedding_becomes_axes(make, fake_run):
    run = fake_run(HERE, zdim=4)
    harness = make(run)
    model = harness.open(HERE)
    embedding = run.latents.mu[:, :2] ** 3

    model.add_umap(embedding)
    assert model.axes == ("UMAP1", "UMAP2")
    np.testing.assert_allclose(model.coordinates(), embedding)
    model.snap = True
    model.pick_at(embedding[5], [0.01, 0.01])

    assert model.pick.particle == 5


def test_another_training_in_the_folder_is_another_run(make, fake_run):
    run = fake_run(HERE, finished=False)
    harness = make(run)
    model = harness.open(HERE)
    model.pick_particle(350)
    model.set_current(np.ones(400, bool))
    harness.settle()
    fewer = fake_run(HERE, finished=False, n_particles=100)
    run.has_changed = True
    model.open_run = lambda _: fewer

    model.follow()
    harness.settle()

    assert model.run is fewer
    assert model.pick is None
    assert model.current_mask is None
    assert model.selections.n == 100


def test_a_lasso_is_not_answered_on_another_run(make, fake_run):
    other = Path("/runs/two")
    harness = make(fake_run(HERE), fake_run(other))
    model = harness.open(HERE)

    model.open(other)
    model.select_inside(np.array([[0, -9], [9, -9], [9, 9], [0, 9]], np.float32))
    harness.settle()

    assert model.run.folder == other
    assert model.current_mask is None


def test_a_followed_run_tells_anew_how_far_the_pick_is(make, fake_run):
    run = fake_run(HERE, finished=False)
    harness = make(run)
    model = harness.open(HERE)
    model.pick_particle(3)
    harness.settle()
    assert model.pick.distance == 0
    moved = fake_run(HERE, finished=False)
    moved.latents.mu += 2
    run.has_changed = True
    model.open_run = lambda _: moved

    model.follow()
    harness.settle()

    assert model.pick.particle == 3
    assert model.pick.distance == pytest.approx(2 * 2**0.5, rel=1e-4)


def test_a_damaged_embedding_does_not_close_the_run(make, fake_run, tmp_path):
    (tmp_path / "explorer").mkdir()
    (tmp_path / "explorer" / "umap.npz").write_bytes(b"no archive")
    harness = make(fake_run(tmp_path))

    model = harness.open(tmp_path)

    assert model.space is not None
    assert "umap" in str(harness.failed[0])
