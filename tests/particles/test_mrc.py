from __future__ import annotations

import os
import time
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from napari_cryodrgn.errors import ParticleFileError
from napari_cryodrgn.particles import (
    StackWriter,
    mrc_kind,
    open_mrc,
    open_stack,
    read_volume,
    write_volume,
)

MODES = {"i1": 0, "i2": 1, "f4": 2, "u2": 6, "f2": 12}


def header_bytes(
    order: str = "<",
    shape: tuple[int, int, int] = (3, 8, 8),
    mode: int = 2,
    ispg: int = 0,
    mz: int = 1,
    extended: int = 0,
    cell: float = 0.0,
    name: bytes = b"MAP ",
    axes: tuple[int, int, int] = (1, 2, 3),
) -> bytes:
    """A header from the format's definition, not from the code under test."""
    nz, ny, nx = shape
    words = np.zeros(256, f"{order}i4")
    words[0:4] = nx, ny, nz, mode
    words[7:10] = nx, ny, mz
    words[10:13] = np.array([cell] * 3, f"{order}f4").view(f"{order}i4")
    words[16:19] = axes
    words[22], words[23] = ispg, extended
    raw = bytearray(words.tobytes())
    raw[208:212] = name
    return bytes(raw)


def write(path: Path, data: np.ndarray, order: str = "<", **header: object) -> Path:
    mode = MODES[data.dtype.str[1:]]
    extended = int(header.get("extended", 0))  # type: ignore[call-overload]
    raw = header_bytes(order, data.shape, mode, **header)  # type: ignore[arg-type]
    path.write_bytes(raw + bytes(extended) + data.astype(data.dtype.newbyteorder(order)).tobytes())
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", MODES)
@pytest.mark.parametrize("extended", [0, 640])
def test_modes_and_byte_orders(tmp_path: Path, kind: str, order: str, extended: int) -> None:
    data = np.arange(192).reshape(3, 8, 8).astype(kind)
    path = write(tmp_path / "a.mrcs", data, order, extended=extended)
    stack = open_stack(path)
    assert stack.shape == (3, 8, 8)
    np.testing.assert_array_equal(stack.map(), data)
    order_of_images = np.array([1, 2, 0, 1, 2, 2])
    np.testing.assert_array_equal(stack.read(order_of_images), data[order_of_images])
    assert stack.read(np.array([], int)).shape == (0, 8, 8)


def test_stamp_and_map_identifier_are_not_needed(tmp_path: Path) -> None:
    data = np.ones((3, 8, 8), np.float32)
    assert len(open_stack(write(tmp_path / "a.mrcs", data, ">", name=b"\0" * 4))) == 3


@pytest.mark.parametrize(
    ("name", "shape", "header", "kind"),
    [
        ("a.mrcs", (8, 8, 8), {"ispg": 1, "mz": 8}, "stack"),
        ("a.mrc", (8, 8, 8), {"ispg": 1, "mz": 8}, "volume"),
        ("a.mrc", (8, 8, 8), {"ispg": 0, "mz": 8}, "volume"),
        ("a.mrc", (8, 8, 8), {"ispg": 0, "mz": 1}, "stack"),
        ("a.mrc", (7, 8, 8), {"ispg": 1, "mz": 7}, "stack"),
    ],
)
def test_stack_or_volume(
    tmp_path: Path, name: str, shape: tuple[int, int, int], header: dict[str, int], kind: str
) -> None:
    path = write(tmp_path / name, np.zeros(shape, np.float32), **header)
    assert mrc_kind(path) == kind


@pytest.mark.parametrize(("cell", "size"), [(0.0, None), (8.0, None), (20.0, 2.5), (-8.0, None)])
def test_pixel_size_of_0_or_1_is_unknown(tmp_path: Path, cell: float, size: float | None) -> None:
    path = write(tmp_path / "a.mrcs", np.zeros((3, 8, 8), np.float32), cell=cell)
    assert open_mrc(path).pixel_size == size


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (header_bytes() + bytes(700), ["truncated", "1792", "1724"]),
        (b"# version 30001\n" * 100, ["not an MRC file"]),
        (b"\x89PNG", ["not an MRC file"]),
        (bytes(2000), ["not an MRC file"]),
        (b"", ["not an MRC file"]),
        (header_bytes(shape=(3, 7, 7)) + bytes(5000), ["7 pixels", "even"]),
        (header_bytes(shape=(3, 8, 6)) + bytes(5000), ["6 x 8", "square"]),
        (header_bytes(shape=(0, 8, 8)) + bytes(5000), ["no images"]),
        (header_bytes(mode=4) + bytes(5000), ["mode 4", "complex"]),
        (header_bytes(mode=77) + bytes(5000), ["mode 77"]),
    ],
)
def test_bad_stacks(tmp_path: Path, raw: bytes, words: list[str]) -> None:
    path = tmp_path / "bad.mrcs"
    path.write_bytes(raw)
    with pytest.raises(ParticleFileError) as caught:
        open_stack(path)
    assert all(word in str(caught.value) for word in ["bad.mrcs", *words])
    assert caught.value.remedy


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ParticleFileError, match="no such file"):
        open_stack(tmp_path / "none.mrcs")


