"""TLS as an operator asks for it, against a real server with a certificate of its own CA (FACTS 1.5)."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.build.diagnosis import diagnose
from pipelines.errors import SourceError
from pipelines.export import run_export
from pipelines.progress import Progress
from pipelines.snapshots.verification import verify_snapshot
from pipelines.source import same_server
from tests.exporting import export, settings_for
from tests.faults.kit import debian_programs, need
from tests.integration.kit import assert_says, run_sql, scalar, session
from tests.oracle.postgres import Database
from tests.oracle.server import Server, account, new_server
from tests.oracle.source import create_source_tables, insert_source
from tests.random_rows import random_rows
from tests.security.between import Between

pytestmark = [pytest.mark.integration, pytest.mark.extended]

PASSWORD_URL = "p%40ss%20%23w%3A%2F%25%27%22"
PASSWORD = "p@ss #w:/%'\""


@pytest.fixture(autouse=True)
def no_other_cas(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine's own environment says of CAs is not of these tests."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run([need("openssl"), *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA; certificates of it for `localhost`, for another host and for the role `reader`; one of another CA."""
    folder = tmp_path_factory.mktemp("certificates")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    for name in ("ca", "other"):
        openssl(
            folder, "req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN=lei {name}"
        )
    for name, subject in (("server", "localhost"), ("stranger", "elsewhere"), ("client", "reader")):
        openssl(folder, "req", *key[:-2], "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={subject}")
        (folder / "names").write_text(f"subjectAltName=DNS:{subject}\n", encoding="ascii")
        sign = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.crt", *sign)
        (folder / f"{name}.key").chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def server(certificates: Path) -> Iterator[Server]:
    """A server that takes nothing but TLS over TCP: a password with SCRAM, in the database `by_certificate` a client's
    certificate instead."""
    hba = [
        "hostssl by_certificate reader 127.0.0.1/32 cert",
        "hostssl all reader 127.0.0.1/32 scram-sha-256",
        "hostssl all reader ::1/128 scram-sha-256",
        "hostssl all plain 127.0.0.1/32 trust",
    ]
    with new_server(debian_programs(), hba=hba) as server:
        server.stop()
        for name in ("server.crt", "server.key", "ca.crt"):
            target = server.data / name
            target.write_bytes((certificates / name).read_bytes())
            target.chmod(0o600)
            if owner := account():
                os.chown(target, owner["user"], owner["group"])
        server.configure(["ssl = on", "ssl_ca_file = 'ca.crt'"], hba)
        server.start()
        literal = PASSWORD.replace("'", "''")
        run_sql(
            server.database(),
            "CREATE DATABASE by_certificate",
            f"CREATE ROLE reader LOGIN PASSWORD '{literal}'",
            "CREATE ROLE plain LOGIN",
        )
        for name in ("postgres", "by_certificate"):
            with server.database(name).connect() as connection:
                create_source_tables(connection)
                insert_source(connection, *random_rows(6, 60))
                connection.execute("GRANT SELECT ON domains, gleif_candidates TO reader, plain")
        yield server


def by_tls(server: Server, host: str, port: int | None = None, **options: object) -> Database:
    database = server.over_tcp(port, host, f"reader:{PASSWORD_URL}")
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
    host: str,
    mode: str,
    has_ca: bool,  # noqa: FBT001
) -> None:
    """Those that read rows too: the server takes no other (the last case of the next test)."""
    options = {"sslmode": mode} | ({"sslrootcert": certificates / "ca.crt"} if has_ca else {})
    snapshot = export(settings_for(by_tls(server, host, **options), tmp_path))
    verify_snapshot(snapshot)
    assert snapshot.manifest.source.relations["domains"].rows == 60


