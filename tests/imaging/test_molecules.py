from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from napari_cryodrgn.errors import ParticleFileError
from napari_cryodrgn.imaging import Atoms, Map, Molecule, hinge, trajectory

BOX, PIXEL_SIZE = 32, 9.0
STILL = torch.zeros(1, 2)


def project(molecule: Molecule, t: float, rotation: Tensor, shift: Tensor = STILL) -> Tensor:
    return molecule.project(torch.tensor([t]), rotation[None], shift, BOX, PIXEL_SIZE)[0]


def blurred() -> Atoms:
    """The hinge, wide enough for coarse pixels."""
    return Atoms(hinge().positions(torch.linspace(0, 1, 3)).numpy(), sigma=11.0)


def centred(image: Tensor) -> Tensor:
    return image - image.mean()


@pytest.mark.parametrize("t", [0.0, 0.37, 1.0])
def test_volume_sums_to_the_projection(t: float) -> None:
    molecule = hinge()
    volume = molecule.volume(t, 48, 6.0)
    image = molecule.project(torch.tensor([t]), torch.eye(3)[None], STILL, 48, 6.0)[0]
    torch.testing.assert_close(volume.sum(0), image, atol=1e-3 * float(image.max()), rtol=0)


def test_rotation_maps_object_to_image() -> None:
    # An atom on the x axis, turned by +90 degrees about z, is seen on the image's y axis.
    frames = np.array([[[36.0, 0, 0], [-36.0, 0, 0], [-36.0, 0, 0], [36.0, 0, 0]]])
    frames[0, 2:] = [[0, 0, 40.0], [0, 0, -40.0]]
    frames[0, 1] = 0
    atoms = Atoms(frames, 6.0)
    origin = frames.mean((0, 1))
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    image = project(atoms, 0.0, turn)
    x, y = (turn.numpy() @ (frames[0, 0] - origin))[:2] / PIXEL_SIZE
    assert image[round(y) + BOX // 2, round(x) + BOX // 2] > 0.3 * image.max()
    # Looking along x: the first and second atom fall together.
    assert y == pytest.approx(3.0)


def test_shift_moves_the_image() -> None:
    eye, t, size = torch.eye(3)[None], torch.zeros(1), 14.0
    for molecule in (blurred(), Map(blurred().volume(0.0, BOX, size).numpy(), size)):
        image = molecule.project(t, eye, STILL, BOX, size)[0]
        moved = molecule.project(t, eye, torch.tensor([[3.0, -2.0]]), BOX, size)[0]
        atol = 2e-3 * float(image.max())
        torch.testing.assert_close(moved, image.roll((-2, 3), (0, 1)), atol=atol, rtol=0)


def test_map_is_projected_as_the_atoms_it_was_made_of(rotations: Tensor) -> None:
    molecule = blurred()
    voxels = Map(molecule.volume(0.5, BOX, PIXEL_SIZE).numpy(), PIXEL_SIZE)
    assert not voxels.moves
    for r in rotations[:5]:
        exact, found = project(molecule, 0.5, r), project(voxels, 0.5, r)
        # A map's projections are means over its voxels, not sums.
        error = (centred(found) * BOX - centred(exact)).norm() / centred(exact).norm()
        assert error < 0.04
    volume = voxels.volume(0.0, BOX, PIXEL_SIZE)
    image = project(voxels, 0.0, torch.eye(3))
    atol = 0.03 * float(image.max())
    torch.testing.assert_close(volume.sum(0), image, atol=atol, rtol=0)
    with_time = voxels.project(torch.ones(1), torch.eye(3)[None], STILL, BOX, PIXEL_SIZE)[0]
    torch.testing.assert_close(with_time, image)


@pytest.mark.parametrize(("box", "source"), [(24, 48), (32, 31)])
def test_map_resamples(box: int, source: int) -> None:
    """A map in another box, even or odd, shows the same density in the same place."""
    molecule = blurred()
    extent = 288.0
    voxels = Map(molecule.volume(0.5, source, extent / source).numpy(), extent / source)
    exact = centred(molecule.volume(0.5, box, extent / box))
    found = voxels.volume(0.0, box, extent / box)
    exact = exact * float(found.norm() / exact.norm())
    assert float(torch.corrcoef(torch.stack([exact.flatten(), found.flatten()]))[0, 1]) > 0.99
    at = ndimage.center_of_mass(exact.clamp_min(0).numpy())
    seen = ndimage.center_of_mass(found.clamp_min(0).numpy())
    np.testing.assert_allclose(at, seen, atol=0.5)


def test_positions_run_through_the_frames() -> None:
    frames = np.random.default_rng(0).normal(size=(3, 4, 3)) * 10
    atoms = Atoms(frames, 1.0)
    frames = frames - frames.mean((0, 1))
    found = atoms.positions(torch.tensor([0.0, 0.25, 0.5, 1.0, 7.0, -1.0]))
    expected = [frames[0], (frames[0] + frames[1]) / 2, frames[1], frames[2], frames[2], frames[0]]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert atoms.extent == pytest.approx(2 * np.linalg.norm(frames, axis=-1).max())


def test_one_frame_does_not_move() -> None:
    atoms = Atoms(np.random.default_rng(0).normal(size=(1, 4, 3)), 1.0)
    assert not atoms.moves
    a, b = atoms.positions(torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(a, b)


def test_hinge_is_the_same_for_everyone_and_swings() -> None:
    first, second = hinge(), hinge()
    ends = torch.tensor([0.0, 1.0])
    torch.testing.assert_close(first.positions(ends), second.positions(ends))
    closed, opened = first.positions(ends)
    moved = (closed - opened).norm(dim=1)
    assert moved.min() < 1e-3
    assert moved.max() > 60
    assert 200 < first.extent < 300


def test_trajectory(tmp_path: Path) -> None:
    xyz = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float64) * 20
    np.savez(tmp_path / "run.npz", xyz=xyz, other=np.zeros(2))
    atoms = trajectory(tmp_path / "run.npz", sigma=3)
    expected = xyz[1] - xyz.mean((0, 1))
    np.testing.assert_allclose(atoms.positions(torch.ones(1))[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("xyz", "words"),
    [
        (np.zeros((5, 3)), "frames x atoms x 3"),
        (np.zeros((2, 5, 2)), "frames x atoms x 3"),
        (np.zeros((0, 5, 3)), "frames x atoms x 3"),
        (np.full((2, 5, 3), "x"), "frames x atoms x 3"),
        (np.zeros((2, 5, 3), complex), "frames x atoms x 3"),
        (np.full((1, 5, 3), np.nan), "not finite"),
        (np.array([{"a": 1}], object), "not a NumPy archive"),
    ],
)
def test_trajectory_refuses_arrays(tmp_path: Path, xyz: np.ndarray, words: str) -> None:
    path = tmp_path / "run.npz"
    np.savez(path, xyz=xyz)
    with pytest.raises(ParticleFileError, match=words) as caught:
        trajectory(path)
    assert caught.value.path == path


def test_trajectory_refuses_files(tmp_path: Path) -> None:
    with pytest.raises(ParticleFileError, match="no such file"):
        trajectory(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", abc=np.zeros(3))
    with pytest.raises(ParticleFileError, match="abc") as caught:
        trajectory(tmp_path / "other.npz")
    assert caught.value.field == "xyz"
    np.save(tmp_path / "array.npy", np.zeros((1, 2, 3)))
    (tmp_path / "text.npz").write_text("not an archive")
    (tmp_path / "empty.npz").touch()
    whole = (tmp_path / "other.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:100])
    np.savez(tmp_path / "good.npz", xyz=np.zeros((2, 4, 3)))
    bad = bytearray((tmp_path / "good.npz").read_bytes())
    bad[170:200] = bytes(30)
    (tmp_path / "bad.npz").write_bytes(bad)
    for name in ("array.npy", "text.npz", "empty.npz", "cut.npz", "bad.npz", "."):
        with pytest.raises(ParticleFileError, match="not a NumPy archive"):
            trajectory(tmp_path / name)
