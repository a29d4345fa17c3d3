"""The demonstration: the real docks, driven as a user would, on a simulated moving molecule."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from napari import Viewer, run
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from scipy.stats import spearmanr

from .analysis import Run
from .errors import TrainingError
from .imaging import hinge, simulate
from .particles import write_simulation
from .poses import align_poses
from .widgets.docks import show_dock

if TYPE_CHECKING:
    from .widgets.explorer_dock import ExplorerDock
    from .widgets.train_dock import TrainDock

PARTICLES, BOX, PIXEL_SIZE, SNR, SEED = 1200, 48, 5.0, 0.2, 0
_WINDOW = (1500, 940)


def run_demo(output: Path, *, stay_open: bool) -> None:
    """Simulate, reconstruct from nothing in the Train dock, click in the explorer, inspect.

    Parameters
    ----------
    output
        Folder for particles, run, screenshots and ``report.md``; an earlier demo there is replaced.
    stay_open
        Leave napari open at the end.

    Raises
    ------
    TrainingError
        If the run failed.
    """
    console = Console()
    output = output.absolute()
    for part in ("run", "particles"):
        shutil.rmtree(output / part, ignore_errors=True)
    output.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    viewer = Viewer(show=True)
    viewer.window.resize(*_WINDOW)
    with Progress(
        TextColumn("{task.description:<46}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=console,
    ) as bar:
        task = bar.add_task("Simulating particles of a moving molecule", total=1.0)

        def simulated(done: int, total: int) -> None:
            bar.update(task, completed=done / total)
            QApplication.processEvents()

        simulation = simulate(hinge(), PARTICLES, BOX, PIXEL_SIZE, snr=SNR, seed=SEED)
        star = write_simulation(output / "particles", simulation, simulated)
        viewer.open(star, plugin="napari-cryodrgn")
        _settle(viewer)
        _shoot(viewer, output / "1-particles.png")

        _, train = viewer.window.add_plugin_dock_widget("napari-cryodrgn", "Train")
        _train(viewer, train, output, bar, task)
        train.explore()
        explorer = _wait_for_explorer(viewer)
        bar.update(task, description="Clicking through the latent space", completed=1.0)
        _click_through(viewer, explorer, output)
        _inspect(viewer, explorer, output)
    report = _report(output, simulation, time.monotonic() - began)
    console.print(report)
    console.print(f"Screenshots, run folder and report.md are in {output}")
    if stay_open:
        run()
    else:
        viewer.close()


def _train(viewer: Viewer, train: TrainDock, output: Path, bar: Progress, task: Any) -> None:
    """Fill in the form, press Start, and wait while the GUI runs."""
    form = train.form
    form.poses.setCurrentIndex(form.poses.findData("search"))
    form.zdim.setValue(1)
    form.use_folder(output / "run")
    train.start_button.click()
    shot = False
    while train.model.state in ("running", "paused", "stopping"):
        QApplication.processEvents()
        time.sleep(0.02)
        stage = train.model.stage or "Starting"
        bar.update(task, description=stage, completed=train.model.fraction)
        if not shot and stage == "Variational autoencoder" and len(train.model.losses) > 7:
            _settle(viewer)
            _shoot(viewer, output / "2-training.png")
            shot = True
    if train.model.state != "finished":
        raise TrainingError(f"{output / 'run'}: the demo's run ended early ({train.model.state}).")
    _settle(viewer)
    _shoot(viewer, output / "3-trained.png")


def _wait_for_explorer(viewer: Viewer) -> ExplorerDock:
    from .widgets.explorer_dock import ExplorerDock

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        QApplication.processEvents()
        for widget in QApplication.allWidgets():
            if isinstance(widget, ExplorerDock) and widget.model.space is not None:
                return widget
        time.sleep(0.02)
    raise TrainingError("the Latent explorer did not open the demo's run.")


def _click_through(viewer: Viewer, explorer: ExplorerDock, output: Path) -> None:
    """Click with the mouse at both ends of the latent."""
    _settle(viewer)
    coordinates = explorer.model.coordinates()
    assert coordinates is not None
    plot = explorer.plot
    for name, share in (("4-explorer-one-end", 0.08), ("5-explorer-other-end", 0.92)):
        value = float(np.quantile(coordinates[:, 0], share))
        view = plot.getViewBox()
        height = sum(view.viewRange()[1]) / 4
        scene = view.mapViewToScene(QPointF(value, height))
        where = plot.mapFromScene(scene)
        QTest.mouseClick(  # type: ignore[call-overload]
            plot.viewport(),
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
            QPoint(where.x(), where.y()),
        )
        deadline = time.monotonic() + 20
        while (explorer.model.busy or explorer.model.pick is None) and time.monotonic() < deadline:
            QApplication.processEvents()
            time.sleep(0.02)
        _settle(viewer)
        _shoot(viewer, output / f"{name}.png")


def _inspect(viewer: Viewer, explorer: ExplorerDock, output: Path) -> None:
    """Look at the particle picked last in the Particle inspector."""
    explorer.inspect_button.click()
    inspector = show_dock(viewer, "Particle inspector")
    deadline = time.monotonic() + 30
    while inspector.evidence.model.noise is None and time.monotonic() < deadline:
        QApplication.processEvents()
        time.sleep(0.02)
    _settle(viewer)
    _shoot(viewer, output / "6-inspector.png")


def _settle(viewer: Viewer, seconds: float = 1.0) -> None:
    """Let the window draw what is pending."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def _shoot(viewer: Viewer, path: Path) -> None:
    viewer.screenshot(str(path), canvas_only=False, flash=False)


def _report(output: Path, simulation: Any, seconds: float) -> str:
    """Compare the run with the truth of the simulation."""
    opened = Run.open(output / "run")
    assert opened.rotations is not None
    assert opened.latents is not None
    truth = torch.from_numpy(simulation.rotations)
    errors = align_poses(torch.from_numpy(opened.rotations), truth)
    rho = abs(float(spearmanr(opened.latents.mu[:, 0], simulation.t)[0]))
    start = time.perf_counter()
    opened.decode(opened.latents.mu[0])
    opened.decode(opened.latents.mu[1])
    decode = (time.perf_counter() - start) / 2
    text = "\n".join(
        [
            "# napari-cryodrgn demo",
            "",
            f"{PARTICLES} simulated images of {BOX} x {BOX} px ({PIXEL_SIZE:g} Å/px), SNR {SNR:g}, "
            f"seed {SEED}; no poses given; {os.cpu_count()} CPU cores, "
            f"{'a GPU' if torch.cuda.is_available() else 'no GPU'}.",
            "",
            f"- poses found from nothing: median error {errors.median:.1f} degrees, "
            f"{100 * float((errors.errors < 10).double().mean()):.0f} % under 10 degrees",
            f"- latent against the true motion: |Spearman| {rho:.2f}",
            f"- decoding a volume: {1000 * decode:.0f} ms",
            f"- everything: {seconds:.0f} s",
            "",
        ]
    )
    (output / "report.md").write_text(text, encoding="utf-8")
    return text
