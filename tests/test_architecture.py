"""The rules of the house, checked over the syntax trees of the sources.

Each ``check_*`` function takes modules and returns the faults it found, one line each; the tests
at the end run it on the package and on a bad example.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "napari_cryodrgn"
FLOORS: Mapping[str, int] = {
    "": 0,
    "errors": 0,
    "imaging": 1,
    "particles": 1,
    "poses": 2,
    "model": 2,
    "training": 3,
    "analysis": 3,
    "widgets": 4,
    "cli": 4,
    "demo": 4,
}
# Doors between the rooms of one floor, each for the modules named: "*" is any, "" the room's
# public package.
DOORS: Mapping[tuple[str, str], frozenset[str]] = {
    ("imaging", "particles"): frozenset({""}),
    ("particles", "imaging"): frozenset({""}),
    ("analysis", "training"): frozenset({"checks", "dataset", "half_maps", "linear", "settings"}),
    ("cli", "demo"): frozenset({"*"}),
    ("cli", "widgets"): frozenset({"*"}),
    ("demo", "widgets"): frozenset({"*"}),
}
SCREEN_ROOMS = frozenset({"widgets", "cli", "demo"})
SCREEN_LIBRARIES = frozenset({"napari", "qtpy", "magicgui", "pyqtgraph", "superqt", "vispy"})
# qtpy stands between us and these, everywhere.
QT_BINDINGS = frozenset({"PyQt5", "PyQt6", "PySide2", "PySide6"})
MAX_LINES = 500
# Calls that may run what a file says, with the keyword and value that makes each safe, if any does.
UNSAFE: Mapping[str, tuple[str, bool] | None] = {
    "numpy.load": ("allow_pickle", False),
    "pandas.read_pickle": None,
    "pickle.Unpickler": None,
    "pickle.load": None,
    "pickle.loads": None,
    "torch.load": ("weights_only", True),
    "yaml.load": None,
    "yaml.unsafe_load": None,
}
# numpy.load refuses pickles unless asked: leaving its keyword out is safe.
SAFE_WHEN_ABSENT = frozenset({"numpy.load"})


@dataclass(frozen=True)
class Module:
    """A source file: its dotted name, whether it is a package's ``__init__``, and its text."""

    name: str
    is_package: bool
    source: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @property
    def room(self) -> str:
        return room_of(self.name)


def room_of(name: str) -> str:
    """Room of a dotted name; "" is the package's own ``__init__``."""
    return [*name.split("."), ""][1]


def read_modules(root: Path) -> list[Module]:
    """All modules of the package whose folder is ``root``."""
    modules = []
    for path in sorted(root.rglob("*.py")):
        parts = [root.name, *path.relative_to(root).with_suffix("").parts]
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        modules.append(Module(name, is_package, path.read_text(encoding="utf-8")))
    return modules


def imports(module: Module, known: Iterable[str] = ()) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything a module imports, wherever in the file.

    ``from a import b`` is ``a.b`` if that is one of the ``known`` modules, else ``a``.
    """
    names = frozenset(known)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = node.level - 1 if module.is_package else node.level
                parents = module.name.split(".")
                base = ".".join([*parents[: len(parents) - up], *filter(None, [base])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield node.lineno, inner if inner in names else base


def check_floors(modules: list[Module]) -> list[str]:
    """Imports that go up, or sideways through a wall."""
    known = {m.name for m in modules}
    # A folder without __init__.py is a package too.
    known |= {name.rpartition(".")[0] for name in known}
    faults = []
    for module in modules:
        here = module.room
        if here not in FLOORS:
            faults.append(f"{module.name}: {here!r} stands on no floor; name one in FLOORS")
            continue
        for line, target in imports(module, known):
            if target.split(".")[0] != PACKAGE:
                continue
            there = room_of(target)
            inside = ".".join(target.split(".")[2:])
            if there == here or there not in FLOORS:
                continue
            if FLOORS[there] == FLOORS[here] != 0:
                door = DOORS.get((here, there), frozenset())
                if inside not in door and "*" not in door:
                    faults.append(f"{module.name}:{line}: no door from {here} to {target}")
            elif FLOORS[there] > FLOORS[here]:
                faults.append(
                    f"{module.name}:{line}: {here} (floor {FLOORS[here]}) imports "
                    f"{target} (floor {FLOORS[there]})"
                )
    return faults


def check_screen(modules: list[Module]) -> list[str]:
    """napari or Qt below the top floor, or a Qt binding not taken through qtpy."""
    faults = []
    for module in modules:
        for line, target in imports(module):
            library = target.split(".")[0]
            if library in QT_BINDINGS:
                faults.append(f"{module.name}:{line}: imports {library}; take it from qtpy")
            elif library in SCREEN_LIBRARIES and module.room not in SCREEN_ROOMS:
                faults.append(f"{module.name}:{line}: only the top floor imports {library}")
    return faults


def check_circles(modules: list[Module]) -> list[str]:
    """Modules that import one another, directly or by way of others.

    Imports inside functions count: they hide a circle but do not open it.
    """
    known = {m.name for m in modules}
    edges = {m.name: sorted({t for _, t in imports(m, known) if t in known}) for m in modules}
    faults: list[str] = []
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            faults.append("circle: " + " -> ".join([*path[path.index(name) :], name]))
            return
        if name in done:
            return
        for target in edges[name]:
            visit(target, [*path, name])
        done.add(name)

    for name in sorted(edges):
        visit(name, [])
    return faults


def check_length(modules: list[Module]) -> list[str]:
    """Files too long to be about one subject."""
    return [
        f"{m.name}: {n} lines, at most {MAX_LINES}"
        for m in modules
        if (n := len(m.source.splitlines())) > MAX_LINES
    ]


def _aliases(tree: ast.Module) -> dict[str, str]:
    """What the names of a module stand for: ``np`` is ``numpy``, ``load`` is ``pickle.load``."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                short = alias.asname or alias.name.split(".")[0]
                names[short] = alias.name if alias.asname else short
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def check_unpickling(modules: list[Module]) -> list[str]:
    """Calls that would run a program hidden in a data file."""
    faults = []
    for module in modules:
        tree = module.tree
        aliases = _aliases(tree)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            first, *rest = ast.unparse(node.func).split(".")
            name = ".".join([aliases.get(first, first), *rest])
            if name not in UNSAFE:
                continue
            remedy = UNSAFE[name]
            if remedy is not None:
                values = [k.value for k in node.keywords if k.arg == remedy[0]]
                if not values and name in SAFE_WHEN_ABSENT:
                    continue
                if any(isinstance(v, ast.Constant) and v.value is remedy[1] for v in values):
                    continue
            wish = f" without {remedy[0]}={remedy[1]}" if remedy else ""
            faults.append(f"{module.name}:{node.lineno}: {name}{wish}")
    return faults


