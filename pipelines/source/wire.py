"""What stands between: whether a host can be reached, and whether its certificate is accepted, without libpq."""

import errno
import os
import socket
import ssl
import struct

from pipelines.source.libpq import root_certificate
from pipelines.source.sqlstates import Reason

SILENT = Reason("no answer in time", "check host, port and firewall")
_SECONDS = 10.0
_SSL_REQUEST = struct.pack("!ii", 8, 80_877_103)
# Of OpenSSL's X509_V_ERR_*.
_EXPIRED, _NOT_YET_VALID, _OTHER_NAMES = 10, 9, {62, 64}
_NOT_ACCEPTED = "the server's certificate was not accepted"


def check_network(settings: dict[str, str]) -> Reason | None:
    """Why nobody takes a connection at the host or socket of these settings of libpq; None where somebody does."""
    for host, port in _places(settings):
        if not host or host.startswith("@"):
            continue
        try:
            _open(host, port).close()
        except socket.gaierror:
            return Reason(
                "the host name is unknown",
                "check the host in DATABASE_URL; an @ or / in a password must be percent-encoded",
            )
        except TimeoutError:
            return SILENT
        except OSError as error:
            return _of_errno(error)
    return None


def _places(settings: dict[str, str]) -> list[tuple[str, int]]:
    """Host or address, and port, of each place that libpq may connect to; one port may be that of all hosts."""
    hosts = (settings.get("hostaddr") or settings.get("host") or os.environ.get("PGHOST", "")).split(",")
    ports = settings.get("port", "").split(",")
    return [(host, int(ports[number % len(ports)] or "5432")) for number, host in enumerate(hosts)]


def _of_errno(error: OSError) -> Reason:
    if error.errno == errno.ECONNREFUSED:
        return Reason("nothing listens there", "check host and port in DATABASE_URL, and that PostgreSQL is running")
    if error.errno == errno.ENOENT:
        return Reason("no server at that socket", "check the socket folder in DATABASE_URL, and that PostgreSQL runs")
    text = os.strerror(error.errno) if error.errno else type(error).__name__
    return Reason(f"no way to that address: {text}", "check host, port and network")


def _open(host: str, port: int) -> socket.socket:
    if not host.startswith("/"):
        return socket.create_connection((host, port), timeout=_SECONDS)
    local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    local.settimeout(_SECONDS)
    try:
        local.connect(f"{host}/.s.PGSQL.{port}")
    except BaseException:
        local.close()
        raise
    return local


def check_certificate(settings: dict[str, str]) -> Reason | None:
    """Why libpq does not accept the server's certificate with these settings; None where it does, or asks for none."""
    mode, host = settings.get("sslmode", "prefer"), settings.get("hostaddr") or settings.get("host", "")
    if mode in {"disable", "allow"} or not host or host.startswith(("/", "@")) or "," in host:
        return None
    authorities, named = root_certificate(settings), settings.get("sslrootcert", "")
    if mode in {"verify-ca", "verify-full"} and authorities is None and named != "system":
        return Reason("the CA file is missing", "check sslrootcert, or put the file at ~/.postgresql/root.crt")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = mode == "verify-full"
    try:
        if named == "system":
            context.load_default_certs()
        elif authorities is not None:
            context.load_verify_locations(authorities)
        else:
            context.verify_mode = ssl.CERT_NONE
    except (OSError, ssl.SSLError):
        return Reason("the CA file can't be read", f"check that {authorities} holds certificates as PEM")
    try:
        return _handshake(context, settings, host, mode)
    except ssl.SSLCertVerificationError as error:
        return _of_certificate(error.verify_code)
    except OSError:
        return Reason("the TLS handshake failed", "look at the server's log, and at what stands between")


def _handshake(context: ssl.SSLContext, settings: dict[str, str], host: str, mode: str) -> Reason | None:
    with _open(*_places(settings)[0]) as plain:
        if settings.get("sslnegotiation") != "direct":
            plain.sendall(_SSL_REQUEST)
            if plain.recv(1) != b"S":
                if mode == "prefer":
                    return None
                return Reason("the server has no TLS", "turn TLS on in the server, or use sslmode=disable knowingly")
        else:
            context.set_alpn_protocols(["postgresql"])
        context.wrap_socket(plain, server_hostname=settings.get("host") or host).close()
    return None


def _of_certificate(code: int) -> Reason:
    if code in {_EXPIRED, _NOT_YET_VALID}:
        return Reason(f"{_NOT_ACCEPTED}: it is not valid now", "renew it, or correct the clock")
    if code in _OTHER_NAMES:
        fix = "use the host name of the certificate in DATABASE_URL, or a certificate for this host"
        return Reason(f"{_NOT_ACCEPTED}: it is for another host", fix)
    fix = "check sslrootcert (or ~/.postgresql/root.crt): it must hold the CA that signed the certificate"
    return Reason(f"{_NOT_ACCEPTED}: its CA is not the one that is trusted", fix)
