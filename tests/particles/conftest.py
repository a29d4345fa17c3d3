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
MakeCs = Callable[..., Path]

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


def cs_fields(n: int) -> dict[str, tuple[str, object]]:
    """Fields of n particles as cryoSPARC writes them: type and values."""
    random = np.random.default_rng(3)
    return {
        "uid": ("<u8", random.permutation(n).astype(np.uint64) + np.uint64(2**63)),
        "blob/path": ("S24", [b">J1/extract/a.mrc"] * n),
        "blob/idx": ("<u4", np.arange(n)[::-1]),
        "blob/shape": ("<u4", np.full((n, 2), 8)),
        "blob/psize_A": ("<f4", np.full(n, 2.5)),
        "blob/sign": ("<f4", np.full(n, -1.0)),
        "ctf/exp_group_id": ("<u4", np.arange(n) % 2 + 4),
        "ctf/accel_kv": ("<f4", np.full(n, 300)),
        "ctf/cs_mm": ("<f4", np.full(n, 2.7)),
        "ctf/amp_contrast": ("<f4", np.full(n, 0.1)),
        "ctf/df1_A": ("<f4", 15000 + np.arange(n)),
        "ctf/df2_A": ("<f4", 14500 + np.arange(n)),
        "ctf/df_angle_rad": ("<f4", random.uniform(-1, 1, n)),
        "ctf/phase_shift_rad": ("<f4", np.zeros(n)),
        "alignments3D/split": ("<u4", np.arange(n) % 2),
        "alignments3D/shift": ("<f4", random.uniform(-3, 3, (n, 2))),
        "alignments3D/pose": ("<f4", random.normal(size=(n, 3))),
        "alignments3D/psize_A": ("<f4", np.full(n, 5.0)),
        "alignments3D/error": ("<f4", random.uniform(size=n)),
    }


@pytest.fixture
def make_cs() -> MakeCs:
    """Write a .cs file of n particles.

    ``groups`` are the groups of fields that it has, all if absent; ``changes`` replace or add
    fields, a type and values; None leaves one out.
    """

    def make(
        path: Path,
        n: int = 6,
        groups: Sequence[str] | None = None,
        changes: dict[str, tuple[str, object] | None] | None = None,
    ) -> Path:
        fields = {
            name: value
            for name, value in {**cs_fields(n), **(changes or {})}.items()
            if value is not None
            and (groups is None or name == "uid" or name.partition("/")[0] in groups)
        }
        columns = {name: np.array(values, kind) for name, (kind, values) in fields.items()}
        dtype = [(name, column.dtype.str, column.shape[1:]) for name, column in columns.items()]
        data = np.zeros(n, dtype)
        for name, column in columns.items():
            data[name] = column
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.save(file, data)
        return path

    return make


def _loop(name: str, columns: list[str]) -> list[str]:
    return [f"data_{name}", "", "loop_", *[f"_{c} #{i} " for i, c in enumerate(columns, 1)]]