@pytest.mark.parametrize(
    ("host", "options", "says"),
    [
        ("localhost", {"sslmode": "verify-full", "sslrootcert": "other.crt"}, "its CA is not the one that is trusted"),
        ("127.0.0.1", {"sslmode": "verify-full", "sslrootcert": "ca.crt"}, "it is for another host"),
        ("127.0.0.1", {"sslmode": "verify-ca", "sslrootcert": "other.crt"}, "its CA is not the one that is trusted"),
        ("127.0.0.1", {"sslmode": "require", "sslrootcert": "other.crt"}, "its CA is not the one that is trusted"),
        ("localhost", {"sslmode": "verify-full", "sslrootcert": "missing.crt"}, "the CA file is missing"),
        ("localhost", {"sslmode": "verify-full", "sslrootcert": "system"}, "sslrootcert"),
        ("127.0.0.1", {"sslmode": "disable"}, "refuses this client"),
    ],
)
def test_a_wrong_certificate_fails_before_a_row_is_read(  # noqa: PLR0917
    server: Server,
    certificates: Path,
    tmp_path: Path,
    host: str,
    options: dict[str, str],
    says: str,
) -> None:
    heard: list[Progress] = []
    placed = {name: certificates / value if value.endswith("crt") else value for name, value in options.items()}
    database = by_tls(server, host, **placed)
    with pytest.raises(SourceError) as caught:
        run_export(settings_for(database, tmp_path), on_progress=heard.append)
    assert_says(caught.value, says, url=database.url)
    assert PASSWORD not in str(caught.value)
    assert [progress for progress in heard if progress.stage == "read"] == []
    with session(server.database()) as looker:
        assert not scalar(looker, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader'")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of its own, with a folder for libpq's files."""
    folder = tmp_path / "home" / ".postgresql"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder.parent))
    return folder


def place(home: Path, certificates: Path, **names: str) -> None:
    for target, name in names.items():
        path = home / target.replace("_", ".")
        path.write_bytes((certificates / name).read_bytes())
        path.chmod(0o600)


def refuses(settings_of: Database, tmp_path: Path, *says: str) -> None:
    """The run says so before it reads a row, and doctor says the same."""
    settings = settings_for(settings_of, tmp_path / "exports", read_connections=1)
    with pytest.raises(SourceError) as caught:
        run_export(settings)
    assert_says(caught.value, *says, url=settings_of.url)
    reported = [finding.found for finding in diagnose(settings) if finding.verdict == "failed"]
    assert len(reported) == 1
    assert caught.value.found in reported[0]


def test_the_ca_of_the_home_folder_holds_for_both_drivers(
    server: Server, certificates: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A security defect once: psycopg checked the certificate, connectorx took any."""
    place(home, certificates, root_crt="ca.crt")
    with monkeypatch.context() as patch, Between(server.port, certificates / "other.crt") as between:
        patch.setattr(same_server, "_MEET_SECONDS", 0.5)
        refuses(by_tls(server, "localhost", between.port, sslmode="verify-full"), tmp_path, "can't be opened")
        assert not between.decrypted
    assert export(settings_for(by_tls(server, "localhost", sslmode="verify-full"), tmp_path / "exports")).manifest.id
    place(home, certificates, root_crt="other.crt")
    refuses(by_tls(server, "localhost", sslmode="verify-full"), tmp_path, "its CA is not the one that is trusted")
    (home / "root.crt").unlink()
    refuses(by_tls(server, "localhost", sslmode="verify-full"), tmp_path, "the CA file is missing")


def test_a_certificate_of_the_same_ca_for_another_host_is_not_taken_with_a_password(
    server: Server, certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """connectorx checks no host name: channel binding of SCRAM ties it to the certificate that psycopg has checked."""
    monkeypatch.setattr(same_server, "_MEET_SECONDS", 0.5)
    options = {"sslmode": "verify-full", "sslrootcert": certificates / "ca.crt"}
    with Between(server.port, certificates / "stranger.crt") as between:
        refuses(by_tls(server, "localhost", between.port, **options), tmp_path, "can't be opened")
        assert between.decrypted
    with Between(server.port, certificates / "stranger.crt", wants_password=True) as between:
        refuses(by_tls(server, "localhost", between.port, **options), tmp_path, "can't be opened")
        assert between.decrypted
        assert between.passwords == []
    settings = settings_for(by_tls(server, "localhost", **options), tmp_path / "exports")
    reported = {finding.topic: finding for finding in diagnose(settings)}
    assert reported["row connections"].verdict == "ok"
    assert "bound to the certificate" in reported["row connections"].found


def test_where_the_host_name_is_not_checked_doctor_says_so(server: Server, certificates: Path, tmp_path: Path) -> None:
    url = server.over_tcp(host="localhost", login="plain").url
    url += f"?sslmode=verify-full&sslrootcert={certificates / 'ca.crt'}"
    settings = settings_for(Database("", url, ""), tmp_path / "exports", read_connections=1)
    reported = {finding.topic: finding for finding in diagnose(settings)}
    assert reported["row connections"].verdict == "warning"
    assert "not its host name" in reported["row connections"].found
    assert export(settings).manifest.id


def test_other_cas_of_the_machine_are_not_trusted(
    server: Server, certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """connectorx adds those of SSL_CERT_FILE to sslrootcert; libpq does not."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "other.crt"))
    options = {"sslmode": "verify-ca", "sslrootcert": certificates / "ca.crt"}
    with Between(server.port, certificates / "other.crt") as between:
        with monkeypatch.context() as patch:
            patch.setattr(same_server, "_MEET_SECONDS", 0.5)  # only where it waits in vain
            refuses(by_tls(server, "127.0.0.1", between.port, **options), tmp_path, "can't be opened")
        url = f"postgresql://plain@127.0.0.1:{between.port}/postgres?sslmode=verify-ca&sslrootcert={options['sslrootcert']}"
        refuses(Database("", url, ""), tmp_path, "trust other CAs", "SSL_CERT_FILE")
    assert export(settings_for(by_tls(server, "127.0.0.1", **options), tmp_path / "exports")).manifest.id


@pytest.mark.parametrize("origin", ["url", "environment", "service", "home"])
def test_a_certificate_of_the_client_reaches_the_readers(  # noqa: PLR0917
    server: Server, certificates: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    """Wherever libpq takes it from; once the run failed after minutes, and doctor found nothing."""
    url = f"postgresql://reader@127.0.0.1:{server.port}/by_certificate?sslmode=require"
    certificate, key = certificates / "client.crt", certificates / "client.key"
    if origin == "url":
        url += f"&sslcert={certificate}&sslkey={key}"
    elif origin == "environment":
        monkeypatch.setenv("PGSSLCERT", str(certificate))
        monkeypatch.setenv("PGSSLKEY", str(key))
    elif origin == "service":
        (tmp_path / "services").write_text(f"[mine]\nsslcert={certificate}\nsslkey={key}\n", encoding="utf-8")
        monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
        monkeypatch.setenv("PGSERVICE", "mine")
    else:
        place(home, certificates, postgresql_crt="client.crt", postgresql_key="client.key")
    settings = settings_for(Database("", url, ""), tmp_path / "exports", read_connections=1)
    assert [finding for finding in diagnose(settings) if finding.verdict == "failed"] == []
    assert export(settings).manifest.source.relations["domains"].rows == 60


@pytest.mark.parametrize(
    ("options", "environment", "says"),
    [
        ({"sslcrl": "ca.crt", "sslmode": "require"}, {}, "sslcrl in DATABASE_URL"),
        ({}, {"PGSSLCRLDIR": "/nowhere"}, "sslcrldir in PGSSLCRLDIR"),
        ({"sslpassword": "secret"}, {}, "sslpassword in DATABASE_URL"),
        ({"require_auth": "scram-sha-256"}, {}, "require_auth in DATABASE_URL"),
        ({"ssl_min_protocol_version": "TLSv1.3"}, {}, "ssl_min_protocol_version in DATABASE_URL"),
        ({}, {"PGSSLSNI": "0", "PGKRBSRVNAME": "pg"}, "sslsni in PGSSLSNI; krbsrvname in PGKRBSRVNAME"),
        ({"service": "mine"}, {"PGSERVICEFILE": "services"}, "require_auth in the service mine (DATABASE_URL)"),
        ({}, {"PGSERVICEFILE": "services", "PGSERVICE": "mine"}, "require_auth in the service mine (PGSERVICE)"),
    ],
)
def test_what_connectorx_can_not_do_is_refused_by_its_name(  # noqa: PLR0917
    server: Server,
    certificates: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, str],
    environment: dict[str, str],
    says: str,
) -> None:
    (tmp_path / "services").write_text("[mine]\nrequire_auth=scram-sha-256\n", encoding="utf-8")
    for name, value in environment.items():
        monkeypatch.setenv(name, str(tmp_path / value) if name == "PGSERVICEFILE" else value)
    placed = {name: certificates / value if value.endswith("crt") else value for name, value in options.items()}
    refuses(by_tls(server, "127.0.0.1", **placed), tmp_path, *says.split("; "))


def test_a_list_of_revoked_certificates_in_the_home_folder_is_refused(
    server: Server, certificates: Path, home: Path, tmp_path: Path
) -> None:
    place(home, certificates, root_crt="ca.crt")
    openssl(certificates, "ca", *_crl_arguments(certificates))
    place(home, certificates, root_crl="ca.crl")
    refuses(by_tls(server, "localhost", sslmode="verify-full"), tmp_path, "root.crl")


def _crl_arguments(folder: Path) -> list[str]:
    (folder / "index").touch()
    (folder / "ca.cnf").write_text(
        "[ca]\ndefault_ca=d\n[d]\ndatabase=index\ndefault_md=sha256\ndefault_crl_days=2\n", encoding="ascii"
    )
    return ["-gencrl", "-config", "ca.cnf", "-keyfile", "ca.key", "-cert", "ca.crt", "-out", "ca.crl"]
