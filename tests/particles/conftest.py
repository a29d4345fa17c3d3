"""Small stacks and STAR files to try things on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_cryodrgn.particles import StackWriter

MakeStack = Callable[..., NDArray[np.float32]]
MakeStar = Callable[..., Path]

OPTICS = {
    "rlnOpticsGroup": "1",
    "rlnOpticsGroupName": "opticsGroup1",
    "rlnVoltage": "300.000000",
    "rlnSphericalAberration": "2.700000",
    "rlnAmplitudeContrast": "0.100000",
    "rlnImagePixelSize": "2.500000",
    "rlnImageSize": "8",
}
PARTICLE = {
    "rlnMicrographName": "Micrographs/grid#2/o'brien.mrc",
    "rlnDefocusU": "1.51e+04",
    "rlnDefocusV": "15000.25",
    "rlnDefocusAngle": "-20.5",
    "rlnAngleRot": "10.5",
    "rlnAngleTilt": "80.25",
    "rlnAnglePsi": "-33.125",
    "rlnOriginXAngst": "5.0",
    "rlnOriginYAngst": "-2.5",
    "rlnOpticsGroup": "1",
    "rlnTomoVisibleFrames": "[1,0,1]",
    "rlnComment": '"two words"',
}


@pytest.fixture
def make_stack() -> MakeStack:
    """Write a stack of n random images; what was written comes back."""

    def make(
        path: Path, n: int = 6, box: int = 8, pixel_size: float | None = None, seed: int = 0
    ) -> NDArray[np.float32]:
        images = np.random.default_rng(seed).normal(size=(n, box, box)).astype(np.float32)
        path.parent.mkdir(parents=True, exist_ok=True)
        with StackWriter(path, box, pixel_size) as writer:
            writer.write(images)
        return images

    return make


@pytest.fixture
def make_star() -> MakeStar:
    """Write a STAR file: version 3.1 if there are optics, else 3.0.

    ``changes`` replace or add particle columns, each by one value for all rows or a list; None
    leaves a column out.
    """

    def make(
        path: Path,
        names: Sequence[str],
        optics: Sequence[dict[str, str]] | None = (OPTICS,),
        **changes: str | Sequence[str] | None,
    ) -> Path:
        columns = {"rlnImageName": list(names)}
        for name, value in {**PARTICLE, **changes}.items():
            if value is not None:
                columns[name] = [value] * len(names) if isinstance(value, str) else list(value)
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = []
        if optics is not None:
            lines += ["", "# version 30001", "", *_loop("optics", list(optics[0]))]
            lines += [" ".join(group.values()) for group in optics]
            lines += ["", "# version 30001", "", *_loop("particles", list(columns))]
        else:
            lines += ["# RELION; version 3.0.6", "", *_loop("images", list(columns))]
        lines += ["  ".join(row) + " " for row in zip(*columns.values(), strict=True)]
        path.write_text("\n".join([*lines, "", ""]))
        return path

    return make


def _loop(name: str, columns: list[str]) -> list[str]:
    return [f"data_{name}", "", "loop_", *[f"_{c} #{i} " for i, c in enumerate(columns, 1)]]
