"""What to do when a loss is not a number any more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..errors import TrainingError
from .context import Context, Progress, Work
from .events import Warned


class LossNotFinite(ArithmeticError):  # noqa: N818  (a condition, not an error for the user)
    """The loss became infinite or NaN; the networks trained with it are lost."""


def with_second_try(
    context: Context, work: Callable[[float], Work], *, spent: bool = False
) -> Work:
    """``work(1.0)``; where its loss is not finite, a warning and once again ``work(0.5)``.

    Parameters
    ----------
    work
        Trains from the last good state, which it leaves alone until it has succeeded; takes a
        factor of the learning rate.
    spent
        The rate has been halved before: there is no second try.

    Raises
    ------
    TrainingError
        If the loss is not finite at half the learning rate either.
    """
    reached = 0.0
    for factor in (0.5,) if spent else (1.0, 0.5):
        try:
            for outcome in work(factor):
                if isinstance(outcome, Progress):
                    reached = max(reached, outcome.fraction)
                    yield replace(outcome, fraction=reached)
                else:
                    yield outcome
        except LossNotFinite as error:
            if factor == 0.5:
                raise TrainingError(
                    "The loss of the network is not finite, with half the learning rate either. "
                    "Look for NaN or extremely bright images among the particles, or choose a "
                    f"learning_rate below {context.settings.learning_rate:g}. The run can be "
                    "resumed from its last checkpoint."
                ) from error
            message = (
                "The loss of the network was not finite: training goes on from the last good "
                "state with half the learning rate."
            )
            context.state.warnings.append(message)
            yield Warned(message)
        else:
            return
