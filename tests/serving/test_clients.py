"""Clients generated from the OpenAPI document, in Python and TypeScript: every route and every format works."""

import json
import shutil
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from pipelines.query.batch.files import BatchFormat
from tests.forking import run_program
from tests.serving.conftest import Source
from tests.serving.kit import Served, export_path, served

pytestmark = [pytest.mark.integration, pytest.mark.extended]

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "token-of-a-generated-client-0123456789"
UV = Path(sys.executable).with_name("uv")


@pytest.fixture(scope="module")
def server(hostile: Source) -> Iterator[Served]:
    with served(hostile.export_dir, EXPORT_API_TOKEN=TOKEN) as server:
        yield server


@pytest.fixture(scope="module")
def document(server: Served, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_bytes(ask(server, "/openapi.json"))
    return path


def ask(server: Served, path: str) -> bytes:
    answer = server.ask(path, Authorization=f"Bearer {TOKEN}")
    assert answer.status == 200, path
    return answer.body


def run(*command: object, cwd: Path, **environment: str) -> str:
    done = run_program([*map(str, command)], cwd=cwd, env=environment or None, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def assert_right(server: Served, hostile: Source, found: dict[str, Any]) -> None:
    """What a client printed is what the server sends."""
    batch = json.loads(ask(server, "/batches?sort=candidate_count&descending=true&limit=1"))["items"][0]
    batch_id = batch["batch_id"]
    rows = json.loads(ask(server, export_path(batch_id)))
    row = next(row for row in rows if row["candidates"])
    entity = json.loads(ask(server, f"/entities/{quote(row['candidates'][0]['lei_code'], safe='')}"))
    digests = {
        form.value: sha256(ask(server, export_path(batch_id, form))).hexdigest()
        for form in BatchFormat
        if form is not BatchFormat.XLSX  # it holds the time of its making
    }
    assert found.pop("domain") >= 1
    assert row["domain"].casefold() in found.pop("search").casefold()
    assert found == {
        "health": "ok",
        "snapshot": hostile.snapshot.manifest.id,
        "batches": hostile.snapshot.record_of("batch_summaries").rows,
        "next": "?sort=candidate_count&descending=true&limit=1&offset=1",
        "batch": [batch_id, batch["result_count"]],
        "rows": len(rows),
        "candidates": [row["domain_id"], len(row["candidates"]), len(row["candidates"])],
        "entity": entity["legal_name"],
        "unknown": [404, "Unknown batch"],
        "files": {form: digest for form, digest in digests.items() if form != "json"},
        "workbook": "PK",
        "exports": digests,
    }


def test_a_python_client(server: Served, hostile: Source, document: Path, tmp_path: Path) -> None:
    example, environment = ROOT / "examples" / "python_client", tmp_path / "environment"
    run(UV, "venv", "--quiet", "--python", sys.executable, environment, cwd=tmp_path)
    lock = ROOT / "tests" / "openapi_client.lock"
    python = environment / "bin" / "python"
    command = [UV, "pip", "install", "--quiet", "--python", python, "--no-deps", "--require-hashes", "-r", lock]
    installed = run_program(command, timeout=600)
    if installed.returncode:
        pytest.skip(f"can't install openapi-python-client: {installed.stderr.strip().splitlines()[:1]}")
    said = run(
        python, "-m", "openapi_python_client", "generate", "--config", example / "config.yml", "--path", document,
        "--meta", "none", "--output-path", "lei_exports_client", cwd=tmp_path, PATH=f"{python.parent}:/usr/bin:/bin",
    )  # fmt: skip
    assert "WARNING" not in said, said
    url = f"http://127.0.0.1:{server.port}"
    printed = run(python, example / "every_route.py", url, TOKEN, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert_right(server, hostile, json.loads(printed))
    paths = {path.stem for path in (tmp_path / "lei_exports_client" / "api").rglob("*.py")}
    used = (example / "every_route.py").read_text(encoding="utf-8")
    assert [name for name in paths if name != "__init__" and name not in used] == [], "a route was not tried"


def test_a_typescript_client(server: Served, hostile: Source, document: Path, tmp_path: Path) -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no node and npm on the PATH")
    example = tmp_path / "example"
    names = ("package.json", "package-lock.json", "tsconfig.json", "every-route.ts")
    example.mkdir()
    for name in names:
        shutil.copy(ROOT / "examples" / "typescript_client" / name, example / name)
    command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    installed = run_program(command, cwd=example, timeout=600)
    if installed.returncode:
        pytest.skip(f"npm can't install the client: {installed.stderr.strip().splitlines()[:1]}")
    bin_ = f"{Path(shutil.which('node') or '').parent}:/usr/bin:/bin"
    run("npm", "run", "--silent", "generate", cwd=example, PATH=bin_, EXPORT_API_DOCUMENT=str(document))
    run("npm", "run", "--silent", "build", cwd=example, PATH=bin_)
    url = f"http://127.0.0.1:{server.port}"
    printed = run("npm", "start", "--silent", cwd=example, PATH=bin_, EXPORT_API_URL=url, EXPORT_API_TOKEN=TOKEN)
    assert_right(server, hostile, json.loads(printed))
    used = (example / "every-route.ts").read_text(encoding="utf-8")
    for path in json.loads(document.read_bytes())["paths"]:
        assert f'"{path}"' in used, f"{path} was not tried"
