"""How the commands speak: results, progress, and errors as one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..errors import CryodrgnError

console = Console()
errors = Console(stderr=True)


@contextmanager
def messages() -> Iterator[None]:
    """Turn errors meant for the user into one line on standard error and exit status 1."""
    try:
        yield
    except CryodrgnError as error:
        errors.print(f"[red]Error:[/red] {escape(str(error))}", soft_wrap=True, highlight=False)
        raise typer.Exit(1) from error


def bar() -> Progress:
    """Progress with the time taken and left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )
