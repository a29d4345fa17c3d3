from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from napari_cryodrgn.training.adam import Adam


def parameters() -> list[torch.nn.Parameter]:
    random = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(s, generator=random)) for s in ((4, 3), (5,))]


def descend(optimizer, values, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        sum((v**4).sum() for v in values).backward()
        optimizer.step()


def test_it_is_adam():
    ours, theirs = parameters(), parameters()

    descend(Adam(ours, 0.05, (0.9, 0.99)), ours, 20)
    descend(torch.optim.Adam(theirs, 0.05, (0.9, 0.99)), theirs, 20)

    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_it_goes_on_from_its_state():
    whole, parts = parameters(), parameters()
    descend(Adam(whole, 0.05), whole, 12)

    first = Adam(parts, 0.05)
    descend(first, parts, 5)
    second = Adam(parts, 0.05)
    second.load_state_dict(first.state_dict())
    descend(second, parts, 7)

    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b)


def test_a_state_of_other_parameters_is_refused():
    with pytest.raises(ValueError, match="shorter"):
        Adam(parameters(), 0.1).load_state_dict(Adam(parameters()[:1], 0.1).state_dict())


def test_parameters_without_a_gradient_stay():
    used, unused = parameters()
    before = unused.detach().clone()

    descend(Adam([used, unused], 0.1), [used], 3)

    torch.testing.assert_close(unused.detach(), before)


def test_it_does_not_load_the_compiler():
    code = (
        "import sys, torch; from napari_cryodrgn.training.adam import Adam;"
        "p = torch.zeros(3, requires_grad=True); o = Adam([p], 0.1);"
        "p.sum().backward(); o.step(); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
