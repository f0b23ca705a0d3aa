"""What stands between a client and a TLS server, and treats libpq and connectorx differently.

libpq names the protocol in its first message of TLS (ALPN, since version 17), connectorx does not.
"""

import socket
import ssl
import struct
from pathlib import Path

from tests.relay import Relay

_ALPN = b"\x0apostgresql"
_CLEARTEXT_PASSWORD = b"R" + struct.pack("!ii", 8, 3)
_UNCHECKED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_UNCHECKED.check_hostname, _UNCHECKED.verify_mode = False, ssl.CERT_NONE


class Between(Relay):
    """Passes connections of libpq on as they are.

    Args:
        port: Of the server.
        certificate: What connections of others are shown instead of the server's certificate, with its key beside it:
            they are decrypted here and passed on to the server.
        wants_password: Ask for the password instead, in clear text, as a server may; it is then in `passwords`.
    """

    def __init__(self, port: int, certificate: Path, *, wants_password: bool = False) -> None:
        self._to = port
        self._certificate = certificate
        self._wants_password = wants_password
        self.decrypted = 0
        self.passwords: list[bytes] = []
        super().__init__()

    def _serve(self, client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._to)) as server:
            server.sendall(client.recv(8))  # SSLRequest
            client.sendall(server.recv(1))
            if _ALPN in client.recv(4096, socket.MSG_PEEK):
                self._pump(client, server)
                return
            with self._decrypt(client) as shown, _UNCHECKED.wrap_socket(server) as theirs:
                if self._wants_password:
                    shown.recv(4096)  # StartupMessage
                    shown.sendall(_CLEARTEXT_PASSWORD)
                    if answer := shown.recv(4096):
                        self.passwords.append(answer)
                else:
                    self._pump(shown, theirs)

    def _decrypt(self, client: socket.socket) -> ssl.SSLSocket:
        ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ours.load_cert_chain(self._certificate, self._certificate.with_suffix(".key"))
        shown = ours.wrap_socket(client, server_side=True)
        self._ends.append(shown)
        self.decrypted += 1
        return shown
