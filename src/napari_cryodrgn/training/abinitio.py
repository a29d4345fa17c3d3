"""A first volume from nothing: stochastic soft expectation maximisation on a shared pose grid.

Every image is compared with every rotation and shift of a coarse grid; both the comparison and
the accumulation of the posterior-weighted images are matrix products. The sufficient statistics
are a moving average over minibatches; the noise is re-estimated as the volume improves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..imaging import FourierGrid, shift_phases, slice_points
from ..poses import expmap, shift_grid, so3_half_grid
from .dataset import Dataset


@dataclass(frozen=True)
class SoftEMSettings:
    """Schedule of the soft EM; measured to work from SNR 0.1 upwards.

    Starting at a lower ``limit`` (cycles per box) fails, so does a weaker or stronger prior than
    ``prior_factor`` times the current signal power. The moving average forgets at rate ``rates``
    [0] at first and ``rates`` [1] after ``decay`` of the steps. The run ends early when the volume
    correlates by more than ``converged`` with that of 20 steps before.
    """

    limit: float = 8.0
    steps: int = 200
    batch: int = 100
    n_side: int = 4
    rates: tuple[float, float] = (0.9, 0.25)
    decay: float = 0.3
    prior_factor: float = 8.0
    converged: float = 0.97


_CHECK = 20
# Grid points per independent Fourier coefficient of a twofold padded volume.
_GRID_DENSITY = 8.0


def soft_em(
    data: Dataset, seed: int, max_shift: float, step: float, settings: SoftEMSettings
) -> Iterator[tuple[int, float, Float[Tensor, "z y x"]]]:
    """Yield (steps done, residual per pixel in units of the noise, volume) after every step.

    Parameters
    ----------
    data
        In a small box (about 32 pixels): the volume has that box.
    seed
        Of the order of the images, of the first random poses, and of the grid's orientation.
    max_shift, step
        Extent and spacing of the shift grid in pixels of ``data.box``.
    """
    device = data.device
    random = torch.Generator().manual_seed(seed)
    limit = min(settings.limit, data.lattice.limit)
    p = data.lattice.count(limit)
    k, shell = data.lattice.k[:p], data.lattice.shell[:p]
    base = so3_half_grid(settings.n_side)
    shifts, _ = shift_grid(max_shift, step)
    phases = shift_phases(k, data.box, shifts.to(device))
    n_rotations, n_shifts, n = len(base), len(shifts), len(data)
    batch = min(settings.batch, n)
    grid = FourierGrid(data.box, limit, device=device)

    sample = torch.randperm(n, generator=random)[:2000]
    power = torch.stack([x.abs().square().mean(0) for _, x, _ in data.batches(500, limit, sample)])
    total = data.lattice.shell_mean(power.mean(0)).clamp_min(1e-6)
    variance = total.clone()
    sums = torch.zeros(3, grid.n, grid.n, grid.n, device=device)
    volume: Tensor | None = None
    earlier: Tensor | None = None
    queue = torch.empty(0, dtype=torch.long)
    for done in range(-1, settings.steps):
        progress = max(0, done) / max(1, settings.steps - 1)
        first, last = settings.rates
        rate = 1.0 if done < 0 else first * (last / first) ** min(1, progress / settings.decay)
        if len(queue) < batch:
            queue = torch.cat([queue, torch.randperm(n, generator=random)])
        index, queue = queue[:batch], queue[batch:]
        # A new orientation of the grid at every step: its coarseness then blurs, but does not bias.
        frame = expmap(2 * torch.randn(3, generator=random))
        points = slice_points((base @ frame).to(device), k)
        pixels, ctf = data.batch(index, limit)
        inverse = (1 / variance[shell])[:p]
        images = ((pixels * ctf)[:, None] * phases).reshape(-1, p)
        # Rotations come in pairs: turned by 180 degrees in plane, a slice is its conjugate.
        slices = None
        if volume is None:  # random poses make the first volume
            posterior = torch.zeros(batch, n_shifts, 2, n_rotations, device=device)
            pick = torch.randint(n_rotations, (batch,), generator=random)
            posterior[torch.arange(batch), n_shifts // 2, 0, pick.to(device)] = 1
        else:
            slices = grid.sample(grid.transform(volume)[None], points)
            norm = ((ctf.square() * inverse) @ slices.abs().square().T)[:, None]
            even = (images.real @ (2 * inverse * slices.real).T).reshape(batch, n_shifts, -1)
            odd = (images.imag @ (2 * inverse * slices.imag).T).reshape(batch, n_shifts, -1)
            even -= norm
            match = torch.stack([even + odd, even - odd], 2)
            posterior = torch.softmax(match.reshape(batch, -1), 1).reshape(match.shape)
        one, other = posterior[:, :, 0], posterior[:, :, 1]
        both = (one + other).reshape(-1, n_rotations)
        difference = (one - other).reshape(-1, n_rotations)
        numerator = torch.complex(both.T @ images.real, difference.T @ images.imag)
        weight = both.reshape(one.shape).sum(1).T @ ctf.square()
        residual = float("nan")
        if slices is not None:
            left = pixels.abs().square().mean(0)
            left = left - 2 * (numerator * slices.conj()).real.sum(0) / batch
            left = left + (weight * slices.abs().square()).sum(0) / batch
            residual = float(left.mean())
            left = data.lattice.shell_mean(left)
            left = torch.minimum(torch.maximum(left, 0.003 * total), total)
            variance = 0.7 * variance + 0.3 * left
        numerator, weight = numerator * inverse, weight * inverse
        values = torch.stack([numerator.real, numerator.imag, weight])
        fresh = grid.insert(points, values)[0] * (n / batch)
        sums = (1 - rate) * sums + rate * fresh
        prior = None
        if volume is not None:
            signal = grid.shell_mean(grid.transform(volume).abs().square())
            floor = 0.02 / (2 * grid.shell_mean(sums[2])).clamp_min(1e-9)
            prior = torch.maximum(settings.prior_factor * _GRID_DENSITY * signal, floor)
        volume = grid.wiener(torch.complex(sums[0], sums[1]), sums[2], prior, ridge=0.3)
        yield done + 1, residual, volume
        if done > 0 and done % _CHECK == 0:
            now = volume.flatten()
            if earlier is not None and done >= 2 * _CHECK:
                alike = float(now @ earlier / (now.norm() * earlier.norm()))
                if alike > settings.converged:
                    return
            earlier = now
