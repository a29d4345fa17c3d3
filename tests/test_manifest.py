"""napari finds the manifest, and everything it promises is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from npe2 import PluginManifest
from npe2.manifest.utils import import_python_name

import napari_cryodrgn

ROOT = Path(__file__).parents[1]
NAME = "napari-cryodrgn"


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_distribution(NAME)


def test_manifest_is_found(manifest: PluginManifest) -> None:
    assert manifest.name == NAME
    assert manifest.display_name == "cryoDRGN"
    assert manifest.package_version == napari_cryodrgn.__version__


def test_manifest_at_the_root_is_the_package_s() -> None:
    inside = Path(napari_cryodrgn.__file__).with_name("napari.yaml")
    assert (ROOT / "napari.yaml").resolve() == inside.resolve()


def test_every_name_is_importable(manifest: PluginManifest) -> None:
    missing: dict[str, str] = {}
    for command in manifest.contributions.commands or ():
        if command.python_name is None:
            missing[command.id] = "has no python_name"
            continue
        try:
            target = import_python_name(command.python_name)
        except (ImportError, AttributeError) as error:
            missing[command.python_name] = repr(error)
        else:
            if not callable(target):
                missing[command.python_name] = "is not callable"
    assert not missing


def test_every_contribution_has_its_command(manifest: PluginManifest) -> None:
    contributions = manifest.contributions
    known = {command.id for command in contributions.commands or ()}
    used = {
        item.command
        for items in (
            contributions.readers,
            contributions.writers,
            contributions.widgets,
            [s for s in contributions.sample_data or () if hasattr(s, "command")],
        )
        for item in items or ()
    }
    assert used <= known
    assert all(name.startswith(f"{NAME}.") for name in known)
