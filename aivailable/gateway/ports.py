"""Ports for the listeners."""

import errno
import socket

from aivailable.errors import UserError
from aivailable.settings import Settings


def choose_port(address: str, settings: Settings, field: str) -> int:
    """The port that a setting names; a free one where it is 0, or where it is only the default and taken.

    Raises:
        UserError: The user named a port, and it cannot be used.
    """
    wanted = int(getattr(settings, field))
    try:
        return _bindable(address, wanted)
    except OSError as error:
        if field in settings.model_fields_set or error.errno != errno.EADDRINUSE:
            variable = f"AIVAILABLE_{field.upper()}"
            raise UserError(
                f"{address}:{wanted}: {error.strerror}", hint=f"set {variable} to another port, or to 0 for a free one"
            ) from error
        return _bindable(address, 0)


def _bindable(address: str, port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address, port))
        return int(probe.getsockname()[1])
