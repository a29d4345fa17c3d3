"""Small valid files of every kind that is read, for fuzzing."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

BOX, IMAGES = 8, 6
KINDS = ("star", "mrcs", "mrc", "txt", "cs", "csg", "pkl")
STACK, OTHER, TABLE = "particles.mrcs", "other.mrcs", "table.cs"


def neighbours(folder: Path) -> None:
    """Write the stacks that tables and lists point at, and a table to join others to."""
    (folder / TABLE).write_bytes(_cs(IMAGES)[1])
    for name in (STACK, OTHER):
        data = np.random.default_rng(0).normal(size=(IMAGES, BOX, BOX)).astype(np.float32)
        (folder / name).write_bytes(mrc(data))


def valid(kind: str, n: int = IMAGES) -> list[bytes]:
    """Valid files of a kind with n particles each."""
    makers = {"star": _stars, "txt": _lists, "cs": _cs, "csg": _csg, "pkl": _pkl}
    return makers.get(kind, _stacks)(n)


def mrc(
    data: np.ndarray, order: str = "<", extended: int = 0, mz: int = 1, space_group: int = 0
) -> bytes:
    """An MRC file, from the format's definition."""
    words = np.zeros(256, f"{order}i4")
    nz, ny, nx = data.shape
    mode = {"i1": 0, "i2": 1, "f4": 2, "u2": 6, "f2": 12}[data.dtype.str[1:]]
    words[:4] = nx, ny, nz, mode
    words[7:10] = nx, ny, mz
    words[10:13] = np.array([nx * 2.5] * 3, f"{order}f4").view(f"{order}i4")
    words[16:19] = 1, 2, 3
    words[22], words[23] = space_group, extended
    header = bytearray(words.tobytes())
    header[208:212] = b"MAP "
    return bytes(header) + bytes(extended) + data.astype(data.dtype.newbyteorder(order)).tobytes()


