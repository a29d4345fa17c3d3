"""The Train dock."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils import progress
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QWidget,
)

from ..errors import CryodrgnError
from ..training.events import Event, PreviewVolume
from ..training.settings import Settings
from . import notify
from .docks import show_explorer
from .loss_plot import LossPlot
from .opengl import is_software
from .qt_tools import Dock, GuiThread, ShowAs, colors, note
from .train_form import TrainForm
from .train_model import TrainModel
from .train_session import Outcome, Reconstruct, TrainSession, load_run, run_reconstruct
from .volume_view import Mode, VolumeView

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from ..particles import ParticleSet

LoadRun = Callable[[Path], "tuple[Settings, ParticleSet]"]
_BAR_MS = 250
_PREVIEW_MS = 2000


class TrainDock(Dock):
    """Asks for particles and settings, starts the training and shows how it goes.

    Parameters
    ----------
    napari_viewer
        Where layers of particles are found and the volume is shown.
    reconstruct
        Trains; `training.reconstruct` if absent.
    load_run
        Settings and particles of a run folder to resume.
    read
        Reads particle files; `particles.read` if absent.
    open_explorer
        Opens the Latent explorer on a run folder.
    """

    def __init__(
        self,
        napari_viewer: ViewerModel,
        reconstruct: Reconstruct = run_reconstruct,
        load_run: LoadRun = load_run,
        read: Callable[[Path], ParticleSet] | None = None,
        open_explorer: Callable[[Path], None] | None = None,
    ) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self.reconstruct = reconstruct
        self.load_run = load_run
        self.open_explorer = open_explorer or partial(show_explorer, napari_viewer)
        self._session: TrainSession | None = None
        self._bar: Any = None
        self._bar_text = ""
        # napari's bars work through Qt's events at each update: never from within a signal.
        self._bar_timer = QTimer(self)
        self._bar_timer.setInterval(_BAR_MS)
        self._bar_timer.timeout.connect(self._update_bar)
        self._last: tuple[Settings, ParticleSet] | None = None
        self.model = TrainModel()
        self._gui = GuiThread()
        mode: Mode = "surface" if is_software(napari_viewer) else "volume"
        self.volume = VolumeView(napari_viewer, self._gui.post, mode, normalize=True)
        self.on_end.append(self.volume.close)
        self._preview: PreviewVolume | None = None
        self._preview_timer = QTimer(self)
        self._preview_timer.setSingleShot(True)
        self._preview_timer.setInterval(_PREVIEW_MS)
        self._preview_timer.timeout.connect(self._show_next_volume)
        self.form = TrainForm(napari_viewer, self._gui.post, read)
        self.on_end.append(self.form.close_files)
        self._build()
        self.form.output_changed.connect(self._update)
        self.model.changed.connect(self._update)
        self.model.losses_changed.connect(self._draw_losses)
        self.model.volume_changed.connect(self._show_volume)
        self.model.warned.connect(notify.warning)
        napari_viewer.events.theme.connect(self._follow_theme)
        self._update()

    # What the buttons do

    def start(self) -> None:
        """Start a new run with the settings of the form; bad ones become a notification."""
        particles = self.form.particles
        try:
            if particles is None:
                raise CryodrgnError("Open a particle stack or STAR file first, or browse for one.")
            settings = self.form.settings()
        except CryodrgnError as error:
            notify.error(error)
            return
        self._last = (settings, particles)
        self._run(settings.output, partial(self.reconstruct, settings, particles, False))

    def resume(self) -> None:
        """Go on with the run in the output folder from its last checkpoint."""
        folder = self.form.run_folder
        if folder is None:
            notify.error(CryodrgnError("Choose the folder of the run to resume as output."))
            return
        if self._last is not None and self._last[0].output == folder:
            events = partial(self.reconstruct, *self._last, True)
        else:
            events = partial(self._resumed, folder)
        self._run(folder, events, resumed=True)

    def toggle_pause(self) -> None:
        """Hold the run, or let it go on."""
        if self._session is not None:
            paused = self.model.state != "paused"
            self._session.pause(paused)
            self.model.pause(paused)

    def stop(self) -> None:
        """Stop the run; its last checkpoint stays."""
        if self._session is not None:
            self.model.stop()
            self._session.stop()

    def explore(self) -> None:
        """Open the Latent explorer on the run."""
        if self.model.folder is not None:
            self.open_explorer(self.model.folder)

    def shut_down(self) -> None:
        """Take the bar out of napari's activity dock."""
        self._session = None
        self._preview_timer.stop()
        self._close_bar()

    # Running

    def _resumable(self) -> bool:
        folder = self.form.run_folder
        done = self.model.state == "finished" and folder == self.model.folder
        return folder is not None and not done

    def _resumed(self, folder: Path) -> Iterator[Event]:
        settings, particles = self.load_run(folder)
        return self.reconstruct(settings, particles, True)

    def _run(
        self, folder: Path, events: Callable[[], Iterator[Event]], resumed: bool = False
    ) -> None:
        self.model.begin(folder, resumed)
        session = TrainSession(events)
        session.events.connect(self.model.handle)
        session.ended.connect(self._ended)
        self._session = session
        self.on_end.append(session.close)
        # Before the thread starts: napari works through Qt's events to show a progress bar.
        self._open_bar(folder.name)
        self._update_bar()
        particles = self.form.particles
        size = particles.pixel_size if particles is not None else None
        self.volume.prepare(f"{folder.name}: volume", size)
        session.start()

    def _ended(self, outcome: Outcome) -> None:
        if self._session is not None and self._session.close in self.on_end:
            self.on_end.remove(self._session.close)
        self._session = None
        self._close_bar()
        if self._preview is None:
            self.volume.discard()
        self.model.end(notify.error(outcome.error) if outcome.error is not None else "")
        if self.model.state == "finished":
            self.form.suggest_output()

    # napari's activity dock

    def _open_bar(self, name: str) -> None:
        # Without a window, tqdm would write to the terminal.
        if getattr(self._viewer, "window", None) is not None:
            self._bar = progress(total=100, desc=f"Train {name}")
            self._bar_timer.start()

    def _close_bar(self) -> None:
        self._bar_timer.stop()
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _update_bar(self) -> None:
        bar, model = self._bar, self.model
        if bar is None:
            return
        text = f"Train: {model.stage or 'preparing'}, {model.progress_text}"
        if text != self._bar_text:
            self._bar_text = text
            bar.set_description(text)
        step = int(100 * model.fraction) - bar.n
        if step > 0:
            bar.update(step)

    # Showing

    def _update(self) -> None:
        model, can = self.model, self.model.controls
        self.form.setEnabled(can.form)
        self.start_button.setEnabled(can.start)
        self.pause_button.setEnabled(can.pause)
        self.pause_button.setText("Continue" if model.state == "paused" else "Pause")
        self.stop_button.setEnabled(can.stop)
        self.resume_button.setEnabled(can.resume and self._resumable())
        self.explore_button.setEnabled(can.explore)
        self.title.setText(model.title)
        self.progress_bar.setValue(round(1000 * model.fraction))
        self.progress_bar.setFormat(model.progress_text)
        self.progress_bar.setVisible(model.state != "idle")
        self.detail.setText(model.detail if model.active else "")
        self.detail.setVisible(bool(self.detail.text()))
        self.plot.setVisible(bool(model.losses))
        theme = colors(self._viewer.theme)
        lines = [_colored(text, theme.warning) for text in model.warnings]
        if model.error:
            lines.append(_colored(model.error, theme.error))
        self.messages.setText("<br>".join(lines))
        self.messages.setVisible(bool(lines))

    def _draw_losses(self) -> None:
        self.plot.setVisible(bool(self.model.losses))
        self.plot.set_losses(self.model.losses, self.model.stage_starts)

    def _show_volume(self, preview: PreviewVolume) -> None:
        # Each costs a redraw, which without a GPU is felt: at most one every two seconds.
        self._preview = preview
        if not self._preview_timer.isActive():
            self._show_next_volume()

    def _show_next_volume(self) -> None:
        preview, self._preview = self._preview, None
        if preview is not None:
            name = f"{self.model.folder.name if self.model.folder else 'run'}: volume"
            folder = self.model.folder
            self.volume.show(preview.volume, preview.pixel_size, name, source=folder)
            self._preview_timer.start()

    def _follow_theme(self, _: object = None) -> None:
        self.plot.set_colors(colors(self._viewer.theme))
        self._update()

    # Building

    def _build(self) -> None:
        self.body.addWidget(self.form)
        buttons = QHBoxLayout()
        buttons.setSpacing(4)
        self.start_button = QPushButton("Start")
        self.pause_button = QPushButton("Pause")
        self.stop_button = QPushButton("Stop")
        self.resume_button = QPushButton("Resume")
        self.start_button.setToolTip("Start a new run in the output folder.")
        self.pause_button.setToolTip("Hold the run; it keeps its memory and goes on where it was.")
        self.stop_button.setToolTip("Stop the run. It can be resumed from its last checkpoint.")
        self.resume_button.setToolTip(
            "Go on with the run in the output folder, stopped or crashed, from its last checkpoint."
        )
        for button, clicked in (
            (self.start_button, self.start),
            (self.pause_button, self.toggle_pause),
            (self.stop_button, self.stop),
            (self.resume_button, self.resume),
        ):
            button.clicked.connect(clicked)
            buttons.addWidget(button)
        self.body.addLayout(buttons)

        self.title = QLabel()
        self.title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.title.setStyleSheet("font-weight: bold")
        self.body.addWidget(self.title)
        self.progress_bar = QProgressBar()
        self.progress_bar.setRange(0, 1000)
        self.body.addWidget(self.progress_bar)
        self.detail = note()
        self.body.addWidget(self.detail)
        self.messages = note(selectable=True)
        self.body.addWidget(self.messages)
        self.plot = LossPlot(colors(self._viewer.theme))
        self.body.addWidget(self.plot, stretch=1)
        self.body.addWidget(ShowAs(self.volume))
        self.explore_button = QPushButton("Explore the result")
        self.explore_button.setToolTip("Open the Latent explorer on this run.")
        self.explore_button.clicked.connect(self.explore)
        self.body.addWidget(self.explore_button)
        # Takes the space while the plot is hidden.
        filler = QWidget()
        filler.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self.body.addWidget(filler)


def _colored(text: str, color: str) -> str:
    return f'<span style="color: {color}">{html.escape(text)}</span>'
