"""What the Train dock knows about its run, without Qt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from psygnal import Signal
from pydantic import ValidationError

from ..errors import TrainingError
from ..training import events as ev
from ..training.settings import Settings

State = Literal["idle", "running", "paused", "stopping", "stopped", "finished", "failed"]
_ACTIVE = ("running", "paused", "stopping")


@dataclass(frozen=True)
class Controls:
    """Which controls of the dock can be used."""

    form: bool
    start: bool
    pause: bool
    stop: bool
    resume: bool
    explore: bool


class TrainModel:
    """State, progress and losses of one run at a time, fed by its events.

    Not responsible for running anything: see `TrainSession`.
    """

    changed = Signal()
    losses_changed = Signal()
    volume_changed = Signal(object)
    warned = Signal(str)

    def __init__(self) -> None:
        self.state: State = "idle"
        self.folder: Path | None = None
        self._clear()

    def _clear(self) -> None:
        self.run: ev.RunStarted | None = None
        self.stage = ""
        self.stage_number = 0
        self.fraction = 0.0
        self.seconds_left: float | None = None
        self.detail = ""
        self.error = ""
        self.warnings: list[str] = []
        self.saved = False
        self.losses: list[ev.EpochDone] = []
        self.stage_starts: list[tuple[int, str]] = []
        self._complete = False

    @property
    def active(self) -> bool:
        """Whether a run is going on."""
        return self.state in _ACTIVE

    def begin(self, folder: Path, resumed: bool = False) -> None:
        """A run into ``folder`` starts; curves go on if it is the run that was here before."""
        losses, starts = (
            (self.losses, self.stage_starts) if resumed and folder == self.folder else ([], [])
        )
        self._clear()
        self.losses, self.stage_starts = losses, starts
        self.folder = folder
        self._set_state("running")
        self.losses_changed.emit()

    def pause(self, paused: bool) -> None:
        """The run is paused, or goes on."""
        if self.state in ("running", "paused"):
            self._set_state("paused" if paused else "running")

    def stop(self) -> None:
        """The run was asked to stop."""
        if self.active:
            self._set_state("stopping")

    def end(self, error: str = "") -> None:
        """The run is over: finished if it said so, else stopped, or failed with a message."""
        self.error = error
        self.seconds_left = None
        if error:
            self._set_state("failed")
        else:
            self._set_state("finished" if self._complete else "stopped")

    def handle(self, events: Sequence[ev.Event]) -> None:
        """Take in events in order; each signal is emitted at most once, but for warnings."""
        if not events:
            return
        volume: ev.PreviewVolume | None = None
        losses = len(self.losses)
        for event in events:
            match event:
                case ev.RunStarted():
                    self.run, self.folder = event, event.folder
                case ev.StageStarted():
                    self.stage, self.stage_number = event.title, event.index + 1
                    self.detail = ""
                    self.stage_starts.append((self._next_epoch(), event.title))
                case ev.StepDone():
                    self.fraction = min(max(event.fraction, 0.0), 1.0)
                    # Not a number as long as there is nothing to estimate from.
                    left = event.seconds_left
                    self.seconds_left = left if math.isfinite(left) else None
                    self.detail = event.detail
                case ev.EpochDone():
                    # A resumed run goes back to its checkpoint: what came after is repeated.
                    self.losses = [loss for loss in self.losses if loss.epoch < event.epoch]
                    self.losses.append(event)
                    losses = -1
                case ev.PreviewVolume():
                    volume = event
                case ev.CheckpointSaved():
                    self.saved = True
                case ev.Warned():
                    self.warnings.append(event.message)
                    self.warned.emit(event.message)
                case ev.RunFinished():
                    self.fraction, self.seconds_left, self.saved = 1.0, None, True
                    self.folder = event.folder
                    # The state changes when the thread has ended too: see `end`.
                    self._complete = True
        self.changed.emit()
        if losses != len(self.losses):
            self.losses_changed.emit()
        if volume is not None:
            self.volume_changed.emit(volume)

    @property
    def controls(self) -> Controls:
        """Which controls can be used in this state."""
        return Controls(
            form=not self.active,
            start=not self.active,
            pause=self.state in ("running", "paused"),
            stop=self.state in ("running", "paused"),
            resume=not self.active,
            explore=self.saved and self.folder is not None,
        )

    @property
    def title(self) -> str:
        """One line on what is going on."""
        name = self.folder.name if self.folder is not None else ""
        match self.state:
            case "idle":
                return "Ready"
            case "finished":
                return f"Finished: {name}"
            case "failed":
                return f"Failed: {name}"
            case "stopped":
                return f"Stopped: {name}"
            case "stopping":
                return "Stopping after this step ..."
        stage = self.stage or "Preparing"
        if self.run is not None and len(self.run.stages) > 1 and self.stage:
            stage = f"Stage {self.stage_number} of {len(self.run.stages)}: {stage}"
        return f"Paused. {stage}" if self.state == "paused" else stage

    @property
    def progress_text(self) -> str:
        """Percent done and time left."""
        text = f"{100 * self.fraction:.0f} %"
        if self.seconds_left is not None and self.state == "running":
            text += f", {duration(self.seconds_left)} left"
        return text

    def _next_epoch(self) -> int:
        return self.losses[-1].epoch + 1 if self.losses else 1

    def _set_state(self, state: State) -> None:
        self.state = state
        self.changed.emit()


def duration(seconds: float) -> str:
    """A length of time as people say it: '40 s', '3 min', '2 h 10 min'."""
    seconds = max(seconds, 0.0)
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def make_settings(values: Mapping[str, Any]) -> Settings:
    """Settings from the fields of the form.

    Raises
    ------
    TrainingError
        If a field is out of its range, naming it.
    """
    try:
        return Settings(**values)
    except ValidationError as error:
        problems = [
            f"{' '.join(str(part) for part in e['loc']).replace('_', ' ')}: {e['msg']}"
            for e in error.errors()
        ]
        raise TrainingError(f"Please correct the settings. {'; '.join(problems)}") from error


def check_output(text: str) -> Path:
    """Folder for a new run.

    Raises
    ------
    TrainingError
        If none is given, or it is a file, or it has something in it that a run would overwrite.
    """
    if not text.strip():
        raise TrainingError("Choose an output folder for the run.")
    folder = Path(text.strip()).expanduser().absolute()
    if is_run(folder):
        raise TrainingError(
            f"{folder} already holds a run. Resume it, or choose another output folder."
        )
    if folder.exists() and not folder.is_dir():
        raise TrainingError(f"{folder} is a file. Choose a folder that is new or empty.")
    if folder.exists() and any(folder.iterdir()):
        raise TrainingError(f"{folder} is not empty. Choose a folder that is new or empty.")
    return folder


def is_run(folder: Path) -> bool:
    """Whether a folder looks like that of a run."""
    return (folder / "config.yaml").is_file()


def next_output(source: Path) -> Path:
    """A folder beside a particle file that does not exist yet: ``<name>_run1``, ``_run2``, ..."""
    number = 1
    while (folder := source.parent / f"{source.stem}_run{number}").exists():
        number += 1
    return folder
