"""What the validity of a run comes to, in words."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt

from .validity_plots import curve_styles
from .validity_table import chance_text, strength_text

if TYPE_CHECKING:
    from ..analysis.confounding import Confounder
    from ..analysis.half_sets import HalfCurve
    from ..analysis.validity import Excess, Verdict
    from .qt_tools import Colors
    from .validity_spread import SpreadSurface

# Shares of the variance between all particles from which on a particle's own is large, and too
# large for its latent to say anything.
_LITTLE, _NOTHING = 0.3, 0.7
# Shares of it that are about the same.
_ALIKE = 1.3


def motion(verdict: Verdict, colors: Colors) -> str:
    """Whether the particles differ."""
    refined = verdict.refined
    what = f"{refined.n:,} particles"
    if refined.left_out:
        what += f", {refined.left_out:,} left out whose poses fit no better than chance"
    if verdict.kind == "found":
        return (
            f"<b style='color:{colors.green}'>There is heterogeneity.</b> Images differ along a "
            f"motion learned from other images {1 + refined.value:.3g} times as much as noise "
            f"would make them ({refined.errors:.0f} standard errors; {what}; details of "
            f"{verdict.details:.0f} Å and coarser). Poses that are far off can look like this, too."
        )
    if verdict.kind == "unclear":
        return (
            f"<b style='color:{colors.warning}'>It cannot be told.</b> Images differ along a "
            f"motion learned from other images {_times(verdict.as_posed)} times as much as noise "
            f"would make them, but only {_times(refined)} times once their poses are refined "
            f"({what}). Errors of poses look like this, and so does motion that poses can follow. "
            "Better poses or more particles would tell."
        )
    return (
        f"<b style='color:{colors.warning}'>No heterogeneity found.</b> Images differ along a "
        f"motion learned from other images {_times(refined)} times as much as noise would make "
        f"them ({what}). Motion finer than {verdict.details:.0f} Å, or of few particles, would "
        "not be seen."
    )


def _times(excess: Excess) -> str:
    return f"{1 + excess.value:.2f} ± {excess.error:.2f}"


def warning(found: Sequence[Confounder], colors: Colors) -> str:
    """Which quantities the latent goes with."""
    loud = [c for c in found if c.warns]
    if not found:
        return "Nothing is known that the latent could go with."
    if not loud:
        return f"<span style='color:{colors.green}'>{_quiet(found)}</span>"
    names = [f"{c.name} ({100 * c.strength:.0f} % of PC{c.axis + 1})" for c in loud]
    return (
        f"<b style='color:{colors.warning}'>The latent goes with "
        f"{html.escape(_listed(names))}.</b> Differences between such particles need not be of the "
        "molecule."
    )


def _quiet(found: Sequence[Confounder]) -> str:
    """That none of them warns."""
    from ..analysis.confounding import BY_CHANCE, STRONG

    largest = found[0]
    if largest.strength <= STRONG:
        text = f"Nothing explains more than {100 * STRONG:.0f} % of the latent."
    else:
        text = "Nothing explains more of the latent than may be by chance."
    strength = strength_text(largest.strength)
    if strength == "–":
        return text
    small = ", real but small" if largest.p < BY_CHANCE else ""
    name, p = html.escape(largest.name), chance_text(largest.p)
    return f"{text} Largest: {name}, {strength} (p {p}{small})."


def legend(curves: Sequence[HalfCurve], *, chosen_here: bool = False) -> str:
    """The curves by colour, with where they cross both thresholds, and what to think of them.

    ``chosen_here`` is whether they are of particles that were told apart by their images.
    """
    lines = []
    for curve, (color, line) in zip(curves, curve_styles(curves), strict=True):
        at = " / ".join(_resolution(curve, threshold) for threshold in (0.143, 0.5))
        mark = {Qt.PenStyle.SolidLine: "━", Qt.PenStyle.DashLine: "╍"}.get(line, "┈")
        lines.append(
            f"<span style='color:{color}'><b>{mark}</b></span> {html.escape(curve.name)}: "
            f"<b>{at}</b> ({curve.n:,} particles)"
        )
    if not lines:
        return ""
    how = "; ".join(dict.fromkeys(curve.how for curve in curves))
    text = f"Resolution at 0.143 / 0.5. Halves: {how}."
    shared = any(curve.shared_poses for curve in curves)
    text += " Both halves share these poses: optimistic. No mask." if shared else " No mask."
    if chosen_here:
        text += " Clusters were chosen from these same images."
    return "<br>".join([*lines, text])


def variability(found: SpreadSurface) -> str:
    """What the spread of volumes says."""
    percent = f"{100 * found.part:.0f} %"
    if found.of == "all":
        return f"{found.spread.n} volumes from all particles: bright is where they differ most."
    if found.of == "selection":
        return (
            f"Within the selection the density varies by <b>{percent}</b> of its variance between "
            "all particles."
        )
    latent = f"The latent of particle {found.particle}"
    if found.part < _LITTLE:
        return (
            f"<b>{latent} says where in the motion it is</b>: the density's own uncertainty is "
            f"{percent} of its variance between all particles."
        )
    if found.part < _NOTHING:
        return (
            f"<b>{latent} says little</b>: its own uncertainty is a good part of the spread over "
            f"all particles ({percent} of the variance)."
        )
    size = "about as large as" if found.part < _ALIKE else "larger than"
    return (
        f"<b>{latent} says nothing</b>: its own uncertainty is {size} the spread over all "
        f"particles ({percent} of the variance)."
    )


def outdated(found: SpreadSurface, particle: int) -> str:
    """That a spread is of another particle or selection than the present one."""
    if found.of == "particle":
        return f"(of particle {found.particle}; press again for particle {particle})"
    return "(of another selection; press again for this one)"


def _resolution(curve: HalfCurve, threshold: float) -> str:
    unit = "px" if curve.pixel_size is None else "Å"
    found = curve.resolution(threshold)
    if found is None:
        return f"better than {2 * (curve.pixel_size or 1.0):.1f} {unit}"
    return f"{found:.1f} {unit}"


def _listed(names: list[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
