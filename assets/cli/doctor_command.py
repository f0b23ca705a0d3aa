"""The command `lei-exports doctor`: what a run would find, before it runs."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from assets.cli.console import name_new_folder, new_console, print_wrapped, styled
from pipelines.checks.findings import Finding, failed
from pipelines.errors import SettingsError
from pipelines.settings import Settings, load_settings

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}
_VERDICT_WIDTH = 7
_TOPIC_WIDTH = 22


def diagnose_all(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for a script.")] = False,
    test_alert: Annotated[
        bool, typer.Option("--test-alert", help="Post a test to ALERT_WEBHOOK_URL too; people will see it.")
    ] = False,
) -> None:
    """Look at settings, disk, connection, pooler, server, privileges and columns, and say how to fix what is wrong.

    Nothing is exported, and nothing is changed in PostgreSQL. Exit status 1 where a run would fail.
    """
    findings = _shown(_findings(test_alert=test_alert), as_json=as_json)
    if any(finding.verdict == "failed" for finding in findings):
        raise typer.Exit(1)


def _findings(*, test_alert: bool) -> Iterator[Finding]:
    from pipelines.build.diagnosis import diagnose  # noqa: PLC0415  loads all that a run needs

    try:
        settings = load_settings()
    except SettingsError as error:
        yield failed("settings", error)
        return
    name_new_folder(settings.export_dir, settings.dagster_home)
    yield from diagnose(settings)
    if test_alert:
        yield _post_test(settings)


def _post_test(settings: Settings) -> Finding:
    from pipelines.alerts.webhook import Alert, post_alert  # noqa: PLC0415  as above

    url = settings.alert_webhook_url
    if url is None:
        return Finding("test alert", "failed", "ALERT_WEBHOOK_URL is unset", "set it")
    said: list[str] = []
    reason = "this is a test of lei-exports doctor; nothing happened"
    if post_alert(url, Alert("test", datetime.now(UTC), reason), said.append):
        return Finding("test alert", "ok", "somebody took it")
    return Finding("test alert", "failed", " ".join(said), "check the webhook and the network between")


def _shown(findings: Iterable[Finding], *, as_json: bool) -> list[Finding]:
    """Show each finding as soon as it is there; as JSON all at the end."""
    console, seen = new_console(), []
    for finding in findings:
        seen.append(finding)
        if as_json:
            continue
        verdict = (f"{finding.verdict:<{_VERDICT_WIDTH}}", _COLOURS[finding.verdict])
        print_wrapped(console, finding.found, styled(verdict, f" {finding.topic:<{_TOPIC_WIDTH}} "))
        if finding.fix:
            print_wrapped(console, finding.fix, f"{'':<{_VERDICT_WIDTH}} {'':<{_TOPIC_WIDTH}} fix: ")
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in seen], indent=2))
    return seen
