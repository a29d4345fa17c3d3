"""Candidate poses of a batch of images, in ragged lists."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .bound import EQUAL
from .results import SearchResult, TracedLevel


@dataclass
class Candidates:
    """Ragged lists of candidates: ``image`` says whose, ``gap`` the largest gap of its line."""

    image: Int[Tensor, " m"]
    rotations: Float[Tensor, "m 3 3"]
    shifts: Float[Tensor, "m 2"]
    states: Int[Tensor, " m"]
    scores: Float[Tensor, " m"]
    gap: Float[Tensor, " m"]

    def select(self, which: Bool[Tensor, " m"] | Int[Tensor, " n"]) -> Candidates:
        """Some of them."""
        return Candidates(*(getattr(self, name)[which] for name in self.__dataclass_fields__))

    def traced(self, limit: float, scored: int, kept: int) -> TracedLevel:
        """Those of one image, of ``scored``; ``kept`` go on."""
        order = self.scores.argsort(descending=True)
        found = self.select(order)
        poses = found.rotations, found.shifts, found.states
        return TracedLevel(limit, scored, kept, *poses, 2 * found.scores)


def table_of(
    values: Float[Tensor, "m c"], image: Int[Tensor, " m"], batch: int
) -> tuple[Float[Tensor, "batch width"], Int[Tensor, "batch slots"]]:
    """Ragged rows of values, one image after the other in ascending order, padded with -inf.

    Also which row stands in each slot.
    """
    number = torch.bincount(image, minlength=batch)
    slot = torch.arange(len(image), device=image.device) - (number.cumsum(0) - number)[image]
    width = int(number.max())
    table = values.new_full((batch, width, values.shape[1]), -torch.inf)
    table[image, slot] = values
    row = torch.zeros(batch, width, dtype=torch.long, device=image.device)
    row[image, slot] = torch.arange(len(image), device=image.device)
    return table.flatten(1), row


def ranked(candidates: Candidates, batch: int, n_best: int) -> SearchResult:
    """The best candidates of each image."""
    table, row = table_of(candidates.scores[:, None], candidates.image, batch)
    top, place = table.topk(min(n_best, table.shape[1]), 1)
    chosen = row.gather(1, place)
    scores = top.new_full((batch, n_best), -torch.inf)
    rotations = top.new_zeros(batch, n_best, 3, 3)
    shifts = top.new_zeros(batch, n_best, 2)
    states = torch.zeros(batch, n_best, dtype=torch.long, device=top.device)
    n = top.shape[1]
    scores[:, :n], rotations[:, :n] = 2 * top, candidates.rotations[chosen]
    shifts[:, :n], states[:, :n] = candidates.shifts[chosen], candidates.states[chosen]
    return SearchResult(rotations, shifts, states, scores)


def least_gap(candidates: Candidates, batch: int) -> Float[Tensor, " batch"]:
    """Smallest, over the poses as good as the winner, of the largest gap of the line."""
    table, _ = table_of(candidates.scores[:, None], candidates.image, batch)
    equal = candidates.scores >= table.amax(1)[candidates.image] - EQUAL
    gaps, _ = table_of(-candidates.gap[equal, None], candidates.image[equal], batch)
    return -gaps.amax(1)
