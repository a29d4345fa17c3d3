"""What the comparison of two runs says, in words and numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .compare_model import CompareModel
from .compare_work import ClusterVolumes, Comparison, Pair

#: Of the button that also finds how volumes are turned.
CORRELATE = "Correlate the clusters' volumes"
# Axes whose correlation is told.
_TOLD = 6

Cells = tuple[NDArray[np.float64], list[list[str]], list[list[str]], NDArray[np.intp]]


def short_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names of clusters for where there is little room: numbers, unless the user named them."""
    return tuple(name.removeprefix("Cluster ") for name in names)


def about_particles(comparison: Comparison) -> str:
    """How many particles are compared."""
    a, b = (side.run.n_particles for side in comparison.sides)
    m = len(comparison.sides[0].rows)
    if m == a == b:
        return f"<b>{m:,}</b> particles, the same in both"
    return f"<b>{m:,}</b> particles in both, of {a:,} in A and {b:,} in B"


def about_latents(comparison: Comparison) -> str:
    """How the latents correlate."""
    told = ", ".join(f"{value:.2f}" for value in comparison.latent[:_TOLD])
    rest = " …" if len(comparison.latent) > _TOLD else ""
    return f"Latents correlate by {told}{rest} (canonical)"


def about_clusters(comparison: Comparison) -> str:
    """Whose clusters they are, and how they agree."""
    a, b = comparison.sides
    counts = [len(side.clusters.centres) for side in (a, b)]
    if a.kept or b.kept:
        whose = f"Clusters kept with the runs ({counts[0]} and {counts[1]})"
        if a.kept != b.kept:
            whose = f"Clusters kept with {'A' if a.kept else 'B'}, k-means in the other"
    else:
        whose = f"k-means in both, {counts[0]} clusters"
        if counts[0] != counts[1]:
            whose += f" and {counts[1]}"
    agreement = comparison.clusters.agreement
    return f"{whose}: they agree by <b>{agreement:.2f}</b> (adjusted Rand index; 0 is chance)"


def about_pick(model: CompareModel, pair: Pair | None) -> str:
    """What is picked in both runs, and how its volumes correlate."""
    comparison = model.comparison
    if comparison is None or model.latents is None:
        return "Click in one map to see the same particle in both."
    text = "The centres of two clusters"
    if model.particle is not None:
        a, b = (int(side.rows[model.particle]) for side in comparison.sides)
        text = f"Particle <b>{a}</b>" if a == b else f"Particle <b>{a}</b> of A, {b} of B"
    if not all(side.run.can_decode for side in comparison.sides):
        return f"{text}. Not both runs have a decoder yet."
    if pair is None:
        return text
    if pair.correlation is None:
        return f"{text}. The boxes differ in size, so the volumes are not correlated."
    turned = ", B turned onto A" if pair.turned else ""
    text = f"{text}: its volumes correlate by <b>{pair.correlation:.3f}</b>{turned}"
    if model.lacks_fit:
        text += f".<br>B not yet turned onto A: press “{CORRELATE}”."
    return text


def cells(comparison: Comparison, volumes: ClusterVolumes | None) -> Cells:
    """For a `ClusterTable`: particles in common, or with ``volumes`` their correlations.

    Of particles a cell's colour tells which share of the smaller of both clusters is in the other;
    of correlations, where it lies between the lowest and the highest.
    """
    table, order = comparison.clusters.table, comparison.clusters.order
    a, b = comparison.sides
    rows, columns = table.shape
    names = [
        [f"{a.clusters.names[i]} of A, {b.clusters.names[j]} of B" for j in range(columns)]
        for i in range(rows)
    ]
    if volumes is None:
        smaller = np.minimum(table.sum(1)[:, None], table.sum(0)[None])
        values = table / np.maximum(smaller, 1)
        texts = [[f"{n}" if n else "" for n in row] for row in table.tolist()]
        tips = [
            [f"{names[i][j]}: {table[i, j]:,} particles in both" for j in range(columns)]
            for i in range(rows)
        ]
        return values, texts, tips, order
    found = volumes.correlations[:rows, :columns]
    low, high = float(found.min()), float(found.max())
    values = (found - low) / max(high - low, 1e-6)
    texts = [[f"{value:.2f}".replace("0.", ".", 1) for value in row] for row in found.tolist()]
    tips = [
        [f"{names[i][j]}: volumes correlate by {found[i, j]:.3f}" for j in range(columns)]
        for i in range(rows)
    ]
    return values, texts, tips, order
