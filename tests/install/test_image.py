"""The image is built, and every service of compose.yaml runs in it, by its own words: from the sample to a run's page.

`make test-image`. There is no network of compose's own here: services find each other at 127.0.0.1, on free ports.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.install.image import built_image, command_in, config_of, container, need_programs
from tests.install.kit import ROOT, launch, run, running, wait_for_answer, wait_for_run
from tests.oracle.server import embedded_programs, new_server
from tests.ports import free_port

pytestmark = [pytest.mark.orchestration, pytest.mark.integration, pytest.mark.extended]

SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
ACCOUNT = 10001
HOME = "/var/lib/lei-exports"
LISTENING = {"postgres": 5432, "code": 4266, "web": 3000, "serve": 8000}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    need_programs()
    with built_image(tmp_path_factory.mktemp("image")) as name:
        yield name


class Services:
    """The services of compose.yaml in one container, with one volume and free ports."""

    def __init__(self, container: str, folder: Path, ports: dict[str, int]) -> None:
        self._container, self._folder, self._ports = container, folder, ports
        self._volume, self._workspace = folder / "volume", folder / "workspace.yaml"
        (self._volume / "dagster").mkdir(parents=True)
        shutil.copy(ROOT / "docs" / "deploy" / "dagster.yaml", self._volume / "dagster")
        for path in (self._volume, *self._volume.rglob("*")):
            os.chown(path, ACCOUNT, ACCOUNT)
        workspace = (ROOT / "docs" / "deploy" / "compose" / "workspace.yaml").read_text(encoding="utf-8")
        text = workspace.replace("host: code", "host: 127.0.0.1").replace("port: 4266", f"port: {ports['code']}")
        self._workspace.write_text(text, encoding="utf-8")

    def command(self, service: str, words: list[str]) -> list[str]:
        """What runs words as a service does."""
        environment = {name: self._here(value) for name, value in SERVICES[service].get("environment", {}).items()}
        volumes = [f"{self._volume}:{HOME}", f"{self._workspace}:/etc/lei-exports/workspace.yaml:ro"]
        return command_in(self._container, [self._here(word) for word in words], environment, volumes)

    def started(self, service: str) -> list[str]:
        """What runs a service; the port of its command is the last word where it has none."""
        described = SERVICES[service]
        image_says = ["lei-exports", "serve", "--host", "0.0.0.0"]  # noqa: S104
        words = [*map(str, described.get("entrypoint") or image_says)]
        if service in {"web", "serve"}:
            words += ["--port", str(self._ports[service])]
        return self.command(service, words)

    def checked(self, service: str, of_image: list[str]) -> list[str]:
        """Its health check."""
        test = SERVICES[service].get("healthcheck", {}).get("test", of_image)
        assert test[0] == "CMD"
        return self.command(service, test[1:])

    def log(self, service: str) -> Path:
        return self._folder / f"{service}.log"

    def _here(self, text: str) -> str:
        text = text.replace("${EXPORT_API_TOKEN:-sample-token-of-compose}", "sample-token-of-compose")
        text = text.replace("@postgres/", f"@127.0.0.1:{self._ports['postgres']}/")
        for service, port in LISTENING.items():
            text = text.replace(f":{port}/", f":{self._ports[service]}/").replace(
                f"'127.0.0.1', {port}", f"'127.0.0.1', {self._ports[service]}"
            )
        return str(self._ports["code"]) if text == "4266" else text


def test_every_service_of_compose_runs_in_the_image(image: str, tmp_path: Path) -> None:
    config: Any = config_of(image, tmp_path)
    assert config["User"] == f"{ACCOUNT}:{ACCOUNT}"
    assert [*config["Entrypoint"], *config["Cmd"]] == ["lei-exports", "serve", "--host", "0.0.0.0"]  # noqa: S104
    with ExitStack() as stack:
        server = stack.enter_context(new_server(embedded_programs()))
        with server.database().connect(autocommit=True) as connection:
            connection.execute("CREATE ROLE app SUPERUSER LOGIN")
            connection.execute("CREATE DATABASE app OWNER app")
        ports = {"postgres": server.port, **{name: free_port() for name in ("code", "web", "serve")}}
        services = Services(stack.enter_context(container(image, tmp_path)), tmp_path, ports)

        assert "was loaded" in run(*services.started("sample"), cwd=tmp_path).stdout
        assert "stay as they are" in run(*services.started("sample"), cwd=tmp_path).stdout

        lives = {}
        for name in ("code", "daemon", "web", "serve"):
            started = running(services.started(name), tmp_path, dict(os.environ), services.log(name))
            lives[name] = stack.enter_context(started)
        ui = f"http://127.0.0.1:{ports['web']}"
        assert "dagster_version" in wait_for_answer(f"{ui}/server_info", lives["web"], services.log("web"))
        # Nobody asks for it: the sensor sees a source that is new.
        assert wait_for_run(ui, lives["web"], services.log("daemon")) == "SUCCESS"
        batches = f"http://127.0.0.1:{ports['serve']}/batches"
        assert wait_for_answer(
            batches, lives["serve"], services.log("serve"), Authorization="Bearer sample-token-of-compose"
        )
        for name, is_running in lives.items():
            run(*services.checked(name, config["Healthcheck"]["Test"]), cwd=tmp_path)
            assert is_running(), services.log(name).read_text()

        assert "Nothing changed" in run(*services.command("code", ["lei-exports", "run"]), cwd=tmp_path).stdout
        # What a service may write to is its volume, so the rest can be read-only.
        written = ["sh", "-c", f"find / -xdev -user {ACCOUNT} -not -path '/proc/*' 2>/dev/null || true"]
        kept = run(*services.command("code", written), cwd=tmp_path).stdout.split()
        assert HOME in kept
        assert [path for path in kept if not path.startswith((HOME, "/tmp", "/dev"))] == []  # noqa: S108


def test_the_ui_command_and_a_run_with_the_sample_need_no_other_container(image: str, tmp_path: Path) -> None:
    """`run`, then `ui`, which docs/deploy/kubernetes has: PostgreSQL is the embedded one."""
    volume, port = tmp_path / "volume", free_port()
    volume.mkdir()
    os.chown(volume, ACCOUNT, ACCOUNT)
    with container(image, tmp_path) as name:
        folders = [f"{volume}:{HOME}"]
        assert "Snapshot" in run(*command_in(name, ["lei-exports", "run"], {}, folders), cwd=tmp_path).stdout
        log = tmp_path / "log"
        command = command_in(name, ["lei-exports", "ui", "--port", str(port)], {}, folders)
        with running(command, tmp_path, dict(os.environ), log) as lives:
            ui = f"http://127.0.0.1:{port}"
            assert "dagster_version" in wait_for_answer(f"{ui}/server_info", lives, log)
            assert launch(ui, lives, log) == "SUCCESS"
