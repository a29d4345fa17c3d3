from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_cryodrgn.errors import TrainingError
from napari_cryodrgn.training import events as ev
from napari_cryodrgn.widgets.train_model import (
    TrainModel,
    check_output,
    duration,
    make_settings,
    next_output,
)

FOLDER = Path("/runs/one")


def start(stages=("Search", "VAE")) -> ev.RunStarted:
    return ev.RunStarted(FOLDER, 100, 32, 4.0, 1, "cpu", stages)


def epoch(number: int, total: float = 1.0) -> ev.EpochDone:
    return ev.EpochDone("VAE", number, total, total, 0.0)


@pytest.fixture
def model() -> TrainModel:
    model = TrainModel()
    model.begin(FOLDER)
    return model


def test_progress_is_told_as_people_do(model):
    model.handle([start(), ev.StageStarted("VAE", 1), ev.StepDone("VAE", 0.25, 200.0, "batch 3")])

    assert model.title == "Stage 2 of 2: VAE"
    assert model.progress_text == "25 %, 3 min left"
    assert model.detail == "batch 3"


@pytest.mark.parametrize("unknown", [float("nan"), float("inf")])
def test_time_left_that_is_not_known_yet_is_left_out(model, unknown):
    model.handle([start(), ev.StepDone("VAE", 0.0, unknown)])

    assert model.progress_text == "0 %"


def test_a_helping_of_events_makes_one_signal_each_and_the_last_volume(model):
    changed, losses, volumes = [], [], []
    model.changed.connect(lambda: changed.append(1))
    model.losses_changed.connect(lambda: losses.append(1))
    model.volume_changed.connect(volumes.append)
    previews = [ev.PreviewVolume(np.full((4, 4, 4), i, np.float32), 2.0) for i in range(3)]

    model.handle([start(), *previews, epoch(1), epoch(2)])

    assert (len(changed), len(losses)) == (1, 1)
    assert volumes == [previews[-1]]
    assert [loss.epoch for loss in model.losses] == [1, 2]


def test_nothing_is_lost_in_no_events(model):
    model.changed.connect(pytest.fail)

    model.handle([])


def test_warnings_stay_to_be_read(model):
    told = []
    model.warned.connect(told.append)

    model.handle([ev.Warned("thin"), ev.Warned("views")])

    assert told == model.warnings == ["thin", "views"]


@pytest.mark.parametrize(
    ("events", "error", "state"),
    [
        ([ev.RunFinished(FOLDER, 3.0)], "", "finished"),
        ([], "", "stopped"),
        ([], "no memory", "failed"),
    ],
)
def test_how_a_run_ends(model, events, error, state):
    model.handle(events)
    model.end(error)

    assert model.state == state
    assert not model.active


def test_controls_in_every_state(model):
    def usable() -> str:
        controls = vars(model.controls)
        return " ".join(name for name, on in controls.items() if on)

    assert usable() == "pause stop"
    model.handle([ev.CheckpointSaved(FOLDER, 1)])
    assert usable() == "pause stop explore"
    model.pause(True)
    assert model.state == "paused"
    assert usable() == "pause stop explore"
    model.pause(False)
    model.stop()
    assert usable() == "explore"
    # A run that is told to finish is not over before its thread is.
    model.handle([ev.RunFinished(FOLDER, 1.0)])
    assert usable() == "explore"
    model.end()
    assert usable() == "form start resume explore"


def test_pausing_does_not_revive_a_run_that_stops(model):
    model.stop()
    model.pause(True)

    assert model.state == "stopping"


def test_a_resumed_run_goes_on_with_its_curves_and_replaces_what_it_repeats(model):
    model.handle([epoch(1, 3.0), epoch(2, 2.0), epoch(3, 1.5)])
    model.end()
    model.begin(FOLDER, resumed=True)
    model.handle([epoch(3, 1.4)])

    assert [(loss.epoch, loss.total) for loss in model.losses] == [(1, 3.0), (2, 2.0), (3, 1.4)]


def test_another_run_starts_with_empty_curves(model):
    model.handle([epoch(1), ev.Warned("thin"), ev.CheckpointSaved(FOLDER, 1)])
    model.end("broken")
    model.begin(Path("/runs/two"))

    assert not model.losses
    assert not model.warnings
    assert not model.error
    assert not model.saved


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (40, "40 s"), (180, "3 min"), (7800, "2 h 10 min"), (-1, "0 s")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_bad_settings_name_the_field(tmp_path):
    with pytest.raises(TrainingError, match=r"learning rate.*greater than 0"):
        make_settings({"output": tmp_path, "learning_rate": 0.0})


def test_an_output_folder_must_be_given_and_hold_nothing_of_value(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("seed: 0")

    with pytest.raises(TrainingError, match="Choose an output folder"):
        check_output("  ")
    with pytest.raises(TrainingError, match="not empty"):
        check_output(str(tmp_path))
    with pytest.raises(TrainingError, match="is a file"):
        check_output(str(tmp_path / "notes.txt"))
    with pytest.raises(TrainingError, match=r"holds a run.*Resume"):
        check_output(str(run))
    assert check_output(str(tmp_path / "new")) == tmp_path / "new"


def test_suggested_folders_do_not_exist_yet(tmp_path):
    star = tmp_path / "particles.star"
    assert next_output(star) == tmp_path / "particles_run1"
    (tmp_path / "particles_run1").mkdir()
    assert next_output(star) == tmp_path / "particles_run2"
