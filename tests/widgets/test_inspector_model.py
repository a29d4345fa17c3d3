from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest

from napari_cryodrgn.errors import RunFolderError
from napari_cryodrgn.widgets.inspector_model import InspectorModel
from napari_cryodrgn.widgets.shared_images import SharedImages

HERE = Path("/runs/one")


@pytest.fixture
def model(fake_runs, fake_run) -> Iterator[InspectorModel]:
    made = InspectorModel(SimpleQueue().put, fake_runs(fake_run(HERE)))
    yield made
    made.close()


def test_a_run_is_opened_in_the_background_and_a_fault_is_told(fake_run):
    queue, told, failed = SimpleQueue(), [], []

    def open_run(folder):
        if folder != HERE:
            raise RunFolderError(folder, "no run")
        return fake_run(HERE)

    model = InspectorModel(queue.put, open_run)
    model.run_changed.connect(lambda: told.append(model.run.folder))
    model.failed.connect(failed.append)
    model.open(HERE)
    assert model.busy
    queue.get(timeout=5)()
    assert told == [HERE]
    model.open(Path("/elsewhere"))
    queue.get(timeout=5)()
    assert isinstance(failed[0], RunFolderError)
    assert model.run.folder == HERE
    assert not model.busy
    model.close()


def test_the_particle_stays_in_range_and_with_its_run(model, fake_run):
    told = []
    model.particle_changed.connect(lambda: told.append(model.particle))
    model.set_particle(3)  # no run
    model.set_run(fake_run(HERE))
    for particle in (5, 5, 10_000, -3):
        model.set_particle(particle)
    assert told == [5, 399, 0]
    np.testing.assert_array_equal(model.z, model.run.latents.mu[0])

    model.set_particle(7)
    model.set_mask(np.ones(400, bool))
    model.set_run(fake_run(HERE))  # the same one, saved again
    assert model.particle == 7
    assert model.mask is not None
    model.set_run(fake_run(Path("/runs/two")))
    assert model.particle == 0
    assert model.mask is None


def test_a_run_chosen_while_another_is_opened_stays(fake_run):
    queue, gate = SimpleQueue(), threading.Event()

    def open_run(folder):
        gate.wait(5)
        return fake_run(folder)

    model = InspectorModel(queue.put, open_run)
    model.open(HERE)
    model.set_run(fake_run(Path("/runs/two")))
    assert not model.busy
    gate.set()
    model.open(Path("/runs/three"))
    while model.busy:
        queue.get(timeout=5)()
    assert model.run.folder == Path("/runs/three")
    model.open(HERE)
    chosen = fake_run(Path("/runs/two"))
    model.set_run(chosen)
    model.close()
    while not queue.empty():
        queue.get()()
    assert model.run is chosen


def test_a_selection_of_other_particles_is_none(model, fake_run):
    model.set_run(fake_run(HERE))
    told = []
    model.mask_changed.connect(lambda: told.append(model.mask))
    model.set_mask(np.ones(300, bool))
    assert not told
    model.set_mask(np.ones(400, bool))
    model.set_mask(np.ones(300, bool))
    assert told[-1] is None
    assert len(told) == 2


def test_a_run_without_particles_has_none_to_look_at(model, fake_run):
    model.set_run(fake_run(HERE, n_particles=0))
    model.set_particle(3)
    assert model.particle == 0


def test_without_latents_there_is_no_z(model, fake_run):
    assert model.z is None
    model.set_run(fake_run(HERE, zdim=0))
    assert model.z is None


def test_images_are_opened_once_for_each_run(fake_run):
    opened = []

    def open_images(run):
        opened.append(run)
        return f"images {len(opened)}"

    images, one, two = SharedImages(open_images), fake_run(HERE), fake_run(HERE)
    assert [images.of(run) for run in (one, one, two, two)] == ["images 1"] * 2 + ["images 2"] * 2
    assert len(opened) == 2
    images.drop()
    assert images.of(two) == "images 3"
