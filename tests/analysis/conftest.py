"""Runs without a model: what the tools of the explorer need to know of one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

MakeRun = Callable[..., Any]


def with_micrographs(star: Path, names: list[str]) -> None:
    """Add a column of micrographs to a STAR file whose last table lists the particles."""
    lines = star.read_text().rstrip().splitlines()
    first = len(lines) - len(names)
    rows = [f"{line} {name}" for line, name in zip(lines[first:], names, strict=True)]
    star.write_text("\n".join([*lines[:first], "_rlnMicrographName", *rows, ""]))


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """A run of n particles with latents and poses; other attributes as given."""

    def make(n: int, particles_path: Path | None, **changes: Any) -> Any:
        random = np.random.default_rng(4)
        mu, logvar = random.normal(size=(2, n, 2)).astype(np.float32)
        folder = tmp_path / changes.pop("name", "run")
        folder.mkdir(exist_ok=True)
        known = {
            "folder": folder,
            "zdim": 2,
            "box": 32,
            "pixel_size": 9.0,
            "n_particles": n,
            "particles_path": particles_path,
            "indices": None,
            "ctf_path": None,
            "latents": SimpleNamespace(mu=mu, logvar=logvar),
            "rotations": Rotation.random(n, rng=random).as_matrix().astype(np.float32),
            "shifts": random.uniform(-3, 3, (n, 2)).astype(np.float32),
        }
        return SimpleNamespace(**{**known, **changes})

    return make
