"""The socket that a server listens at."""

import os
import socket

from pipelines.errors import SettingsError

_BACKLOG = 1_024


def listen(host: str, port: int) -> socket.socket:
    """Listen at an address, before anything else of the server is there.

    Args:
        host: Address or name.
        port: Port; 0: any free one.

    Raises:
        SettingsError: The address can't be used.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        raise SettingsError(
            f"The server can't listen at {host}, port {port}",
            found=os.strerror(error.errno) if error.errno and error.errno > 0 else str(error),
            fix="stop what uses the port, or name another one with --port",
        ) from error
    return listening
