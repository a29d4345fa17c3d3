"""What a preflight found, in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..analysis.hypotheses import Change, Comparison
    from ..analysis.preflight import Images, Map

#: What a row of the table of hypotheses is called.
NAMES: dict[Change, str] = {
    "none": "as they are",
    "shifts reversed": "shifts reversed",
    "no shifts": "without shifts",
    "rows reversed": "rows in reverse order",
    "one row up": "poses one row up",
    "one row down": "poses one row down",
    "rotations transposed": "rotations transposed",
    "upside down": "images upside down",
}
_QUESTIONS: dict[Change, tuple[str, str]] = {
    "shifts reversed": ("The shifts have the wrong sign: reverse them?", "Reverse"),
    "no shifts": ("The images fit better without the shifts: leave them out?", "Leave out"),
    "rows reversed": ("The poses are in reverse order: turn them round?", "Turn round"),
    "one row up": ("The poses are one row late: move them up?", "Move up"),
    "one row down": ("The poses are one row early: move them down?", "Move down"),
    "rotations transposed": ("The rotations are transposed: transpose them?", "Transpose"),
    "upside down": ("The images are upside down to the poses: turn the poses?", "Turn"),
}
Level = Literal["good", "bad", "unclear"]


@dataclass(frozen=True)
class Finding:
    """A sentence, and the text of the button that does what it suggests; "" for none."""

    text: str
    level: Level
    button: str = ""


def about_contrast(images: Images, inverted: bool) -> Finding:
    """What the images say on their contrast; ``inverted`` if they were taken as dark on light."""
    if images.inverted:
        back = "Bright on dark" if inverted else "Invert"
        return Finding("The contrast looks inverted: switch?", "bad", back)
    if images.contrast < 3:
        return Finding("Contrast: cannot tell whether the particles are bright or dark.", "unclear")
    kind = "bright on dark once inverted" if inverted else "bright on dark"
    return Finding(f"Contrast: right ({kind}).", "good")


def about_poses(comparison: Comparison) -> Finding:
    """What the hypotheses say on the poses."""
    if not comparison.fits:
        return Finding(
            "The images fit these poses no better than poses at random, whatever the sign and "
            "order: the poses belong to other particles, or there is too little signal to tell.",
            "bad",
        )
    suggestion = comparison.suggestion
    if suggestion != "none":
        text, button = _QUESTIONS[suggestion]
        return Finding(text, "bad", button)
    if comparison.best.change != "none":
        return Finding(
            f"Poses: they fit; {NAMES[comparison.best.change]} would do as well or little better.",
            "unclear",
        )
    return Finding("Poses: they fit the images best as they are.", "good")


def too_few(n: int) -> Finding:
    """Why the poses were not put to the test."""
    return Finding(f"Poses: {n} particles are too few to put them to the test.", "unclear")


def about_map(result: Map) -> str:
    """How many particles are in a map and how far its halves agree, if that means anything."""
    from ..analysis.preflight import FEWEST

    if result.n < FEWEST:
        return f"{result.n:,} particles"
    unit = "Å" if result.pixel_size is not None else "px"
    return f"{result.n:,} particles: {result.resolution:.3g} {unit} (FSC 0.143)"
