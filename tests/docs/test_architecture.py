"""docs/architecture.md and its picture name what is there: assets, steps, arrows, rooms, files of a snapshot."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import dagster as dg
import pytest

from assets.defs.definitions import build_definitions
from pipelines.contracts.tables import published_tables
from pipelines.report.rendering import REPORT
from pipelines.snapshots.opening import CURRENT, DATABASE, MANIFEST, SNAPSHOTS
from tests.unit.test_borders import ROOMS

pytestmark = [pytest.mark.orchestration, pytest.mark.fast]

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PICTURE = ET.parse(ROOT / "docs" / "images" / "architecture.svg").getroot()  # noqa: S314  our own file
SVG = "{http://www.w3.org/2000/svg}"


def texts(kind: str) -> list[str]:
    """Texts of the picture of a class."""
    return [element.text or "" for element in PICTURE.iter(f"{SVG}text") if element.get("class") == kind]


def steps() -> dict[dg.AssetKey, str]:
    """The step that makes each asset; the source's are made by none."""
    graph = build_definitions().resolve_asset_graph()
    nodes = {key: graph.get(key) for key in graph.get_all_asset_keys()}
    return {key: node.assets_def.op.name if node.is_executable else "source" for key, node in nodes.items()}


def test_every_asset_and_step_is_in_the_picture() -> None:
    assert sorted(texts("asset")) == sorted(key.to_user_string() for key in steps())
    shown = {title.removeprefix("step ") for title in texts("title") if title.startswith("step ")}
    assert shown == set(steps().values()) - {"source"}


def test_every_arrow_is_a_dependency() -> None:
    """And every dependency between steps an arrow; what readers do is no asset."""
    graph, step_of = build_definitions().resolve_asset_graph(), steps()
    expected = {
        (step_of[parent], step_of[key])
        for key in step_of
        for parent in graph.get(key).parent_keys
        if step_of[parent] != step_of[key]
    }
    arrows = {(path.get("data-from"), path.get("data-to")) for path in PICTURE.iter(f"{SVG}path") if path.get("class")}
    assert arrows == {*expected, ("published", "readers")}


def test_rooms_are_those_of_the_map() -> None:
    assert set(re.findall(r"^\| `((?:pipelines|assets)[^`]*)` \|", TEXT, re.MULTILINE)) == set(ROOMS)
    named = {room for text in PICTURE.itertext() for room in re.findall(r"(?:pipelines|assets)/[a-z_]+", text)}
    assert named
    assert named < set(ROOMS)


def test_files_and_folders_are_those_that_are_written() -> None:
    tables = {f"{table.name}/" for table in published_tables(include_full_data=False)}
    shown = {name for text in texts("folder") for name in text.split()} - {"…"}
    assert {f"{SNAPSHOTS}/<id>/", MANIFEST, DATABASE, REPORT} <= shown
    assert shown - {f"{SNAPSHOTS}/<id>/", MANIFEST, DATABASE, REPORT} <= tables
    assert any(f"the link {CURRENT}" in text for text in texts("note"))


def test_what_starts_a_run_is_there() -> None:
    definitions = build_definitions()
    assert {schedule.name for schedule in definitions.schedules or ()} == set(re.findall(r"schedule `(\w+)`", TEXT))
    assert {sensor.name for sensor in definitions.sensors or ()} == set(re.findall(r"sensor `(\w+)`", TEXT))
    assert {job.name for job in definitions.jobs or ()} == set(re.findall(r"the job `(\w+)`", TEXT))


def test_every_path_and_make_target_is_there() -> None:
    for path in re.findall(r"`((?:pipelines|assets|tests|docs|examples|data)/[\w./-]*)`", TEXT):
        assert (ROOT / path).exists(), path
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`make ([a-z]+)`", TEXT):
        assert f"\n{target}:" in makefile, target
