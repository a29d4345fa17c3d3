from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_cryodrgn.analysis import RunImages, open_particles
from napari_cryodrgn.errors import ParticleFileError, RunFolderError
from napari_cryodrgn.imaging import FourierGrid, hinge, shift_phases, simulate, slice_points
from napari_cryodrgn.particles import read, write_simulation

BOX, N = 24, 12


@pytest.fixture(scope="module")
def star(tmp_path_factory):
    simulation = simulate(hinge(), N, BOX, 8.0, snr=1e6, seed=3)
    return write_simulation(tmp_path_factory.mktemp("set"), simulation)


def run_of(star: Path, **more):
    particles = read(star)
    fields = {
        "folder": Path("/runs/one"),
        "box": BOX,
        "pixel_size": 8.0,
        "n_particles": N,
        "particles_path": star,
        "indices": None,
        "ctf_path": None,
        "settings": {},
        "rotations": particles.rotations,
        "shifts": particles.shifts,
    }
    return SimpleNamespace(**fields | more)


def test_a_slice_with_ctf_and_shift_explains_the_image(star):
    images = RunImages(run_of(star))
    rows = [2, 5, 11]
    found, ctf = images.pixels(rows), images.ctf(rows)
    rotations, shifts = images.poses(rows)
    assert found.shape == ctf.shape == (3, len(images.lattice))
    k = images.lattice.k
    grid = FourierGrid(BOX, BOX // 2 - 1)
    # The hinge moves: compare low frequencies with its middle state.
    low = images.lattice.count(4)
    transform = grid.transform(hinge().volume(0.5, BOX, 8.0))[None]
    slices = grid.sample(transform, slice_points(rotations, k))
    expected = ctf * slices * shift_phases(k, BOX, shifts).conj()
    a, b = found[:, :low], expected[:, :low]
    correlation = (a * b.conj()).real.sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    assert float(correlation.min()) > 0.85


def test_dark_particles_are_inverted_and_large_boxes_cropped(star):
    bright = RunImages(run_of(star)).pixels([1])
    dark = RunImages(run_of(star, settings={"invert_contrast": True})).pixels([1])
    torch.testing.assert_close(dark, -bright)
    small = RunImages(run_of(star, box=16, pixel_size=12.0))
    assert small.lattice.box == 16
    low = small.lattice.count(5)
    torch.testing.assert_close(small.pixels([1])[:, :low], bright[:, :low])


def test_indices_choose_and_no_ctf_is_one(star):
    whole = RunImages(run_of(star))
    chosen = RunImages(run_of(star, indices=np.array([4, 7]), n_particles=2))
    torch.testing.assert_close(chosen.pixels([1]), whole.pixels([7]))
    torch.testing.assert_close(chosen.ctf([1]), whole.ctf([7]))
    bare = RunImages(run_of(star.with_suffix(".mrcs"), rotations=None, shifts=None))
    assert float(bare.ctf([0, 1]).min()) == float(bare.ctf([0, 1]).max()) == 1
    with pytest.raises(RunFolderError, match="no poses are saved yet"):
        bare.poses([0])


def test_particles_that_are_gone_or_have_changed(star, tmp_path):
    with pytest.raises(RunFolderError, match="does not say which particles"):
        open_particles(run_of(star, particles_path=None))
    with pytest.raises(ParticleFileError, match="12 particles now, but the run used 13"):
        open_particles(run_of(star, n_particles=13))
    with pytest.raises(ParticleFileError):
        open_particles(run_of(tmp_path / "gone.star"))
