"""The one way in which the plugin tells a user that something went wrong."""

from __future__ import annotations

from napari.utils.notifications import notification_manager, show_error, show_warning

from ..errors import CryodrgnError


def error(exception: Exception) -> str:
    """Show an exception as a napari notification.

    A `CryodrgnError` is shown by its message alone; anything else is a fault of the program and
    comes with its traceback.

    Returns
    -------
    str
        The message, for a line in a dock.
    """
    if isinstance(exception, CryodrgnError):
        show_error(str(exception))
        return str(exception)
    notification_manager.receive_error(type(exception), exception, exception.__traceback__)
    return f"{type(exception).__name__}: {exception}"


def warning(message: str) -> None:
    """Show a warning as a napari notification."""
    show_warning(message)
