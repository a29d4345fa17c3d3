"""What is built is what users get: the wheel carries the manifest and the entry points."""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
NAME = "napari-cryodrgn"


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | (env or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder)
    run(*build, ROOT, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert isinstance(content, dict)
    return content


def test_wheel_has_manifest_and_entry_points(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (points_name,) = [name for name in names if name.endswith("dist-info/entry_points.txt")]
        points = archive.read(points_name).decode()
    assert {"napari_cryodrgn/napari.yaml", "napari_cryodrgn/py.typed"} <= names
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)
    assert {name.split("/")[0] for name in names} == {
        "napari_cryodrgn",
        points_name.split("/")[0],
    }
    sections = configparser.ConfigParser()
    sections.read_string(points)
    assert dict(sections["napari.manifest"]) == {NAME: "napari_cryodrgn:napari.yaml"}
    assert dict(sections["console_scripts"]) == {NAME: "napari_cryodrgn.cli:app"}


def test_manifest_is_found_in_an_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index")
    run(*pip, "--target", target, wheel, cwd=tmp_path)
    # In a process of its own: here the editable install is imported already.
    probe = (
        "import json, napari_cryodrgn\n"
        "from npe2 import PluginManifest\n"
        "manifest = PluginManifest.from_distribution('napari-cryodrgn')\n"
        "print(json.dumps([napari_cryodrgn.__file__, manifest.name, manifest.package_version]))\n"
    )
    out = run(sys.executable, "-c", probe, cwd=tmp_path, env={"PYTHONPATH": str(target)})
    file, name, found_version = json.loads(out)
    assert Path(file).is_relative_to(target)
    assert (name, found_version) == (NAME, version(NAME))


def test_every_import_is_declared(project: dict[str, object]) -> None:
    declared = project["dependencies"]
    assert isinstance(declared, list)
    names = {canonicalize_name(Requirement(text).name) for text in declared}
    # extras, imported only when asked for; umap-learn goes by another name where it is absent
    names |= {canonicalize_name(name) for name in (NAME, "umap-learn", "umap", "imageio-ffmpeg")}
    owners = packages_distributions()
    undeclared = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module or ""]
            else:
                continue
            for top in {module.split(".")[0] for module in modules} - sys.stdlib_module_names:
                if not names & {canonicalize_name(owner) for owner in owners.get(top, [top])}:
                    undeclared.add(f"{path.relative_to(ROOT)}: {top}")
    assert not undeclared


def test_constraints_pin_every_requirement(project: dict[str, object]) -> None:
    pins = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line)
            assert match, f"not a plain pin: {line}"
            pins[canonicalize_name(match[1])] = match[2]
    extras = project["optional-dependencies"]
    assert isinstance(extras, dict)
    wanted = [project["dependencies"], *extras.values()]
    for requirement in (Requirement(text) for group in wanted for text in group):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin, f"{requirement.name} is not in constraints.txt"
        assert requirement.specifier.contains(pin), f"{requirement} excludes the pin {pin}"
