"""The URL by which connectorx reaches the very server that psycopg reached, and what stops a run that has none.

connectorx knows nothing of service files, of ~/.pgpass, ~/.postgresql or PG* variables, and not every setting of
libpq. So everything is taken from the open connection of psycopg. Each setting of libpq has one fate here: it is
passed on, it makes no difference, or it is refused by its name.
"""

import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg
from psycopg import capabilities
from pydantic import SecretStr

from pipelines.errors import SourceError
from pipelines.source.connection import (
    CONNECT_SECONDS,
    KEEPALIVE_IDLE_S,
    KEEPALIVE_INTERVAL_S,
    KEEPALIVE_PROBES,
    Connection,
    SourceAddress,
    connect,
    try_to_connect,
)
from pipelines.source.libpq import default_file, effective, origin, root_certificate

# What connectorx 0.4.6 takes (its postgres driver is 0.19.10); how, is in reader_url.
PASSED_ON = frozenset(
    "user password host hostaddr port dbname options channel_binding sslmode sslnegotiation sslrootcert sslcert"
    " sslkey".split()
)
# Where the OpenSSL of connectorx 0.4.6 looks for CAs (OPENSSLDIR).
_OPENSSL = "/usr/local/ssl"
# libpq has made use of it, ours wins over it, or what it allows is more than what connectorx does anyway.
WITHOUT_EFFECT = frozenset(
    "service passfile target_session_attrs load_balance_hosts application_name fallback_application_name"
    " client_encoding connect_timeout keepalives keepalives_idle keepalives_interval keepalives_count"
    " tcp_user_timeout sslcompression sslcertmode ssl_max_protocol_version max_protocol_version sslkeylogfile".split()
)
# Name to the values that ask for nothing that connectorx does not do.
REFUSED: dict[str, frozenset[str]] = {
    **dict.fromkeys(
        "sslpassword sslcrl sslcrldir require_auth requirepeer gsslib scram_client_key scram_server_key oauth_issuer"
        " oauth_client_id oauth_client_secret oauth_scope".split(),
        frozenset[str](),
    ),
    "sslsni": frozenset({"1"}),
    "ssl_min_protocol_version": frozenset({"TLSv1", "TLSv1.1", "TLSv1.2"}),
    "min_protocol_version": frozenset({"3.0"}),
    "gssencmode": frozenset({"disable", "prefer"}),
    "krbsrvname": frozenset({"postgres"}),
    "gssdelegation": frozenset({"0"}),
    "replication": frozenset({"false", "off", "no", "0"}),
}


def reader_url(
    connection: Connection, address: SourceAddress, application_name: str, *, is_bound: bool = False
) -> SecretStr:
    """Compose the URL of the connections that read rows.

    They use TLS where the connection of psycopg does, and only there. verify-ca and verify-full become `require` with
    the file of CAs, which checks the certificate and not the host name: connectorx has no more.

    Args:
        address: What it was opened with.
        is_bound: Demand channel binding (see `binds_channel`).

    Raises:
        SourceError: A setting can't be passed on; it names each, and where it came from.
    """
    info, settings = connection.info, effective(connection.pgconn.info)
    has_tls = bool(connection.pgconn.ssl_in_use)
    _refuse(connection, address, settings, has_tls=has_tls)
    query = {
        "application_name": application_name,
        "connect_timeout": str(CONNECT_SECONDS),
        "keepalives_idle": str(KEEPALIVE_IDLE_S),
        "keepalives_interval": str(KEEPALIVE_INTERVAL_S),
        "keepalives_retries": str(KEEPALIVE_PROBES),
        "sslmode": "require" if has_tls else "disable",
    }
    query |= {name: settings[name] for name in ("options", "channel_binding") if settings.get(name)}
    if has_tls:
        query |= _tls(settings)
    if is_bound:
        query["channel_binding"] = "require"
    elif has_tls and root_certificate(settings):
        _refuse_other_authorities()
    host = info.host
    if info.hostaddr and host.startswith("/"):
        host = info.hostaddr
    elif info.hostaddr and info.hostaddr != host:
        query["hostaddr"] = info.hostaddr  # the name stays: a TLS proxy may choose the server by it
    login = quote(info.user, safe="") + (f":{quote(info.password, safe='')}" if info.password else "")
    place = quote(host, safe="") if host.startswith("/") else (f"[{host}]" if ":" in host else host)
    return SecretStr(
        f"postgresql://{login}@{place}:{info.port}/{quote(info.dbname, safe='')}?{urlencode(query, quote_via=quote)}"
    )


