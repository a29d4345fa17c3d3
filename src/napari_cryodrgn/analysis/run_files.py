"""The files of a run folder, as this program writes them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int
from numpy.typing import NDArray

from ..errors import RunFolderError
from ..model import Decoder, build_decoder
from ..particles import read_latents, read_poses

Array = NDArray[np.float32]
_WATCHED = ("config.yaml", "weights.pkl", "z.pkl", "pose.pkl", "reconstruct.mrc", "particles.star")


@dataclass(frozen=True)
class Latents:
    """Posterior of the latent of every particle: mean and log variance, (N, zdim) each."""

    mu: Float32[Array, "n zdim"]
    logvar: Float32[Array, "n zdim"]


@dataclass(frozen=True)
class Products:
    """What an analysis has left in a run folder; None where it has left nothing.

    ``umap`` holds the particles' coordinates, ``labels`` their clusters from 0, ``centres`` the
    clusters' latents and ``centre_particles`` the particles they were taken from. ``walks`` holds
    the latents along principal axes, by their number from 1.
    """

    folder: Path
    umap: Float32[Array, "n 2"] | None = None
    labels: Int[NDArray[np.intp], " n"] | None = None
    centres: Float32[Array, "clusters zdim"] | None = None
    centre_particles: Int[NDArray[np.intp], " clusters"] | None = None
    walks: dict[int, Float32[Array, "steps zdim"]] = field(default_factory=dict)


class RunFiles(ABC):
    """What the files of a run say; read once, when this is made.

    The attributes are those of `Run`. ``weights`` is the decoder's file, if there is one.
    ``ctf_path`` is cryoDRGN's file of CTF parameters. ``central`` is a latent whose volume stands
    for all, where no consensus volume is kept.
    """

    settings: dict[str, Any]
    zdim: int
    box: int
    pixel_size: float | None
    n_particles: int
    particles_path: Path | None
    finished: bool
    epoch: int

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stamp = self.stamps()
        self.indices: NDArray[np.intp] | None = None
        self.latents: Latents | None = None
        self.rotations: Array | None = None
        self.shifts: Array | None = None
        self.weights: Path | None = None
        self.ctf_path: Path | None = None
        self.central: Array | None = None

    @abstractmethod
    def watched(self) -> Iterable[Path]:
        """Files that change while the run goes on."""

    @abstractmethod
    def load_decoder(self, path: Path) -> tuple[Decoder, float]:
        """The decoder in ``path``, and what its volumes are to be divided by.

        Raises
        ------
        RunFolderError
            If the file is damaged or not of that kind.
        """

    def products(self) -> Products | None:
        """What an analysis of these latents has left, if there was one."""
        return None

    def stamps(self) -> dict[str, int]:
        """When each of the watched files was written."""
        return {p.name: p.stat().st_mtime_ns for p in self.watched() if p.is_file()}

    def read_latents(self, path: Path) -> Latents:
        """Latents of a file, checked against ``zdim``."""
        mu, logvar = read_latents(path)
        if mu.shape[1] != self.zdim:
            raise RunFolderError(
                self.folder, f"{path.name} holds {mu.shape}, expected (particles, {self.zdim})."
            )
        return Latents(mu, np.zeros_like(mu) if logvar is None else logvar)


class OwnFiles(RunFiles):
    """The files of a run of this program.

    Raises
    ------
    RunFolderError
        If ``config`` is not this program's, or a file cannot be read.
    """

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        super().__init__(folder)
        try:
            self.settings = dict(config["settings"])
            self.zdim = int(config["model_args"]["zdim"])
            self.box = int(config["box"])
            self.pixel_size = float(config["pixel_size"])
            self.n_particles = int(config["dataset_args"]["n"])
            self.particles_path = Path(config["dataset_args"]["particles"])
        except (KeyError, TypeError, ValueError) as error:
            raise RunFolderError(
                folder,
                f"config.yaml is not that of a run of this program ({error} is missing or wrong).",
                remedy="Choose a run of this program or of cryoDRGN.",
            ) from error
        self.finished, self.epoch = self._progress()
        if self.zdim and (folder / "z.pkl").is_file():
            self.latents = self.read_latents(folder / "z.pkl")
        if (folder / "pose.pkl").is_file():
            poses = read_poses(folder / "pose.pkl", self.box)
            self.rotations, self.shifts = poses.rotations, poses.shifts
        self.weights = folder / "weights.pkl"

    def watched(self) -> Iterable[Path]:
        """Files that each checkpoint replaces."""
        return [self.folder / name for name in _WATCHED]

    def stamps(self) -> dict[str, int]:
        """As of all runs, and whether the run has finished: its last word changes no other file."""
        return super().stamps() | {"finished": int(self._progress()[0])}

    def load_decoder(self, path: Path) -> tuple[Decoder, float]:
        """The decoder in ``path``, and the scale of the images in training."""
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            return build_decoder(content["model_state_dict"]).eval(), float(content["scale"])
        except Exception as error:
            raise RunFolderError(
                self.folder,
                f"{path.name} cannot be used ({type(error).__name__}: {_first_words(error)}).",
                remedy="Train again, or restore the file.",
            ) from error

    def _progress(self) -> tuple[bool, int]:
        path = self.folder / "events.jsonl"
        finished, epoch = False, 0
        if path.is_file():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    event = json.loads(line)
                except ValueError:
                    continue  # a line caught half-written
                finished = event.get("event") == "RunFinished"
                if event.get("event") == "EpochDone":
                    epoch = int(event.get("epoch", epoch))
        return finished, epoch


def _first_words(error: Exception) -> str:
    """The first line of what an error says, and no more than fits on two."""
    text = str(error).partition("\n")[0]
    return text if len(text) <= 120 else text[:120] + " …"
