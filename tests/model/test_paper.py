"""The paper's own form: its objective written out in NumPy, and its gradients, in double."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_cryodrgn.model import (
    VAE,
    CoordinateDecoder,
    ImageEncoder,
    PositionalEncoding,
    gaussian,
    geometric,
)

BOX, ZDIM, N, P = 16, 2, 5, 7
ENCODINGS = [geometric(BOX), geometric(BOX, noisy=True), gaussian(BOX, 12)]


def make(encoding: PositionalEncoding) -> tuple[VAE, tuple[Tensor, ...]]:
    """A VAE in double precision and a batch of images: inputs, pixels, CTF, R^T c."""
    torch.manual_seed(1)
    vae = VAE(ImageEncoder(2 * P, ZDIM, 9, 2), CoordinateDecoder(encoding, ZDIM, 10, 2, BOX))
    pixels = torch.randn(N, P, dtype=torch.complex128)
    ctf = torch.randn(N, P, dtype=torch.float64)
    inputs = torch.view_as_real(pixels * ctf).flatten(1)
    points = 5 * torch.randn(N, P, 3, dtype=torch.float64)
    return vae.double(), (inputs, pixels, ctf, points)


@pytest.mark.parametrize("encoding", ENCODINGS, ids=["geometric", "noisy", "gaussian"])
def test_elbo_written_out(encoding: PositionalEncoding) -> None:
    vae, batch = make(encoding)
    torch.manual_seed(5)
    terms, mean, logvar = vae.elbo(*batch, None)
    torch.manual_seed(5)
    epsilon = torch.randn(N, ZDIM, dtype=torch.float64).numpy()

    w = {name: value.detach().numpy() for name, value in vae.state_dict().items()}
    inputs, pixels, ctf, points = (x.numpy() for x in batch)
    log_likelihood, divergence = [], []
    for i in range(N):
        # Encoder: a residual MLP with ReLU.
        h = np.maximum(w["encoder.input.weight"] @ inputs[i] + w["encoder.input.bias"], 0)
        for layer in range(2):
            name = f"encoder.hidden.{layer}"
            h = np.maximum(h + w[f"{name}.weight"] @ h + w[f"{name}.bias"], 0)
        out = w["encoder.output.weight"] @ h + w["encoder.output.bias"]
        mu, s = out[:ZDIM], out[ZDIM:]
        np.testing.assert_allclose(mean.detach()[i], mu)
        np.testing.assert_allclose(logvar.detach()[i], s)
        z = mu + epsilon[i] * np.exp(s / 2)
        total = 0.0
        for x, c, k in zip(pixels[i], ctf[i], points[i], strict=True):
            # Decoder: positional encoding of k, the latent in every layer, SiLU.
            phase = k @ w["decoder.encoding.phases"]
            pe = np.concatenate([np.sin(phase), np.cos(phase)])
            a = w["decoder.input.weight"] @ pe + w["decoder.input.bias"]
            a = a + w["decoder.latent.0.weight"] @ z
            h = a / (1 + np.exp(-a))
            for layer in range(2):
                name = f"decoder.hidden.{layer}"
                a = h + w[f"{name}.weight"] @ h + w[f"{name}.bias"]
                a = a + w[f"decoder.latent.{layer + 1}.weight"] @ z
                h = a / (1 + np.exp(-a))
            real, imaginary = w["decoder.output.weight"] @ h + w["decoder.output.bias"]
            # E|noise|² = 1: each part of a pixel is normal with variance 1/2.
            for value, expected in ((x.real, c * real), (x.imag, c * imaginary)):
                total += -((value - expected) ** 2) / (2 * 0.5) - 0.5 * math.log(2 * math.pi * 0.5)
        log_likelihood.append(total)
        # KL of q(z) = N(mu, exp s) to the prior, as an integral along each axis.
        kl = 0.0
        for m, deviation in zip(mu, np.exp(s / 2), strict=True):
            t = np.linspace(m - 12 * deviation, m + 12 * deviation, 20001)
            log_q = -0.5 * ((t - m) / deviation) ** 2 - math.log(deviation)
            density = np.exp(log_q) / math.sqrt(2 * math.pi)
            kl += float(np.sum(density * (log_q + 0.5 * t**2)) * (t[1] - t[0]))
        divergence.append(kl)
    constant = -P * math.log(math.pi)
    reconstruction = float(terms.reconstruction.detach())
    assert constant - reconstruction == pytest.approx(np.mean(log_likelihood), rel=1e-10)
    assert float(terms.kl.detach()) == pytest.approx(np.mean(divergence), rel=1e-6)


@pytest.mark.parametrize("encoding", ENCODINGS, ids=["geometric", "noisy", "gaussian"])
def test_gradients_are_those_of_finite_differences(encoding: PositionalEncoding) -> None:
    vae, batch = make(encoding)

    def loss() -> Tensor:
        torch.manual_seed(9)
        terms, _, _ = vae.elbo(*batch, None)
        return terms.reconstruction + terms.kl

    loss().backward()  # type: ignore[no-untyped-call]
    random = torch.Generator().manual_seed(2)
    h = 1e-6
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None, name
        way = torch.randn(parameter.shape, generator=random, dtype=torch.float64)
        with torch.no_grad():
            parameter += h * way
            up = float(loss())
            parameter -= 2 * h * way
            down = float(loss())
            parameter += h * way
        expected = (up - down) / (2 * h)
        found = float((parameter.grad * way).sum())
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-7), name


def test_a_rotated_image_sees_the_rotated_slice() -> None:
    """The decoder at R^T c: turning the molecule and turning the image are the same thing."""
    vae, _ = make(geometric(BOX))
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    plane = torch.randn(P, 3, dtype=torch.float64) * torch.tensor([1.0, 1.0, 0.0])
    z = torch.zeros(1, ZDIM, dtype=torch.float64)
    # c in object space is R^T c as a column, c R as a row.
    found = vae.decoder(plane @ turn, z)
    one_by_one = torch.stack([vae.decoder((turn.T @ c)[None], z)[0] for c in plane])
    torch.testing.assert_close(found, one_by_one)
