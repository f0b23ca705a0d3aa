"""The OpenAPI document holds: whatever schemathesis makes of it, valid or not, gets an answer that it describes."""

import json
import sys
from pathlib import Path

import pytest

from tests.forking import run_program
from tests.serving.kit import Served

pytestmark = [pytest.mark.integration, pytest.mark.standard]

_CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    "negative_data_rejection",
)  # fmt: skip


@pytest.mark.parametrize("phases", ["coverage", pytest.param("coverage,fuzzing", marks=pytest.mark.extended)])
def test_answers_are_as_the_document_says(hostile_server: Served, tmp_path: Path, phases: str) -> None:
    report = tmp_path / "report.ndjson"
    command = [
        Path(sys.executable).with_name("st"), "run", f"http://127.0.0.1:{hostile_server.port}/openapi.json",
        "--checks", ",".join(_CHECKS), "--phases", phases, "--max-examples", "25",
        "--seed", "20261125", "--generation-deterministic",
        "--continue-on-failure", "--no-color", "--report-ndjson-path", report,
    ]  # fmt: skip
    done = run_program(command, cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    document = json.loads(hostile_server.ask("/openapi.json").body)
    asked = report.read_text(encoding="utf-8")
    for path in document["paths"]:
        assert json.dumps(f"GET {path}") in asked, f"{path} was not tried"
