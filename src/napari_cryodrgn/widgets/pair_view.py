"""The volumes of two runs in one viewer: one over the other, or side by side."""

from __future__ import annotations

from math import ceil, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .background import Deliver
from .compare_work import Pair
from .volume_view import Mode, VolumeView

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

#: Colour of each run's surface, dark and bright.
_TINTS = (([0.16, 0.32, 0.5, 1], [0.45, 0.68, 0.95, 1]), ([0.5, 0.28, 0.1, 1], [1.0, 0.7, 0.4, 1]))


class PairView:
    """Shows the volumes of two runs, each in its own layer and colour.

    Parameters
    ----------
    viewer
        Where the layers go.
    deliver
        Brings answers to the thread that owns the viewer, see `Background`.
    mode
        As in `VolumeView`.
    """

    def __init__(self, viewer: ViewerModel, deliver: Deliver, mode: Mode) -> None:
        self._viewer = viewer
        self._shrunk = 1.0
        self.sides: list[_SideView] = []
        for number in (0, 1):
            self.sides.append(_SideView(viewer, deliver, mode, self.sides, number))

    @property
    def mode(self) -> Mode:
        """Whether volumes are shown as surfaces or as volumes."""
        return self.sides[0].mode

    def set_mode(self, mode: Mode) -> None:
        """Show volumes another way, the present ones included."""
        for side in self.sides:
            side.set_mode(mode)

    @property
    def beside(self) -> bool:
        """Whether the layers of the viewer stand side by side."""
        return bool(self._viewer.canvas.grid.enabled)

    @beside.setter
    def beside(self, beside: bool) -> None:
        if beside == self.beside:
            return
        self._viewer.canvas.grid.enabled = beside
        if beside:
            height, width = self._viewer.canvas.size
            # napari gives each visible layer a place, in as many columns as rows or one more.
            count = max(sum(layer.visible for layer in self._viewer.layers), 1)
            columns = ceil(sqrt(count))
            place = min(width / columns, height / ceil(count / columns))
            self._shrunk = place / min(height, width)
        # What filled the picture is to fill its place.
        self._viewer.scene.camera.zoom *= self._shrunk if beside else 1 / self._shrunk

    def show(self, pair: Pair, folders: tuple[Path, Path]) -> None:
        """Show two volumes, soon."""
        for number, side in enumerate(self.sides):
            volume, size = pair.volumes[number], pair.pixel_sizes[number]
            name = f"{'AB'[number]}: {folders[number].name}"
            side.show(
                volume,
                size,
                name,
                (folders[number], pair.turned),
                pair.contours[number],
                front=True,
                step=1 / len(volume),
            )

    def close(self) -> None:
        """Drop what is being prepared; the view cannot be used afterwards."""
        for side in self.sides:
            side.close()


class _SideView(VolumeView):
    """One of two volumes that are shown together."""

    def __init__(
        self,
        viewer: ViewerModel,
        deliver: Deliver,
        mode: Mode,
        together: list[_SideView],
        number: int,
    ) -> None:
        super().__init__(viewer, deliver, mode)
        self._together = together
        self._number = number

    def _hide_others(self, shown: Layer) -> None:
        ours = [side.layer for side in self._together if side.layer not in (None, shown)]
        before = [layer.visible for layer in ours]
        super()._hide_others(shown)
        for layer, visible in zip(ours, before, strict=True):
            layer.visible = visible

    def _add(self, answer: Any, old: Layer | None) -> Layer:
        from napari.utils import Colormap

        layer: Any = super()._add(answer, old)
        layer.colormap = Colormap(list(_TINTS[self._number]), name=f"run {'AB'[self._number]}")
        return layer
