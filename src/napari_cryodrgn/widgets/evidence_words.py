"""The evidence of a particle in numbers and words."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..analysis.evidence import Evidence

# Components of z that are told.
_MOST = 4


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
        rows.append(("loss", f"{loss:.1f} nats against an empty volume"))
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
