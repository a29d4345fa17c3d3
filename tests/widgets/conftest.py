"""Stand-ins for training and analysis: quick, and with answers that are known."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from napari_cryodrgn.errors import RunFolderError
from napari_cryodrgn.imaging import hinge, simulate
from napari_cryodrgn.particles import ParticleSet, Volume, read, write_simulation
from napari_cryodrgn.training import events as ev
from napari_cryodrgn.training.settings import Settings


def blobs(z: np.ndarray | float, box: int = 24) -> np.ndarray:
    """A body with an arm that moves with z: (box, box, box) float32."""
    angle = float(np.ravel(z)[0]) * 0.6
    grid = (np.mgrid[:box, :box, :box] - box // 2) * (24 / box)
    centres = [(0.0, 0.0, -3.0), (0.0, 3.0, -5.0), (2.0, -3.0, -4.0)]
    centres += [(0.0, r * np.sin(angle), r * np.cos(angle)) for r in (2.0, 4.5, 7.0)]
    squares = [((grid - np.reshape(c, (3, 1, 1, 1))) ** 2).sum(0) for c in centres]
    return sum(np.exp(-s / 6) for s in squares).astype(np.float32)


@dataclass
class FakeReconstruct:
    """Trains nothing; its events are those of a run, `delay` seconds apart.

    ``calls`` holds what it was asked, ``closed`` how many runs were closed before their end.
    """

    epochs: int = 6
    delay: float = 0.0
    box: int = 24
    fail: Exception | None = None
    fail_at: int = 3
    warn: str = ""
    calls: list[tuple[Settings, ParticleSet, bool]] = field(default_factory=list)
    closed: int = 0
    closed_in: list[threading.Thread] = field(default_factory=list)

    def __call__(
        self, settings: Settings, particles: ParticleSet, resume: bool
    ) -> Iterator[ev.Event]:
        self.calls.append((settings, particles, resume))
        settings.output.mkdir(parents=True, exist_ok=True)
        (settings.output / "config.yaml").write_text("seed: 0\n")
        try:
            yield from self._events(settings, particles, resume)
        except GeneratorExit:
            self.closed += 1
            self.closed_in.append(threading.current_thread())
            raise

    def _events(
        self, settings: Settings, particles: ParticleSet, resume: bool
    ) -> Iterator[ev.Event]:
        stages = ("Search poses", "Train VAE")
        yield ev.RunStarted(
            settings.output, len(particles), self.box, 6.0, settings.zdim, "cpu", stages, resume
        )
        for epoch in range(1, self.epochs + 1):
            second = epoch > self.epochs // 2
            if epoch in (1, self.epochs // 2 + 1):
                yield ev.StageStarted(stages[second], int(second))
            if self.fail is not None and epoch == self.fail_at:
                raise self.fail
            for part in range(4):
                time.sleep(self.delay / 4)
                done = (epoch - 1 + (part + 1) / 4) / self.epochs
                left = self.delay * self.epochs * (1 - done)
                detail = f"epoch {epoch} of {self.epochs}, batch {16 * part + 16} of 64"
                yield ev.StepDone(stages[second], done, left, detail)
            kl = 2.5 * (1 - np.exp(-epoch / 8)) if second else 0.0
            loss = 1.0 + 0.3 * np.exp(-epoch / 5) - 0.01 * epoch / self.epochs
            yield ev.EpochDone(stages[second], epoch, loss + 0.002 * kl, loss, kl)
            # Densities of early volumes are far weaker.
            scale = 0.02 if epoch < 3 else 1.0
            yield ev.PreviewVolume(scale * blobs(epoch / self.epochs, self.box), 6.0)
            yield ev.CheckpointSaved(settings.output, epoch)
            if self.warn and epoch == 2:
                yield ev.Warned(self.warn)
        yield ev.RunFinished(settings.output, 1.0)


@dataclass
class FakeRun:
    """A run folder that decodes blobs."""

    folder: Path
    zdim: int = 2
    n_particles: int = 400
    box: int = 24
    pixel_size: float | None = 6.0
    finished: bool = True
    epoch: int = 6
    can_decode: bool = True
    has_changed: bool = False
    delay: float = 0.0
    latents: object = None
    settings: dict = field(default_factory=dict)
    particles_path: Path | None = None
    indices: np.ndarray | None = None
    rotations: np.ndarray | None = None
    shifts: np.ndarray | None = None
    ctf_path: Path | None = None
    decoded: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.latents is None and self.zdim:
            random = np.random.default_rng(1)
            mu = random.normal(size=(self.n_particles, self.zdim))
            mu *= np.linspace(1.5, 0.4, self.zdim)
            mu[:, 0] += np.where(random.random(self.n_particles) < 0.4, 2.5, -1.5)
            mu = mu.astype(np.float32)
            self.latents = SimpleNamespace(mu=mu, logvar=np.zeros_like(mu))

    def decode(
        self,
        z: np.ndarray,
        box: int | None = None,
        limit: float | None = None,
        *,
        stop: Callable[[], bool] | None = None,
    ) -> np.ndarray:
        time.sleep(self.delay)
        self.decoded.append(np.array(z))
        return blobs(z, box or self.box)

    def consensus(self) -> Volume:
        return Volume(blobs(0, self.box), self.pixel_size)

    def contour(self) -> float:
        return 0.35

    def products(self) -> None:
        return None

    def changed(self) -> bool:
        return self.has_changed


class FakeRuns:
    """Opens the runs put into it; any other folder is no run."""

    def __init__(self, *runs: FakeRun) -> None:
        self.runs = {run.folder: run for run in runs}

    def __call__(self, folder: Path) -> FakeRun:
        if folder not in self.runs:
            raise RunFolderError(
                folder, "it is no run folder.", remedy="Choose the folder with config.yaml."
            )
        return self.runs[folder]


def fake_pca(mu: np.ndarray) -> np.ndarray:
    """Scores on the principal axes, by definition."""
    centred = mu - mu.mean(0)
    _, _, axes = np.linalg.svd(centred[:5000], full_matrices=False)
    return (centred @ axes.T).astype(np.float32)


@pytest.fixture(scope="session")
def star(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 simulated particles of 32 pixels at 9 Å, with poses and CTF."""
    folder = tmp_path_factory.mktemp("particles")
    return write_simulation(folder, simulate(hinge(), 30, 32, 9.0))


@pytest.fixture(scope="session")
def particles(star: Path) -> ParticleSet:
    return read(star)


@pytest.fixture
def fake_reconstruct() -> type[FakeReconstruct]:
    return FakeReconstruct


@pytest.fixture
def fake_run() -> type[FakeRun]:
    return FakeRun


@pytest.fixture
def fake_runs() -> type[FakeRuns]:
    return FakeRuns


@pytest.fixture
def pca() -> Callable[[np.ndarray], np.ndarray]:
    return fake_pca


@pytest.fixture
def notifications() -> Iterator[list[tuple[str, str]]]:
    """What napari was asked to tell the user: (severity, message)."""
    from napari.utils.notifications import notification_manager

    told: list[tuple[str, str]] = []

    def listen(notification: object) -> None:
        told.append((str(notification.severity), str(notification.message)))

    notification_manager.notification_ready.connect(listen)
    yield told
    notification_manager.notification_ready.disconnect(listen)
