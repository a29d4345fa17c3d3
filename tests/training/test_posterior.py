"""The voxel basis, the posterior of the latent under it, and the encoder trained on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from napari_cryodrgn.imaging import FourierGrid, slice_points
from napari_cryodrgn.model import BasisDecoder, kernel_functions
from napari_cryodrgn.training.adam import Adam
from napari_cryodrgn.training.basis_fit import count_nodes, fit_basis, on_grid, solve_basis
from napari_cryodrgn.training.decoder_fit import collect
from napari_cryodrgn.training.encoder_fit import EncoderPlan, train_encoder
from napari_cryodrgn.training.posterior import (
    hold_out,
    image_statistics,
    infer,
    infer_all,
    principal_axes,
    refine,
    standardised,
)
from napari_cryodrgn.training.vae_fit import EpochLoss, infer_latents, new_encoder


@pytest.fixture
def known(toy: Any, make_data: Any) -> tuple[Any, Tensor, Tensor, Tensor]:
    """Data, true rotations and shifts, and a latent that follows the conformation exactly."""
    particles, t = toy
    r, s = torch.from_numpy(particles.rotations), torch.from_numpy(particles.shifts)
    return make_data(particles), r, s, ((t - t.mean()) / t.std())[:, None]


def test_basis_follows_the_motion(known: Any, toy: Any) -> None:
    data, r, s, z = known
    decoder = fit_basis(data, r, s, z, 12.0)
    truth = torch.from_numpy(np.load(toy[0].source.parent / "truth.npz")["vols"]) * data.scale
    ends = [decoder.decode(torch.quantile(z, q).reshape(1)) for q in (0.1, 0.9)]
    motion, expected = ends[1] - ends[0], truth[9] - truth[1]
    assert np.corrcoef(motion.flatten(), expected.flatten())[0, 1] > 0.85
    for volume, true in zip(ends, (truth[1], truth[9]), strict=True):
        assert np.corrcoef(volume.flatten(), true.flatten())[0, 1] > 0.93
        # In the units of the particles.
        assert float((volume * true).sum() / true.square().sum()) == pytest.approx(1, abs=0.1)


def test_basis_of_two_latents_and_of_none(known: Any) -> None:
    data, r, s, z = known
    plane = torch.cat([z, torch.randn(z.shape, generator=torch.Generator().manual_seed(0))], 1)
    decoder = fit_basis(data, r, s, plane, 8.0)
    low, high = (decoder.decode(torch.tensor([x, 0.0])) for x in (-1.2, 1.2))
    aside = decoder.decode(torch.tensor([1.2, 0.6]))
    assert float((high - aside).norm()) < 0.6 * float((high - low).norm())
    still = solve_basis(collect(data, r, s, z[:, :0], 8.0, count_nodes(0), 0))
    assert still.volumes.shape[0] == 1
    similarity = torch.cosine_similarity(still.decode(z[0, :0]).flatten(), low.flatten(), 0)
    assert float(similarity) > 0.8


def test_grids_of_half_the_points_are_those_of_real_volumes() -> None:
    grid = FourierGrid(16, 5.0)
    volume = torch.randn(1, 16, 16, 16, generator=torch.Generator().manual_seed(0)) * grid.mask
    transform = grid.transform(volume) * grid.inside
    x, y, z = torch.meshgrid(*[torch.arange(-grid.half, grid.half + 1)] * 3, indexing="ij")
    k = torch.stack([x, y, z], -1).reshape(-1, 3)
    k = k[(k * torch.tensor([1, 1000, 1000000])).sum(1) >= 0]
    values = transform[:, k[:, 2] + grid.half, k[:, 1] + grid.half, k[:, 0] + grid.half]
    torch.testing.assert_close(on_grid(grid, k / 2, values), transform, atol=1e-3, rtol=1e-3)


def small_decoder(zdim: int, box: int = 24) -> BasisDecoder:
    """A decoder whose volumes differ a little, as a molecule's do."""
    random = torch.Generator().manual_seed(1)
    nodes = torch.randn(8, zdim, generator=random)
    length = torch.ones(zdim) * 1.5
    mixing = kernel_functions(nodes, length, 3)
    grid = FourierGrid(box, 8.0)
    volumes = torch.randn(4, box, box, box, generator=random) * grid.mask
    volumes[1:] *= 0.3
    return BasisDecoder(volumes, nodes, mixing, length)


