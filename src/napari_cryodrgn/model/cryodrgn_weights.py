"""cryoDRGN's weights and configuration, made into a decoder."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .cryodrgn_decoder import CryodrgnDecoder
from .encoding import PositionalEncoding

_SLOPES = {"relu": 0.0, "leaky_relu": 0.01}
_OUTPUTS = {"fourier": 2, "hartley": 1}
_LAYER = re.compile(r"main\.(\d+)\.(linear\.)?(weight|bias)")
_GEOMETRIC = ("geom_ft", "geom_full", "geom_lowf", "geom_nohighf")


def decoder_of_training(
    state: Mapping[str, Any], model_args: Mapping[str, Any], box: int, norm: tuple[float, float]
) -> CryodrgnDecoder:
    """Decoder of ``train_vae``, ``train_dec``, ``train_nn`` and the old ``abinit_het``.

    Parameters
    ----------
    state
        The checkpoint's ``model_state_dict``.
    model_args
        Of config.yaml.
    box
        In pixels.
    norm
        Mean and standard deviation of the images' transforms.

    Raises
    ------
    ValueError
        If an argument has an unknown value, or the weights do not fit the arguments.
    """
    pe_type = _known(model_args, "pe_type", (*_GEOMETRIC, "linear_lowf", "gaussian", "none"))
    domain = _known({"domain": "fourier", **model_args}, "domain", _OUTPUTS)
    activation = _known({"activation": "relu", **model_args}, "activation", _SLOPES)
    state = {key.removeprefix("module."): value for key, value in state.items()}
    if "players" in model_args:  # an encoder is beside it
        inner = {k: v for k, v in state.items() if k.startswith("decoder.")}
        state = {key.removeprefix("decoder."): value for key, value in inner.items()}
    layers = _layers({key.removeprefix("decoder."): value for key, value in state.items()})
    if layers[-1].out_features != _OUTPUTS[domain]:
        raise ValueError(f"{layers[-1].out_features} outputs do not fit domain {domain}")
    encoding: nn.Module = nn.Identity()
    if pe_type == "gaussian":
        encoding = _random(state, box)
    elif pe_type == "none":
        # The network takes k in [-0.5, 0.5].
        layers[0].weight.data[:, :3] /= box
    else:
        pe_dim = model_args.get("pe_dim")
        frequencies = _axis_frequencies(pe_type, box, box // 2 if pe_dim is None else int(pe_dim))
        encoding = PositionalEncoding(torch.block_diag(*[frequencies[None] / box] * 3))
        _reorder(layers[0], len(frequencies))
    zdim, slope = int(model_args.get("zdim") or 0), _SLOPES[activation]
    return CryodrgnDecoder(encoding, layers, zdim, box, norm, slope, bare=pe_type == "none")


def decoder_of_abinit(checkpoint: Mapping[str, Any], norm: tuple[float, float]) -> CryodrgnDecoder:
    """Decoder of ``abinit`` as of version 4: the hypervolume of a checkpoint.

    Parameters
    ----------
    checkpoint
        With ``hypervolume_params`` and ``hypervolume_state_dict``.
    norm
        Mean and standard deviation of the images' transforms.

    Raises
    ------
    ValueError
        If it is of another kind than networks in the Hartley domain with Gaussian features.
    """
    params, state = checkpoint["hypervolume_params"], checkpoint["hypervolume_state_dict"]
    if "volume" in state:
        raise ValueError("its volume is a grid of voxels, not a network")
    _known(params, "pe_type", ("gaussian",))
    _known(params, "domain", ("hartley",))
    box = int(params["resolution"]) - 1
    radius = checkpoint.get("output_mask_radius")
    return CryodrgnDecoder(
        _random(state, box),
        _layers({key.removeprefix("mlp."): value for key, value in state.items()}),
        int(params["z_dim"]),
        box,
        norm,
        latent_frequencies=state.get("geom_freqs_conf"),
        radius=box // 2 if radius is None else int(radius),
    )


def _known(args: Mapping[str, Any], name: str, known: Iterable[str]) -> str:
    """An argument that is one of a few words."""
    value = str(args.get(name))
    if value not in known:
        words = ", ".join(known)
        raise ValueError(f"{name}: expected {words}, got {value}")
    return value


def _tensor(state: Mapping[str, Any], name: str, ndim: int) -> Tensor:
    """A floating-point copy of a tensor of the weights."""
    value = state.get(name)
    if not isinstance(value, Tensor) or value.ndim != ndim:
        raise ValueError(f"the weights hold no proper {name}")
    return value.detach().clone().float()


def _random(state: Mapping[str, Any], box: int) -> PositionalEncoding:
    """Random Fourier features, saved per k in [-0.5, 0.5] and half the box."""
    return PositionalEncoding(_tensor(state, "rand_freqs", 2).T * (box // 2 / box))


def _axis_frequencies(pe_type: str, box: int, n: int) -> Float[Tensor, " n"]:
    """Frequencies of an axis in radians per k in [-0.5, 0.5]."""
    half = box // 2
    if pe_type == "linear_lowf":
        return torch.arange(1, half + 1, dtype=torch.float32)
    first, last = {
        "geom_ft": (box * math.pi, 2 * math.pi),
        "geom_full": (box * math.pi, 1.0),
        "geom_lowf": (float(half), 1.0),
        "geom_nohighf": (float(half), 2 * math.pi),
    }[pe_type]
    return first * (last / first) ** (torch.arange(n, dtype=torch.float32) / (n - 1))


def _reorder(layer: nn.Linear, n: int) -> None:
    """From sin and cos of x, of y, of z, as cryoDRGN has them, to all sines, then all cosines."""
    if layer.in_features >= 6 * n:  # else the weights do not fit, which the decoder says
        blocks = layer.weight.data[:, : 6 * n].reshape(-1, 3, 2, n)
        layer.weight.data[:, : 6 * n] = blocks.transpose(1, 2).reshape(-1, 6 * n)


def _layers(state: Mapping[str, Any]) -> list[nn.Linear]:
    """The linear layers in their order; those that add their input have that in their weight."""
    matches = [match for key in state if (match := _LAYER.fullmatch(key))]
    residual = {int(match[1]): match[2] or "" for match in matches}
    layers: list[nn.Linear] = []
    for index in sorted(residual):
        prefix = f"main.{index}.{residual[index]}"
        weight, bias = _tensor(state, f"{prefix}weight", 2), _tensor(state, f"{prefix}bias", 1)
        n_out, n_in = weight.shape
        if len(bias) != n_out or (residual[index] and n_out != n_in):
            raise ValueError(f"{prefix}weight has the wrong shape {n_out} x {n_in}")
        if layers and layers[-1].out_features != n_in:
            raise ValueError(f"{prefix}weight does not fit the layer before it")
        layer = nn.Linear(n_in, n_out)
        layer.weight.data = weight + torch.eye(n_in) if residual[index] else weight
        layer.bias.data = bias
        layers.append(layer)
    if len(layers) < 2:
        raise ValueError("the weights hold no decoder")
    return layers
