import os
import shutil
import signal
from pathlib import Path
from urllib.parse import unquote

import connectorx
import psycopg
import pytest

from pipelines.errors import SampleError
from pipelines.sample.embedded import embedded_server
from pipelines.sample.load import ensure_sample, is_empty
from pipelines.sample.locks import FileLock
from tests.sample.conftest import copy_used
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.extended]

OWNER = """
import sys
from pathlib import Path
from pipelines.sample.embedded import embedded_server
from pipelines.sample.load import ensure_sample
with embedded_server(Path(sys.argv[1])) as url:
    print("loaded" if ensure_sample(url) else "there", flush=True)
    sys.stdin.readline()
"""


def rows(url):
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT count(*) FROM domains").fetchone()[0]


def postmaster(folder):
    return int((folder / "pgdata" / "postmaster.pid").read_text().split()[0])


def is_stopped(folder):
    lock = FileLock(folder / "server.lock")
    try:
        return lock.try_take()
    finally:
        lock.close()


def test_starts_fills_and_stops(folder):
    with embedded_server(folder / "new") as url:
        assert is_empty(url)
        assert ensure_sample(url)
        assert not is_empty(url)
        assert not ensure_sample(url)
        assert rows(url) == 62
        with psycopg.connect(url) as connection:
            names = ("server_encoding", "listen_addresses", "TimeZone", "lc_messages")
            settings = [connection.execute("SELECT current_setting(%s)", (name,)).fetchone()[0] for name in names]
        assert settings == ["UTF8", "", "UTC", "C"]
        assert (folder / "new" / "pgdata").stat().st_mode & 0o077 == 0
    assert is_stopped(folder / "new")
    with embedded_server(folder / "new") as url:
        assert rows(url) == 62


def test_the_last_user_stops_it(used):
    with embedded_server(used) as first:
        with embedded_server(used) as second:
            assert first == second
            pid = postmaster(used)
        assert postmaster(used) == pid
        assert is_empty(first)
    assert is_stopped(used)


def test_an_error_in_the_block_passes_and_stops_it(used):
    with pytest.raises(ZeroDivisionError), embedded_server(used):
        _ = 1 / 0
    assert is_stopped(used)


@pytest.mark.parametrize("name", ["two words, 'quoted' %41 ü", "long" * 30])
def test_any_path_works_and_connectorx_reads_its_url(folder, name):
    copy_used(folder / name)
    with embedded_server(folder / name) as url:
        assert connectorx.read_sql(url, "SELECT 7 AS n", return_type="arrow")["n"].to_pylist() == [7]
        link = Path(unquote(url).split("@")[1].split(":")[0])
        assert link.is_symlink()
    assert not link.parent.exists()
    assert is_stopped(folder / name)


def test_foreign_environment_does_not_matter(folder, monkeypatch):
    for name, value in {"PGPORT": "9", "PGDATA": "/nowhere", "PGHOST": "nowhere.invalid", "PGUSER": "no"}.items():
        monkeypatch.setenv(name, value)
    with embedded_server(folder) as url:
        assert is_empty(url)


def test_a_killed_owner_leaves_a_server_that_the_next_one_uses_and_stops(used, run_python):
    owner = run_python(OWNER, used)
    assert owner.stdout.readline() == b"loaded\n"
    pid = postmaster(used)
    owner.kill()
    owner.wait()
    assert not is_stopped(used)
    with embedded_server(used) as url:
        assert postmaster(used) == pid
        assert rows(url) == 62
    assert is_stopped(used)


def test_two_start_at_once(folder, run_python):
    owners = [run_python(OWNER, folder) for _ in range(2)]
    assert sorted(owner.stdout.readline() for owner in owners) == [b"loaded\n", b"there\n"]
    for owner in owners:
        assert not is_stopped(folder)
        owner.stdin.write(b"\n")
        owner.stdin.flush()
        assert owner.wait(120) == 0
    assert is_stopped(folder)


# What is there as soon as that moment has come: initdb has begun, it has ended, the server starts, it answers.
@pytest.mark.parametrize("seen", ["initdb-*/base", "pgdata", "pgdata/postmaster.pid", "pgdata/.s.PGSQL.*"])
def test_killed_at_any_moment_of_the_first_start(folder, run_python, seen):
    owner = run_python(OWNER, folder)
    wait_until(lambda: list(folder.glob(seen)))
    owner.kill()
    owner.wait()
    with embedded_server(folder) as url:
        ensure_sample(url)
        assert rows(url) == 62
    assert is_stopped(folder)


def test_a_half_made_cluster_is_made_again(folder):
    (folder / "initdb-x" / "base").mkdir(parents=True)
    (folder / "pgdata" / "base").mkdir(parents=True)
    (folder / "pgdata" / "PG_VERSION").write_text("18\n")
    with embedded_server(folder) as url:
        assert is_empty(url)
    assert not (folder / "initdb-x").exists()


def test_a_stale_pid_file_that_names_another_process_is_no_obstacle(used):
    with embedded_server(used) as url:
        ensure_sample(url)
        os.kill(postmaster(used), signal.SIGKILL)
        lines = (used / "pgdata" / "postmaster.pid").read_text().splitlines()
        wait_until(lambda: is_stopped(used))
    lines[0] = str(os.getppid())
    (used / "pgdata" / "postmaster.pid").write_text("\n".join(lines))
    with embedded_server(used) as url:
        assert rows(url) == 62
    (used / "pgdata" / "postmaster.pid").write_text("")
    with embedded_server(used) as url:
        assert rows(url) == 62


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can't run PostgreSQL itself")
def test_as_root_a_closed_parent_folder_is_opened_for_passing_only(folder):
    (folder / "closed").mkdir(mode=0o700)
    with embedded_server(folder / "closed" / "pg") as url:
        assert is_empty(url)
    assert (folder / "closed").stat().st_mode & 0o777 == 0o701


def test_a_cluster_of_another_version_is_refused(folder):
    (folder / "pgdata" / "global").mkdir(parents=True)
    (folder / "pgdata" / "global" / "pg_control").touch()
    (folder / "pgdata" / "PG_VERSION").write_text("16\n")
    with pytest.raises(SampleError, match=r"Expected: PostgreSQL 18. Found: PostgreSQL 16"), embedded_server(folder):
        pass


def test_a_file_in_place_of_the_folder_is_named(folder):
    (folder / "taken").touch()
    with pytest.raises(SampleError, match="taken can't be created"), embedded_server(folder / "taken"):
        pass


def test_a_damaged_cluster_names_its_log_and_the_way_out(used):
    with embedded_server(used):
        pass
    shutil.rmtree(used / "pgdata" / "pg_wal")
    with pytest.raises(SampleError, match=r"did not start.*server\.log"), embedded_server(used):
        pass


def test_without_a_connection_no_address_is_told():
    with pytest.raises(SampleError) as caught:
        is_empty("postgresql://me:secret@%2Fnowhere/db")
    assert "secret" not in str(caught.value)
    assert "nowhere" not in str(caught.value)
