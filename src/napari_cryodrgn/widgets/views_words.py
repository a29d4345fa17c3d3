"""What the Views say about a distribution of viewing directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..particles import euler_from_rotations
from .views_model import Shown

if TYPE_CHECKING:
    from ..analysis.orientations import OrientationBias

# Fewer views say nothing about where others would come from; up to the second, chance alone may
# look like some preference, though not like a strong one, and leaves holes.
_FEW, _ENOUGH = 10, 50
# Efficiency and sampling compensation factor over those of as many even views: good above the
# first, a strong preference below the second.
_EFFICIENCY, _SCF = (0.8, 0.5), (0.8, 0.3)
_HOLE = 0.05
# A direction so near to an axis of the volume is named by it, in degrees.
_NEAR = 15.0


def verdicts(shown: Shown) -> str:
    """What the views of all particles, and of those selected, mean for the volume."""
    bias, chosen = shown.views.bias, shown.chosen
    if bias is None:
        return ""
    if chosen is None:
        return verdict(bias)
    return f"All: {verdict(bias)}<br>Selected: {verdict(chosen)}"


def verdict(bias: OrientationBias) -> str:
    """What a distribution means for the volume, in a sentence or two."""
    has_hole = bias.n >= _ENOUGH and bias.unseen > _HOLE
    least = min(
        _grade(bias.efficiency / max(bias.efficiency_if_even, 1e-6), _EFFICIENCY),
        _grade(bias.scf / max(bias.scf_if_even, 1e-6), _SCF),
        0 if has_hole else 2,
    )
    if bias.n < _FEW or (bias.n < _ENOUGH and least > 0):
        few = "particle is" if bias.n == 1 else "particles are"
        return f"{bias.n} {few} too few to tell whether some directions are preferred."
    if least == 2:
        return "<b>Good</b>: all directions of the volume are measured about equally well."
    if least == 1:
        return (
            f"<b>Some preference</b>: details are up to {bias.stretch:.1f} times as wide "
            f"as on average {direction_words(bias.blurred)}."
        )
    hole = ""
    if has_hole:
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
    return f"along {_angles(axis)} of the volume"


def selected(count: int, circle: tuple[np.ndarray, float] | None) -> str:
    """How many are selected, and within what, if it is an angle of a direction (3,)."""
    text = f"{count:,} selected"
    if circle is None:
        return text
    axis, degrees = circle
    return f"{text}, within {degrees:.0f}° of {_angles(axis)}"


def seen_from(rotation: np.ndarray, particle: int) -> str:
    """Where a particle with a pose (3, 3) is seen from."""
    rot, tilt, psi = euler_from_rotations(rotation[None])[0]
    return f"Particle {particle}: rot {rot:.0f}°, tilt {tilt:.0f}°, psi {psi:.0f}°"


def table(shown: Shown) -> str:
    """Measures of all particles and of those selected, beside as many even views: an HTML table."""
    bias, chosen = shown.views.bias, shown.chosen
    if bias is None:
        return ""
    columns = [bias] if chosen is None else [bias, chosen]
    heads = ("all", "if even", "selected", "if even")
    lines = [["", *heads[: 2 * len(columns)]]]
    forms: tuple[tuple[str, Callable[[OrientationBias], tuple[str, str]]], ...] = (
        (
            "efficiency E<sub>od</sub>",
            lambda b: (f"{b.efficiency:.2f}", f"{b.efficiency_if_even:.2f}"),
        ),
        ("sampling factor SCF", lambda b: (f"{b.scf:.2f}", f"{b.scf_if_even:.2f}")),
        ("unseen in Fourier space", lambda b: (f"{b.unseen:.0%}", "0%" if b.n >= _ENOUGH else "–")),
        ("empty patches", lambda b: (f"{b.empty:.0%}", f"{b.empty_if_even:.0%}")),
    )
    lines += [[name, *(text for b in columns for text in form(b))] for name, form in forms]
    cells = "".join(
        f"<tr><td>{name}</td>"
        + "".join(f"<td align='right'>&nbsp;&nbsp;{text}</td>" for text in texts)
        + "</tr>"
        for name, *texts in lines
    )
    return f"<table>{cells}</table>"


def _angles(axis: np.ndarray) -> str:
    rot = np.rad2deg(np.arctan2(axis[1], axis[0]))
    tilt = np.rad2deg(np.arccos(np.clip(axis[2], -1, 1)))
    return f"rot {round(float(rot))}°, tilt {round(float(tilt))}°"


def _grade(value: float, limits: tuple[float, float]) -> int:
    return 2 if value >= limits[0] else 1 if value >= limits[1] else 0
