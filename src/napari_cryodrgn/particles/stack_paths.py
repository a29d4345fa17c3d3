"""Where the stacks named in a STAR file are."""

from __future__ import annotations

import os
from pathlib import Path

from napari_cryodrgn.errors import ParticleFileError


def find_stack(name: str, star: Path, data_folder: Path | None = None) -> Path:
    """Find the stack that a STAR file calls ``name``.

    RELION's paths are relative to its project folder, often some levels above the STAR file:
    looked up beside the file, then in each folder above, then in ``data_folder`` by the whole
    path and by the file's name alone.

    Raises
    ------
    ParticleFileError
        If it is in none of these places; the message lists them.
    """
    tried = candidates(name, star, data_folder)
    for candidate in tried:
        if os.path.isfile(candidate):
            return candidate
    places = "\n  ".join(str(candidate) for candidate in tried)
    raise ParticleFileError(
        star,
        f"The stack {name} is not there. Tried:\n  {places}\n",
        field="rlnImageName",
        remedy="Name the folder of the stacks as the data folder, or put the STAR file back "
        "into its RELION project.",
    )


def candidates(name: str, star: Path, data_folder: Path | None = None) -> list[Path]:
    """Places where a stack may be, best first."""
    path = Path(name)
    if path.is_absolute():
        places = [path]
    else:
        folder = star.absolute().parent
        places = [above / path for above in (folder, *folder.parents)]
    if data_folder is not None:
        data_folder = Path(data_folder).absolute()
        places += [data_folder / path.relative_to(path.anchor), data_folder / path.name]
    return list(dict.fromkeys(places))


def name_from(star: Path, name: str | None, stack: Path) -> str:
    """What a STAR file at ``star`` must call a stack for it to be found.

    ``name``, the name so far, is kept if it still leads to the same file. Else the path is
    relative to the STAR file's folder, or absolute if the two have no folder in common.
    """
    if name is not None:
        found = next((p for p in candidates(name, star) if os.path.isfile(p)), None)
        if found is not None and found.samefile(stack):
            return name
    stack, folder = stack.resolve(), star.absolute().parent.resolve()
    try:
        common = os.path.commonpath([stack, folder])
    except ValueError:  # two drives
        return str(stack)
    if common == stack.anchor:
        return str(stack)
    return Path(os.path.relpath(stack, folder)).as_posix()
