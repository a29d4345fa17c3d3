"""What decoders keep from one volume to the next, and smaller boxes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_cryodrgn.imaging import hinge
from napari_cryodrgn.model import points
from napari_cryodrgn.model.points import Abandoned, Points, fourier_crop

BOX = 16


def kept(decoder: Any) -> list[Tensor]:
    found = [value for value in decoder._kept.values() if isinstance(value, Points)]
    return [hidden for one in found for hidden in one._kept]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points, "_CHUNK", 100)


@pytest.mark.usefixtures("small_chunks")
def test_what_is_kept_changes_nothing(make_decoder: Any) -> None:
    decoder, latents = (
        make_decoder(2),
        torch.randn(3, 2, generator=torch.Generator().manual_seed(1)),
    )
    wanted = [(z, limit, box) for z in latents for box in (None, 8, 12) for limit in (None, 3)]
    fresh = [decoder.decode(*one) for one in wanted]
    assert not kept(decoder)
    decoder.eval()
    for one, expected in zip(wanted + wanted, fresh + fresh, strict=True):
        torch.testing.assert_close(decoder.decode(*one), expected, atol=1e-7, rtol=1e-5)
    assert sum(len(hidden) for hidden in kept(decoder)) > 700


@pytest.mark.usefixtures("small_chunks")
def test_low_frequencies_are_evaluated_once(make_decoder: Any) -> None:
    decoder, asked = make_decoder(2).eval(), []
    decoder.encoding.register_forward_hook(lambda _, args, __: asked.append(len(args[0])))
    decoder.decode(torch.zeros(2), box=12)
    decoder.decode(torch.ones(2))
    # But for the last chunk of the small box, which was not full.
    assert sum(asked) < sum(len(hidden) for hidden in kept(decoder)) + 100
    before = sum(asked)
    decoder.decode(torch.ones(2), box=12)
    decoder.decode(torch.zeros(2))
    assert sum(asked) == before


@pytest.mark.usefixtures("small_chunks")
def test_no_more_is_kept_than_there_is_room_for(
    make_decoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(points, "_KEPT", 30_000)
    decoder, z = make_decoder(2), torch.ones(2)
    expected = decoder.decode(z)
    decoder.eval()
    for _ in range(2):
        torch.testing.assert_close(decoder.decode(z), expected, atol=1e-7, rtol=1e-5)
    assert 20_000 < sum(hidden.nbytes for hidden in kept(decoder)) <= 30_000


def test_weights_may_change_in_training(make_decoder: Any) -> None:
    decoder, z = make_decoder(2).eval(), torch.zeros(2)
    before = decoder.decode(z)
    decoder.train()
    with torch.no_grad():
        decoder.input.weight *= 2
    after = decoder.decode(z)
    assert float((after - before).norm()) > 1e-2 * float(before.norm())
    torch.testing.assert_close(decoder.eval().decode(z), after, atol=1e-7, rtol=1e-5)


@pytest.mark.usefixtures("small_chunks")
def test_several_threads_may_decode_at_once(make_decoder: Any) -> None:
    decoder = make_decoder(2)
    wanted = [(torch.full((2,), 0.1 * i), None, (8, 12, 16)[i % 3]) for i in range(24)]
    expected = [decoder.decode(*one) for one in wanted]
    decoder.eval()
    with ThreadPoolExecutor(4) as pool:
        for found, volume in zip(
            pool.map(lambda w: decoder.decode(*w), wanted), expected, strict=True
        ):
            torch.testing.assert_close(found, volume, atol=1e-7, rtol=1e-5)


@pytest.mark.usefixtures("small_chunks")
def test_a_decode_can_be_stopped(make_decoder: Any) -> None:
    decoder, asked = make_decoder(2).eval(), []

    def stop() -> bool:
        asked.append(None)
        return len(asked) > 3

    with pytest.raises(Abandoned):
        decoder.decode(torch.zeros(2), stop=stop)
    assert len(asked) == 4
    torch.testing.assert_close(
        decoder.decode(torch.zeros(2)), decoder.train().decode(torch.zeros(2)), atol=1e-7, rtol=1e-5
    )


@pytest.mark.parametrize("attenuated", [False, True])
def test_a_smaller_box_has_the_density_of_the_filtered_volume(
    make_decoder: Any, attenuated: bool
) -> None:
    x = torch.arange(BOX) - BOX // 2
    consensus = torch.exp(-0.5 * (x[:, None, None] ** 2 + x[:, None] ** 2 + x**2) / 2.5**2)
    decoder, z = make_decoder(2, consensus=consensus), torch.tensor([0.5, -1.0])
    decoder.attenuated.fill_(attenuated)
    network = decoder.decode(z, 3) - consensus
    torch.testing.assert_close(
        decoder.decode(z, box=8) - fourier_crop(consensus, 8), network[::2, ::2, ::2]
    )


def test_cropping_filters_and_keeps_the_density() -> None:
    volume = hinge().volume(0.3, 24, 10.0)
    k = torch.fft.fftfreq(24, 1 / 24)
    inside = (k[:, None, None] ** 2 + k[:, None] ** 2 + k**2) < 36
    filtered = torch.fft.ifftn(torch.fft.fftn(volume) * inside).real
    torch.testing.assert_close(fourier_crop(volume, 12), filtered[::2, ::2, ::2])
    several = fourier_crop(torch.stack([volume, -volume]), 10)
    torch.testing.assert_close(several[0], -several[1])
    assert float(several[0].mean()) == pytest.approx(float(volume.mean()), rel=1e-4)


@pytest.mark.parametrize("box", [7, 0, 18, -2])
def test_boxes_that_cannot_be(make_decoder: Any, box: int) -> None:
    with pytest.raises(ValueError, match=f"from 2 to 16, got {box}"):
        make_decoder(2).decode(torch.zeros(2), box=box)


def test_the_least_box_is_empty(make_decoder: Any) -> None:
    assert np.abs(make_decoder(2).decode(torch.zeros(2), box=2).numpy()).max() == 0
