"""TLS as an operator asks for it, against a real server with a certificate of its own CA (FACTS 1.5)."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import SourceError
from pipelines.extract import extraction
from pipelines.reading.verification import verify_snapshot
from pipelines.run.export import run_export
from tests.exporting import export, settings_for
from tests.faults.kit import Server, account, debian_programs, need, new_server
from tests.hostile import random_rows
from tests.integration.kit import assert_says, scalar, session
from tests.oracle.postgres import Database
from tests.oracle.source import create_source_tables, insert_source

pytestmark = [pytest.mark.integration, pytest.mark.extended]

PASSWORD_URL = "p%40ss%20%23w%3A%2F%25%27%22"
PASSWORD = "p@ss #w:/%'\""


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run([need("openssl"), *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, a certificate of it for `localhost`, and the certificate of another CA."""
    folder = tmp_path_factory.mktemp("certificates")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    for name in ("ca", "other"):
        openssl(
            folder, "req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN=lei {name}"
        )
    openssl(folder, "req", *key[:-2], "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (folder / "names").write_text("subjectAltName=DNS:localhost\n", encoding="ascii")
    sign = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
    openssl(folder, "x509", "-req", "-in", "server.csr", "-out", "server.crt", *sign)
    return folder


@pytest.fixture(scope="module")
def server(certificates: Path) -> Iterator[Server]:
    """A server that takes nothing but TLS over TCP."""
    hba = ["hostssl all reader 127.0.0.1/32 scram-sha-256", "hostssl all reader ::1/128 scram-sha-256"]
    with new_server(debian_programs(), hba=hba) as server:
        server.stop()
        for name in ("server.crt", "server.key"):
            target = server.data / name
            target.write_bytes((certificates / name).read_bytes())
            target.chmod(0o600)
            if owner := account():
                os.chown(target, owner["user"], owner["group"])
        server.configure(["ssl = on"], hba)
        server.start()
        with server.database().connect() as connection:
            create_source_tables(connection)
            insert_source(connection, *random_rows(6, 60))
            literal = PASSWORD.replace("'", "''")
            connection.execute(f"CREATE ROLE reader LOGIN PASSWORD '{literal}'".encode())
            connection.execute("GRANT SELECT ON domains, gleif_candidates TO reader")
        yield server


def by_tls(server: Server, host: str, **options: object) -> Database:
    database = server.over_tcp(host=host, login=f"reader:{PASSWORD_URL}")
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return Database(database.conninfo, f"{database.url}?{query}", database.name)


@pytest.mark.parametrize(
    ("host", "mode", "has_ca"),
    [
        ("127.0.0.1", "prefer", False),
        ("127.0.0.1", "require", False),
        ("127.0.0.1", "require", True),
        ("127.0.0.1", "verify-ca", True),
        ("localhost", "verify-full", True),
    ],
)
def test_every_connection_is_encrypted(  # noqa: PLR0917
    server: Server,
    certificates: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    mode: str,
    has_ca: bool,  # noqa: FBT001
) -> None:
    options = {"sslmode": mode} | ({"sslrootcert": certificates / "ca.crt"} if has_ca else {})
    # Asked on the connections that read, by the query itself: they are nobody's but connectorx's.
    real = extraction.read_query
    ciphers: list[Any] = []

    def looking(url: Any, query: str, setup: list[str]) -> Any:
        asked = "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        ciphers.append(real(url, asked, setup).to_pydict())
        return real(url, query, setup)

    monkeypatch.setattr(extraction, "read_query", looking)
    database = by_tls(server, host, **options)
    snapshot = export(settings_for(database, tmp_path))
    verify_snapshot(snapshot)
    assert snapshot.manifest.source.relations["domains"].rows == 60
    assert ciphers
    assert all(found["ssl"] == [True] and found["version"][0].startswith("TLSv1") for found in ciphers)


@pytest.mark.parametrize(
    ("host", "options", "says"),
    [
        ("localhost", {"sslmode": "verify-full", "sslrootcert": "other.crt"}, "certificate was not accepted"),
        ("127.0.0.1", {"sslmode": "verify-full", "sslrootcert": "ca.crt"}, "certificate was not accepted"),
        ("127.0.0.1", {"sslmode": "verify-ca", "sslrootcert": "other.crt"}, "certificate was not accepted"),
        ("127.0.0.1", {"sslmode": "require", "sslrootcert": "other.crt"}, "certificate was not accepted"),
        ("localhost", {"sslmode": "verify-full", "sslrootcert": "missing.crt"}, "the CA file is missing"),
        ("localhost", {"sslmode": "verify-full", "sslrootcert": "system"}, "sslrootcert"),
        ("127.0.0.1", {"sslmode": "disable"}, "refuses this client"),
    ],
)
def test_a_wrong_certificate_fails_before_a_row_is_read(  # noqa: PLR0917
    server: Server,
    certificates: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    options: dict[str, str],
    says: str,
) -> None:
    monkeypatch.setattr(extraction, "read_query", lambda *_: pytest.fail("a row was read"))
    placed = {name: certificates / value if value.endswith("crt") else value for name, value in options.items()}
    database = by_tls(server, host, **placed)
    with pytest.raises(SourceError) as caught:
        run_export(settings_for(database, tmp_path))
    assert_says(caught.value, says, url=database.url)
    assert PASSWORD not in str(caught.value)
    with session(server.database()) as looker:
        assert not scalar(looker, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader'")
