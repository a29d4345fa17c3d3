"""The configuration of a run folder, of this program or of cryoDRGN."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..errors import RunFolderError
from ..particles.plain_pickle import PlainUnpickler

_LONGEST_TEXT = 4096
_SCALAR = object()
_NUMBER = re.compile(r"[<>|=](f[248]|[iu][1248])")


def read_config(folder: Path) -> dict[str, Any]:
    """What ``config.yaml`` says, or ``config.pkl``, which cryoDRGN wrote before.

    Raises
    ------
    RunFolderError
        If there is none, or it cannot be read.
    ParticleFileError
        If ``config.pkl`` is damaged or holds anything but plain data.
    """
    if not folder.is_dir():
        raise RunFolderError(folder, "there is no such folder.", remedy="Choose a run folder.")
    path = folder / "config.yaml"
    if path.is_file():
        config = _read_yaml(folder, path)
    elif any((folder / name).is_file() for name in _DRGNAI):
        raise RunFolderError(
            folder,
            "it is a folder of DRGN-AI (drgnai), which cannot be opened.",
            remedy="Choose a run of this program, or of cryodrgn train_vae, train_dec or abinit.",
        )
    elif (folder / "config.pkl").is_file():
        config = _ConfigUnpickler(folder / "config.pkl").load()
    else:
        raise RunFolderError(
            folder,
            "it is no run folder: config.yaml is missing.",
            remedy="Choose the output folder of a training run.",
        )
    if not isinstance(config, dict):
        raise RunFolderError(folder, "config.yaml is empty or no table of settings.")
    return config


_DRGNAI = ("drgnai-configs.yaml", "configs.yaml", "out/drgnai-configs.yaml")


def _read_yaml(folder: Path, path: Path) -> Any:
    try:
        loader = _PlainLoader(path.read_text(encoding="utf-8"))
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except (OSError, ValueError, TypeError, LookupError, RecursionError, yaml.YAMLError) as error:
        raise RunFolderError(folder, f"config.yaml cannot be read ({error}).") from error


class _PlainLoader(yaml.SafeLoader):
    """Safe YAML that also knows how Python's YAML writes tuples and NumPy's numbers.

    Other objects come as the tables and lists they are written as. Nothing is called.
    """


def _plain(loader: yaml.SafeLoader, name: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if not isinstance(node, yaml.SequenceNode):
        return str(node.value)
    items = loader.construct_sequence(node, deep=True)
    if name.endswith("multiarray.scalar"):
        kind, content = items
        return _number(f"{kind['state'][1]}{kind['args'][0]}", content)
    return items


_PlainLoader.add_multi_constructor("tag:yaml.org,2002:python/", _plain)


def _number(kind: str, content: bytes | memoryview) -> int | float:
    """A number from its type (<f8 is double precision, little-endian) and bytes."""
    if not _NUMBER.fullmatch(kind):
        raise ValueError(f"a value of type {kind!r}, not a number")
    found = np.frombuffer(content, np.dtype(kind))
    if len(found) != 1:
        raise ValueError("a number of the wrong length")
    value: int | float = found[0].item()
    return value


class _ConfigUnpickler(PlainUnpickler):
    """Plain pickles that also hold tables, long texts and NumPy's numbers."""

    def __init__(self, path: Path) -> None:
        try:
            super().__init__(path, path.read_bytes())
        except OSError as error:
            raise RunFolderError(path.parent, f"{path.name} cannot be read ({error}).") from error

    def _step(self, code: str) -> None:
        stack = self._stack
        if code == "}":
            self._count()
            stack.append({})
        elif code in ("s", "u"):
            items = self._pop(2) if code == "s" else self._pop_to_mark()
            keys = items[::2]
            if not isinstance(stack[-1], dict) or not all(isinstance(k, str) for k in keys):
                raise ValueError("a table without names")
            self._tuple(items[1::2])
            values = stack.pop()
            stack[-1].update(zip(keys, values, strict=True))
        elif code == "R" and len(stack) > 1 and stack[-2] is _SCALAR:
            self._count()
            _, (kind, content) = self._pop(2)
            dtype = getattr(kind, "dtype", None)
            if not isinstance(dtype, np.dtype) or not isinstance(content, memoryview):
                raise ValueError("a number without type or content")
            stack.append(_number(dtype.str, content))
        else:
            super()._step(code)

    def _text(self, n: int) -> str:
        if n > _LONGEST_TEXT:
            raise ValueError("a long text")
        return bytes(self._take(n)).decode()

    def _name(self, module: Any, name: Any) -> None:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "scalar":
            self._stack.append(_SCALAR)
        else:
            super()._name(module, name)
