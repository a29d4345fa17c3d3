from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from napari_cryodrgn.model import VAE, ConsensusSlices, ImageEncoder


class Fixed(nn.Module):
    """An encoder that always says the same."""

    def __init__(self, mean: list[float], logvar: list[float]) -> None:
        super().__init__()
        self.mean, self.logvar = torch.tensor(mean), torch.tensor(logvar)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        n = len(inputs)
        return self.mean.expand(n, -1), self.logvar.expand(n, -1)


def make_images(n: int = 4, p: int = 6) -> tuple[Tensor, ...]:
    random = torch.Generator().manual_seed(8)
    inputs = torch.randn(n, 5, generator=random)
    pixels = torch.view_as_complex(torch.randn(n, p, 2, generator=random))
    ctf = torch.randn(n, p, generator=random)
    points = torch.randn(n, p, 3, generator=random)
    return inputs, pixels, ctf, points


def test_kl_of_the_prior_is_zero(make_decoder: Any) -> None:
    vae = VAE(Fixed([0.0, 0.0], [0.0, 0.0]), make_decoder(2))  # type: ignore[arg-type]
    terms, _, _ = vae.elbo(*make_images(), None)
    assert float(terms.kl) == 0


def test_kl_is_the_closed_form(make_decoder: Any) -> None:
    mean, logvar = [0.5, -2.0], [-1.0, 0.7]
    vae = VAE(Fixed(mean, logvar), make_decoder(2))  # type: ignore[arg-type]
    terms, found_mean, found_logvar = vae.elbo(*make_images(), None)
    deviation = (torch.tensor(logvar) / 2).exp()
    q = torch.distributions.Normal(torch.tensor(mean), deviation)
    prior = torch.distributions.Normal(torch.zeros(2), torch.ones(2))
    expected = torch.distributions.kl_divergence(q, prior).sum()
    torch.testing.assert_close(terms.kl, expected)
    assert found_mean[0].tolist() == pytest.approx(mean)
    assert found_logvar[0].tolist() == pytest.approx(logvar)


@pytest.mark.parametrize("with_consensus", [False, True])
def test_reconstruction_is_the_squared_residual(make_decoder: Any, with_consensus: bool) -> None:
    random = torch.Generator().manual_seed(0)
    volume = torch.randn(16, 16, 16, generator=random) if with_consensus else None
    decoder = make_decoder(2, consensus=volume)
    vae = VAE(Fixed([1.0, 0.5], [0.0, 0.0]), decoder)  # type: ignore[arg-type]
    consensus = ConsensusSlices(decoder, 6.0) if with_consensus else None
    inputs, pixels, ctf, points = make_images()
    terms, _, _ = vae.elbo(inputs, pixels, ctf, points, consensus, sample=False)
    total = 0.0
    for x, c, k in zip(pixels, ctf, points, strict=True):
        predicted = decoder(k, torch.tensor([[1.0, 0.5]]))
        if consensus is not None:
            predicted = predicted + consensus(k)
        residual = (x - c * predicted).detach()
        total += float(residual.abs().square().sum()) / len(pixels)
    assert float(terms.reconstruction.detach()) == pytest.approx(total, rel=1e-4)


def test_latent_is_sampled_from_the_posterior(make_decoder: Any) -> None:
    decoder = make_decoder(1)
    images = make_images()

    def draw(logvar: float) -> float:
        vae = VAE(Fixed([0.0], [logvar]), decoder)  # type: ignore[arg-type]
        values = [float(vae.elbo(*images, None)[0].reconstruction.detach()) for _ in range(10)]
        return float(torch.tensor(values).std())

    torch.manual_seed(0)
    wide, narrow = draw(2.0), draw(-10.0)
    assert wide > 10 * narrow > 0


def test_gradients_reach_every_weight(make_decoder: Any) -> None:
    torch.manual_seed(0)
    vae = VAE(ImageEncoder(5, 2, 8, 1), make_decoder(2))
    terms, _, _ = vae.elbo(*make_images(), None)
    (terms.reconstruction + terms.kl).backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None, name
        assert bool((parameter.grad != 0).any()), name


def test_encoder_normalises_its_inputs() -> None:
    torch.manual_seed(0)
    deviation = torch.tensor([1.0, 10.0, 0.1])
    encoder, plain = ImageEncoder(3, 2, 8, 2, deviation), ImageEncoder(3, 2, 8, 2)
    plain.load_state_dict({**encoder.state_dict(), "deviation": torch.ones(3)})
    inputs = torch.randn(6, 3)
    mean, logvar = encoder(inputs * deviation)
    assert mean.shape == logvar.shape == (6, 2)
    torch.testing.assert_close((mean, logvar), plain(inputs))
    # A wild input stays within what exp can take.
    _, wild = encoder(inputs * 1e6)
    assert float(wild.detach().max()) <= 4
    assert float(wild.detach().min()) >= -10
