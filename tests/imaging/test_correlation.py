from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_cryodrgn.imaging import crossing, fsc, resolution


def noise(seed: int, box: int = 16) -> torch.Tensor:
    return torch.randn(box, box, box, generator=torch.Generator().manual_seed(seed))


def test_of_a_volume_with_itself() -> None:
    volume = noise(0)
    assert fsc(volume, volume).tolist() == pytest.approx([1.0] * 8)
    assert fsc(volume, -3 * volume)[1:].tolist() == pytest.approx([-1.0] * 7)


def test_equals_a_direct_computation() -> None:
    a, b = noise(1, 12), noise(2, 12)
    fa, fb = np.fft.fftn(a.double()), np.fft.fftn(b.double())
    k = np.fft.fftfreq(12, 1 / 12)
    radius = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)
    for s, value in enumerate(fsc(a, b).tolist()):
        if s:
            at = np.round(radius) == s
            cross = (fa * fb.conj())[at].real.sum()
            power = (np.abs(fa[at]) ** 2).sum() * (np.abs(fb[at]) ** 2).sum()
            assert value == pytest.approx(cross / np.sqrt(power), abs=1e-5)


def test_of_signal_and_noise() -> None:
    """Two maps of one signal with noise of equal power correlate by one half."""
    signal = noise(3, 32)
    curve = fsc(signal + noise(4, 32), signal + noise(5, 32))
    assert curve[5:].tolist() == pytest.approx([0.5] * 11, abs=0.1)


def test_mask_and_empty_shells() -> None:
    a, b = noise(6), noise(7)
    mask = torch.zeros_like(a)
    assert fsc(a, b, mask).tolist() == [1.0] + [0.0] * 7
    mask[4:12, 4:12, 4:12] = 1
    b[4:12, 4:12, 4:12] = a[4:12, 4:12, 4:12]
    assert fsc(a, b, mask).tolist() == pytest.approx([1.0] * 8)
    assert float(fsc(a, b)[4:].mean()) < 0.6


def test_crossing_lies_between_shells() -> None:
    curve = torch.tensor([1.0, 0.9, 0.6, 0.2, 0.0, 0.4])
    assert crossing(curve, 0.5) == pytest.approx(2.25)
    assert crossing(curve, 0.6) == pytest.approx(2.0)
    assert crossing(curve, -0.1) == 5.0
    assert crossing(torch.tensor([1.0, 0.0]), 0.5) == pytest.approx(0.5)
    assert resolution(curve, 0.5, 20, 1.5) == pytest.approx(20 * 1.5 / 2.25)


@pytest.mark.parametrize("shapes", [((8, 8, 8), (6, 6, 6)), ((8, 8, 6), (8, 8, 6))])
def test_shapes_are_checked(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="two cubes of one size"):
        fsc(torch.zeros(shapes[0]), torch.zeros(shapes[1]))
