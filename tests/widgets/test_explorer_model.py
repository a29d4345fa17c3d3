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
        self.decoded: list = []
        self.walked: list = []
        self.failed: list = []
        self.model.decoded.connect(self.decoded.append)
        self.model.walked.connect(self.walked.append)
        self.model.failed.connect(self.failed.append)

    def settle(self) -> None:
        while self.model.busy or self.model.walk_progress is not None:
            self._queue.get(timeout=5)()
        with suppress(Empty):
            while True:
                self._queue.get_nowait()()

    def open(self, folder: Path) -> ExplorerModel:
        self.model.open(folder)
        self.settle()
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
    np.testing.assert_allclose(run.decoded, [[1.0, 0.5]], atol=1e-5)
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

    assert len(harness.decoded) == 1
    assert len(model.run.decoded) <= 2
    assert model.run.decoded[-1][0] == pytest.approx(1)


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
    model.walk()
    model.show_structure()
    harness.settle()

    assert [d.caption for d in harness.decoded] == ["structure"]


def test_without_a_decoder_a_click_still_names_the_particle(make, fake_run):
    harness = make(fake_run(HERE, can_decode=False))
    model = harness.open(HERE)

    model.pick_at([0.0, 0.0], [0.01, 0.01])
    model.walk()
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


def test_a_walk_is_decoded_step_by_step_and_clicks_come_in_between(make, fake_run):
    run = fake_run(HERE, zdim=3, delay=0.01)
    harness = make(run)
    model = harness.open(HERE)

    model.walk()
    model.pick_at([0.0, 0.0], [0.01, 0.01])
    harness.settle()

    assert harness.walked[0].data.shape == (20, 24, 24, 24)
    assert harness.walked[0].caption == "Walk along PC1"
    assert len(harness.decoded) == 1
    # The click did not wait for the whole walk.
    z = model.pick.z
    assert [np.array_equal(d, z) for d in run.decoded].index(True) < 5
    assert model.walk_progress is None


def test_a_walk_can_be_given_up(make, fake_run):
    harness = make(fake_run(HERE, delay=0.02))
    model = harness.open(HERE)

    model.walk()
    model.cancel_walk()
    harness.settle()

    assert not harness.walked
    assert len(model.run.decoded) <= 1


def test_another_run_drops_what_was_asked_of_the_first(make, fake_run):
    other = Path("/runs/two")
    harness = make(fake_run(HERE, delay=0.05), fake_run(other, zdim=1))
    model = harness.open(HERE)

    model.walk()
    harness.open(other)

    assert model.run.folder == other
    assert model.axes == ("z0",)
    assert not harness.walked


def test_a_decoder_that_fails_is_told(make, fake_run):
    run = fake_run(HERE)
    run.decode = lambda z: np.zeros(1)[5]
    harness = make(run)
    model = harness.open(HERE)

    model.pick_at([0.0, 0.0], [0.01, 0.01])
    model.walk()
    harness.settle()

    assert [type(f) for f in harness.failed] == [IndexError, IndexError]
    assert model.walk_progress is None
