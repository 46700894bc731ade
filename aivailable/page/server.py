"""The page's server: one thread with an event loop of its own, beside whatever else the process does."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette

from aivailable.errors import UserError

GRACE_S = 1
"""What is being answered when the server ends may take so long; pictures are streamed without an end."""
STOP_TIMEOUT_S = 10.0


@contextmanager
def serving(app: Starlette, address: str, port: int) -> Iterator[None]:
    """Answer on that port for as long as the context lasts.

    Raises:
        UserError: The port cannot be used.
    """
    try:
        listener = socket.create_server((address, port))
    except OSError as error:
        raise UserError(
            f"{address}:{port}: {error.strerror}", hint="set AIVAILABLE_CONTROLLER_PORT to another port"
        ) from error
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=GRACE_S)
    )
    with listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="page", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join(STOP_TIMEOUT_S)
