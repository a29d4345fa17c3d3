"""The clusters of two runs in the Compare runs dock."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QVBoxLayout, QWidget

from .cluster_table import ClusterTable
from .compare_model import CompareModel
from .compare_words import CORRELATE, about_clusters, cells
from .compare_work import USUAL, ClusterVolumes, Comparison
from .decode_bar import DecodeBar
from .form_parts import combo_box, small_button, spin_box
from .qt_tools import Colors, note


class CompareClusters(QWidget):
    """Which clusters of two runs correspond, by their particles and by their volumes.

    Parameters
    ----------
    model
        Of the dock.
    colors
        Of the theme.
    """

    def __init__(self, model: CompareModel, colors: Colors) -> None:
        super().__init__()
        self.model = model
        self._asked: tuple[Comparison | None, bool] = (None, model.turn)
        self.text = note()
        self.table_of = combo_box({"particles in common": "particles", "volumes": "volumes"})
        self.table_of.setToolTip("What the table tells of two clusters.")
        self.table_of.currentIndexChanged.connect(self._draw)
        self.count = spin_box(2, 50, USUAL)
        self.count.setToolTip("Number of clusters.")
        self.count.setMaximumWidth(90)
        self.find_button = small_button("Find", "Find as many clusters by k-means in both runs.")
        self.find_button.clicked.connect(lambda: self.model.compare(self.count.value()))
        row = QHBoxLayout()
        row.addWidget(self.table_of, stretch=1)
        row.addWidget(self.count)
        row.addWidget(self.find_button)
        self.table_text = note()
        self.table = ClusterTable(colors)
        self.table.clicked.connect(self._on_cell)
        self.turn = QCheckBox("turn B's volumes onto A's")
        self.turn.setToolTip(
            "Two searches for poses end in two frames, and perhaps hands. One motion, found from "
            "the mean of the clusters' volumes, serves all."
        )
        self.turn.toggled.connect(self.model.set_turn)
        self.job = DecodeBar(
            CORRELATE,
            "Decode the centres of all clusters of both runs and correlate each with each, inside "
            "a soft sphere.",
        )
        self.job.say("")
        self.job.asked.connect(lambda: self.job.run(self.model.cluster_volumes))
        self.job.results.connect(self._on_volumes)
        self.job.ended.connect(lambda _: self._enable())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self.text)
        layout.addLayout(row)
        for widget in (self.table_text, self.table, self.turn, self.job):
            layout.addWidget(widget)
        model.changed.connect(self._on_changed)
        model.picked.connect(self._on_picked)

    def close_panel(self) -> None:
        """Stop what runs in the background; touches no widget."""
        self.job.close_job()

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self.table.colors = colors
        self.table.update()

    def _on_cell(self, a: int, b: int) -> None:
        self.model.pick_clusters(a, b)
        self.table.choose((a, b))

    def _on_volumes(self, results: list[float | ClusterVolumes]) -> None:
        for result in results:
            if isinstance(result, ClusterVolumes):
                self.model.set_volumes(result)
                self.table_of.setCurrentIndex(1)
            else:
                self.job.progress(result, "Decoding the centres of the clusters …")

    def _on_changed(self) -> None:
        comparison = self.model.comparison
        # What runs is of clusters, or of a frame, that are no longer asked for.
        if (comparison, self.model.turn) != self._asked:
            self._asked = comparison, self.model.turn
            self.job.drop()
        if comparison is None:
            return
        self.text.setText(about_clusters(comparison))
        with QSignalBlocker(self.turn):
            self.turn.setChecked(self.model.turn)
        self._enable()
        self._draw()

    def _enable(self) -> None:
        comparison = self.model.comparison
        able = comparison is not None and all(side.run.can_decode for side in comparison.sides)
        self.job.button.setEnabled(able and not self.job.running)

    def _on_picked(self) -> None:
        if self.model.particle is not None:
            self.table.choose(None)

    def _draw(self, _: object = None) -> None:
        comparison = self.model.comparison
        if comparison is None:
            return
        by_volume = self.table_of.currentData() == "volumes"
        volumes = self.model.volumes if by_volume else None
        there = not by_volume or volumes is not None
        self.table.setVisible(there)
        self.table_text.setText(
            "Rows: clusters of A; columns: of B. Click a cell to see both volumes."
            if there
            else "Not computed yet."
        )
        if there:
            self.table.show_values(*cells(comparison, volumes))
