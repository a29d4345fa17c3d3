"""The files of a run of cryoDRGN: ``train_vae``, ``train_dec``, ``train_nn``, ``abinit``."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import CryodrgnError, RunFolderError
from ..model import Decoder
from ..model.cryodrgn_weights import decoder_of_abinit, decoder_of_training
from ..particles import open_mrc, read_ctf, read_indices, read_pickles, read_poses
from .run_files import Array, Products, RunFiles

_NUMBERED = re.compile(r"(weights|z|pose|reconstruct)(?:\.(\d+))?\.(?:pkl|mrc)")
_UNSUPPORTED = re.compile(r"GLOBAL (\S+)")


class _Ignored:
    """Stands for NumPy's objects in weights: of those, only tensors are wanted."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


_NUMPY = [
    "numpy.ndarray",
    "numpy.dtype",
    *(
        f"numpy.{core}.multiarray.{name}"
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    ),
]


def is_cryodrgn(config: Mapping[str, Any]) -> bool:
    """Whether a run's configuration was written by cryoDRGN itself."""
    tables = (config.get("lattice_args"), config.get("model_args"))
    return "program" not in config and all(isinstance(table, dict) for table in tables)


class CryodrgnFiles(RunFiles):
    """The files of a run of cryoDRGN.

    Of the epochs present, the final one is taken, else the last with both weights and latents.
    The particles need not be there any more; where the CTF parameters are gone too, the pixel
    size comes from a volume, or is unknown.

    Raises
    ------
    RunFolderError
        If ``config`` lacks what is needed, or the latents do not fit it.
    ParticleFileError
        If a file of latents, poses or indices is damaged.
    """

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        super().__init__(folder)
        self._config = config
        data = config.get("dataset_args")
        self._data: dict[str, Any] = data if isinstance(data, dict) else {}
        self._is_abinit = "data_norm_mean" in config
        try:
            lattice = config["lattice_args"]
            self.box = int(lattice["D"]) - 1
            extent = float(lattice.get("extent", 0.5))
            self.zdim = int(config["model_args"].get("zdim") or 0)
            self._norm = self._read_norm()
        except (KeyError, TypeError, ValueError) as error:
            raise self._wrong(f"{error} is missing or wrong") from error
        if self.box % 2 or self.box < 2 or extent != 0.5:
            raise self._wrong(f"a lattice of {self.box + 1} points and extent {extent:g}")
        self.settings = {"poses": "given" if self._data.get("poses") else "search"}
        epochs = {kind: self._epochs(kind) for kind in ("weights", "z", "pose")}
        self._key = self._choose(epochs["weights"], epochs["z"])
        numbers = [n for n in {**epochs["weights"], **epochs["z"]} if n is not None]
        self.epoch = max(numbers, default=0) if self._key is None else self._key
        self.finished = None in epochs["weights"] or (self._is_abinit and self._is_last())
        self.weights = epochs["weights"].get(self._key)
        if self.zdim and self._key in epochs["z"]:
            self.latents = self.read_latents(epochs["z"][self._key])
            mu = self.latents.mu
            if len(mu):
                self.central = mu[np.linalg.norm(mu - mu.mean(0), axis=1).argmin()]
        elif not self.zdim:
            self.central = np.zeros(0, np.float32)
        if self.weights is None:
            self.central = None
        self.indices, self.particles_path = self._read_selection()
        self._read_poses(epochs["pose"].get(self._key))
        counts = [len(x) for x in (self.rotations, self.indices) if x is not None]
        self.n_particles = len(self.latents.mu) if self.latents else (counts or [0])[0]
        self.ctf_path = self._find(self._data.get("ctf"))
        self.pixel_size = self._read_pixel_size()

    def watched(self) -> Iterable[Path]:
        """The configuration, and all weights, latents, poses and volumes."""
        yield self.folder / "config.yaml"
        yield from (p for p in self.folder.iterdir() if _NUMBERED.fullmatch(p.name))

    def load_decoder(self, path: Path) -> tuple[Decoder, float]:
        """The decoder in ``path``; its volumes are in the units of the images already."""
        content = self._load_weights(path)
        try:
            decoder: Decoder
            if self._is_abinit:
                decoder = decoder_of_abinit(content, self._norm)
            else:
                state, args = content["model_state_dict"], self._config["model_args"]
                decoder = decoder_of_training(state, args, self.box, self._norm)
            sizes = {"zdim": (decoder.zdim, self.zdim), "box": (decoder.box, self.box)}
            for name, (found, expected) in sizes.items():
                if found != expected:
                    raise ValueError(f"{name}: expected {expected}, got {found}")
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise RunFolderError(
                self.folder,
                f"{path.name} does not fit config.yaml ({error}).",
                remedy="Check that both are of the same run.",
            ) from error
        return decoder.eval(), 1.0

    def products(self) -> Products | None:
        """What ``cryodrgn analyze`` has left for the latents of this epoch.

        Raises
        ------
        RunFolderError
            If a file of it is not of these particles.
        ParticleFileError
            If one is damaged.
        """
        names = [f"analyze.{self.epoch}"] if self._is_epoch() else []
        names += ["analyze"] if self._key is None else []
        folder = next((f for name in names if (f := self.folder / name).is_dir()), None)
        if folder is None:
            return None
        umap = labels = centres = None
        members: NDArray[np.intp] | None = None
        if (folder / "umap.pkl").is_file():
            umap = self._of_particles(folder / "umap.pkl").astype(np.float32)
        clusters = next(iter(sorted(folder.glob("kmeans*/labels.pkl"))), None)
        if clusters is not None:
            labels = self._of_particles(clusters).astype(np.intp)
            centres = self._table(clusters.with_name("centers.txt"))
            found = self._table(clusters.with_name("centers_ind.txt"))
            members = None if found is None else found.ravel().astype(np.intp)
        walks = {
            int(path.parent.name[2:]): walk
            for path in sorted(folder.glob("pc[0-9]*/z_values.txt"))
            if path.parent.name[2:].isdigit() and (walk := self._table(path)) is not None
        }
        return Products(folder, umap, labels, centres, members, walks)

    def _wrong(self, what: str) -> RunFolderError:
        return RunFolderError(
            self.folder,
            f"its configuration is not that of a run of cryoDRGN that can be opened ({what}).",
            remedy="Choose the output folder of train_vae, train_dec or abinit.",
        )

    def _read_norm(self) -> tuple[float, float]:
        if "norm" in self._data:
            mean, deviation = self._data["norm"]
        else:
            mean, deviation = self._config["data_norm_mean"], self._config["data_norm_std"]
        return float(mean), float(deviation)

    def _epochs(self, kind: str) -> dict[int | None, Path]:
        """Files of a kind by their epoch; None is the final one."""
        found = {}
        for path in self.folder.glob(f"{kind}*.pkl"):
            if match := _NUMBERED.fullmatch(path.name):
                found[None if match[2] is None else int(match[2])] = path
        return found

    def _choose(self, weights: Iterable[int | None], z: Iterable[int | None]) -> int | None:
        both = set(weights) & set(z) if self.zdim else set(weights)
        keys = both or set(z) or set(weights)
        return None if None in keys else max((key for key in keys if key is not None), default=None)

    def _is_epoch(self) -> bool:
        """Whether the latents are those of a numbered epoch: ``train_dec`` ends with another."""
        numbered = self._epochs("z").get(self.epoch)
        if self._key is not None or numbered is None or self.latents is None:
            return True
        mu, other = self.latents.mu, self.read_latents(numbered).mu
        return mu.shape == other.shape and bool(np.abs(mu - other).mean() <= 0.01 * mu.std())

    def _is_last(self) -> bool:
        training = self._config.get("training")
        last = training.get("num_epochs") if isinstance(training, dict) else None
        return last is not None and self.epoch == last

    def _find(self, name: Any) -> Path | None:
        """A file named in the configuration: where it was, or near the run."""
        if not isinstance(name, str) or not name:
            return None
        path, here = Path(name), self.folder.absolute()
        places = [path] if path.is_absolute() else [base / path for base in (here, *here.parents)]
        try:
            return next((p for p in [*places, here / path.name] if p.is_file()), None)
        except (OSError, ValueError):  # a name that no system allows
            return None

    def _read_selection(self) -> tuple[NDArray[np.intp] | None, Path | None]:
        """Which particles of which file these are; no file if that cannot be told any more."""
        if "ntilts" in self._data:
            return None, None  # the file's rows are tilts, several of a particle
        name = self._data.get("particles")
        particles = self._find(name) or (Path(name) if isinstance(name, str) else None)
        if self._data.get("ind") is None:
            return None, particles
        path = self._find(self._data["ind"])
        indices = None if path is None else read_indices(path)
        if indices is None or (self.latents and len(indices) != len(self.latents.mu)):
            return None, None
        return indices, particles

    def _read_poses(self, path: Path | None) -> None:
        """Poses that the run found or refined, else those it was given."""
        path = path or self._find(self._data.get("poses"))
        if path is None:
            return
        # abinit writes pixels and all others fractions of the box.
        poses = read_poses(path, 1 if self._is_abinit else self.box)
        rotations, shifts = poses.rotations, poses.shifts
        n = len(rotations) if self.latents is None else len(self.latents.mu)
        chosen = self.indices
        if len(rotations) != n and chosen is not None and len(chosen) == n:
            if chosen.max(initial=-1) >= len(rotations):
                return
            rotations, shifts = rotations[chosen], shifts[chosen]
        if len(rotations) == n:  # else tilts, or another set's poses
            self.rotations, self.shifts = rotations, shifts

    def _read_pixel_size(self) -> float | None:
        if self.ctf_path is not None:
            _, box, pixel_size = read_ctf(self.ctf_path)
            return pixel_size * box / self.box
        volumes = [*self.folder.glob("reconstruct*.mrc"), *self.folder.glob("analyze*/*/vol_*.mrc")]
        if volumes:
            found = open_mrc(min(volumes))
            if found.pixel_size is not None:
                return found.pixel_size * found.box / self.box
        return None

    def _load_weights(self, path: Path) -> dict[str, Any]:
        known: list[Any] = [(_Ignored, name) for name in _NUMPY]
        try:
            with torch.serialization.safe_globals(known):
                content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            refused = _UNSUPPORTED.search(str(error))
            if isinstance(error, pickle.UnpicklingError) and refused:
                problem = f"{path.name} is more than weights: it would run {refused[1]}. Refused."
                remedy = "Use it only if you trust its source, in cryoDRGN."
            else:
                problem = f"{path.name} is half-written or damaged."
                remedy = "Wait until cryoDRGN has written it, or copy it again."
            raise RunFolderError(self.folder, problem, remedy=remedy) from error
        if not isinstance(content, dict):
            raise RunFolderError(self.folder, f"{path.name} holds no weights of cryoDRGN.")
        return content

    def _of_particles(self, path: Path) -> NDArray[Any]:
        """An array with a row for each particle."""
        found = read_pickles(path)[0]
        n = self.n_particles
        if not isinstance(found, np.ndarray) or found.shape[:1] != (n,):
            raise RunFolderError(
                self.folder, f"{path.name} of {path.parent.name} is not of {n} particles."
            )
        return found

    def _table(self, path: Path) -> Array | None:
        """Numbers of a text file, if it is there."""
        if not path.is_file():
            return None
        try:
            return np.loadtxt(path, dtype=np.float32, ndmin=2)
        except (OSError, ValueError) as error:
            raise CryodrgnError(f"{path}: it is no table of numbers ({error}).") from error
