"""What stands between a client and a TLS server, and treats libpq and connectorx differently.

libpq names the protocol in its first message of TLS (ALPN, since version 17), connectorx does not.
"""

import contextlib
import socket
import ssl
import struct
import threading
from pathlib import Path
from typing import Self

_ALPN = b"\x0apostgresql"
_CLEARTEXT_PASSWORD = b"R" + struct.pack("!ii", 8, 3)


class Between:
    """A TCP proxy on 127.0.0.1: connections of libpq are passed on as they are.

    Args:
        port: Of the server.
        certificate: What connections of others are shown instead of the server's certificate, with its key beside it:
            they are decrypted here and passed on to the server.
        wants_password: Ask for the password instead, in clear text, as a server may; it is then in `passwords`.
    """

    def __init__(self, port: int, certificate: Path, *, wants_password: bool = False) -> None:
        self._server = port
        self._certificate = certificate
        self._wants_password = wants_password
        self.decrypted = 0
        self.passwords: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.port = int(self._listener.getsockname()[1])
        self._ends: list[socket.socket] = [self._listener]
        self._serving: list[threading.Thread] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        for thread in self._serving:
            thread.join(10)
        self._close()  # what a thread opened meanwhile

    def _close(self) -> None:
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._serving.append(threading.Thread(target=self._serve, args=(client,), daemon=True))
                self._serving[-1].start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self._server))
        self._ends += [client, server]
        with contextlib.suppress(OSError):
            server.sendall(client.recv(8))  # SSLRequest
            client.sendall(server.recv(1))
            if _ALPN not in client.recv(4096, socket.MSG_PEEK):
                client, server = self._decrypt(client, server)
                self._ends += [client, server]
                if self._wants_password:
                    client.recv(4096)  # StartupMessage
                    client.sendall(_CLEARTEXT_PASSWORD)
                    if answer := client.recv(4096):
                        self.passwords.append(answer)
                    return
            pump = threading.Thread(target=_pump, args=(server, client), daemon=True)
            pump.start()
            _pump(client, server)

    def _decrypt(self, client: socket.socket, server: socket.socket) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
        ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ours.load_cert_chain(self._certificate, self._certificate.with_suffix(".key"))
        theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        theirs.check_hostname, theirs.verify_mode = False, ssl.CERT_NONE
        decrypted = ours.wrap_socket(client, server_side=True)
        self._ends.append(decrypted)
        self.decrypted += 1
        return decrypted, theirs.wrap_socket(server)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(16384):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