def test_huge_stack_opens_at_once(tmp_path: Path) -> None:
    path = tmp_path / "huge.mrcs"
    n = 100 * 2**30 // (256 * 256 * 4)
    path.write_bytes(header_bytes(shape=(n, 256, 256)))
    try:
        os.truncate(path, 1024 + n * 256 * 256 * 4)
    except OSError:
        pytest.skip("this file system makes no sparse files of 100 GB")
    start = time.perf_counter()
    stack = open_stack(path)
    mapped, read = stack.map()[n - 1], stack.read(np.array([n - 1]))
    assert time.perf_counter() - start < 1
    assert not mapped.any()
    assert not read.any()


def test_a_file_that_shrinks_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mrcs", np.zeros((3, 8, 8), np.float32))
    stack = open_stack(path)
    os.truncate(path, 1100)
    with pytest.raises(ParticleFileError, match="no longer"):
        stack.map()
    with pytest.raises(ParticleFileError, match="ends too early"):
        stack.read(np.array([0, 2]))


def test_volume_round_trip_as_mrcfile_sees_it(tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(size=(6, 8, 10)).astype(np.float32)
    path = tmp_path / "v.mrc"
    write_volume(path, data, 1.7)
    with mrcfile.open(path) as other:
        assert other.is_volume()
        np.testing.assert_array_equal(other.data, data)
        np.testing.assert_allclose([other.voxel_size[a] for a in "xyz"], 1.7, rtol=1e-6)
        assert other.header.rms == pytest.approx(data.std(), rel=1e-5)
    assert mrcfile.validate(path)
    volume = read_volume(path)
    assert volume.pixel_size == pytest.approx(1.7)
    np.testing.assert_array_equal(volume.data, data)
    assert os.listdir(tmp_path) == ["v.mrc"]


def test_volume_with_other_axes_comes_as_zyx(tmp_path: Path) -> None:
    zyx = np.arange(6 * 8 * 10, dtype=np.float32).reshape(6, 8, 10)
    # Columns along z, rows along x, sections along y.
    path = write(tmp_path / "v.mrc", np.ascontiguousarray(zyx.transpose(1, 2, 0)), axes=(3, 1, 2))
    np.testing.assert_array_equal(read_volume(path).data, zyx)


def test_volume_of_unknown_pixel_size(tmp_path: Path) -> None:
    write_volume(tmp_path / "v.mrc", np.zeros((4, 4, 4)), None)
    assert read_volume(tmp_path / "v.mrc").pixel_size is None


def test_volume_must_have_three_axes(tmp_path: Path) -> None:
    with pytest.raises(ParticleFileError, match="z, y, x"):
        write_volume(tmp_path / "v.mrc", np.zeros((4, 4)), 1.0)


def test_stack_writer_as_mrcfile_sees_it(tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(2, 3, (5, 8, 8)).astype(np.float32)
    path = tmp_path / "a.mrcs"
    with StackWriter(path, 8, 2.5) as writer:
        writer.write(images[:2])
        assert not path.exists()
        writer.write(images[2:])
    assert mrcfile.validate(path)
    with mrcfile.open(path) as other:
        assert other.is_image_stack()
        np.testing.assert_array_equal(other.data, images)
        assert other.voxel_size.x == pytest.approx(2.5)
        assert other.header.dmean == pytest.approx(images.mean(), rel=1e-5)
        assert other.header.rms == pytest.approx(images.std(), rel=1e-5)
    assert os.listdir(tmp_path) == ["a.mrcs"]


def test_stack_writer_leaves_nothing_of_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcs"
    path.write_text("before")

    def fail_in_between() -> None:
        with StackWriter(path, 8) as writer:
            writer.write(np.zeros((1, 8, 8)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_between()
    with pytest.raises(ParticleFileError, match=r"\(n, 8, 8\)"), StackWriter(path, 8) as writer:
        writer.write(np.zeros((1, 6, 6)))
    with pytest.raises(ParticleFileError, match="No image"), StackWriter(path, 8):
        pass
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["a.mrcs"]


def test_unwritable_places_are_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in ("absent", "file"):
        with pytest.raises(ParticleFileError, match="cannot be written"):
            write_volume(tmp_path / folder / "v.mrc", np.zeros((4, 4, 4)), 1.0)
        with (
            pytest.raises(ParticleFileError, match="cannot be written"),
            StackWriter(tmp_path / folder / "a.mrcs", 8),
        ):
            pass


def test_real_files(shared_data: Path) -> None:
    formats = shared_data / "formats"
    hand = open_stack(formats / "hand.mrcs")
    assert (len(hand), hand.box, hand.pixel_size) == (100, 64, None)
    # No machine stamp and no MAP: mrcfile only reads it with warnings.
    assert open_stack(formats / "relion31.mrcs").shape == (5, 256, 256)
    # Space group 1 and mz = 7, as of a volume.
    assert mrc_kind(formats / "empiar_10076_7.mrc") == "stack"
    assert mrc_kind(formats / "hand-vol.mrc") == "volume"
    ribosome = read_volume(shared_data / "maps" / "70S_ribosome_65.mrc")
    assert ribosome.data.shape == (65, 65, 65)
    assert ribosome.pixel_size is None
    decoded = read_volume(shared_data / "cryodrgn-run" / "reference_volumes" / "vol_001.mrc")
    assert decoded.pixel_size == pytest.approx(11)
    with mrcfile.open(shared_data / "cryodrgn-run" / "reference_volumes" / "vol_001.mrc") as other:
        np.testing.assert_array_equal(decoded.data, other.data)
