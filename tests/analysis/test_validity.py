from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from napari_cryodrgn.analysis import RunImages
from napari_cryodrgn.analysis.validity import Verdict, heterogeneity, without_rigid_motion
from napari_cryodrgn.errors import CryodrgnError, RunFolderError
from napari_cryodrgn.imaging import Atoms, hinge, simulate
from napari_cryodrgn.particles import read, write_simulation

BOX, PIXEL_SIZE, N = 24, 12.0, 500


def atoms(degrees: float = 0.0, shift: float = 0.0) -> torch.Tensor:
    """The hinge half-way, turned about an oblique axis and displaced (Å), on voxels."""
    turn = Rotation.from_rotvec(np.radians(degrees) * np.array([0.6, 0.48, 0.64])).as_matrix()
    places = hinge().positions(torch.tensor([0.5]))[0].numpy() @ turn.T
    molecule = Atoms(np.stack([places, -places]), sigma=9.0)  # its mean stays at the origin
    molecule._frames += shift * torch.tensor([0.5, -0.7, 0.5])
    return molecule.volume(0.0, BOX, PIXEL_SIZE)


def images_of(folder: Path, *, moving: bool, jitter: float, n: int = N, **more) -> RunImages:
    """A run's images whose poses are wrong by ``jitter`` degrees; it knows no latents."""
    still = Atoms(hinge().positions(torch.tensor([0.5])).numpy(), sigma=4.5)
    molecule = hinge() if moving else still
    star = write_simulation(folder, simulate(molecule, n, BOX, PIXEL_SIZE, snr=0.2, seed=8))
    particles = read(star)
    assert particles.rotations is not None
    random = np.random.default_rng(1)
    wrong = Rotation.from_rotvec(np.radians(jitter) * random.normal(size=(n, 3))).as_matrix()
    known = {
        "folder": folder,
        "box": BOX,
        "pixel_size": PIXEL_SIZE,
        "n_particles": n,
        "particles_path": star,
        "indices": None,
        "ctf_path": None,
        "settings": {},
        "rotations": (wrong @ particles.rotations).astype(np.float32),
        "shifts": particles.shifts,
    }
    return RunImages(SimpleNamespace(**known | more))


def verdict(images: RunImages, folder: Path) -> Verdict:
    *done, found = heterogeneity(images, folder)
    assert done == sorted(done)
    assert 0.9 < done[-1] < 1
    return found


@pytest.mark.parametrize("moving", [False, True], ids=["still", "moving"])
def test_a_moving_set_is_told_from_a_still_one(tmp_path, moving):
    found = verdict(images_of(tmp_path, moving=moving, jitter=3.0), tmp_path)
    assert found.found == moving
    assert found.n == N
    assert found.details == pytest.approx(BOX * PIXEL_SIZE / 8)
    if not moving:
        assert abs(found.excess) < 0.2


def test_rigid_motion_and_contrast_are_no_motion():
    mean = atoms()
    components = torch.stack([atoms(2.0) - mean, atoms(shift=2.0) - mean, 0.3 * mean])
    other = torch.from_numpy(np.random.default_rng(0).normal(size=(1, BOX, BOX, BOX))).float()
    left = without_rigid_motion(torch.cat([mean[None], components, other]))
    torch.testing.assert_close(left[0], mean)
    kept = left[1:].flatten(1).norm(dim=1) / torch.cat([components, other]).flatten(1).norm(dim=1)
    # To first order.
    assert kept[:3].tolist() == pytest.approx([0, 0, 0], abs=0.12)
    assert float(kept[3]) == pytest.approx(1, abs=0.01)


def test_what_it_cannot_do_without(tmp_path):
    few = images_of(tmp_path, moving=False, jitter=0, n=30)
    with pytest.raises(CryodrgnError, match="with 30 particles"):
        next(heterogeneity(few, tmp_path))
    few.run.rotations = None
    with pytest.raises(RunFolderError, match="no poses are saved yet"):
        next(heterogeneity(few, tmp_path))
