"""Large stacks and tables, made for the rows about files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from napari_cryodrgn.particles import StackWriter
from napari_cryodrgn.particles.mrc import HEADER, HEADER_BYTES

_COLUMNS = (
    "rlnCoordinateX",
    "rlnCoordinateY",
    "rlnImageName",
    "rlnMicrographName",
    "rlnOpticsGroup",
    "rlnGroupNumber",
    "rlnAngleRot",
    "rlnAngleTilt",
    "rlnAnglePsi",
    "rlnOriginXAngst",
    "rlnOriginYAngst",
    "rlnDefocusU",
    "rlnDefocusV",
    "rlnDefocusAngle",
    "rlnCtfMaxResolution",
    "rlnClassNumber",
    "rlnNormCorrection",
    "rlnRandomSubset",
    "rlnLogLikeliContribution",
    "rlnMaxValueProbDistribution",
)
_OPTICS = """
# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnImagePixelSize #6
_rlnImageSize #7
_rlnImageDimensionality #8
1 opticsGroup1 300.000000 2.700000 0.100000 1.060000 128 2
"""


def sparse_stack(path: Path, n: int, box: int) -> None:
    """A stack of n images of which only the first takes room on the disk."""
    with StackWriter(path, box, 1.06) as writer:
        writer.write(np.ones((1, box, box), np.float32))
    header = np.memmap(path, HEADER, "r+", shape=())
    header["shape_xyz"][2] = n
    header.flush()
    os.truncate(path, HEADER_BYTES + n * 4 * box**2)


def noise_stack(path: Path, n: int, box: int, seed: int) -> None:
    """A stack of n images of noise, the same 256 again and again."""
    images = np.random.default_rng(seed).standard_normal((256, box, box), np.float32)
    with StackWriter(path, box, 1.06) as writer:
        for _ in range(n // 256):
            writer.write(images)


def write_table(star: Path, n: int, per_stack: int, seed: int) -> None:
    """A refined STAR file of RELION 3.1 and the stacks that it names."""
    random = np.random.default_rng(seed)
    sparse_stack(star.parent / "stack.mrcs", per_stack, 128)
    header = (star.parent / "stack.mrcs").read_bytes()[:HEADER_BYTES]
    size = (star.parent / "stack.mrcs").stat().st_size
    columns = [f"_{name} #{i}\n" for i, name in enumerate(_COLUMNS, 1)]
    with star.open("w") as file:
        file.write(_OPTICS + "\n# version 30001\n\ndata_particles\n\nloop_\n" + "".join(columns))
        for stack in range(-(-n // per_stack)):
            name = f"Micrographs/FoilHole_{stack:06d}_Fractions"
            path = star.parent / f"Extract/job042/{name}.mrcs"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(header)
            os.truncate(path, size)
            for i, v in enumerate(random.random((min(per_stack, n - stack * per_stack), 12)), 1):
                file.write(
                    f"{4000 * v[0]:12.6f} {4000 * v[1]:12.6f} "
                    f"{i:06d}@Extract/job042/{name}.mrcs MotionCorr/job002/{name}.mrc "
                    f"1 {stack + 1:12d} {360 * v[2]:12.6f} {180 * v[3]:12.6f} {360 * v[4]:12.6f} "
                    f"{8 * v[5] - 4:12.6f} {8 * v[6] - 4:12.6f} "
                    f"{15000 + 9000 * v[7]:12.6f} {15000 + 9000 * v[8]:12.6f} {180 * v[9]:12.6f} "
                    f"3.500000 1 {v[10]:12.6f} {1 + i % 2} {1e5 + v[11]:12.6e} {v[10]:12.6f}\n"
                )
        file.write("\n")
