"""Where the stacks named in a file are."""

from __future__ import annotations

import os
from pathlib import Path

from napari_cryodrgn.errors import ParticleFileError

# Of the places tried, an error shows so many of the first and of the last.
_SHOWN = 4


def find_stack(
    name: str, source: Path, data_folder: Path | None = None, field: str | None = "rlnImageName"
) -> Path:
    """Find the stack that a file calls ``name``.

    RELION's and cryoSPARC's paths are relative to the project folder, often some levels above the
    file: looked up beside the file, then in each folder above, then in ``data_folder`` by the
    whole path, by its last parts and by the file's name alone.

    Parameters
    ----------
    name
        As written, with forward slashes.
    source
        The file that names it.
    data_folder
        Where else to look.
    field
        Column of the file that has the name, for the error.

    Raises
    ------
    ParticleFileError
        If it is in none of these places; the message lists them.
    """
    tried = _candidates(name, source, data_folder)
    found = _first_file(tried)
    if found is not None:
        return found
    places = [str(candidate) for candidate in tried]
    if len(places) > 2 * _SHOWN + 1:
        between = f"... and {len(places) - 2 * _SHOWN} places between these"
        places = [*places[:_SHOWN], between, *places[-_SHOWN:]]
    raise ParticleFileError(
        source,
        f"The stack {name} is not there. Tried:\n  " + "\n  ".join(places) + "\n",
        field=field,
        remedy=f"Name the folder of the stacks as the data folder, or put {source.name} back "
        "into its project.",
    )


def existing(name: str, source: Path) -> Path | None:
    """The stack that a file calls ``name``, beside it or above it; None if it is not there."""
    return _first_file(_candidates(name, source))


def _first_file(places: list[Path]) -> Path | None:
    return next((place for place in places if os.path.isfile(place)), None)


def _candidates(name: str, source: Path, data_folder: Path | None = None) -> list[Path]:
    """Places where a stack may be, best first."""
    path = Path(name)
    if path.is_absolute():
        places = [path]
    else:
        folder = source.absolute().parent
        places = [above / path for above in (folder, *folder.parents)]
    if data_folder is not None:
        data_folder = Path(data_folder).absolute()
        parts = path.relative_to(path.anchor).parts
        places += [data_folder.joinpath(*parts[i:]) for i in range(len(parts))]
    return list(dict.fromkeys(places))


def name_from(source: Path, name: str | None, stack: Path) -> str:
    """What a file at ``source`` must call a stack for it to be found.

    ``name``, the name so far, is kept if it still leads to the same file. Else the path is
    relative to that file's folder, or absolute if the two have no folder in common.
    """
    if name is not None:
        found = existing(name, source)
        if found is not None and found.samefile(stack):
            return name
    stack, folder = stack.resolve(), source.absolute().parent.resolve()
    try:
        common = os.path.commonpath([stack, folder])
    except ValueError:  # two drives
        return str(stack)
    if common == stack.anchor:
        return str(stack)
    return Path(os.path.relpath(stack, folder)).as_posix()
