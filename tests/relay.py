"""A TCP port of 127.0.0.1 that leads to a server."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Self


class Relay:
    """Passes the bytes of each connection on, both ways, until one side ends it.

    Subclasses say where a connection leads (`_connect`) and what becomes of what the server sends (`_pass_on`).
    """

    def __init__(self) -> None:
        self._ends: list[socket.socket] = []
        self._serving: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.port = int(self._listener.getsockname()[1])
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close every connection; what is open when a thread ends is reported in the middle of another test."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(10)
        self._listener.close()
        self.cut()
        for thread in self._serving:
            thread.join(10)

    def cut(self) -> None:
        """Break all connections that there are."""
        for end in [*self._ends]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _connect(self, client: socket.socket) -> socket.socket:
        """A connection to the server."""
        raise NotImplementedError

    def _pass_on(self, data: bytes, client: socket.socket) -> None:
        """Pass on what has come from the server."""
        client.sendall(data)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._serving.append(threading.Thread(target=self._run, args=(client,), daemon=True))
                self._serving[-1].start()

    def _run(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            self._ends.append(client)
            self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        with self._connect(client) as server:
            self._pump(client, server)

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        """Pass on both ways, until one side ends it."""
        self._ends += [client, server]
        back = threading.Thread(target=self._from_server, args=(server, client), daemon=True)
        back.start()
        with _ends_both(client, server):
            while data := client.recv(2**16):
                server.sendall(data)
        back.join()

    def _from_server(self, server: socket.socket, client: socket.socket) -> None:
        with _ends_both(client, server):
            while data := server.recv(2**16):
                self._pass_on(data, client)


@contextlib.contextmanager
def _ends_both(*ends: socket.socket) -> Iterator[None]:
    """Break both connections at the end; an error of the network is such an end."""
    with contextlib.suppress(OSError):
        yield
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
