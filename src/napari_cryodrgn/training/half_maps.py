"""Volumes back-projected at known poses, with what their halves agree on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from ..imaging import FourierGrid, crossing, friedel, fsc
from ..poses import expmap
from .dataset import Dataset

# Particles between two reports of progress.
_STEP = 2048
# Poses drawn from each particle's posterior.
_DRAWS = 4


@dataclass(frozen=True)
class Reconstruction:
    """A back-projected volume in the units of its `Dataset`.

    ``volume`` (z, y, x) is Wiener-filtered by the FSC; ``halves`` are back-projections of the two
    halves of the particles, not filtered, and ``references`` the same, filtered. ``fsc`` (D // 2,)
    is the Fourier shell correlation of the halves, ``resolution_shell`` where it falls below 0.143.
    """

    volume: Float[Tensor, "z y x"]
    halves: Float[Tensor, "2 z y x"]
    references: Float[Tensor, "2 z y x"]
    fsc: Float[Tensor, " shells"]
    resolution_shell: float


def reconstruct_volume(
    data: Dataset,
    rotations: Float[Tensor, "n 3 3"],
    shifts: Float[Tensor, "n 2"],
    limit: float,
    spread: Float[Tensor, "n 5 5"] | None = None,
) -> Reconstruction:
    """CTF-weighted back-projection of all particles; see `reconstruct_halves`."""
    *_, result = reconstruct_halves(data, rotations, shifts, limit, spread)
    assert isinstance(result, Reconstruction)
    return result


def reconstruct_halves(
    data: Dataset,
    rotations: Float[Tensor, "n 3 3"],
    shifts: Float[Tensor, "n 2"],
    limit: float,
    spread: Float[Tensor, "n 5 5"] | None = None,
    halves: Int[Tensor, " n"] | None = None,
) -> Iterator[float | Reconstruction]:
    """CTF-weighted back-projection; yields the fraction done, and at last the volumes.

    Parameters
    ----------
    data
        At least two particles.
    rotations, shifts
        Poses, shifts in pixels of the dataset's box.
    limit
        In cycles per box.
    spread
        Of each pose's posterior (`poses.RefinedPoses`): every image is inserted at a few poses
        drawn from it, the expectation over poses of expectation maximisation.
    halves
        The half, 0 or 1, of each particle; every other one in turn if absent.
    """
    grid = FourierGrid(data.box, limit, device=data.device)
    generator = torch.Generator().manual_seed(0)
    draws = 1 if spread is None else _DRAWS
    numerators, weights = [], []
    done = 0
    if halves is None:
        halves = torch.arange(len(data)) % 2
    for half in (0, 1):
        numerator = torch.zeros((grid.n,) * 3, dtype=torch.complex64, device=data.device)
        weight = torch.zeros((grid.n,) * 3, device=data.device)
        for index in (halves == half).nonzero()[:, 0].split(_STEP):
            for _ in range(draws):
                poses = rotations, shifts
                if spread is not None:
                    poses = _drawn(rotations, shifts, spread, index, generator)
                _, n, w = data.back_project(*poses, limit, index=index)
                numerator += n[0] / draws
                weight += w[0] / draws
            done += len(index)
            yield done / len(data)
        numerators.append(numerator)
        weights.append(weight)
    yield _finish(grid, numerators, weights)


def _drawn(
    rotations: Float[Tensor, "n 3 3"],
    shifts: Float[Tensor, "n 2"],
    spread: Float[Tensor, "n 5 5"],
    index: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """All poses, those of ``index`` moved at random within their posteriors."""
    noise = torch.randn(len(index), 5, 1, generator=generator).to(shifts.device)
    move = (spread[index].to(shifts.device) @ noise)[..., 0]
    rotations, shifts = rotations.clone(), shifts.clone()
    rotations[index] = expmap(move[:, :3]) @ rotations[index]
    shifts[index] += move[:, 3:]
    return rotations, shifts


def _finish(
    grid: FourierGrid,
    numerators: list[Complex[Tensor, "n n n"]],
    weights: list[Float[Tensor, "n n n"]],
) -> Reconstruction:
    pairs = list(zip(numerators, weights, strict=True))
    halves = torch.stack([grid.wiener(n, w) for n, w in pairs])
    curve = fsc(halves[0], halves[1])
    shell = crossing(curve[: int(grid.limit) + 1], 0.143)
    known = curve.clamp(0, 0.999)
    known[int(shell) + 3 :] = 0
    # The share of signal in a shell, S / (S + N), of a half and of the sum of both.
    references = [grid.wiener(n, w, _prior(grid, w, known)) for n, w in pairs]
    numerator, weight = numerators[0] + numerators[1], weights[0] + weights[1]
    volume = grid.wiener(numerator, weight, _prior(grid, weight, 2 * known / (1 + known)))
    return Reconstruction(volume, halves, torch.stack(references), curve, max(shell, 1.0))


def _prior(
    grid: FourierGrid, weight: Float[Tensor, "n n n"], share: Float[Tensor, " shells"]
) -> Float[Tensor, " shells"]:
    """Signal power per shell that damps a volume by ``share`` on average over each shell."""
    signal = torch.zeros(grid.n_shells, device=share.device)
    signal[: len(share)] = share[: grid.n_shells]
    return signal / (1 - signal) / grid.shell_mean(friedel(weight)).clamp_min(1e-20)
