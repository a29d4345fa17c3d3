"""Central slices of voxel volumes, and their adjoint: insertion and Wiener solution.

A volume is padded twofold in real space and divided by the interpolation kernel's transform
(sinc²), so that trilinear interpolation of its Fourier transform errs by about 2 %.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor
from torch.nn import functional

_OVERSAMPLING = 2
_AXES = (-3, -2, -1)


class FourierGrid:
    """Oversampled Fourier grid of volumes with ``box``³ voxels, for frequencies up to ``limit``.

    Grid point (z, y, x) of the (n, n, n) grid stands for the frequency ((x, y, z) - n // 2) / 2 in
    cycles per box.

    Parameters
    ----------
    box
        Voxels along an edge.
    limit
        Largest frequency that will be sampled, in cycles per box.
    mask_radius
        Volumes solved for vanish beyond this radius (in voxels) plus a soft edge of 8 % of the
        box; 42 % of the box if absent.
    device
        Where to compute.
    """

    def __init__(
        self,
        box: int,
        limit: float,
        mask_radius: float | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.box, self.limit, self.device = box, limit, torch.device(device)
        self._padded = _OVERSAMPLING * box
        self.half = min(_OVERSAMPLING * (math.ceil(limit) + 1), self._padded // 2 - 1)
        self.n = 2 * self.half + 1
        x = torch.arange(box, device=device) - box // 2
        kernel = 1 / torch.sinc(x / self._padded) ** 2
        self.correction = kernel[:, None, None] * kernel[:, None] * kernel
        r = (x[:, None, None] ** 2 + x[:, None] ** 2 + x**2).float().sqrt()
        inner = mask_radius if mask_radius is not None else 0.42 * box
        self.mask = 0.5 + 0.5 * torch.cos(math.pi * ((r - inner) / (0.08 * box)).clamp(0, 1))
        f = torch.arange(-self.half, self.half + 1, device=device).float() / _OVERSAMPLING
        self.radius = (f[:, None, None] ** 2 + f[:, None] ** 2 + f**2).sqrt()
        self.shell = self.radius.round().long()
        self.inside = self.radius <= limit + 0.5
        self.n_shells = int(self.shell.max()) + 1
        self._shell_size = torch.bincount(self.shell.reshape(-1), minlength=self.n_shells).float()

    def transform(self, volumes: Float[Tensor, "*k z y x"]) -> Complex[Tensor, "*k n n n"]:
        """Fourier transform of real volumes, corrected for trilinear interpolation."""
        pad = (self._padded - self.box) // 2
        padded = functional.pad(volumes * self.correction, (pad, pad) * 3)
        spectrum: Tensor = torch.fft.fftn(torch.fft.ifftshift(padded, dim=_AXES), dim=_AXES)
        spectrum = torch.fft.fftshift(spectrum, dim=_AXES)
        c, h = self._padded // 2, self.half
        window = slice(c - h, c + h + 1)
        return spectrum[..., window, window, window].contiguous()

    def inverse(
        self, grids: Complex[Tensor, "*k n n n"], *, mask: bool = True
    ) -> Float[Tensor, "*k z y x"]:
        """Real volumes whose trilinear samples the grids hold: the inverse of ``transform``."""
        full = torch.zeros(
            *grids.shape[:-3], *(self._padded,) * 3, dtype=grids.dtype, device=grids.device
        )
        c, h = self._padded // 2, self.half
        window = slice(c - h, c + h + 1)
        full[..., window, window, window] = grids
        real = torch.fft.ifftn(torch.fft.ifftshift(full, dim=_AXES), dim=_AXES).real
        real = torch.fft.fftshift(real, dim=_AXES)
        pad = (self._padded - self.box) // 2
        crop = slice(pad, pad + self.box)
        volumes: Tensor = real[..., crop, crop, crop] * self.correction
        return volumes * self.mask if mask else volumes

    def sample(
        self,
        grids: Complex[Tensor, "k n n n"],
        points: Float[Tensor, "*batch 3"],
        state: Int[Tensor, "*batch"] | None = None,
    ) -> Complex[Tensor, "*batch"]:
        """Trilinear samples at frequencies ``points`` (x, y, z) of the grid ``state`` of each."""
        stack, where = self._locate(points, len(grids), state)
        parts = torch.view_as_real(grids).permute(4, 0, 1, 2, 3).reshape(1, 2, -1, self.n, self.n)
        values = functional.grid_sample(
            parts.expand(stack, -1, -1, -1, -1), where, align_corners=True
        )
        flat = values[:, :, 0, 0].transpose(0, 1).reshape(2, -1)[:, : points[..., 0].numel()]
        return torch.complex(flat[0], flat[1]).reshape(points.shape[:-1])

    def insert(
        self,
        points: Float[Tensor, "*batch 3"],
        values: Float[Tensor, "c *batch"],
        state: Int[Tensor, "*batch"] | None = None,
        n_states: int = 1,
    ) -> Float[Tensor, "k c n n n"]:
        """Adjoint of ``sample`` for ``c`` real channels: spread values over the grid points."""
        channels = len(values)
        stack, where = self._locate(points, n_states, state)
        total = where.shape[0] * where.shape[3]
        flat = functional.pad(values.reshape(channels, -1), (0, total - points[..., 0].numel()))
        gradient = flat.reshape(channels, stack, 1, 1, -1).transpose(0, 1).contiguous()
        shape = (stack, channels, n_states * self.n, self.n, self.n)
        blank = torch.empty(1, device=self.device).expand(shape)
        spread, _ = torch.ops.aten.grid_sampler_3d_backward(
            gradient, blank, where, 0, 0, True, [True, False]
        )
        grids: Tensor = spread.sum(0).reshape(channels, n_states, self.n, self.n, self.n)
        return grids.transpose(0, 1)

    def _locate(
        self, points: Float[Tensor, "*batch 3"], n_states: int, state: Int[Tensor, "*batch"] | None
    ) -> tuple[int, Float[Tensor, "stack 1 1 m 3"]]:
        """Coordinates for grid_sample, with the grids of all states stacked along z.

        A sample never comes within a voxel of the stack's seams, because the grid reaches further
        than ``limit``. The batch is cut in one part per thread: grid_sample on the CPU runs
        parallel over its batch only.
        """
        if state is None:
            where = points.reshape(-1, 3) * (_OVERSAMPLING / self.half)
        else:
            index = points.reshape(-1, 3) * _OVERSAMPLING + self.half
            z = index[:, 2] + state.reshape(-1) * self.n
            size = index.new_tensor([self.n - 1, self.n - 1, n_states * self.n - 1])
            where = torch.stack([index[:, 0], index[:, 1], z], 1) * (2 / size) - 1
        stack = torch.get_num_threads() if self.device.type == "cpu" else 1
        part = -(-len(where) // stack)
        where = functional.pad(where, (0, 0, 0, stack * part - len(where)))
        return stack, where.reshape(stack, 1, 1, part, 3)

    def shell_mean(self, values: Float[Tensor, "n n n"]) -> Float[Tensor, " shells"]:
        """Mean of a grid over each shell."""
        zeros = torch.zeros(self.n_shells, device=values.device)
        return zeros.index_add(0, self.shell.reshape(-1), values.reshape(-1)) / self._shell_size

    def wiener(
        self,
        numerator: Complex[Tensor, "n n n"],
        weight: Float[Tensor, "n n n"],
        prior: Float[Tensor, " shells"] | None = None,
        ridge: float = 0.1,
    ) -> Float[Tensor, "z y x"]:
        """Volume that best explains what was inserted (a regularised least-squares solution).

        Parameters
        ----------
        numerator, weight
            Sums of C X / sigma² and C² / sigma² over all images.
        prior
            Signal power per shell (Wiener filter); ``ridge`` times the mean weight of the shell
            is added in its place if absent.
        """
        numerator, weight = friedel(numerator), friedel(weight)
        mean = self.shell_mean(weight)
        damping = ridge * mean if prior is None else 1 / prior[: self.n_shells].clamp_min(1e-20)
        damping = torch.maximum(damping, 1e-3 * mean + 1e-9)
        solution = numerator / (weight + damping[self.shell])
        return self.inverse(torch.where(self.inside, solution, torch.zeros_like(solution)))

    def solve_coupled(
        self,
        numerators: Complex[Tensor, "q n n n"],
        weights: Float[Tensor, "q q n n n"],
        ridge: float = 0.1,
    ) -> Float[Tensor, "q z y x"]:
        """Volumes of a linear model X = C (sum_q a_q V_q): one q x q system per grid point."""
        q = len(numerators)
        numerators, weights = friedel(numerators), friedel(weights)
        system = weights.permute(2, 3, 4, 0, 1)[self.inside].clone()
        shell = self.shell[self.inside]
        for a in range(q):
            system[:, a, a] += (ridge * self.shell_mean(weights[a, a]) + 1e-6)[shell]
        right = numerators.permute(1, 2, 3, 0)[self.inside]
        # A real system with complex right-hand sides: solve for both parts at once.
        parts = torch.linalg.solve(system, torch.stack([right.real, right.imag], -1))
        grids = torch.zeros_like(numerators)
        grids[:, self.inside] = torch.complex(parts[..., 0], parts[..., 1]).T
        return self.inverse(grids)


def friedel(grid: Tensor) -> Tensor:
    """Add the conjugate mates: a real volume's transform obeys F(-k) = conj F(k)."""
    return grid + grid.flip(_AXES).conj()
