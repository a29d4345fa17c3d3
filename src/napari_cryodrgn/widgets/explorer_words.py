"""What the Latent explorer says about runs and picks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..analysis import Run
    from .explorer_model import Pick
    from .qt_tools import Colors

HINT = (
    "<p><b>No run is open.</b></p>"
    "<p>Open the folder of a run, finished or in progress, trained here, on a cluster or by "
    "cryoDRGN.</p>"
    "<p>To make one: <i>Plugins › cryoDRGN › Train</i>.</p>"
)
_ONE_STRUCTURE = (
    "<p><b>This run has one structure and no latent.</b></p>"
    "<p>It was trained with 0 latent dimensions, so there is nothing to choose from.</p>"
)
_NOT_YET = (
    "<p><b>This run has saved no latent yet.</b></p>"
    "<p>It is still at an earlier stage. The picture appears here with its first checkpoint.</p>"
)
# 1 is how far 19 of 20 particles are from those around them.
_OFF_DATA = 2.0
_SHOWN_Z = 4


_POSES = {"given": "poses given", "search": "poses searched"}


def about(run: Run | None) -> str:
    """Particles, box and progress of a run, in a line."""
    if run is None:
        return ""
    parts = [f"{run.n_particles:,} particles", f"zdim {run.zdim}", f"{run.box} px"]
    if run.pixel_size is not None:
        parts.append(f"{run.pixel_size:.3g} Å/px")
    parts.append(f"epoch {run.epoch}")
    if (how := _POSES.get(str(run.settings.get("poses")))) is not None:
        parts.append(how)
    return ", ".join(parts)


def why_no_map(run: Run) -> str:
    """Why a run has no latents to be drawn."""
    return _ONE_STRUCTURE if run.zdim == 0 else _NOT_YET


def about_pick(pick: Pick, colors: Colors) -> str:
    """Where the pick is, and whether there are data."""
    z = ", ".join(f"{v:.2f}" for v in pick.z[:_SHOWN_Z])
    more = ", …" if len(pick.z) > _SHOWN_Z else ""
    where = "exactly here" if pick.distance == 0 else f"{pick.distance:.3g} away in z"
    text = f"z = ({z}{more})<br>Nearest: particle <b>{pick.particle}</b>, {where}"
    if pick.off > _OFF_DATA:
        text += (
            f'<br><span style="color: {colors.warning}">Off the data: '
            f"{pick.off:.1f} times as far as particles lie from each other. This volume is a "
            "guess.</span>"
        )
    return text