def test_likelihood_by_statistics_is_the_direct_one(particles: Any, make_data: Any) -> None:
    data = make_data(particles)
    decoder = small_decoder(1)
    r, s = torch.from_numpy(particles.rotations), torch.from_numpy(particles.shifts)
    index = torch.tensor([3, 50, 77])
    gram, pull, power = image_statistics(data, r, s, decoder, 8.0, index)
    pixels, ctf = data.batch(index, 8.0)
    k = data.lattice.k[: pixels.shape[1]]
    grid = FourierGrid(24, 8.0)
    for z in torch.tensor([[-1.0], [0.4]]):
        a = decoder.coefficients(z)
        quick = power - 2 * pull @ a + ((gram @ a) * a).sum(1)
        slices = grid.sample(grid.transform(decoder.decode(z))[None], slice_points(r[index], k))
        # The particle is displaced by s: so is what is compared with it.
        phases = torch.exp(-2j * torch.pi / 24 * (s[index] @ k.T))
        direct = (pixels - ctf * slices * phases).abs().square().sum(1)
        torch.testing.assert_close(quick, direct, rtol=1e-3, atol=1e-2)


def quadrature(decoder: BasisDecoder, gram: Tensor, pull: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance and evidence on a fine grid, for one-dimensional latents."""
    z = torch.linspace(-6, 6, 4001, dtype=torch.float64)[:, None]
    a = decoder.coefficients(z.float()).double()
    log = 2 * a @ pull.double() - torch.einsum("ka,ab,kb->k", a, gram.double(), a)
    log = log - 0.5 * z[:, 0] ** 2 - 0.5 * np.log(2 * np.pi)
    weight = (log - log.max()).exp()
    step = 12 / 4000
    evidence = log.max() + (weight.sum() * step).log()
    weight = weight / weight.sum()
    mean = (weight * z[:, 0]).sum()
    return mean, (weight * z[:, 0] ** 2).sum() - mean**2, evidence


@pytest.fixture
def observed() -> tuple[BasisDecoder, Tensor, Tensor, Tensor]:
    """A one-dimensional decoder, G and h of 40 noisy observations, and their true z."""
    decoder = small_decoder(1)
    random = torch.Generator().manual_seed(6)
    modes = torch.randn(40, 4, 60, generator=random) * 0.8
    z = torch.randn(40, 1, generator=random)
    noise = torch.randn(40, 60, generator=random) / 2**0.5
    x = (decoder.coefficients(z)[:, None] @ modes)[:, 0] + noise
    return decoder, modes @ modes.transpose(1, 2), (modes @ x[..., None])[..., 0], z


def test_posterior_is_that_of_quadrature(observed: Any) -> None:
    decoder, gram, pull, z = observed
    found = infer(decoder, gram, pull, torch.zeros_like(z))
    assert abs(spearmanr(found.mean[:, 0], z[:, 0]).statistic) > 0.9
    for i in range(len(z)):
        mean, variance, evidence = quadrature(decoder, gram[i], pull[i])
        assert float(found.mean[i, 0]) == pytest.approx(float(mean), abs=0.03)
        assert float(found.deviation[i, 0]) == pytest.approx(float(variance.sqrt()), rel=0.1)
        assert float(found.evidence[i]) == pytest.approx(float(evidence), abs=0.05)


def test_without_information_the_posterior_is_the_prior(observed: Any) -> None:
    decoder, gram, pull, z = observed
    for zdim in (1, 2, 3):
        blank = small_decoder(zdim)
        found = infer(blank, 0 * gram, 0 * pull, torch.zeros(40, zdim))
        torch.testing.assert_close(found.mean, torch.zeros(40, zdim), atol=1e-3, rtol=0)
        torch.testing.assert_close(found.deviation, torch.ones(40, zdim), atol=0.02, rtol=0)
        torch.testing.assert_close(found.evidence, torch.zeros(40), atol=1e-2, rtol=0)


def test_laplace_finds_the_mode_in_three_dimensions() -> None:
    decoder = small_decoder(3)
    random = torch.Generator().manual_seed(2)
    modes = torch.randn(50, 4, 400, generator=random)
    z = 0.7 * torch.randn(50, 3, generator=random)
    x = (decoder.coefficients(z)[:, None] @ modes)[:, 0]
    x = x + torch.randn(50, 400, generator=random) / 2**0.5
    gram, pull = modes @ modes.transpose(1, 2), (modes @ x[..., None])[..., 0]
    found = infer(decoder, gram, pull, torch.zeros(50, 3))

    def height(at: Tensor) -> Tensor:
        a = decoder.coefficients(at)
        fit = (a * (2 * pull - (gram @ a[..., None])[..., 0])).sum(1)
        return fit - 0.5 * at.square().sum(1)

    best = height(found.mean)
    assert float((best >= height(z) - 1e-3).double().mean()) > 0.9
    for _ in range(20):
        nearby = found.mean + 0.02 * torch.randn(50, 3, generator=random)
        assert float((height(nearby) <= best + 0.02).double().mean()) > 0.85


def test_refinement_improves_a_poor_latent(known: Any) -> None:
    data, r, s, z = known
    poor = z + 0.8 * torch.randn(z.shape, generator=torch.Generator().manual_seed(4))
    poor = standardised(poor, torch.zeros_like(poor))
    before = abs(spearmanr(poor[:, 0], z[:, 0]).statistic)
    refined = refine(data, r, s, poor, 10.0, seed=0)
    after = abs(spearmanr(refined.posterior.mean[:, 0], z[:, 0]).statistic)
    assert refined.better
    assert before < 0.8
    assert after > 0.93
    # The posterior's width is an honest error bar: the latent's scale is the prior's.
    once = infer_all(hold_out(data, r, s, z, 10.0, 0), z)
    error = (once.mean - z)[:, 0].abs()
    assert 0.3 < float((error < once.deviation[:, 0]).double().mean()) < 0.9


def test_a_worse_model_is_not_kept(known: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data, r, s, z = known
    from napari_cryodrgn.training import posterior  # noqa: PLC0415

    monkeypatch.setattr(posterior, "standardised", lambda mean, _: torch.rand_like(mean))
    refined = refine(data, r, s, z, 8.0, seed=0)
    assert not refined.better
    expected = infer_all(hold_out(data, r, s, z, 8.0, 0), z)
    torch.testing.assert_close(refined.posterior.evidence, expected.evidence)


def test_encoder_learns_the_posterior(known: Any) -> None:
    data, r, s, z = known
    halves = hold_out(data, r, s, z, 10.0, 0)
    encoder = new_encoder(data, s, 1, 48, 2, 0)
    optimizer = Adam(encoder.parameters(), 2e-3)
    plan = EncoderPlan(passes=25, limit=10.0, learning_rate=2e-3, beta=1.0, seed=0)
    *progress, loss = train_encoder(encoder, optimizer, data, s, halves, plan)
    assert isinstance(loss, EpochLoss)
    assert progress == sorted(progress)
    assert progress[-1] == 1
    mean, logvar = infer_latents(encoder, data, s)
    assert abs(spearmanr(mean[:, 0], z[:, 0]).statistic) > 0.9
    # The ELBO is a lower bound of the log evidence.
    exact = infer_all(halves, z)
    power = torch.cat([half.power for half in halves])
    bound = float(power.mean() - exact.evidence.mean()) / loss.n_pixels
    assert bound - 0.01 < loss.total < bound + 0.1


def test_standardised_has_the_moments_of_the_prior() -> None:
    random = torch.Generator().manual_seed(0)
    mean = torch.randn(500, 2, generator=random) * torch.tensor([2.0, 0.3]) + 1
    deviation = torch.full((500, 2), 0.4)
    z = standardised(mean, deviation)
    ratio = z.std(0) / mean.std(0)
    second = (z.square() + (deviation * ratio).square()).mean(0)
    torch.testing.assert_close(second, torch.ones(2), atol=1e-2, rtol=0)
    torch.testing.assert_close(z.mean(0), torch.zeros(2), atol=1e-5, rtol=0)


def test_principal_axes_come_in_order() -> None:
    random = torch.Generator().manual_seed(0)
    mix = torch.linalg.qr(torch.randn(3, 3, generator=random)).Q
    z = torch.randn(400, 3, generator=random) * torch.tensor([0.2, 1.0, 0.5]) @ mix
    axes = principal_axes(z)
    torch.testing.assert_close(axes.T @ axes, torch.eye(3), atol=1e-5, rtol=0)
    spread = (z @ axes).std(0)
    assert spread.tolist() == pytest.approx([1.0, 0.5, 0.2], rel=0.15)
