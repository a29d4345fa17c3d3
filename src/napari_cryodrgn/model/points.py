"""A network at the frequencies of a volume; what does not depend on the latent is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import CryodrgnError

# Points evaluated at a time: on a processor two buffers of them stay in the cache of its cores.
_CHUNK = 1024
_CHUNK_CUDA = 2**16
# Bytes of the first layer's output that are kept, nearly all of those of a box of 128.
_KEPT = 2**29

#: Whether a volume is no longer wanted.
Stop = Callable[[], bool]
#: Weight and bias of a linear layer.
Layer = tuple[Tensor, Tensor]


class Abandoned(CryodrgnError):
    """A volume was no longer wanted, and is not decoded any further."""


class Points:
    """Frequencies of a volume from low to high, and a network's first layer there.

    What a small box needs is the beginning of what a large one does, so that both share what is
    kept. Safe in several threads at once.
    """

    def __init__(self) -> None:
        self._known: tuple[float, Tensor, Tensor] | None = None
        self._kept: tuple[Tensor, ...] = ()

    def frequencies(
        self, limit: float, find: Callable[[float], Int[Tensor, "n 3"]]
    ) -> Int[Tensor, "n 3"]:
        """Frequencies (kx, ky, kz) up to ``limit``, in cycles per box.

        ``find`` makes those up to a limit, in an order that does not depend on the limit.
        """
        known = self._known
        if known is None or known[0] < limit:
            k = find(limit)
            square, order = k.square().sum(1).sort(stable=True)
            known = self._known = limit, k[order], square
        largest = int(limit**2 + 1e-6)
        return known[1][: int(torch.searchsorted(known[2], largest, right=True))]

    def values(
        self,
        k: Int[Tensor, "n 3"],
        first: Callable[[Int[Tensor, "p 3"]], Float[Tensor, "p width"]],
        offset: Float[Tensor, " width"],
        layers: Sequence[Layer],
        activate: Callable[[Tensor], Tensor],
        stop: Stop | None = None,
    ) -> Float[Tensor, "n outputs"]:
        """Output of a network at frequencies that `frequencies` has given.

        Parameters
        ----------
        k
            The frequencies.
        first
            The first layer's output there without ``offset``: the same at every call.
        offset
            What the latent and the bias add to it.
        layers
            The layers that follow.
        activate
            Changes its argument in place; called before each layer.
        stop
            Asked now and then.

        Raises
        ------
        Abandoned
            If ``stop`` says so.
        """
        chunk = min(len(k), _CHUNK if k.device.type == "cpu" else _CHUNK_CUDA)
        out = offset.new_empty(len(k), len(layers[-1][1]))
        widest = max(len(offset), *(len(bias) for _, bias in layers))
        buffers = offset.new_empty(2, chunk * widest)

        def buffer(i: int, rows: int, width: int) -> Tensor:
            return buffers[i % 2, : rows * width].view(rows, width)

        for i, part in enumerate(k.split(chunk) if chunk else ()):
            if stop is not None and stop():
                raise Abandoned("the volume was no longer wanted")
            rows = len(part)
            h = torch.add(self._first(i, part, first), offset, out=buffer(0, rows, len(offset)))
            for j, (weight, bias) in enumerate(layers, 1):
                last = j == len(layers)
                target = out[i * chunk :][:rows] if last else buffer(j, rows, len(bias))
                h = torch.addmm(bias, activate(h), weight.T, out=target)
        return out

    def _first(self, i: int, part: Tensor, first: Callable[[Tensor], Tensor]) -> Tensor:
        """First layer's output for chunk ``i``; kept, if all chunks before it are."""
        kept = self._kept
        if i < len(kept) and len(kept[i]) >= len(part):
            return kept[i][: len(part)]
        hidden = first(part)
        if i <= len(kept) and (i + 1) * hidden.nbytes <= _KEPT:
            # One assignment: another thread sees all of it or nothing.
            self._kept = (*kept[:i], hidden, *kept[i + 1 :])
        return hidden


def linear(modules: Iterable[nn.Module]) -> list[Layer]:
    """Weights and biases of linear layers."""
    return [(layer.weight, layer.bias) for layer in modules if isinstance(layer, nn.Linear)]


def fourier_crop(volumes: Float[Tensor, "*n z y x"], box: int) -> Float[Tensor, "*n b b b"]:
    """Volumes on a smaller even box about the same centre, low-pass filtered.

    Voxels have the values of the volumes without their frequencies from ``box`` / 2 on.
    """
    d, axes = volumes.shape[-1], (-3, -2, -1)
    k = torch.fft.fftfreq(box, 1 / box, device=volumes.device).long()
    z, y, x = k[:, None, None], k[:, None], k[: box // 2 + 1].abs()
    spectrum = torch.fft.rfftn(torch.fft.ifftshift(volumes, dim=axes), dim=axes)
    inside = z**2 + y**2 + x**2 < (box // 2) ** 2
    spectrum = spectrum[..., z % d, y % d, x] * inside
    cropped = torch.fft.irfftn(spectrum, s=(box,) * 3, dim=axes) * (box / d) ** 3
    shifted: Tensor = torch.fft.fftshift(cropped, dim=axes)
    return shifted
