"""cryoDRGN's decoders against its definitions, written out point by point, and its own volumes."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

from napari_cryodrgn.model import Decoder
from napari_cryodrgn.model.cryodrgn_weights import decoder_of_abinit, decoder_of_training
from napari_cryodrgn.particles import read_latents, read_volume

State = dict[str, Tensor]
ENCODINGS = "geom_ft geom_full geom_lowf geom_nohighf linear_lowf gaussian none".split()
NORM = (0.3, 7.0)
Z = np.array([0.4, -1.2])


def mlp(state: State, name: str, sizes: list[int], *, residual: bool = True) -> None:
    """Random layers; where in and out are of one size, the input is added, unless told not to."""
    random = torch.Generator().manual_seed(len(sizes) + sizes[0])
    for i, (n, m) in enumerate(zip(sizes, sizes[1:], strict=False)):
        layer = f"{name}main.{2 * i}." + ("linear." if n == m and residual else "")
        state[f"{layer}weight"] = torch.randn(m, n, generator=random) / n**0.5
        state[f"{layer}bias"] = torch.randn(m, generator=random)


def training(
    pe_type: str, domain: str, box: int, *, inside: str = "decoder.", **more: Any
) -> tuple[State, dict[str, Any]]:
    """Weights and ``model_args`` as ``train_vae`` (with an encoder) or ``train_dec`` has them."""
    args: dict[str, Any] = {"pe_type": pe_type, "domain": domain, "zdim": 2, "pe_dim": 3}
    args |= more
    if inside:
        args["players"] = 2
    if pe_type == "linear_lowf" or args["pe_dim"] is None:
        n = box // 2
    else:
        n = args["pe_dim"]
    features = 3 if pe_type == "none" else 6 * n
    state: State = {"encoder.main.0.weight": torch.zeros(4, 9)} if inside else {}
    bare_hartley = pe_type == "none" and domain == "hartley"
    prefix = inside + ("" if bare_hartley else "decoder.")
    mlp(state, prefix, [features + 2, 9, 9, 9, 1 if domain == "hartley" else 2])
    if pe_type == "gaussian":
        state[f"{inside}rand_freqs"] = torch.randn(
            3 * n, 3, generator=torch.Generator().manual_seed(1)
        )
    return state, args


def forward(state: State, name: str, x: NDArray[Any], slope: float = 0.0) -> NDArray[Any]:
    i = 0
    while True:
        plain, added = f"{name}main.{i}.", f"{name}main.{i}.linear."
        layer = added if f"{added}weight" in state else plain
        y = x @ state[f"{layer}weight"].double().numpy().T + state[f"{layer}bias"].numpy()
        x = y + x if layer == added else y
        i += 2
        if not any(key.startswith(f"{name}main.{i}.") for key in state):
            return x
        x = np.where(x > 0, x, slope * x)


def encode(pe_type: str, k: NDArray[Any], n: int, box: int, state: State, name: str) -> Any:
    if pe_type == "none":
        return k
    if pe_type == "gaussian":
        angle = k @ state[f"{name}rand_freqs"].double().numpy().T * (box // 2)
        return np.concatenate([np.sin(angle), np.cos(angle)], -1)
    half, i = box / 2, np.arange(n)
    f = {
        "geom_ft": lambda: box * math.pi * (2 / box) ** (i / (n - 1)),
        "geom_full": lambda: box * math.pi * (1 / box / math.pi) ** (i / (n - 1)),
        "geom_lowf": lambda: half * (1 / half) ** (i / (n - 1)),
        "geom_nohighf": lambda: half * (2 * math.pi / half) ** (i / (n - 1)),
        "linear_lowf": lambda: np.arange(1.0, half + 1),
    }[pe_type]()
    parts = [fun(k[..., [axis]] * f) for axis in range(3) for fun in (np.sin, np.cos)]
    return np.concatenate(parts, -1)


def to_voxels(transform: NDArray[Any], norm: tuple[float, float] = NORM) -> NDArray[Any]:
    """Inverse Hartley transform by sums over every frequency, on a box with its centre at D/2."""
    d = len(transform) - 1
    values = (transform * norm[1] + norm[0])[:-1, :-1, :-1]
    r = np.arange(d) - d // 2
    wave = np.exp(2j * np.pi * np.outer(r, r) / d)
    total = np.einsum("zyx,zc,yb,xa->cba", values, wave, wave, wave, optimize=True)
    return (total.real + total.imag) / d**3


def lattice(box: int) -> NDArray[Any]:
    r = np.linspace(-0.5, 0.5, box + 1).astype(np.float32)
    return np.stack(np.meshgrid(r, r, r, indexing="ij")[::-1], -1)


def reference(state: State, args: dict[str, Any], box: int) -> NDArray[Any]:
    """The volume at ``Z`` as ``eval_vol`` makes it, all of the lattice one after the other."""
    inside = "decoder." if "players" in args else ""
    pe_type, hartley = args["pe_type"], args["domain"] == "hartley"
    name = inside + ("" if pe_type == "none" and hartley else "decoder.")
    slope = 0.01 if args.get("activation") == "leaky_relu" else 0.0
    n = box // 2 if args["pe_dim"] is None else args["pe_dim"]
    k = lattice(box)
    ball = (k**2).sum(-1) <= 0.25

    def network(points: NDArray[Any]) -> NDArray[Any]:
        features = encode(pe_type, points.astype(float), n, box, state, inside)
        latent = np.broadcast_to(Z, (*points.shape[:-1], 2))
        return forward(state, name, np.concatenate([features, latent], -1), slope)

    if hartley:
        return to_voxels(network(k)[..., 0])
    # The network speaks for kz <= 0; its conjugate, for the rest.
    values = network(np.where(k[..., 2:] > 0, -k, k))
    real, imaginary = values[..., 0], np.where(k[..., 2] > 0, -1, 1) * values[..., 1]
    transform = real - imaginary
    if pe_type == "none":
        # What is beyond the ball is set to zero after the mean has been added.
        return to_voxels(np.where(ball, transform, -NORM[0] / NORM[1]))
    middle = transform[box // 2].ravel()
    first = (real + imaginary)[box // 2].ravel()
    half = len(middle) // 2
    middle[half + 1 :] = first[:half][::-1]
    return to_voxels(np.where(ball, transform, 0))


def difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def decoded(decoder: Decoder, z: NDArray[Any] = Z, **more: Any) -> NDArray[Any]:
    return decoder.decode(torch.from_numpy(z).float(), **more).numpy()


@pytest.mark.parametrize(("pe_type", "domain"), list(product(ENCODINGS, ["fourier", "hartley"])))
@pytest.mark.parametrize("inside", ["decoder.", ""], ids=["train_vae", "train_dec"])
def test_every_encoding_in_both_domains(pe_type: str, domain: str, inside: str) -> None:
    more = {"pe_dim": None} if pe_type == "linear_lowf" else {}
    state, args = training(pe_type, domain, 8, inside=inside, **more)
    decoder = decoder_of_training(state, args, 8, NORM).eval()
    expected = reference(state, args, 8)
    assert difference(decoded(decoder), expected) < 1e-5
    # And again, with what was kept of the first time.
    assert difference(decoded(decoder), expected) < 1e-5
    assert difference(decoded(decoder, Z + 1), expected) > 1e-2


@pytest.mark.parametrize("box", [6, 12])  # where rounding decides about the ball's surface
@pytest.mark.parametrize("pe_type", ["geom_lowf", "gaussian"])
def test_leaky_units_and_other_boxes(pe_type: str, box: int) -> None:
    more = {"activation": "leaky_relu", "pe_dim": None}
    state, args = training(pe_type, "fourier", box, **more)
    decoder = decoder_of_training(state, args, box, NORM)
    assert difference(decoded(decoder), reference(state, args, box)) < 1e-5


def test_a_plain_network_without_skips() -> None:
    state, args = training("geom_lowf", "fourier", 8)
    for key in [k for k in state if k.startswith("decoder.")]:
        del state[key]
    mlp(state, "decoder.decoder.", [20, 9, 9, 2], residual=False)
    decoder = decoder_of_training(state, args, 8, NORM)
    assert difference(decoded(decoder), reference(state, args, 8)) < 1e-5


@pytest.mark.parametrize("domain", ["fourier", "hartley"])
def test_low_frequencies_are_those_of_the_full_volume(domain: str) -> None:
    state, args = training("gaussian", domain, 8)
    decoder = decoder_of_training(state, args, 8, (0.0, 7.0))
    low, full = (np.fft.fftn(decoded(decoder, limit=limit)) for limit in (2, None))
    k = np.fft.fftfreq(8, 1 / 8)
    radius = np.linalg.norm(np.stack(np.meshgrid(k, k, k)), axis=0)
    np.testing.assert_allclose(low[radius <= 2], full[radius <= 2], atol=1e-4)
    np.testing.assert_allclose(low[radius > 2], 0, atol=1e-4)


@pytest.mark.parametrize(
    ("pe_type", "domain"), list(product(["gaussian", "none"], ["fourier", "hartley"]))
)
def test_a_smaller_box_is_the_filtered_volume(pe_type: str, domain: str) -> None:
    state, args = training(pe_type, domain, 16)
    decoder = decoder_of_training(state, args, 16, (0.0, 7.0)).eval()
    full = decoded(decoder, limit=3)
    for _ in range(2):
        assert difference(decoded(decoder, box=8), full[::2, ::2, ::2]) < 1e-5
    assert (
        difference(decoded(decoder, limit=2, box=8), decoded(decoder, limit=2)[::2, ::2, ::2])
        < 1e-5
    )
    np.testing.assert_array_equal(decoded(decoder, box=16), decoded(decoder))


def abinit(box: int, conf: bool, radius: int) -> dict[str, Any]:
    random = torch.Generator().manual_seed(3)
    state: State = {"rand_freqs": torch.randn(12, 3, generator=random)}
    if conf:
        state["geom_freqs_conf"] = 2.0 ** torch.arange(-4, 0) * math.pi
    mlp(state, "mlp.", [24 + (16 if conf else 2), 9, 9, 1])
    params = {"resolution": box + 1, "z_dim": 2, "pe_type": "gaussian", "domain": "hartley"}
    return {
        "hypervolume_params": params,
        "hypervolume_state_dict": state,
        "output_mask_radius": radius,
    }


@pytest.mark.parametrize("conf", [False, True])
@pytest.mark.parametrize(("box", "radius"), [(8, 4), (8, 3), (12, 5)])
def test_abinit(conf: bool, box: int, radius: int) -> None:
    checkpoint = abinit(box, conf, radius)
    state, k = checkpoint["hypervolume_state_dict"], lattice(box)
    z = Z
    if conf:
        angle = Z[:, None] * state["geom_freqs_conf"].double().numpy()
        z = np.concatenate([np.sin(angle), np.cos(angle)], 1).ravel()
    features = encode("gaussian", k.astype(float), 4, box, state, "")
    latent = np.broadcast_to(z, (*k.shape[:-1], len(z)))
    transform = forward(state, "mlp.", np.concatenate([features, latent], -1))[..., 0]
    # A disc in each plane, its radius cut to whole pixels, without its centre.
    # In single precision, which leaves out points at the very edge: (3, 4) of radius 5.
    for i, level in enumerate(np.linspace(-0.5, 0.5, box + 1, dtype=np.float32)):
        across = max((radius / (box + 1)) ** 2 - level**2, np.float32(0))
        edge = int(np.sqrt(across) * (box + 1)) / box
        squared = (k[i, ..., :2] ** 2).sum(-1)
        transform[i][(squared > np.float32(edge**2)) | (squared == 0)] = 0
    decoder = decoder_of_abinit(checkpoint, NORM)
    assert difference(decoded(decoder), to_voxels(transform)) < 1e-5
    sums = [decoded(decoder, limit=box // 2 - 1 - s, box=box - 2 * s).sum() for s in (0, 1)]
    assert sums[0] / box**3 == pytest.approx(sums[1] / (box - 2) ** 3, abs=1e-4)


def test_one_structure_needs_no_latent() -> None:
    state, args = training("geom_lowf", "fourier", 8, inside="", zdim=0)
    state["decoder.main.0.weight"] = state["decoder.main.0.weight"][:, :-2]
    volume = decoded(decoder_of_training(state, args, 8, NORM), np.zeros(0))
    assert volume.shape == (8, 8, 8)
    assert volume.std() > 0


Change = Callable[[State, dict[str, Any]], Any]
FAULTS: dict[str, tuple[Change, str]] = {
    "encoding": (lambda s, a: a.update(pe_type="magic"), "pe_type: expected geom_ft.*got magic"),
    "domain": (lambda s, a: a.update(domain="real"), "domain: expected fourier, hartley"),
    "activation": (lambda s, a: a.update(activation="tanh"), "activation: expected relu"),
    "latent": (lambda s, a: a.update(zdim=5), "18 of the positional encoding and 5 of the latent"),
    "features": (lambda s, a: a.update(pe_dim=9), "expected 54"),
    "other domain": (lambda s, a: a.update(domain="hartley"), "do not fit domain hartley"),
    "no weights": (lambda s, a: s.clear(), "hold no decoder"),
    "a layer": (
        lambda s, a: s.update({"decoder.decoder.main.6.weight": torch.zeros(2, 3)}),
        "does not fit the layer before",
    ),
    "no bias": (lambda s, a: s.pop("decoder.decoder.main.0.bias"), "no proper main.0.bias"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_fit_is_named(fault: str) -> None:
    change, message = FAULTS[fault]
    state, args = training("geom_lowf", "fourier", 8)
    change(state, args)
    with pytest.raises(ValueError, match=message):
        decoder_of_training(state, args, 8, NORM)


def test_abinit_of_another_kind_is_named() -> None:
    checkpoint = abinit(8, False, 4)
    checkpoint["hypervolume_params"]["pe_type"] = "linear"
    with pytest.raises(ValueError, match="pe_type: expected gaussian"):
        decoder_of_abinit(checkpoint, NORM)
    checkpoint["hypervolume_state_dict"] = {"volume": torch.zeros(9, 9, 9)}
    with pytest.raises(ValueError, match="grid of voxels"):
        decoder_of_abinit(checkpoint, NORM)


def test_volumes_are_those_of_eval_vol(shared_data: Path) -> None:
    folder = shared_data / "cryodrgn-run"
    config = yaml.safe_load((folder / "config.yaml").read_text())
    content = torch.load(folder / "weights.pkl", weights_only=True)
    norm = tuple(config["dataset_args"]["norm"])
    decoder = decoder_of_training(content["model_state_dict"], config["model_args"], 32, norm)
    references = folder / "reference_volumes"
    for i, z in enumerate(np.loadtxt(references / "z_values.txt"), 1):
        expected = read_volume(references / f"vol_{i:03d}.mrc").data
        assert difference(decoded(decoder, z), expected) < 1e-3
        assert np.abs(decoded(decoder, z) - expected).max() < 1e-3 * np.abs(expected).max()
    clusters = folder / "analyze.3" / "kmeans20"
    mu, _ = read_latents(folder / "z.3.pkl")
    for i in (0, 7):
        z = mu[np.loadtxt(clusters / "centers_ind.txt", dtype=int)[i]]
        expected = read_volume(clusters / f"vol_{i + 1:03d}.mrc").data
        assert difference(decoded(decoder, z), expected) < 1e-3
