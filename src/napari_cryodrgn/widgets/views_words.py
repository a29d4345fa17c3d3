"""What the Views say about a distribution of viewing directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..particles import euler_from_rotations
from .views_model import Shown

if TYPE_CHECKING:
    from ..analysis.orientations import OrientationBias

# Fewer views say little about where others would come from.
_FEW = 100
# Efficiency, and sampling compensation factor: good above the first, strong below the second.
_EFFICIENCY, _SCF = (0.8, 0.5), (0.8, 0.3)
_HOLE = 0.05
# A direction so near to an axis of the volume is named by it, in degrees.
_NEAR = 15.0


def verdict(bias: OrientationBias) -> str:
    """What a distribution means for the volume, in a sentence or two."""
    if bias.n < _FEW:
        return f"{bias.n} particles are too few to tell whether some directions are preferred."
    least = min(
        _grade(bias.efficiency, _EFFICIENCY),
        _grade(bias.scf, _SCF),
        0 if bias.unseen > _HOLE else 2,
    )
    if least == 2:
        return "<b>Good</b>: all directions of the volume are measured about equally well."
    if least == 1:
        return (
            f"<b>Some preference</b>: details are up to {bias.stretch:.1f} times as wide "
            f"as on average {direction_words(bias.blurred)}."
        )
    hole = ""
    if bias.unseen > _HOLE:
        hole = f" {bias.unseen:.0%} of the directions of Fourier space are not measured at all."
    return (
        f"<b>Strong preference</b>: expect smearing {direction_words(bias.blurred)}, "
        f"{bias.stretch:.1f} times the mean width.{hole}"
    )


def direction_words(axis: np.ndarray) -> str:
    """A direction (3,) of the volume: along one of its axes, or by RELION's angles."""
    cosines = np.abs(axis)
    if cosines.max() > np.cos(np.deg2rad(_NEAR)):
        return f"along {'xyz'[int(cosines.argmax())]} of the volume"
    rot = np.rad2deg(np.arctan2(axis[1], axis[0]))
    tilt = np.rad2deg(np.arccos(np.clip(axis[2], -1, 1)))
    return f"along rot {rot:.0f}°, tilt {tilt:.0f}° of the volume"


def seen_from(rotation: np.ndarray, particle: int) -> str:
    """Where a particle with a pose (3, 3) is seen from."""
    rot, tilt, psi = euler_from_rotations(rotation[None])[0]
    return f"Particle {particle}: rot {rot:.0f}°, tilt {tilt:.0f}°, psi {psi:.0f}°"


def table(shown: Shown) -> str:
    """Measures of all particles, and of those selected unless they are few, as an HTML table."""
    bias, chosen = shown.views.bias, shown.chosen
    if bias is None:
        return ""
    columns = [bias, chosen] if chosen is not None and chosen.n >= _FEW else [bias]
    lines = [["", "all", "selected"][: 1 + len(columns)] + ["if even"]]
    for name, form, ideal in (
        ("efficiency E<sub>od</sub>", lambda b: f"{b.efficiency:.2f}", "1"),
        ("sampling factor SCF", lambda b: f"{b.scf:.2f}", "1"),
        ("Fourier directions unseen", lambda b: f"{b.unseen:.0%}", "0%"),
        ("empty patches", lambda b: f"{b.empty:.0%}", f"{bias.empty_if_even:.0%}"),
    ):
        lines.append([name, *(form(column) for column in columns), ideal])
    cells = "".join(
        f"<tr><td>{name}</td>"
        + "".join(f"<td align='right'>&nbsp;&nbsp;{text}</td>" for text in texts)
        + "</tr>"
        for name, *texts in lines
    )
    return f"<table>{cells}</table>"


def _grade(value: float, limits: tuple[float, float]) -> int:
    return 2 if value >= limits[0] else 1 if value >= limits[1] else 0
