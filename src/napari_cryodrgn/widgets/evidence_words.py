"""The evidence of a particle in numbers and words."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..analysis.agreement import Agreement
    from ..analysis.evidence import Evidence
    from .qt_tools import Colors

# Components of z that are told.
_MOST = 4


def verdict(agreement: Agreement, extent: float, unit: str, colors: Colors) -> str:
    """What an image's agreement with its volume comes to; the box has an edge of ``extent``."""
    ring = agreement.ring
    to = "" if ring is None else f"{extent / ring:.3g} {unit}"
    color, bold, rest = {
        "full": (colors.green, "The image agrees with its volume", f" to {to}."),
        "weak": (
            colors.warning,
            "Weak agreement",
            f": only of what is coarser than {to}." if to else ": it is little above noise.",
        ),
        "none": (
            colors.error,
            "No agreement",
            ": this volume does not explain this image.",
        ),
        "faint": (
            colors.warning,
            "No agreement",
            " that could not be chance. Of so faint a volume one image shows too little; the mean "
            "tells more.",
        ),
        "negative": (
            colors.error,
            "The scale is negative",
            ": contrast is inverted, or the volume is not trained.",
        ),
    }[agreement.kind]
    return f"<b style='color:{color}'>{bold}</b>{rest}"


def legend(n: int, colors: Colors) -> str:
    """What the curves are, those of the mean of ``n`` particles too unless that is 0."""
    parts = [f"<span style='color:{colors.blue}'>━ this particle</span>"]
    if n:
        few = "particle" if n == 1 else "particles"
        parts.append(f"<span style='color:{colors.orange}'>━ mean of {n:,} {few}</span>")
    parts.append("╍ expected if volume and pose are right")
    parts.append(
        f"<span style='color:{colors.dim}'>┈ one particle of pure noise stays below</span>"
    )
    if n:
        parts.append(f"<span style='color:{colors.orange}'>┈ the mean of {n:,} such</span>")
    whole = (f"<span style='white-space:nowrap'>{part}</span>" for part in parts)
    return " &nbsp; ".join(whole)


def beyond(limit: float) -> str:
    """What curves say beyond the resolution in Å of the half maps."""
    return (
        f"Beyond {limit:.1f} Å (shaded) the half maps no longer agree (FSC 0.143): agreement there "
        "is noise that the volume has learned from these very images."
    )


def table(evidence: Evidence, loss: float | None, low_pass: float | None, unit: str) -> str:
    """Numbers of a particle, as rows of rich text.

    ``loss`` is in nats, ``low_pass`` in ``unit``, which is Å or px.
    """
    rows = [
        ("correlation", _correlation(evidence, low_pass, unit)),
        ("scale", f"{evidence.scale:.2f} (1 if all is right)"),
        ("pose", _pose(evidence)),
        ("shift", _shift(evidence)),
    ]
    if evidence.ctf is not None:
        rows.append(("defocus", _defocus(evidence)))
    if evidence.z is not None and len(evidence.z):
        rows.append(("z", _latent(evidence)))
    else:
        rows.append(("z", "none: this is the consensus"))
    if loss is not None:
        rows.append(("log-likelihood", f"{-loss:+,.0f} over an empty volume"))
    cells = (
        f"<tr><td style='padding-right: 10px'><b>{name}</b></td><td>{html.escape(text)}</td></tr>"
        for name, text in rows
    )
    return f"<table>{''.join(cells)}</table>"


def _correlation(evidence: Evidence, low_pass: float | None, unit: str) -> str:
    text = f"{evidence.correlation():.2f}"
    if low_pass is None:
        return text
    return f"{evidence.correlation(low_pass):.2f} to {low_pass:.3g} {unit}, {text} unfiltered"


def _pose(evidence: Evidence) -> str:
    from ..particles import euler_from_rotations

    ((rot, tilt, psi),) = euler_from_rotations(evidence.rotation[None].numpy())
    return f"rot {rot:.1f}°, tilt {tilt:.1f}°, psi {psi:.1f}°"


def _shift(evidence: Evidence) -> str:
    x, y = evidence.shift.tolist()
    size = evidence.pixel_size
    text = f"x {x:.2f}, y {y:.2f} px"
    return text if size is None else f"{text} (x {x * size:.1f}, y {y * size:.1f} Å)"


def _defocus(evidence: Evidence) -> str:
    assert evidence.ctf is not None
    ctf = evidence.ctf
    return (
        f"U {ctf.defocus_u[0]:,.0f}, V {ctf.defocus_v[0]:,.0f} Å, angle {ctf.defocus_angle[0]:.0f}°"
    )


def _latent(evidence: Evidence) -> str:
    assert evidence.z is not None
    z, sigma = evidence.z, evidence.sigma
    spread = [""] * len(z) if sigma is None else [f" ± {s:.2f}" for s in np.asarray(sigma)]
    told = [f"{value:.2f}{more}" for value, more in zip(z, spread, strict=True)]
    more = len(told) - _MOST
    return ", ".join(told[:_MOST]) + (f" and {more} more" if more > 0 else "")
