"""Adam without torch's optimizer classes.

Making one of those imports torch's compiler, which takes over a second and holds Python's global
lock for a third of one, so that a window on the same process stands still. The update itself is
torch's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam


class Adam:
    """Adam (Kingma and Ba, 2015) over ``parameters``, which are updated in place.

    ``learning_rate`` may be set before each step.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        self.learning_rate, self.betas = learning_rate, betas
        self._parameters = [p for p in parameters if p.requires_grad]
        self._mean = [torch.zeros_like(p) for p in self._parameters]
        self._square = [torch.zeros_like(p) for p in self._parameters]
        self._steps = [torch.zeros(()) for _ in self._parameters]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        live = [i for i, p in enumerate(self._parameters) if p.grad is not None]
        gradients = [g for p in self._parameters if (g := p.grad) is not None]
        adam(
            [self._parameters[i] for i in live],
            gradients,
            [self._mean[i] for i in live],
            [self._square[i] for i in live],
            [],
            [self._steps[i] for i in live],
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=self.learning_rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """Moments and step counts, to go on from."""
        return {"mean": self._mean, "square": self._square, "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what ``state_dict`` gave for the same parameters."""
        for own, given in (
            (self._mean, state["mean"]),
            (self._square, state["square"]),
            (self._steps, state["steps"]),
        ):
            for mine, other in zip(own, given, strict=True):
                mine.copy_(other)
