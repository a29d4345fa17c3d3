"""Slices of every kind of decoder against the transform of the volume it decodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from napari_cryodrgn.analysis import Run
from napari_cryodrgn.errors import RunFolderError
from napari_cryodrgn.imaging import FourierGrid, Lattice, hinge, slice_points
from napari_cryodrgn.model import (
    BasisDecoder,
    CoordinateDecoder,
    Decoder,
    PositionalEncoding,
    density,
    kernel_functions,
)
from napari_cryodrgn.model import basis as basis_module
from napari_cryodrgn.model.cryodrgn_weights import decoder_of_abinit, decoder_of_training
from napari_cryodrgn.model.slices import VolumeSlices

BOX = 32
LATTICE = Lattice.create(BOX)
Z = torch.tensor([0.6, -0.8])
ROTATIONS = torch.from_numpy(Rotation.random(4, rng=2).as_matrix()).float()
BODY = hinge().volume(0.4, BOX, 8.0)


def through_volume(decoder: Decoder, rotation: Tensor, z: Tensor = Z) -> Tensor:
    grid = FourierGrid(BOX, BOX // 2 - 1)
    transform = grid.transform(decoder.decode(z))[None]
    return grid.sample(transform, slice_points(rotation, LATTICE.k))


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def atoms(n: int) -> tuple[Tensor, Tensor]:
    """Phases (3, n) and weights (n,) of atoms in the body."""
    phases = density(BODY, n, seed=6).phases
    return phases, 1 + 0.3 * torch.randn(n, generator=torch.Generator().manual_seed(7))


def rows(weight: Tensor) -> Tensor:
    """Weights of sines and cosines that make the real and the imaginary part of atoms."""
    none = torch.zeros_like(weight)
    return torch.stack([torch.cat([none, weight]), torch.cat([-weight, none])])


def network(consensus: Tensor | None, attenuated: bool) -> CoordinateDecoder:
    """Atoms whose weights z changes, by hidden units in their linear range."""
    phases, weight = atoms(40)
    decoder = CoordinateDecoder(PositionalEncoding(phases), 2, 2, 0, BOX, consensus)
    with torch.no_grad():
        decoder.input.weight.copy_(rows(weight))
        decoder.input.bias.fill_(200)
        decoder.latent[0].weight.zero_()[0, 0] = 8
        decoder.output.weight.copy_(torch.eye(2))
        decoder.output.bias.fill_(-200)
    decoder.attenuated.fill_(attenuated)
    return decoder.eval()


def basis() -> BasisDecoder:
    random = torch.Generator().manual_seed(1)
    nodes = torch.randn(6, 2, generator=random)
    mixing = kernel_functions(nodes, torch.ones(2), 3)
    volumes = [hinge().volume(0.2 * t, BOX, 8.0) for t in range(1 + mixing.shape[1])]
    return BasisDecoder(torch.stack(volumes), nodes, mixing, torch.ones(2)).eval()


def layers(name: str, hartley: bool) -> dict[str, Tensor]:
    """The same, as cryoDRGN's networks; n atoms."""
    phases, weight = atoms(16 * 3)
    both = rows(weight / 30)
    both = both[:1] - both[1:] if hartley else both
    n = len(both)
    first = torch.cat([both, torch.tensor([[0.3, 0.0]]).expand(n, 2)], 1)
    last = torch.eye(n)
    if not hartley:
        first[1, -2:] = 0
    return {
        "rand_freqs": 2 * phases.T,
        f"{name}main.0.weight": first,
        f"{name}main.0.bias": torch.full((n,), 20.0),
        f"{name}main.2.weight": torch.cat([last, torch.zeros(n, 0)], 1),
        f"{name}main.2.bias": torch.full((n,), -20.0),
    }


def cryodrgn(domain: str) -> Decoder:
    state = layers("decoder.", domain == "hartley")
    args = {"pe_type": "gaussian", "zdim": 2, "domain": domain}
    return decoder_of_training(state, args, BOX, (0.2, 30.0)).eval()


