"""A loss that is not a number: one step back, half the learning rate, then an error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from napari_cryodrgn.errors import TrainingError
from napari_cryodrgn.particles import read_latents
from napari_cryodrgn.training import (
    RunFinished,
    StepDone,
    Warned,
    encoder_fit,
    model_stages,
    reconstruct,
    vae_fit,
)
from napari_cryodrgn.training.decoder_fit import collect, fit_decoder, new_decoder
from napari_cryodrgn.training.divergence import LossNotFinite

PAPER = {"decoder": "plain", "linear_start": False, "encoding": "geometric", "epochs": 2}


@pytest.fixture(autouse=True)
def _short_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_stages, "_DECODER_STEPS", 50)


def spoil(monkeypatch: pytest.MonkeyPatch, module: Any, calls: set[int]) -> list[float]:
    """NaN gradients, hence weights, at the given calls of Adam; returns the rates it was given."""
    rates: list[float] = []
    whole = module.Adam

    class Spoilt(whole):  # type: ignore[misc, valid-type]
        def step(self) -> None:
            rates.append(self.learning_rate)
            if len(rates) in calls:
                for parameter in self._parameters:
                    parameter.grad = torch.full_like(parameter, torch.nan)
            super().step()

    monkeypatch.setattr(model_stages, "Adam", Spoilt)
    return rates


def warnings_of(events: list[Any]) -> list[str]:
    return [e.message for e in events if isinstance(e, Warned) and "not finite" in e.message]


@pytest.mark.parametrize("changes", [{}, PAPER], ids=["basis", "network"])
def test_one_bad_step_is_made_good(
    particles: Any, settings: Any, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    module = vae_fit if changes else encoder_fit
    clean: list[float] = spoil(monkeypatch, module, set())
    list(reconstruct(settings(**changes), particles))
    steps = len(clean)
    rates = spoil(monkeypatch, module, {steps // 2 + 3})
    chosen = settings(**changes)
    events = list(reconstruct(chosen, particles))
    assert len(warnings_of(events)) == 1
    assert isinstance(events[-1], RunFinished)
    mu, logvar = read_latents(chosen.output / "z.pkl")
    assert logvar is not None
    assert np.isfinite(mu).all()
    assert np.isfinite(logvar).all()
    # From then on at half the rate: the same places in the schedule.
    assert rates[-1] == pytest.approx(clean[-1] / 2)
    assert len(rates) > steps
    fractions = [e.fraction for e in events if isinstance(e, StepDone)]
    assert fractions == sorted(fractions)


def test_a_second_bad_step_is_an_error(
    particles: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, vae_fit, set(range(3, 1000)))
    seen: list[Any] = []
    chosen = settings(**PAPER)
    with pytest.raises(TrainingError, match="half the learning rate"):
        seen.extend(_kept(seen, reconstruct(chosen, particles)))
    assert len(warnings_of(seen)) == 1
    # What was saved before is still good.
    monkeypatch.undo()
    monkeypatch.setattr(model_stages, "_DECODER_STEPS", 50)
    *_, last = reconstruct(chosen, particles, resume=True)
    assert isinstance(last, RunFinished)


def _kept(seen: list[Any], events: Iterator[Any]) -> list[Any]:
    for event in events:
        seen.append(event)
    return []


def test_the_decoders_fit_says_so_too(toy: Any, make_data: Any) -> None:
    particles, t = toy
    data = make_data(particles)
    r, s = torch.from_numpy(particles.rotations), torch.from_numpy(particles.shifts)
    statistics = collect(data, r, s, t[:, None], 6.0, 3, seed=0)
    volume = torch.rand(32, 32, 32)
    from napari_cryodrgn.model import geometric  # noqa: PLC0415

    decoder = new_decoder(geometric(32), statistics, volume, 8, 1, seed=0)
    with torch.no_grad():
        decoder.output.bias.fill_(torch.nan)
    with pytest.raises(LossNotFinite):
        list(fit_decoder(decoder, statistics, steps=5, seed=0))