def _stacks(n: int) -> list[bytes]:
    data = np.random.default_rng(0).normal(0, 20, (n, BOX, BOX)).clip(0)
    found = [
        mrc(data.astype(kind), order, extended)
        for kind in ("f4", "i1", "i2", "u2", "f2")
        for order, extended in (("<", 0), (">", 80))
    ]
    edge = max(BOX, round((n * BOX * BOX) ** (1 / 3)) // 2 * 2)
    return [*found, mrc(np.zeros((edge, edge, edge), np.float32), mz=edge, space_group=1)]


def _stars(n: int) -> list[bytes]:
    return [_star(n, groups) for groups in (0, 1, 2)]


def _star(n: int, groups: int) -> bytes:
    """RELION 3.0 without optics groups, else 3.1."""
    random = np.random.default_rng(0)
    stack = f"'{OTHER}'" if groups == 2 else STACK
    columns = {
        "rlnImageName": [f"{i % IMAGES + 1:06d}@{stack}".replace("@'", "@") for i in range(n)],
        "rlnMicrographName": ["Micrographs/grid#2/o'brien.mrc"] * n,
        "rlnRandomSubset": [str(i % 2 + 1) for i in range(n)],
    }
    if groups == 2:
        columns["rlnImageName"] = [f'"{i % IMAGES + 1:06d}@{OTHER}"' for i in range(n)]
    unit = "Angst" if groups else ""
    for name, high in (
        *((f"rlnDefocus{axis}", 2e4) for axis in "UV"),
        *((f"rln{name}", 180) for name in ("DefocusAngle", "PhaseShift")),
        *((f"rlnAngle{name}", 180) for name in ("Rot", "Tilt", "Psi")),
        *((f"rlnOrigin{axis}{unit}", 5) for axis in "XY"),
    ):
        columns[name] = [f"{value:.6f}" for value in random.uniform(0, high, n)]
    optics = {
        "rlnVoltage": "300.000000",
        "rlnSphericalAberration": "2.700000",
        "rlnAmplitudeContrast": "0.100000",
    }
    if not groups:
        optics |= {"rlnDetectorPixelSize": "5.0", "rlnMagnification": "20000"}
        columns |= {name: [value] * n for name, value in optics.items()}
        return "\n".join(["# RELION; version 3.0.6", *_loop("images", columns), ""]).encode()
    columns["rlnOpticsGroup"] = [str(i % groups + 1) for i in range(n)]
    optics |= {"rlnImagePixelSize": "2.500000", "rlnImageSize": str(BOX)}
    table = {name: [value] * groups for name, value in optics.items()}
    table["rlnOpticsGroup"] = [str(i + 1) for i in range(groups)]
    table["rlnOpticsGroupName"] = [f'"optics group {i}"' for i in range(groups)]
    version = "# version 30001"
    lines = [version, "", *_loop("optics", table), version, "", *_loop("particles", columns), ""]
    return "\n".join(lines).encode()


def _loop(name: str, columns: dict[str, list[str]]) -> list[str]:
    head = [f"data_{name}", "", "loop_", *[f"_{c} #{i}" for i, c in enumerate(columns, 1)]]
    return [*head, *("  ".join(row) for row in zip(*columns.values(), strict=True)), ""]


def _lists(n: int) -> list[bytes]:
    return [b"# comment\n" * (n - IMAGES) + f"{STACK}\n{OTHER}\n".encode(), b"./other.mrcs\r\n"]


def _cs(n: int) -> list[bytes]:
    """A whole table, and one without poses."""
    own: list[tuple[Any, ...]] = [
        ("uid", "<u8"),
        ("blob/path", "S20"),
        ("blob/idx", "<u4"),
        ("blob/shape", "<u4", (2,)),
        *[(f"blob/{name}", "<f4") for name in ("psize_A", "sign")],
        *[(f"ctf/{name}", "<f4") for name in ("df1_A", "df2_A", "df_angle_rad", "accel_kv")],
        *[(f"ctf/{name}", "<f4") for name in ("cs_mm", "amp_contrast", "phase_shift_rad")],
    ]
    poses: list[tuple[Any, ...]] = [
        ("alignments3D/split", "<u4"),
        ("alignments3D/shift", "<f4", (2,)),
        ("alignments3D/pose", "<f4", (3,)),
        ("alignments3D/psize_A", "<f4"),
        ("alignments3D/alpha", "<f4"),
    ]
    found = []
    for fields in (own + poses, own):
        table = np.ones(n, fields)
        table["uid"] = np.arange(n, dtype=np.uint64) + np.uint64(2**60)
        table["blob/path"] = np.where(np.arange(n) % 2, OTHER.encode(), b">" + STACK.encode())
        table["blob/idx"] = np.arange(n) % IMAGES
        table["blob/shape"] = BOX
        table["ctf/accel_kv"], table["ctf/amp_contrast"] = 300, 0.1
        if fields is not own:
            table["alignments3D/split"] = np.arange(n) % 2
        file = io.BytesIO()
        np.save(file, table)
        found.append(file.getvalue())
    return found


def _csg(n: int) -> list[bytes]:
    """Files that name the table, the larger ones with long texts."""
    group = ["created: 2026-01-01 00:00:00", "group:", "  name: particles", "results:"]
    for kind in ("alignments3D", "blob", "ctf"):
        group += [f"  {kind}:", f"    metafile: '>{TABLE}'", f"    num_items: {IMAGES}"]
        group += [f"    type: particle.{kind}"]
    return ["\n".join([*group, f"title: {'x ' * n}", "version: v4.0.0", ""]).encode()]


def _pkl(n: int) -> list[bytes]:
    """cryoDRGN's poses, CTF, indices and latents."""
    random = np.random.default_rng(0)
    rotations = np.linalg.qr(random.normal(size=(n, 3, 3)))[0]
    shifts = random.uniform(-0.1, 0.1, (n, 2))
    ctf = np.tile(np.float32([BOX, 2.5, 1e4, 1.1e4, 20, 300, 2.7, 0.1, 0]), (n, 1))
    z = random.normal(size=(n, 2)).astype(np.float32)
    values = ((rotations, shifts), rotations, (rotations, None), ctf, np.arange(n), list(range(n)))
    found = [pickle.dumps(value, protocol) for value in values for protocol in (3, 4, 5)]
    return [*found, pickle.dumps(np.asfortranarray(z), 5) + pickle.dumps(z)]