def abinit() -> Decoder:
    params = {"resolution": BOX + 1, "z_dim": 2, "pe_type": "gaussian", "domain": "hartley"}
    content = {"hypervolume_params": params, "hypervolume_state_dict": layers("mlp.", True)}
    return decoder_of_abinit(content | {"output_mask_radius": 12}, (0.2, 30.0)).eval()


# What each leaves out: nothing; the mask and the attenuation along the view; what a network has
# beyond the box, and the axis that volumes of `abinit` lack.
KINDS: dict[str, tuple[Callable[[], Decoder], float]] = {
    "basis": (basis, 0.002),
    "plain": (lambda: network(None, False), 0.07),
    "attenuated": (lambda: network(None, True), 0.07),
    "residual": (lambda: network(BODY, False), 0.02),
    "cryodrgn": (lambda: cryodrgn("fourier"), 0.06),
    "cryodrgn, hartley": (lambda: cryodrgn("hartley"), 0.06),
    "cryodrgn, abinit": (abinit, 0.16),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_slice_is_that_of_the_decoded_volume(kind: str) -> None:
    make, within = KINDS[kind]
    decoder = make()
    for rotation in ROTATIONS:
        found = decoder.slice(Z, rotation, LATTICE)
        assert found.shape == (len(LATTICE),)
        expected = through_volume(decoder, rotation)
        # Atoms are cut off at Nyquist: near it, interpolation errs.
        points = slice_points(rotation, LATTICE.k)
        inside = (LATTICE.radius < 11) & (points[:, :2].norm(dim=1) > 2)
        assert error(found[inside], expected[inside]) < within
        elsewhere = decoder.slice(-Z, rotation, LATTICE)
        assert error(elsewhere[inside], expected[inside]) > 1.5 * within


def test_large_bases_go_by_way_of_the_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = basis()
    quick = decoder.slice(Z, ROTATIONS[0], LATTICE)
    monkeypatch.setattr(basis_module, "_KEPT", 0)
    decoded = []
    monkeypatch.setattr(decoder, "decode", _counting(decoder.decode, decoded))
    for rotation in ROTATIONS[:2]:
        slow = decoder.slice(Z, rotation, LATTICE)
    assert len(decoded) == 1
    torch.testing.assert_close(decoder.slice(Z, ROTATIONS[0], LATTICE), quick, atol=0.02, rtol=1e-3)
    assert error(slow, quick) > 0.1
    decoder.slice(-Z, ROTATIONS[0], LATTICE)
    assert len(decoded) == 2


def _counting(decode: Callable[..., Tensor], calls: list[Tensor]) -> Callable[..., Tensor]:
    def counted(z: Tensor, *args: object, **more: object) -> Tensor:
        calls.append(z)
        return decode(z, *args, **more)

    return counted


def test_slices_are_those_of_the_grid() -> None:
    volumes = torch.stack([BODY, BODY.roll((3, 1, -2), (0, 1, 2))])
    slices, grid = VolumeSlices(volumes), FourierGrid(BOX, BOX // 2 - 1)
    points = slice_points(ROTATIONS[1], LATTICE.k)
    for i, found in enumerate(slices(points)):
        assert error(found, grid.sample(grid.transform(volumes[i])[None], points)) < 1e-3
    assert VolumeSlices.memory(BOX, 2) == slices._parts.nbytes


def test_a_run_gives_slices_in_the_units_of_its_images(shared_data: Path) -> None:
    run = Run.open(shared_data / "cryodrgn-run")
    assert run.latents is not None
    z = run.latents.mu[3]
    found = run.slice(z, ROTATIONS[0], LATTICE)
    transform = FourierGrid(BOX, 15).transform(torch.from_numpy(run.decode(z)))[None]
    expected = FourierGrid(BOX, 15).sample(transform, slice_points(ROTATIONS[0], LATTICE.k))
    # A network hardly trained reaches far beyond its box.
    correlation = (found * expected.conj()).real.sum() / (found.norm() * expected.norm())
    assert float(correlation) > 0.9
    assert float(found.norm() / expected.norm()) == pytest.approx(1, abs=0.15)
    with pytest.raises(RunFolderError, match="expected 2 finite numbers"):
        run.slice([0.0], ROTATIONS[0], LATTICE)
