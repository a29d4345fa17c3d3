"""What the validity of a run comes to, in words."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .validity_plots import CURVES

if TYPE_CHECKING:
    from ..analysis.confounding import Confounder
    from ..analysis.half_sets import HalfCurve
    from ..analysis.validity import Verdict
    from .qt_tools import Colors
    from .validity_model import SpreadSurface

# A share from which on it is told as a multiple.
_TIMES = 2.0


def motion(verdict: Verdict, colors: Colors) -> str:
    """Whether the particles differ."""
    numbers = (
        f"Along the motion learned from other images, images vary more than by chance by "
        f"{100 * verdict.excess:.0f} ± {100 * verdict.error:.0f} % of the noise "
        f"({verdict.n:,} particles, details of {verdict.details:.0f} Å and more)."
    )
    if verdict.found:
        return f"<b style='color:{colors.green}'>There is heterogeneity.</b> {numbers}"
    return (
        f"<b style='color:{colors.warning}'>No heterogeneity found.</b> {numbers} The latent may "
        "show noise, or motion too small for this many particles."
    )


def warning(found: Sequence[Confounder], colors: Colors) -> str:
    """Which quantities the latent goes with."""
    loud = [c for c in found if c.warns]
    if not found:
        return "Nothing is known that the latent could go with."
    if not loud:
        return (
            f"<span style='color:{colors.green}'>The latent goes with nothing that says how the "
            "particles were imaged.</span>"
        )
    names = [f"{c.name} ({100 * c.strength:.0f} % of PC{c.axis + 1})" for c in loud]
    return (
        f"<b style='color:{colors.warning}'>The latent goes with "
        f"{html.escape(_listed(names))}.</b> Differences between such particles need not be of the "
        "molecule."
    )


def legend(curves: Sequence[HalfCurve]) -> str:
    """The curves by colour, with where they cross both thresholds."""
    lines = []
    for number, curve in enumerate(curves):
        color = CURVES[number % len(CURVES)]
        at = " / ".join(_angstrom(curve, threshold) for threshold in (0.143, 0.5))
        lines.append(
            f"<span style='color:{color}'>■</span> {html.escape(curve.name)}: <b>{at}</b> "
            f"({curve.n:,} particles)"
        )
    if not lines:
        return ""
    how = ", ".join(dict.fromkeys(curve.how for curve in curves))
    return "<br>".join([*lines, f"Resolution at 0.143 / 0.5. Halves: {how}."])


def variability(found: SpreadSurface, reference: SpreadSurface | None) -> str:
    """How much of a volume is uncertain or differs; ``reference`` is that of all particles."""
    spread = found.spread
    text = (
        f"{html.escape(found.name)}, {spread.n} volumes: "
        f"<b>{100 * spread.share:.2g} %</b> of the density's variance differs between them."
    )
    if reference is not None and reference is not found and reference.spread.share > 0:
        part = spread.share / reference.spread.share
        amount = f"{100 * part:.0f} % of" if part < _TIMES else f"{part:.0f} times"
        text += f" That is {amount} what it is between all particles."
    return text + " The surface is brightest where they differ most."


def _angstrom(curve: HalfCurve, threshold: float) -> str:
    found = curve.resolution(threshold)
    return f"better than {2 * curve.pixel_size:.1f} Å" if found is None else f"{found:.1f} Å"


def _listed(names: list[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
