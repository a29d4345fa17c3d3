"""How far the FRC of one image with the projection of its volume is the one expected."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

Kind = Literal["full", "weak", "none", "faint", "negative"]
Curve = Float[NDArray[np.float32], " rings"]
# Standard errors from which on an agreement is none of chance. Of a right image whose agreement is
# expected to be this certain, 2 % fall short of it.
_CERTAIN, _EXPECTED = 3.0, 5.0
# Share of the expected FRC. Simulated images keep more than 0.9 at their poses, 0.6 to 0.9 with
# poses off by 6 degrees, 0.3 to 0.8 by 12, and -0.2 to 0.5 with those of other particles.
_FULL = 0.7
# By chance alone a scale is hardly below this.
_NEGATIVE = -0.2


@dataclass(frozen=True, eq=False)
class Agreement:
    """An image's Fourier ring correlations with a projection, against those expected.

    Parameters
    ----------
    frc, expected
        By ring, from ring 1 on; those that are to count.
    size
        Number of pixels of each ring. The FRC of noise has the standard error 1 / sqrt(size).
    scale
        Factor of the projection that leaves the smallest residual.
    """

    frc: Curve
    expected: Curve
    size: Curve
    scale: float

    @cached_property
    def certainty_if_right(self) -> float:
        """Standard errors that the agreement would be above noise if all were right."""
        return float(np.sqrt((self.size * self.expected**2).sum()))

    @cached_property
    def share(self) -> float:
        """FRC over the one expected, by least squares: 1 if all is right, 0 of noise."""
        products = (self.size * self.frc * self.expected).sum()
        return float(products / max(self.certainty_if_right**2, 1e-12))

    @property
    def certainty(self) -> float:
        """Standard errors that the agreement is above noise."""
        return self.share * self.certainty_if_right

    @property
    def ring(self) -> int | None:
        """The last ring that agrees, None if there is none.

        Up to it the log-likelihood of the rings under ``expected``, over that under noise, adds up
        to the most.
        """
        ratios = np.cumsum(self.size * self.expected * (self.frc - self.expected / 2))
        if not len(ratios) or ratios.max() <= 0:
            return None
        return int(ratios.argmax()) + 1

    @property
    def kind(self) -> Kind:
        """What it comes to: "faint" where even a right image would hardly tell."""
        if self.certainty >= _CERTAIN:
            return "full" if self.share >= _FULL else "weak"
        if self.scale < _NEGATIVE:
            return "negative"
        return "none" if self.certainty_if_right >= _EXPECTED else "faint"