def binds_channel(connection: Connection, address: SourceAddress, application_name: str) -> bool | None:
    """Whether connections of connectorx can be bound to the certificate that psycopg has checked.

    connectorx checks no host name, and takes certificates of more CAs than sslrootcert (`_refuse_other_authorities`).
    With SCRAM over TLS and channel binding that does no harm: the server proves that it knows the role's password and
    holds the key of the very certificate that the client sees. Nobody in between can.

    Args:
        address: What it was opened with.

    Returns:
        None where psycopg checks no certificate. False where the role does not log in with SCRAM.

    Raises:
        SourceError: No further connection can be had.
        ExtractError: The same, where the reason may pass by itself.
    """
    settings = effective(connection.pgconn.info)
    if not connection.pgconn.ssl_in_use or root_certificate(settings) is None:
        return None
    if settings.get("channel_binding") == "disable":
        return False
    for _ in range(2):
        with suppress(psycopg.OperationalError):
            try_to_connect(address, application_name, channel_binding="require").close()
            return True
        # Whether it is channel binding that can't be had, and not a connection, such as one of a full server.
        connect(address, application_name).close()
    return False


def checks_host_name(connection: Connection) -> bool:
    """Whether psycopg was told to check the host name of the server's certificate."""
    return effective(connection.pgconn.info).get("sslmode") == "verify-full"


def _tls(settings: dict[str, str]) -> dict[str, str]:
    files: dict[str, Path | None] = {"sslrootcert": root_certificate(settings)}
    if settings.get("sslcertmode") != "disable":
        named = settings.get("sslcert")
        certificate = Path(named) if named else default_file("postgresql.crt")
        if certificate is not None and os.path.exists(certificate):  # noqa: PTH110  as in libpq.default_file
            key = settings.get("sslkey")
            files |= {"sslcert": certificate, "sslkey": Path(key) if key else default_file("postgresql.key")}
    query = {name: str(path.absolute()) for name, path in files.items() if path is not None}
    if settings.get("sslnegotiation") == "direct":
        query["sslnegotiation"] = "direct"
    return query


def _refuse(connection: Connection, address: SourceAddress, settings: dict[str, str], *, has_tls: bool) -> None:
    """Stop at what can't be passed on; settings of TLS and of sockets matter only where there is one."""
    is_local = not connection.info.hostaddr
    beside = {name for name in settings if name.startswith("ssl") and not has_tls}
    if not is_local:
        beside.add("requirepeer")
    names = [
        name
        for name, value in settings.items()
        if name not in PASSED_ON | WITHOUT_EFFECT | beside and value and value not in REFUSED.get(name, ())
    ]
    if has_tls and settings.get("sslrootcert") == "system":
        names.append("sslrootcert")
    if has_tls and ":" in settings.get("sslkey", ""):
        names.append("sslkey")
    if is_local and connection.info.host.startswith("@"):
        names.append("host")
    url = address.url.get_secret_value()
    found = [f"{name} in {origin(name, settings.get(name, ''), url, settings)}" for name in names]
    revoked = default_file("root.crl")
    if has_tls and root_certificate(settings) and revoked and not {"sslcrl", "sslcrldir"} & settings.keys():
        found.append(f"the file {revoked}")
    if capabilities.has_used_gssapi() and connection.pgconn.used_gssapi:
        found.append("a login or encryption by GSSAPI (gssencmode, krbsrvname)")
    if found:
        raise SourceError(
            "The connections that read rows can't be given what the first connection uses",
            expected="settings that libpq and connectorx both know (docs/security.md)",
            found="; ".join(found),
            fix="take it out there, or use a role and an address of the server that do without it",
        )


def _refuse_other_authorities() -> None:
    """Stop where connectorx would take certificates of other CAs too: those of its OpenSSL's defaults (tried)."""
    found = [
        f"{name or path}"
        for name, path in (
            ("SSL_CERT_FILE", os.environ.get("SSL_CERT_FILE")),
            ("SSL_CERT_DIR", os.environ.get("SSL_CERT_DIR")),
            ("", f"{_OPENSSL}/cert.pem"),
            ("", f"{_OPENSSL}/certs"),
        )
        if path and (name or Path(path).is_file() or (Path(path).is_dir() and any(Path(path).iterdir())))
    ]
    if found:
        raise SourceError(
            "The connections that read rows would trust other CAs than sslrootcert",
            expected="no CAs but those of sslrootcert, or a role that logs in with a SCRAM password",
            found=", ".join(found),
            fix="give the role a SCRAM password (docs/security.md), or take it out of the environment of lei-exports",
        )
