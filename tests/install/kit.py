"""What a person gets who has no checkout: the wheel in an environment of its own, services that are waited for."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.forking import run_program

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements.lock"
PATIENCE_S = 300
_UV = Path(sys.executable).with_name("uv")
_RUNS = "{ runsOrError { ... on Runs { results { status } } } }"
_LAUNCH = """mutation($selector: JobOrPipelineSelector!) {
    launchRun(executionParams: {selector: $selector}) {
        __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
    }
}"""


def run(*command: object, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its good end; a bad one fails the test with all that it printed."""
    done = run_program([*map(str, command)], cwd=cwd, env={**os.environ, **environment}, timeout=1800)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done


def copy_of_repository(folder: Path) -> Path:
    """What a commit of the working tree would hold, copied: building leaves nothing in the checkout."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def build_wheel(folder: Path) -> Path:
    """The wheel, built as `make wheel` does."""
    build = ("build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", folder)
    run(_UV, *build, cwd=copy_of_repository(folder / "source"))
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """The folder of programs of a new environment with nothing but the wheel and what it needs, as the lock pins it."""
    run(_UV, "venv", "--quiet", "--seed", "--python", sys.executable, folder, cwd=ROOT)
    of_lock = ("--constraints", LOCK, f"{wheel}[serve]")
    try:
        run(_UV, "pip", "install", "--quiet", "--python", folder, *of_lock, cwd=folder.parent)
    except (
        AssertionError
    ):  # uv does not read pip's configuration; pip takes no wheel without a hash beside others with one
        pins = folder / "pins.txt"
        pins.write_text(re.sub(r" \\\n\s+--hash=\S+", "", LOCK.read_text(encoding="utf-8")), encoding="utf-8")
        pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        run(*pip, "--constraint", pins, of_lock[2], cwd=folder.parent)
    return folder / "bin"


@contextmanager
def running(command: list[str], cwd: Path, environment: Mapping[str, str], log: Path) -> Iterator[Callable[[], bool]]:
    """Run a service; the function says whether it still runs. Nothing of it stays."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=out, stderr=out, start_new_session=True)
        try:
            yield lambda: process.poll() is None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(60)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def wait_for_answer(url: str, is_running: Callable[[], bool], log: Path, **headers: str) -> Any:
    """What a service answers with status 200, as JSON, as soon as it does."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:  # noqa: S310  our own server
                return json.loads(answer.read())
        except (urllib.error.URLError, OSError):
            assert is_running(), log.read_text(errors="replace")[-4000:]
            assert time.monotonic() < until, log.read_text(errors="replace")[-4000:]
            time.sleep(0.1)


def launch(ui: str, is_running: Callable[[], bool], log: Path) -> str:
    """Start the job `export` as the UI does: in a process of the code server. Its status at its end."""
    selector = {"repositoryLocationName": "lei-exports", "repositoryName": "__repository__", "jobName": "export"}
    until = time.monotonic() + PATIENCE_S
    while "run" not in (launched := ask_ui(ui, _LAUNCH, selector=selector)["launchRun"]):
        assert time.monotonic() < until, launched  # the web server is there before the code is
        time.sleep(0.3)
    return wait_for_run(ui, is_running, log)


def wait_for_run(ui: str, is_running: Callable[[], bool], log: Path) -> str:
    """Status at its end of the newest run, as soon as there is one and it has ended."""
    until = time.monotonic() + PATIENCE_S
    while True:
        statuses = [found["status"] for found in ask_ui(ui, _RUNS)["runsOrError"]["results"]]
        if statuses and statuses[0] in {"SUCCESS", "FAILURE", "CANCELED"}:
            return str(statuses[0])
        assert is_running(), log.read_text(errors="replace")[-4000:]
        assert time.monotonic() < until, log.read_text(errors="replace")[-4000:]
        time.sleep(0.3)


def ask_ui(ui: str, query: str, **variables: Any) -> Any:
    """Data of a GraphQL query."""
    request = urllib.request.Request(  # noqa: S310  our own server
        f"{ui}/graphql",
        data=json.dumps({"query": query, "variables": variables}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:  # noqa: S310
        answer = json.loads(response.read())
    assert "errors" not in answer, answer
    return answer["data"]
