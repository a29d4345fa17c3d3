"""Settings, the run as a generator of events, and the run folder."""

from .events import (
    CheckpointSaved,
    EpochDone,
    Event,
    LatentUpdated,
    PosesUpdated,
    PreviewVolume,
    RunFinished,
    RunStarted,
    StageStarted,
    StepDone,
    Warned,
)
from .reconstruct import reconstruct
from .settings import Settings

__all__ = [
    "CheckpointSaved",
    "EpochDone",
    "Event",
    "LatentUpdated",
    "PosesUpdated",
    "PreviewVolume",
    "RunFinished",
    "RunStarted",
    "Settings",
    "StageStarted",
    "StepDone",
    "Warned",
    "reconstruct",
]
