"""What all tests share: a throw-away napari configuration, few threads, the shared data."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest

# napari reads NAPARI_CONFIG when its settings are first imported, and so must find it set before
# any test module is collected; platformdirs reads the XDG variables at each call.
_home = Path(tempfile.mkdtemp(prefix="napari-cryodrgn-tests-"))
atexit.register(shutil.rmtree, _home, ignore_errors=True)
os.environ["NAPARI_CONFIG"] = str(_home / "napari" / "settings.yaml")
for _variable in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
    os.environ[_variable] = str(_home / _variable.lower())
# A widget that outlives its viewer fails the test that made it.
os.environ.setdefault("NAPARI_STRICT_QT", "1")

_QT_FIXTURES = {"qapp", "qtbot", "make_napari_viewer", "make_napari_viewer_proxy"}


def pytest_configure(config: pytest.Config) -> None:
    import torch

    # More threads than this only wait for one another in problems as small as the tests'.
    torch.set_num_threads(min(2, torch.get_num_threads()))
    # A busy machine is no fault of the code; and CI must say the same twice.
    hypothesis.settings.register_profile(
        "house", deadline=None, derandomize=bool(os.environ.get("CI")), database=None
    )
    hypothesis.settings.load_profile("house")


def _has_display() -> bool:
    if not sys.platform.startswith("linux"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Without a display Qt aborts the process, and every test's result with it.
    if _has_display():
        return
    skip = pytest.mark.skip(reason="needs a display: install Xvfb")
    for item in items:
        if _QT_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real files of other programs, beside the checkout; tests that need them skip without."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real sample files are not here: {folder}")
    return folder
