from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from napari_cryodrgn.widgets.run_link import RunLink, run_link

HERE, THERE = Path("/runs/one"), Path("/runs/two")


def test_docks_of_one_viewer_share_a_link_even_behind_proxies():
    viewer = SimpleNamespace()
    link = run_link(viewer)
    assert run_link(SimpleNamespace(__wrapped__=viewer)) is link
    assert run_link(SimpleNamespace()) is not link


def test_what_is_known_is_not_told_again():
    link, told = RunLink(), []
    link.particle_changed.connect(lambda *args: told.append(args))
    link.mask_changed.connect(lambda *args: told.append(args))
    link.run_changed.connect(lambda: told.append("run"))
    run, mask = SimpleNamespace(folder=HERE), np.ones(3, bool)
    for _ in range(2):
        link.set_run(run)
        link.set_particle(HERE, 4)
        link.set_mask(HERE, mask)
    assert [t if t == "run" else t[:2] for t in told] == ["run", (HERE, 4), (HERE, mask)]
    assert link.particle_of(HERE) == 4
    assert link.particle_of(THERE) is None
    assert link.mask_of(HERE) is mask
    assert link.mask_of(THERE) is None
