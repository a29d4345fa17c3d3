from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from napari_cryodrgn.analysis import RunImages, validity
from napari_cryodrgn.analysis.crossed_poses import CrossedPoses
from napari_cryodrgn.analysis.validity import Excess, Verdict, heterogeneity, rigid_motion
from napari_cryodrgn.errors import CryodrgnError, RunFolderError
from napari_cryodrgn.imaging import Atoms, hinge, simulate
from napari_cryodrgn.particles import read, write_simulation

BOX, PIXEL_SIZE, N = 24, 12.0, 600


class Uneven:
    """The hinge, moving or held half-way, in images of uneven contrast; a share shows nothing."""

    def __init__(self, moves: bool, contrast: float, junk: float) -> None:
        self.moves = moves
        self._molecule, self._contrast, self._junk = hinge(), contrast, junk

    def project(self, t, rotations, shifts, box, pixel_size):
        contrast = 1 + self._contrast * torch.special.ndtri((89 * t % 1).clamp(0.01, 0.99))
        there = 97 * t % 1 >= self._junk
        state = t if self.moves else torch.full_like(t, 0.5)
        whole = self._molecule.project(state, rotations, shifts, box, pixel_size)
        return whole * (contrast * there)[:, None, None]

    def volume(self, t, box, pixel_size):
        return self._molecule.volume(t, box, pixel_size)


def atoms(degrees: float = 0.0, shift: float = 0.0) -> torch.Tensor:
    """The hinge half-way, turned about an oblique axis and displaced (Å), on voxels."""
    turn = Rotation.from_rotvec(np.radians(degrees) * np.array([0.6, 0.48, 0.64])).as_matrix()
    places = hinge().positions(torch.tensor([0.5]))[0].numpy() @ turn.T
    molecule = Atoms(np.stack([places, -places]), sigma=9.0)  # its mean stays at the origin
    molecule._frames += shift * torch.tensor([0.5, -0.7, 0.5])
    return molecule.volume(0.0, BOX, PIXEL_SIZE)


def images_of(
    folder: Path,
    *,
    moving: bool,
    n: int = N,
    jitter: float = 3.0,
    shift: float = 0.0,
    wrong: float = 0.0,
    contrast: float = 0.0,
    junk: float = 0.0,
    snr: float = 0.2,
) -> RunImages:
    """A run's images; it knows no latents.

    Its poses are wrong by ``jitter`` degrees and ``shift`` pixels, a share ``wrong`` altogether.
    """
    molecule = Uneven(moving, contrast, junk)
    star = write_simulation(folder, simulate(molecule, n, BOX, PIXEL_SIZE, snr=snr, seed=8))
    particles = read(star)
    assert particles.rotations is not None
    assert particles.shifts is not None
    random = np.random.default_rng(1)
    turns = Rotation.from_rotvec(np.radians(jitter) * random.normal(size=(n, 3))).as_matrix()
    rotations = turns @ particles.rotations
    lost = random.random(n) < wrong
    rotations[lost] = Rotation.random(n, rng=random).as_matrix()[lost]
    known = {
        "folder": folder,
        "box": BOX,
        "pixel_size": PIXEL_SIZE,
        "n_particles": n,
        "particles_path": star,
        "indices": None,
        "ctf_path": None,
        "settings": {},
        "rotations": rotations.astype(np.float32),
        "shifts": (particles.shifts + shift * random.normal(size=(n, 2))).astype(np.float32),
    }
    return RunImages(SimpleNamespace(**known))


def verdict(images: RunImages, folder: Path) -> Verdict:
    *done, found = heterogeneity(images, folder)
    assert done == sorted(done)
    assert 0.9 < done[-1] < 1
    return found


FAULTS = {
    "none": {},
    "contrast": {"contrast": 0.3},
    "junk": {"junk": 0.2},
    "wrong poses": {"wrong": 0.2},
    "poses not exact": {"jitter": 10.0},
    "shifts not exact": {"shift": 1.0},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_images_and_poses_are_no_motion(tmp_path, fault):
    found = verdict(images_of(tmp_path, moving=False, **FAULTS[fault]), tmp_path)
    assert abs(found.refined.errors) < 3
    assert found.refined.error < 0.1
    assert found.kind != "found"
    # What small errors of poses do to images is seen before they are refined.
    if fault not in ("wrong poses", "poses not exact", "shifts not exact"):
        assert found.kind == "none"
    assert found.details == pytest.approx(BOX * PIXEL_SIZE / 8)


@pytest.mark.parametrize(
    "faults", [{}, {"contrast": 0.3, "junk": 0.1, "jitter": 10.0}], ids=["as is", "faults"]
)
def test_motion_is_found(tmp_path, faults):
    found = verdict(images_of(tmp_path, moving=True, snr=0.5, **faults), tmp_path)
    assert found.kind == "found"
    assert found.refined.errors > 6


def test_what_is_seen_at_the_poses_of_the_run_alone_is_unclear():
    weak, clear = Excess(0.02, 0.03, 900), Excess(0.4, 0.03, 1000)
    kinds = [Verdict(a, b, 10.0).kind for a in (weak, clear) for b in (weak, clear)]
    assert kinds == ["none", "found", "unclear", "found"]


def test_images_that_show_nothing_are_left_out(tmp_path):
    junk = 0.2
    found = verdict(images_of(tmp_path, moving=False, junk=junk), tmp_path)
    assert found.as_posed.n == N
    assert found.refined.n + found.refined.left_out == N
    # The rest of the junk fits by chance, or because its pose was refined.
    assert 0.3 * junk * N < found.refined.left_out < 1.1 * junk * N


def test_hardly_an_image_that_fits_is_told(tmp_path, monkeypatch):
    def none_holds(data, rotations, shifts, halves, limit):
        yield CrossedPoses(rotations, shifts, torch.arange(len(data)) < 30)

    monkeypatch.setattr(validity, "crossed_poses", none_holds)
    with pytest.raises(CryodrgnError, match="Only 30 of 100 images match the mean"):
        verdict(images_of(tmp_path, moving=False, n=100), tmp_path)


def test_rigid_motion_and_contrast_are_amounts_of_seven_volumes():
    mean = atoms()
    changes = torch.stack([atoms(2.0) - mean, atoms(shift=2.0) - mean, 0.3 * mean])
    other = torch.from_numpy(np.random.default_rng(0).normal(size=(1, BOX, BOX, BOX))).float()
    changes = torch.cat([changes, other]).flatten(1)
    basis, _ = torch.linalg.qr(rigid_motion(mean).flatten(1).T)
    left = (changes - changes @ basis @ basis.T).norm(dim=1) / changes.norm(dim=1)
    # To first order.
    assert left[:3].tolist() == pytest.approx([0, 0, 0], abs=0.12)
    assert float(left[3]) == pytest.approx(1, abs=0.01)


def test_what_it_cannot_do_without(tmp_path):
    few = images_of(tmp_path, moving=False, n=30)
    with pytest.raises(CryodrgnError, match="with 30 particles"):
        next(heterogeneity(few, tmp_path))
    few.run.rotations = None
    with pytest.raises(RunFolderError, match="no poses are saved yet"):
        next(heterogeneity(few, tmp_path))
