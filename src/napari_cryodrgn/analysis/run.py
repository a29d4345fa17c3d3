"""A run folder, opened for looking at: finished or still in progress."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from jaxtyping import Float32
from numpy.typing import ArrayLike, NDArray

from ..errors import CryodrgnError, RunFolderError
from ..model import Decoder, build_decoder
from ..particles import Volume, read_latents, read_poses, read_volume

Array = NDArray[np.float32]
_WATCHED = ("config.yaml", "weights.pkl", "z.pkl", "pose.pkl", "reconstruct.mrc", "particles.star")


@dataclass(frozen=True)
class Latents:
    """Posterior of the latent of every particle: mean and log variance, (N, zdim) each."""

    mu: Float32[Array, "n zdim"]
    logvar: Float32[Array, "n zdim"]


class Run:
    """What a run has inferred so far; open it again to see what came since.

    Made by ``Run.open``. ``box`` is in pixels, ``pixel_size`` in Å; ``rotations`` (N, 3, 3) map
    object to image and ``shifts`` (N, 2) are displacements in pixels of the box. Parts that are
    not there yet are None. The image files are not needed.
    """

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.folder = folder
        self._stamp = self._stamps()
        try:
            self.settings: dict[str, Any] = dict(config["settings"])
            self.zdim = int(config["model_args"]["zdim"])
            self.box = int(config["box"])
            self.pixel_size = float(config["pixel_size"])
            self.n_particles = int(config["dataset_args"]["n"])
            self.particles_path: Path | None = Path(config["dataset_args"]["particles"])
        except (KeyError, TypeError, ValueError) as error:
            raise RunFolderError(
                folder,
                f"config.yaml is not that of a run of this program ({error} is missing or wrong).",
                remedy="Runs of other programs cannot be opened yet.",
            ) from error
        self.finished, self.epoch = self._progress()
        self.latents = self._read_latents()
        self.rotations: Array | None = None
        self.shifts: Array | None = None
        if (folder / "pose.pkl").is_file():
            poses = read_poses(folder / "pose.pkl", self.box)
            self.rotations, self.shifts = poses.rotations, poses.shifts
        self._decoder: Decoder | None = None
        self._scale = 1.0
        self._lock = threading.Lock()

    @classmethod
    def open(cls, folder: Path | str) -> Run:
        """Open a run folder.

        Raises
        ------
        RunFolderError
            If it is no run folder, or a file of it cannot be read.
        """
        folder = Path(folder)
        path = folder / "config.yaml"
        if not folder.is_dir():
            raise RunFolderError(folder, "there is no such folder.", remedy="Choose a run folder.")
        if not path.is_file():
            raise RunFolderError(
                folder,
                "it is no run folder: config.yaml is missing.",
                remedy="Choose the output folder of a training run.",
            )
        try:
            config = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise RunFolderError(folder, f"config.yaml cannot be read ({error}).") from error
        if not isinstance(config, dict):
            raise RunFolderError(folder, "config.yaml is empty or no table of settings.")
        try:
            return cls(folder, config)
        except RunFolderError:
            raise
        except CryodrgnError as error:
            raise RunFolderError(folder, str(error)) from error

    def _stamps(self) -> dict[str, int]:
        paths = [self.folder / name for name in _WATCHED]
        return {p.name: p.stat().st_mtime_ns for p in paths if p.is_file()}

    def changed(self) -> bool:
        """Whether files have been written since this was opened."""
        return self._stamps() != self._stamp

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

    def _read_latents(self) -> Latents | None:
        path = self.folder / "z.pkl"
        if self.zdim == 0 or not path.is_file():
            return None
        mu, logvar = read_latents(path)
        if mu.ndim != 2 or mu.shape[1] != self.zdim:
            raise RunFolderError(
                self.folder, f"z.pkl holds {mu.shape}, expected (particles, {self.zdim})."
            )
        return Latents(mu, np.zeros_like(mu) if logvar is None else logvar)

    @property
    def can_decode(self) -> bool:
        """Whether the weights of a decoder have been saved."""
        return (self.folder / "weights.pkl").is_file()

    def decode(self, z: ArrayLike) -> Float32[Array, "z y x"]:
        """Volume at a latent, in the units of the particle images; safe in any thread.

        Parameters
        ----------
        z
            (zdim,) numbers.

        Raises
        ------
        RunFolderError
            If no decoder is saved yet, or the file is damaged, or ``z`` has another length.
        """
        latent = torch.from_numpy(np.atleast_1d(np.asarray(z, np.float32)))
        if latent.shape != (self.zdim,) or not bool(latent.isfinite().all()):
            raise RunFolderError(
                self.folder,
                f"z: expected {self.zdim} finite numbers, got {np.asarray(z).tolist()}.",
            )
        with self._lock:
            if self._decoder is None:
                self._decoder = self._load_decoder()
        return (self._decoder.decode(latent) / self._scale).numpy()

    def _load_decoder(self) -> Decoder:
        path = self.folder / "weights.pkl"
        if not path.is_file():
            raise RunFolderError(
                self.folder,
                "weights.pkl is not there yet.",
                remedy="Wait until the run has trained its decoder.",
            )
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            self._scale = float(content["scale"])
            return build_decoder(content["model_state_dict"]).eval()
        except Exception as error:
            raise RunFolderError(
                self.folder,
                f"weights.pkl cannot be used ({type(error).__name__}: {error}).",
                remedy="Train again, or restore the file.",
            ) from error

    def consensus(self) -> Volume:
        """The consensus volume, ``reconstruct.mrc``.

        Raises
        ------
        RunFolderError
            If it is not there yet or cannot be read.
        """
        path = self.folder / "reconstruct.mrc"
        if not path.is_file():
            raise RunFolderError(
                self.folder,
                "reconstruct.mrc is not there yet.",
                remedy="Wait for the first volume.",
            )
        try:
            return read_volume(path)
        except CryodrgnError as error:
            raise RunFolderError(self.folder, str(error)) from error

    def contour(self) -> float:
        """Iso level for all volumes of this run, from the consensus: it never changes with z.

        Raises
        ------
        RunFolderError
            If there is no consensus volume yet.
        """
        return contour_level(self.consensus().data)


def contour_level(volume: Float32[Array, "z y x"]) -> float:
    """Iso level around the densest part of a volume: 2.5 standard deviations over the mean."""
    return float(volume.mean() + 2.5 * volume.std())
