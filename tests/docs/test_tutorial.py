"""docs/tutorial.md: every command runs as it stands there, and its output holds the lines that the page shows."""

import os
import re
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.docs.conftest import SAMPLE
from tests.docs.kit import ROOT, environment_of, make_browser, make_checkout, run, steps
from tests.integration.kit import run_sql
from tests.oracle.postgres import Database
from tests.oracle.source import create_source_tables, load_csv_dir
from tests.ports import free_port
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.orchestration, pytest.mark.extended]

URL = "postgresql://reader:secret@db.example/app"
CRON = re.compile(r"cd /opt/lei-exports && (.+)$", re.MULTILINE)
# Holds for the lines after it in the same shell.
KEPT = ("export ", ". ")


def test_every_step_works(database: Database, tmp_path: Path) -> None:
    with database.connect() as connection:
        create_source_tables(connection)
        load_csv_dir(connection, SAMPLE)
    folder = make_checkout(tmp_path)
    browser = make_browser(folder)
    document = ROOT / "docs" / "tutorial.md"
    shell: list[str] = []
    ui: subprocess.Popen[bytes] | None = None
    try:
        for commands, expected in steps(document):
            text = commands.replace(URL, database.url)
            if "lei-exports ui" in text:
                ui = start_ui("\n".join([*shell, text]), folder)
                run_sql(database, "UPDATE domains SET company_name = 'Changed' WHERE id = 1")
                continue
            said = " ".join(run("\n".join(["set -e", *shell, text]), folder, BROWSER=str(browser)).split())
            for line in expected:
                assert " ".join(line.split()) in said, f"{commands}{said}"
            shell += [line for line in text.splitlines() if line.startswith(KEPT)]
    finally:
        if ui is not None:
            end(ui)
    assert ui is not None
    assert (folder / "opened").exists(), "the report is opened in the browser"
    assert len(list((folder / "data" / "exports" / "snapshots").iterdir())) == 3
    ran = {line.removeprefix(".venv/bin/") for commands, _ in steps(document) for line in commands.splitlines()}
    scheduled = CRON.findall(document.read_text(encoding="utf-8"))
    assert len(scheduled) == 2
    assert {command.removeprefix(".venv/bin/") for command in scheduled} <= ran, "cron's commands ran, by another path"


def start_ui(script: str, folder: Path) -> "subprocess.Popen[bytes]":
    """What a shell of its own does with it; the port is a free one, because 3000 may be taken here."""
    port = free_port()
    script = script.replace("lei-exports ui", f"exec lei-exports ui --port {port}")
    process = subprocess.Popen(
        ["sh", "-c", script],
        cwd=folder,
        env=environment_of(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def answers() -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    wait_until(answers, 120)
    return process


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ctrl-C, as the page says; then whatever is left."""
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=30)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
