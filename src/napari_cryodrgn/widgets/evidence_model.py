"""What the Evidence tab of the Particle inspector shows, without Qt."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from ..errors import CryodrgnError
from .background import Background, Deliver
from .evidence_source import EvidenceSource
from .inspector_model import InspectorModel

if TYPE_CHECKING:
    from torch import Tensor

    from ..analysis import Run
    from ..analysis.agreement import Agreement
    from ..analysis.evidence import Evidence, MeanFrc, Rings

Array = NDArray[np.float32]
# Particles that the noise is estimated from, and how many of them at a time: a question about a
# particle waits for no more.
_SAMPLE, _PART = 64, 2
# Between two reports of progress.
_TELL_S = 0.5


@dataclass(frozen=True, eq=False)
class Curves:
    """Correlations by ring from 1 on, ``frequency`` in 1/Å (in 1/px where that is unknown).

    95 % of such curves of pure noise stay below ``level``.
    """

    frequency: Array
    frc: Array
    level: Array
    expected: Array | None


class EvidenceModel:
    """The evidence of the inspector's particle; works only while `active`.

    Parameters
    ----------
    inspector
        Whose run, particle and selection are followed.
    deliver
        Brings answers to the thread that made this, see `Background`.
    """

    #: There is other evidence, or a line about why there is none.
    changed = Signal()
    #: The frequency that pictures are filtered to has changed.
    low_pass_changed = Signal()
    #: The mean over many particles is there, or gone.
    mean_changed = Signal()

    def __init__(self, inspector: InspectorModel, deliver: Deliver) -> None:
        self.inspector = inspector
        self.evidence: Evidence | None = None
        self.loss: float | None = None
        #: Resolution in Å beyond which half maps no longer agree, None if it is not known.
        self.limit: float | None = None
        self.problem = ""
        #: Power (shells,) of what projections leave of images, None until it is known.
        self.noise: Tensor | None = None
        self.mean: MeanFrc | None = None
        self.low_pass: float | None = None
        self._background = Background(deliver)
        self._source: EvidenceSource | None = None
        self._rings: list[Rings] = []
        self._active = False
        self._on_run()
        inspector.run_changed.connect(self._on_run)
        inspector.particle_changed.connect(self._ask)
        inspector.mask_changed.connect(self._drop_mean)

    @property
    def active(self) -> bool:
        """Whether anybody looks."""
        return self._active

    @active.setter
    def active(self, active: bool) -> None:
        self._active = active
        self._ask()

    @property
    def busy(self) -> bool:
        """Whether evidence is being gathered."""
        return self._background.waits_for("evidence")

    @property
    def seeks_noise(self) -> bool:
        """Whether the noise is being estimated."""
        return self._background.waits_for("noise")

    @property
    def unit(self) -> str:
        """Of lengths."""
        run = self.inspector.run
        return "px" if run is None or run.pixel_size is None else "Å"

    def close(self) -> None:
        """Stop what runs in the background."""
        self._background.close()

    # Low-pass

    def low_passes(self) -> tuple[float, float]:
        """Finest and coarsest resolution that pictures can be filtered to."""
        run = self.inspector.run
        if run is None:
            return 1.0, 2.0
        size = run.pixel_size or 1.0
        return 2 * size, max(run.box * size / 3, 3 * size)

    def set_low_pass(self, low_pass: float) -> None:
        """Filter pictures to another resolution; at the finest, not at all."""
        finest, coarsest = self.low_passes()
        value = None if low_pass <= finest else min(low_pass, coarsest)
        if value != self.low_pass:
            self.low_pass = value
            self.low_pass_changed.emit()

    # Evidence

    def _on_run(self) -> None:
        for key in ("evidence", "noise"):
            self._background.forget(key)
        self.evidence, self.noise, self.loss, self.limit = None, None, None, None
        self.problem, self._source, self._rings = "", None, []
        run = self.inspector.run
        if run is not None:
            # Six waves or more across the image: coarse, but a particle is to be seen.
            rings = max(6, run.box // 8)
            self.low_pass = round(run.box * (run.pixel_size or 1.0) / rings, 1)
        self.low_pass_changed.emit()
        self._drop_mean()
        self.changed.emit()
        self._ask()

    def _drop_mean(self) -> None:
        self.mean = None
        self.mean_changed.emit()

    def _ask(self) -> None:
        run, particle = self.inspector.run, self.inspector.particle
        if run is None or not self._active or not run.n_particles:
            return
        if self.evidence is not None and self.evidence.particle == particle:
            self._background.forget("evidence")
            return

        def job() -> tuple[Evidence, EvidenceSource]:
            source = self._open(run)
            return source.examiner.of(particle), source

        self._background.ask("evidence", job, self._found, self._failed)

    def _open(self, run: Run) -> EvidenceSource:
        """In a worker."""
        source = self._source
        if source is not None and source.examiner.run is run:
            return source
        return EvidenceSource.of(self.inspector.images.of(run))

    def _found(self, found: tuple[Evidence, EvidenceSource]) -> None:
        self.evidence, source = found
        self._source = source
        self.problem, self.limit, losses = "", source.limit, source.losses
        self.loss = None if losses is None else float(losses[self.evidence.particle])
        if self.noise is None and not self._rings:
            self._ask_noise()
        self.changed.emit()

    def _failed(self, error: Exception) -> None:
        self.evidence, self.loss = None, None
        self.problem = str(error)
        self.changed.emit()
        self._unexpected(error)

    def _unexpected(self, error: Exception) -> None:
        if not isinstance(error, CryodrgnError):
            self.inspector.failed.emit(error)

    # Noise

    def _ask_noise(self) -> None:
        run, done = self.inspector.run, len(self._rings)
        if run is None:
            return
        from ..analysis.evidence import some_rows

        rows = some_rows(run.n_particles, None, _SAMPLE)[done * _PART :][:_PART]

        def job() -> Rings:
            return self._open(run).examiner.rings(rows)

        def found(rings: Rings) -> None:
            self._rings.append(rings)
            self._ask_noise()

        def failed(error: Exception) -> None:
            # Some other particle's image may be damaged: then nothing is expected.
            self.changed.emit()
            self._unexpected(error)

        if len(rows):
            self._background.ask("noise", job, found, failed)
        else:
            self.noise = type(self._rings[0]).join(self._rings).noise()
            self.changed.emit()

    # Curves

    def curves(self) -> Curves | None:
        """Correlation of the particle's image and projection, None without evidence."""
        evidence = self.evidence
        if evidence is None:
            return None
        rings, noise = evidence.rings, self.noise
        expected = None if noise is None else rings.expected(noise)[0].numpy()
        return self._curves(evidence, rings.frc()[0].numpy(), expected)

    def mean_curves(self) -> Curves | None:
        """The mean over many particles, None if there is none."""
        mean = self.mean
        if self.evidence is None or mean is None:
            return None
        return self._curves(self.evidence, mean.frc.numpy(), mean.expected.numpy(), mean.n)

    def agreement(self) -> Agreement | None:
        """What the particle's curve comes to; None without evidence or before `noise` is known.

        Rings beyond `limit` do not count.
        """
        from ..analysis.agreement import Agreement

        evidence, curves = self.evidence, self.curves()
        if evidence is None or curves is None or curves.expected is None:
            return None
        last = len(curves.frc)
        if self.limit is not None:
            last = int(np.searchsorted(curves.frequency, 1.001 / self.limit, "right"))
        size = 2 * evidence.rings.size.numpy()[1:]
        return Agreement(curves.frc[:last], curves.expected[:last], size[:last], evidence.scale)

    def _curves(self, evidence: Evidence, frc: Array, expected: Array | None, n: int = 1) -> Curves:
        from ..analysis.evidence import noise_level

        lattice = evidence.lattice
        extent = lattice.box * (evidence.pixel_size or 1.0)
        frequency = np.arange(1, lattice.n_shells, dtype=np.float32) / np.float32(extent)
        level: Array = (noise_level(lattice)[1:] / n**0.5).numpy()
        return Curves(frequency, frc[1:], level, None if expected is None else expected[1:])

    def mean_job(self, stop: Callable[[], bool]) -> Iterator[float | MeanFrc]:
        """Correlate many particles of the selection, or of all; a job of a `DecodeBar`.

        Yields
        ------
        float
            Fraction done.
        MeanFrc
            At last.

        Raises
        ------
        CryodrgnError
            If nothing is selected, or images or volumes are not to be had.
        """
        from ..analysis.evidence import AVERAGED, some_rows

        run, mask = self.inspector.run, self.inspector.mask
        rows = np.zeros(0, np.intp)
        if run is not None:
            rows = some_rows(run.n_particles, mask, AVERAGED)
        if run is None or not len(rows):
            raise CryodrgnError("No particle is in the selection.")
        told = time.monotonic()
        for found in self._open(run).examiner.mean_frc(rows, stop):
            # To paint the window for every chunk would take longer than to correlate it.
            if not isinstance(found, float) or time.monotonic() - told > _TELL_S:
                told = time.monotonic()
                yield found

    def set_mean(self, mean: MeanFrc) -> None:
        """Keep the mean that `mean_job` has given."""
        self.mean = mean
        self.mean_changed.emit()
