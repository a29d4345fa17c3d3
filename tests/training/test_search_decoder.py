"""The paper's loop: poses found against a trained decoder.

A plain network is not accurate enough for this after a short fit: its poses are 16 degrees off.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from napari_cryodrgn.model import Decoder, density
from napari_cryodrgn.poses import PoseSearch, SearchSettings, angular_distance
from napari_cryodrgn.training.basis_fit import solve_basis
from napari_cryodrgn.training.decoder_fit import collect, fit_decoder, new_decoder
from napari_cryodrgn.training.half_maps import reconstruct_volume

STATES = torch.tensor([[-1.2], [-0.4], [0.4], [1.2]])
SETTINGS = SearchSettings(levels=4, last_limit=12.0, max_shift=2.5)


def trained(kind: str, data: Any, r: Tensor, s: Tensor, z: Tensor) -> Decoder:
    statistics = collect(data, r, s, z, 12.0, 8, seed=0)
    if kind == "basis":
        return solve_basis(statistics)
    consensus = reconstruct_volume(data, r, s, 12.0).volume
    decoder = new_decoder(density(consensus, 64), statistics, consensus, 48, 2, seed=0)
    for _ in fit_decoder(decoder, statistics, steps=500, seed=0):
        pass
    return decoder


@pytest.mark.parametrize("kind", ["basis", "residual"])
def test_poses_found_against_a_decoder_are_right(kind: str, toy: Any, make_data: Any) -> None:
    particles, t = toy
    data = make_data(particles)
    r, s = torch.from_numpy(particles.rotations), torch.from_numpy(particles.shifts)
    z = ((t - t.mean()) / t.std())[:, None]
    decoder = trained(kind, data, r, s, z)
    search = PoseSearch(data.lattice, decoder.decode_all(STATES, 12), SETTINGS)
    index = torch.arange(60)
    found = search(*data.batch(index, 12.0))
    errors = angular_distance(found.rotations[:, 0], r[index])
    assert float(errors.median()) < 4
    assert float((errors < 10).double().mean()) > 0.9
    assert float((found.shifts[:, 0] - s[index]).norm(dim=1).median()) < 0.5
    # The state found is that of the image.
    states = STATES[found.states[:, 0], 0]
    assert float(torch.corrcoef(torch.stack([states, z[index, 0]]))[0, 1]) > 0.8