CHECKS: Mapping[str, Callable[[list[Module]], list[str]]] = {
    "floors": check_floors,
    "screen": check_screen,
    "circles": check_circles,
    "length": check_length,
    "unpickling": check_unpickling,
}


@pytest.fixture(scope="module")
def house() -> list[Module]:
    return read_modules(Path(__file__).parents[1] / "src" / PACKAGE)


def test_all_sources_are_read(house: list[Module]) -> None:
    assert {PACKAGE, f"{PACKAGE}.errors", f"{PACKAGE}.training.settings"} <= {m.name for m in house}


@pytest.mark.parametrize("rule", CHECKS)
def test_house_keeps_the_rule(rule: str, house: list[Module]) -> None:
    faults = CHECKS[rule](house)
    assert not faults, "\n" + "\n".join(faults)


def build(**sources: str) -> list[Module]:
    """A house of the given rooms; ``poses__grid`` is the module ``poses.grid``."""
    names = [name.replace("__", ".") for name in sources]
    packages = {name.rpartition(".")[0] for name in names}
    return [
        Module(f"{PACKAGE}.{name}", name in packages, source)
        for name, source in zip(names, sources.values(), strict=True)
    ]


BAD_HOUSES = {
    "up": ("floors", build(poses="from napari_cryodrgn.training import x")),
    "up, inside a function": (
        "floors",
        build(model="def f():\n from napari_cryodrgn import cli") + build(cli=""),
    ),
    "up, relative": ("floors", build(poses="", poses__grid="from ..training import x")),
    "sideways": ("floors", build(poses="import napari_cryodrgn.model")),
    "back through a one-way door": ("floors", build(training="import napari_cryodrgn.analysis")),
    "not the door's module": (
        "floors",
        build(analysis="from napari_cryodrgn.training.checkpoint import x"),
    ),
    "a neighbour's internals": (
        "floors",
        build(particles="from napari_cryodrgn.imaging import ctf", imaging="", imaging__ctf=""),
    ),
    "a room on no floor": ("floors", build(cellar="")),
    "napari below": ("screen", build(analysis="import napari.layers")),
    "Qt below": ("screen", build(training="def f():\n    from qtpy.QtCore import Qt")),
    "a binding": ("screen", build(widgets="from PyQt6.QtCore import Qt")),
    "two in a circle": (
        "circles",
        build(poses="", poses__a="from .b import x", poses__b="from . import a"),
    ),
    "a circle through the package": (
        "circles",
        build(poses="from napari_cryodrgn.poses.a import x", poses__a="from . import y"),
    ),
    "a circle through a function": (
        "circles",
        build(poses="def f():\n    import napari_cryodrgn.model", model="from .poses import x"),
    ),
    "long": ("length", build(poses="x = 1\n" * (MAX_LINES + 1))),
    "pickle": ("unpickling", build(poses="import pickle\npickle.load(f)")),
    "pickle by another name": ("unpickling", build(poses="from pickle import loads as l\nl(b)")),
    "torch": ("unpickling", build(poses="import torch\ntorch.load(f)")),
    "torch, told to": (
        "unpickling",
        build(poses="from torch import load\nload(f, weights_only=False)"),
    ),
    "numpy": ("unpickling", build(poses="import numpy as np\nnp.load(f, allow_pickle=True)")),
    "yaml": ("unpickling", build(poses="import yaml\nyaml.load(f, yaml.Loader)")),
}


@pytest.mark.parametrize("fault", BAD_HOUSES)
def test_checker_sees_the_fault(fault: str) -> None:
    rule, modules = BAD_HOUSES[fault]
    assert len(CHECKS[rule](modules)) == 1


@pytest.mark.parametrize("rule", CHECKS)
def test_checker_lets_a_good_house_be(rule: str) -> None:
    modules = build(
        imaging="from .ctf import CTF",
        imaging__ctf="import torch\nfrom napari_cryodrgn.errors import CryodrgnError",
        particles="from napari_cryodrgn.imaging import CTF\nfrom .star import read",
        particles__star="import numpy as np\nnp.load(f)\nnp.load(f, allow_pickle=False)",
        training="from .settings import Settings",
        training__settings="import torch\ntorch.load(f, weights_only=True)",
        analysis="from napari_cryodrgn.training.settings import Settings",
        analysis__safe="import pickle\nclass Safe(pickle.Unpickler): ...\nSafe(f).load()",
        widgets="import napari\nfrom qtpy.QtCore import Qt\nfrom ..particles import read",
        cli="from napari_cryodrgn.demo import show",
        demo="import napari",
        errors="",
    )
    assert CHECKS[rule](modules) == []
