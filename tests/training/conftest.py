"""Small simulated particle sets, read back from their files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_cryodrgn.imaging import Atoms, Simulation, hinge, simulate
from napari_cryodrgn.particles import ParticleSet, read, write_simulation
from napari_cryodrgn.training import Settings
from napari_cryodrgn.training.dataset import Dataset, load

MakeSettings = Callable[..., Settings]
MakeData = Callable[..., Dataset]
Change = Callable[[NDArray[np.float32]], NDArray[np.floating]]


class Altered:
    """A simulation whose images all go through ``change`` together."""

    def __init__(self, simulation: Simulation, change: Change) -> None:
        self._simulation, self._change = simulation, change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._simulation, name)

    def chunks(self) -> Iterator[NDArray[np.float32]]:
        yield self._change(np.concatenate(list(self._simulation.chunks()))).astype(np.float32)


@pytest.fixture(scope="session")
def still() -> Atoms:
    """The hinge, held still."""
    return Atoms(hinge().positions(torch.tensor([0.5])).numpy(), sigma=4.5)


@pytest.fixture
def altered(tmp_path: Path) -> Callable[[Simulation, Change], ParticleSet]:
    """Simulated particles with something done to their images, read back from their files."""

    def make(simulation: Simulation, change: Change) -> ParticleSet:
        folder = tmp_path / f"altered-{len(list(tmp_path.iterdir()))}"
        return read(write_simulation(folder, Altered(simulation, change)))

    return make


@pytest.fixture(scope="session")
def particles(tmp_path_factory: pytest.TempPathFactory) -> ParticleSet:
    """120 pictures of the hinge in a box of 24, with poses."""
    simulation = simulate(hinge(), 120, 24, 12.0, snr=0.5, seed=3)
    return read(write_simulation(tmp_path_factory.mktemp("small"), simulation))


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[ParticleSet, torch.Tensor]:
    """400 pictures in a box of 32 at high SNR, and the conformation of each."""
    simulation = simulate(hinge(), 400, 32, 9.0, snr=2.0, seed=5)
    star = write_simulation(tmp_path_factory.mktemp("toy"), simulation)
    return read(star), torch.from_numpy(np.array(simulation.t))


@pytest.fixture
def settings(tmp_path: Path) -> MakeSettings:
    """Settings of a run that is over in seconds."""

    def make(**changes: object) -> Settings:
        quick = {
            "output": tmp_path / "run",
            "poses": "given",
            "zdim": 1,
            "epochs": 1,
            "width": 16,
            "layers": 1,
            "device": "cpu",
        }
        return Settings.model_validate({**quick, **changes})

    return make


@pytest.fixture
def make_data(tmp_path: Path) -> MakeData:
    def make(particles: ParticleSet, **changes: object) -> Dataset:
        settings = Settings.model_validate({"output": tmp_path / "none", **changes})
        *_, data = load(particles, settings, torch.device("cpu"))
        assert isinstance(data, Dataset)
        return data

    return make
