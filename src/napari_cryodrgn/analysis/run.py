"""A run folder, opened for looking at: finished or still in progress."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Complex, Float, Float32
from numpy.typing import ArrayLike
from torch import Tensor

from ..errors import CryodrgnError, RunFolderError
from ..imaging import Lattice
from ..model import Decoder
from ..particles import Volume, read_volume
from .cryodrgn_run import CryodrgnFiles, is_cryodrgn
from .run_config import read_config
from .run_files import Array, Latents, OwnFiles, Products, RunFiles

__all__ = ["Latents", "Products", "Run", "contour_level"]

# Box of the volume that the contour of a run of cryoDRGN comes from.
_CONTOUR_BOX = 64


class Run:
    """What a run has inferred so far; open it again to see what came since.

    Made by ``Run.open``, of a run of this program or of cryoDRGN. ``box`` is in pixels,
    ``pixel_size`` in Å, None if unknown; ``rotations`` (N, 3, 3) map object to image and
    ``shifts`` (N, 2) are displacements in pixels of the box. ``indices`` (N,) are the particles'
    rows in the file at ``particles_path``; all rows in order if None. ``ctf_path`` is a file of
    cryoDRGN with their CTF. Parts that are not there
    yet are None. The image files are not needed.
    """

    def __init__(self, files: RunFiles) -> None:
        self._files = files
        self.folder = files.folder
        self.settings = files.settings
        self.zdim, self.box, self.pixel_size = files.zdim, files.box, files.pixel_size
        self.n_particles, self.particles_path = files.n_particles, files.particles_path
        self.indices, self.ctf_path = files.indices, files.ctf_path
        self.finished, self.epoch = files.finished, files.epoch
        self.latents, self.rotations, self.shifts = files.latents, files.rotations, files.shifts
        self._decoder: Decoder | None = None
        self._scale = 1.0
        self._contour: float | None = None
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
        try:
            config = read_config(folder)
            files = CryodrgnFiles if is_cryodrgn(config) else OwnFiles
            return cls(files(folder, config))
        except RunFolderError:
            raise
        except CryodrgnError as error:
            raise _named(folder, error) from error

    def changed(self) -> bool:
        """Whether files have been written since this was opened."""
        return self._files.stamps() != self._files.stamp

    def products(self) -> Products | None:
        """Embedding, clusters and walks that ``cryodrgn analyze`` has left for these latents.

        Raises
        ------
        RunFolderError
            If a file of them is damaged or of other particles.
        """
        try:
            return self._files.products()
        except CryodrgnError as error:
            raise _named(self.folder, error) from error

    @property
    def can_decode(self) -> bool:
        """Whether the weights of a decoder have been saved."""
        return self._files.weights is not None and self._files.weights.is_file()

    def decode(
        self,
        z: ArrayLike,
        box: int | None = None,
        limit: float | None = None,
        *,
        stop: Callable[[], bool] | None = None,
    ) -> Float32[Array, "b b b"]:
        """Volume at a latent, in the units of the particle images; safe in any thread.

        Parameters
        ----------
        z
            (zdim,) numbers.
        box
            Edge of the volume in voxels, even and at most the run's, which it is if absent. A
            smaller box covers the same cube with larger voxels: the volume is low-pass filtered
            and its density stays as it is.
        limit
            Largest frequency, in cycles per box; all if absent.
        stop
            Asked now and then, in this thread, whether the volume is no longer wanted.

        Raises
        ------
        RunFolderError
            If no decoder is saved yet, or the file is damaged, or ``z`` has another length.
        ValueError
            If ``box`` is odd or larger than the run's.
        CryodrgnError
            If ``stop`` said so.
        """
        latent, decoder = self._latent(z), self._load()
        return (decoder.decode(latent, limit, box, stop) / self._scale).numpy()

    def slice(
        self,
        z: ArrayLike,
        rotation: Float[Tensor, "3 3"],
        lattice: Lattice,
        *,
        stop: Callable[[], bool] | None = None,
    ) -> Complex[Tensor, " pixels"]:
        """Pixels of a projection of the volume at a latent; safe in any thread.

        What a slice through the transform of `decode`'s volume is, but far sooner: the decoder is
        asked for the slice alone where it can be.

        Parameters
        ----------
        z
            (zdim,) numbers.
        rotation
            From object to image.
        lattice
            Pixels of an image of the run's box.
        stop
            As in `decode`.

        Raises
        ------
        RunFolderError
            As `decode`.
        CryodrgnError
            If ``stop`` said so.
        """
        latent, decoder = self._latent(z), self._load()
        return decoder.slice(latent, rotation, lattice, stop) / self._scale

    def _latent(self, z: ArrayLike) -> Float[Tensor, " zdim"]:
        latent = torch.from_numpy(np.atleast_1d(np.asarray(z, np.float32)))
        if latent.shape != (self.zdim,) or not bool(latent.isfinite().all()):
            raise RunFolderError(
                self.folder,
                f"z: expected {self.zdim} finite numbers, got {np.asarray(z).tolist()}.",
            )
        return latent

    def _load(self) -> Decoder:
        with self._lock:
            if self._decoder is None:
                self._decoder = self._load_decoder()
            return self._decoder

    def _load_decoder(self) -> Decoder:
        path = self._files.weights
        if path is None or not path.is_file():
            raise RunFolderError(
                self.folder,
                f"{path.name if path else 'weights.pkl'} is not there yet.",
                remedy="Wait until the run has trained its decoder.",
            )
        decoder, self._scale = self._files.load_decoder(path)
        return decoder

    def consensus(self) -> Volume:
        """The consensus volume, ``reconstruct.mrc``; of cryoDRGN the one at the central latent.

        Raises
        ------
        RunFolderError
            If it is not there yet or cannot be read.
        """
        if self._files.central is not None:
            return Volume(self.decode(self._files.central), self.pixel_size)
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
            raise _named(self.folder, error) from error

    def contour(self) -> float:
        """Iso level for all volumes of this run: it never changes with z or the box.

        From the consensus; of cryoDRGN, from the central volume, filtered if it is large, since
        this is what the first picture waits for.

        Raises
        ------
        RunFolderError
            If there is no consensus volume yet.
        """
        if self._contour is None:
            central = self._files.central
            if central is not None and self.box > _CONTOUR_BOX:
                self._contour = contour_level(self.decode(central, _CONTOUR_BOX))
            else:
                self._contour = contour_level(self.consensus().data)
        return self._contour


def _named(folder: Path, error: CryodrgnError) -> RunFolderError:
    return error if isinstance(error, RunFolderError) else RunFolderError(folder, str(error))


def contour_level(volume: Float32[Array, "z y x"]) -> float:
    """Iso level around the densest part of a volume: 2.5 standard deviations over the mean."""
    return float(volume.mean() + 2.5 * volume.std())
