"""The state of a run, and its files: the run folder."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

from ..errors import RunFolderError, TrainingError
from ..particles import ParticleSet, write_latents, write_poses, write_star, write_volume
from .dataset import Dataset
from .events import Event
from .half_maps import Reconstruction
from .settings import Settings

_CHECKPOINT = "checkpoint.pkl"


@dataclass
class RunState:
    """Everything that the next task of a run needs; saved after each task.

    Tensors are on the CPU when saved. ``task`` counts the tasks done, ``epoch`` the epochs shown.
    ``loss`` (n,) is -log p(X) + log p(X | empty) of each particle under the volumes of the
    half that does not hold it, in nats.
    """

    task: int = 0
    epoch: int = 0
    seconds: float = 0.0
    rotations: Tensor | None = None
    shifts: Tensor | None = None
    scores: Tensor | None = None
    spread: Tensor | None = None
    noise: Tensor | None = None
    volume: Tensor | None = None
    limit: float = 0.0
    latent: Tensor | None = None
    deviation: Tensor | None = None
    information: float = 0.0
    gain: float | None = None
    still: bool = False
    mu: Tensor | None = None
    logvar: Tensor | None = None
    loss: Tensor | None = None
    model: dict[str, Any] | None = None
    optimizer: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` on a temporary name beside ``path``, then rename.

    Raises
    ------
    RunFolderError
        If the folder cannot be written to.
    """
    temporary = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch.save says RuntimeError when the disk is full
        raise RunFolderError(
            path.parent,
            f"{path.name} cannot be written ({getattr(error, 'strerror', None) or error}).",
            remedy="Check the free space and your permissions, or choose another output folder.",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


class RunFolder:
    """Writes the files of a run, each atomically, in cryoDRGN's layout plus ``events.jsonl``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self, particles: ParticleSet) -> None:
        """See whether a new run of these particles may be written here; writes nothing.

        Raises
        ------
        RunFolderError
            If the folder holds other things than a run of this program, or the particles.
        """
        if self._present() and self._config().get("program") != _PROGRAM:
            raise RunFolderError(
                self.path,
                "the folder holds other files and no run of this program.",
                remedy="Choose an empty or new folder for the output.",
            )
        if Path(particles.source).resolve().parent == self.path.resolve():
            raise RunFolderError(
                self.path,
                f"the particles ({Path(particles.source).name}) are in the output folder.",
                remedy="Choose another output folder, so that they are not replaced.",
            )

    def _present(self) -> set[str]:
        """Names of the files in the folder, hidden ones left out."""
        try:
            if not self.path.exists():
                return set()
            return {p.name for p in self.path.iterdir() if not p.name.startswith(".")}
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> RunFolderError:
        return RunFolderError(
            self.path,
            f"the folder cannot be made or read ({error.strerror or error}).",
            remedy="Choose another output folder.",
        )

    def create(
        self, settings: Settings, particles: ParticleSet, box: int, pixel_size: float
    ) -> None:
        """Make the folder and write ``config.yaml``; a run that stood there starts anew.

        Raises
        ------
        RunFolderError
            If ``check`` does, or the folder cannot be made.
        """
        self.check(particles)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error
        for name in self._present():
            if _OURS.fullmatch(name):
                (self.path / name).unlink()
        config = {
            "cmd": ["napari-cryodrgn", "train"],
            "program": _PROGRAM,
            "dataset_args": {
                "particles": str(Path(particles.source).resolve()),
                "n": len(particles),
                "invert_data": settings.invert_contrast,
                "ind": None,
            },
            "lattice_args": {"D": box + 1, "extent": 0.5, "ignore_DC": True},
            "model_args": {
                "zdim": settings.zdim,
                "qlayers": settings.layers,
                "qdim": settings.width,
                "players": settings.layers,
                "pdim": settings.width,
                "pe_type": settings.encoding,
                "domain": "fourier",
            },
            "pixel_size": pixel_size,
            "box": box,
            "seed": settings.seed,
            "settings": settings.model_dump(mode="json"),
        }
        text = yaml.safe_dump(config, sort_keys=False)
        write_atomically(self.path / "config.yaml", lambda p: p.write_text(text))

    def _config(self) -> dict[str, Any]:
        """What ``config.yaml`` says; nothing if it is absent or no mapping."""
        try:
            config = yaml.safe_load((self.path / "config.yaml").read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            return {}
        return config if isinstance(config, dict) else {}

    def check_resumable(self, settings: Settings, box: int) -> None:
        """Make sure that the settings lead through the same tasks as those of the run.

        Raises
        ------
        RunFolderError
            If ``config.yaml`` cannot be read.
        TrainingError
            If a setting differs that cannot change on the way.
        """
        config = self._config()
        if config.get("program") != _PROGRAM or not isinstance(config.get("settings"), dict):
            raise RunFolderError(
                self.path, "config.yaml is missing or damaged.", remedy="Start the run anew."
            )
        before = {**config["settings"], "box": config.get("box")}
        now = {**settings.model_dump(mode="json"), "box": box}
        for name in _FIXED:
            if before.get(name) != now[name]:
                raise TrainingError(
                    f"{name}: the run in {self.path} has {before.get(name)}, not {now[name]}. "
                    "Resume with the settings of the run, or choose another output folder."
                )

    def record(self, event: Event) -> None:
        """Append an event to ``events.jsonl``: numbers and texts, no arrays."""
        row: dict[str, Any] = {"event": type(event).__name__}
        row.update({f.name: getattr(event, f.name) for f in fields(event)})
        row = {k: v for k, v in row.items() if not isinstance(v, np.ndarray)}
        row = {k: str(v) if isinstance(v, Path) else v for k, v in row.items()}
        try:
            with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise RunFolderError(
                self.path,
                f"events.jsonl cannot be written ({error.strerror or error}).",
                remedy="Check the free space and your permissions.",
            ) from error

    def save(self, state: RunState, data: Dataset) -> None:
        """Write the checkpoint, and the volume, model, latents and poses of this moment."""
        content = {f.name: _to_cpu(getattr(state, f.name)) for f in fields(state)}
        write_atomically(self.path / _CHECKPOINT, lambda p: torch.save(content, p))
        if state.volume is not None:
            box = int(state.volume.shape[-1])
            volume = state.volume.cpu().numpy() / data.scale * (box / data.box) ** 3
            write_volume(self.path / "reconstruct.mrc", volume, data.pixel_size * data.box / box)
        if state.rotations is not None and state.shifts is not None:
            rotations, shifts = state.rotations.cpu().numpy(), state.shifts.cpu().numpy()
            write_poses(self.path / "pose.pkl", rotations, shifts, data.box)
        if state.mu is not None and state.logvar is not None:
            mu, logvar = state.mu.cpu().numpy(), state.logvar.cpu().numpy()
            write_latents(self.path / "z.pkl", mu, logvar)
        if state.loss is not None:
            loss = state.loss.cpu().numpy()
            write_atomically(self.path / "loss.npy", lambda p: _save_array(p, loss))
        if state.model is not None:
            weights = {
                "epoch": state.epoch,
                "model_state_dict": _to_cpu(state.model),
                "optimizer_state_dict": _to_cpu(state.optimizer),
                "scale": data.scale,
            }
            write_atomically(self.path / "weights.pkl", lambda p: torch.save(weights, p))

    def load(self) -> RunState:
        """State of the last checkpoint.

        Raises
        ------
        RunFolderError
            If there is none, or it is damaged.
        """
        path = self.path / _CHECKPOINT
        if not path.is_file():
            raise RunFolderError(
                self.path,
                f"there is no {_CHECKPOINT} to resume from.",
                remedy="Start the run anew, or choose the folder of a run that was stopped.",
            )
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            return RunState(**content)
        except Exception as error:  # noqa: BLE001  (torch raises many kinds on a damaged file)
            raise RunFolderError(
                self.path,
                f"{_CHECKPOINT} is damaged ({type(error).__name__}).",
                remedy="Start the run anew.",
            ) from error

    def finish(
        self,
        state: RunState,
        particles: ParticleSet,
        final: Reconstruction,
        data: Dataset,
    ) -> None:
        """Write the consensus volume, its halves and their FSC, and the final poses' STAR file."""
        maps = {
            "reconstruct": final.volume,
            "half_map_a": final.halves[0],
            "half_map_b": final.halves[1],
        }
        for name, volume in maps.items():
            values = (volume / data.scale).cpu().numpy()
            write_volume(self.path / f"{name}.mrc", values, data.pixel_size)
        lines = ["shell,resolution_angstrom,fsc"]
        for shell, value in enumerate(final.fsc.tolist()[1:], 1):
            lines.append(f"{shell},{data.box * data.pixel_size / shell:.3f},{value:.5f}")
        text = "\n".join([*lines, ""])
        write_atomically(self.path / "fsc.csv", lambda p: p.write_text(text, encoding="utf-8"))
        if state.rotations is None or state.shifts is None:
            return
        ratio = particles.box / data.box
        rotations, shifts = state.rotations.cpu().numpy(), state.shifts.cpu().numpy() * ratio
        write_star(self.path / "particles.star", particles, rotations, shifts)


_PROGRAM = "napari-cryodrgn"
# Files of a run, which a new run in the same folder replaces.
_OURS = re.compile(
    r"(weights|z|pose)(\.\d+)?\.pkl|loss\.npy|checkpoint\.pkl|events\.jsonl|reconstruct\.mrc|half_map_[ab]\.mrc|fsc\.csv|particles\.star"
)
# Settings that decide which tasks there are, and the shapes that one hands to the next.
_FIXED = (
    "poses",
    "zdim",
    "box",
    "epochs",
    "invert_contrast",
    "refine_poses",
    "width",
    "layers",
    "decoder",
    "encoding",
    "linear_start",
    "refine_latent",
)


def _save_array(path: Path, values: NDArray[np.float32]) -> None:
    # Given a name, NumPy would append its own ending to it.
    with path.open("wb") as file:
        np.save(file, values, allow_pickle=False)


def _to_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {k: _to_cpu(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_to_cpu(v) for v in value)
    return value
