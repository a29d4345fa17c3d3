"""The same answers on a GPU as on the CPU; runs where there is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from napari_cryodrgn.analysis import Run
from napari_cryodrgn.poses import PoseSearch, SearchSettings, angular_distance
from napari_cryodrgn.training import Settings, reconstruct
from napari_cryodrgn.training.dataset import Dataset, load
from napari_cryodrgn.training.half_maps import reconstruct_volume

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

DEVICES = ("cpu", "cuda")


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.cpu().flatten(), b.cpu().flatten()]))[0, 1])


@pytest.fixture
def both(toy: Any, settings: Callable[..., Settings]) -> list[Dataset]:
    """The same particles on the CPU and on the GPU."""
    *_, cpu = load(toy[0], settings(), torch.device("cpu"))
    *_, cuda = load(toy[0], settings(), torch.device("cuda"))
    assert isinstance(cpu, Dataset)
    assert isinstance(cuda, Dataset)
    return [cpu, cuda]


def poses(particles: Any, data: Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    rotations, shifts = torch.from_numpy(particles.rotations), torch.from_numpy(particles.shifts)
    return rotations.to(data.device), shifts.to(data.device)


def test_back_projection_is_the_same(both: list[Dataset], toy: Any) -> None:
    cpu, cuda = (reconstruct_volume(d, *poses(toy[0], d), 15.0) for d in both)
    assert correlation(cpu.volume, cuda.volume) > 0.9999
    torch.testing.assert_close(cpu.fsc, cuda.fsc.cpu(), atol=1e-3, rtol=0)


def test_search_finds_the_same_poses(both: list[Dataset], toy: Any) -> None:
    found = []
    for data in both:
        volume = reconstruct_volume(data, *poses(toy[0], data), 12.0).volume
        search = PoseSearch(data.lattice, volume[None], SearchSettings(last_limit=12.0))
        found.append(search(*data.batch(torch.arange(50), 12.0)).rotations[:, 0].cpu())
    assert float((angular_distance(*found) < 0.5).double().mean()) >= 0.98


@pytest.mark.parametrize("zdim", [0, 1])
def test_a_run_ends_alike(toy: Any, settings: Callable[..., Settings], zdim: int) -> None:
    volumes = []
    for device in DEVICES:
        folder = settings().output.with_name(device)
        for _ in reconstruct(settings(device=device, zdim=zdim, output=folder), toy[0]):
            pass
        run = Run.open(folder)
        z = run.latents.mu.mean(0) if run.latents is not None else torch.zeros(0).numpy()
        volumes.append(torch.from_numpy(run.decode(z)))
    assert correlation(*volumes) > 0.99
