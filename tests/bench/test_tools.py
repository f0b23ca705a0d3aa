"""The benchmark's own tools: what is measured, how it is extrapolated, what is written where."""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import duckdb
import polars as pl
import pytest

from bench.agreement import differing_rows
from bench.blocks import TITLES
from bench.chart import draw_ratios
from bench.document import DOCUMENT, figures, write_section
from bench.measure import Measurement, measure, median
from bench.peer_list import GUARANTEES, PEERS, what_each_does
from bench.run import blocks
from bench.run_peers import extrapolated

pytestmark = pytest.mark.extended

ROOT = Path(__file__).resolve().parents[2]
MEGABYTE = 10**6
# 80 MB in a child that is still there when its parent looks for the last time, more output than a pipe holds. The child
# writes 30 MB, and is waited for long before the parent ends.
HEAVY = """
import subprocess, sys, time
code = "import time; kept = b'x' * 80_000_000; open('/dev/null', 'wb', 0).write(kept[:30_000_000]); time.sleep(1)"
child = subprocess.Popen([sys.executable, "-c", code])
print("o" * 200_000)
end = time.process_time() + 0.5
while time.process_time() < end: pass
child.wait()
time.sleep(0.5)
print("last line")
"""


def measurement(seconds: float, **other: float) -> Measurement:
    zero = {"cpu_seconds": 0.0, "server_cpu_seconds": 0.0, "peak_bytes": 0, "peak_shared_bytes": 0, "written_bytes": 0}
    return Measurement(seconds=seconds, **{**zero, **other})  # type: ignore[arg-type]


def test_a_whole_tree_is_measured() -> None:
    found, said = measure([sys.executable, "-c", HEAVY], {})
    assert said.splitlines()[-1] == "last line"
    assert found.seconds > 1
    assert found.cpu_seconds > 0.5
    assert found.peak_bytes > 80 * MEGABYTE
    assert 80 * MEGABYTE < found.peak_shared_bytes <= found.peak_bytes
    assert 30 * MEGABYTE <= found.written_bytes < 31 * MEGABYTE


def test_a_command_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"status 3:\nit broke"):
        measure([sys.executable, "-c", "print('it broke'); raise SystemExit(3)"], {})


def test_a_sample_is_extrapolated_by_the_part_that_grows() -> None:
    whole = extrapolated(measurement(12, cpu_seconds=6, peak_bytes=5), {"sampled_s": 10, "share": 0.1})
    assert whole.seconds == pytest.approx(102)
    assert whole.cpu_seconds == pytest.approx(51)
    assert whole.peak_bytes == 5


def test_medians_and_ratios() -> None:
    results = {
        "floor": [measurement(2), measurement(4), measurement(3)],
        "ours": [measurement(9), measurement(6), measurement(60)],
    }
    assert median(results["ours"]).seconds == 9
    (_, _, floor, ours) = figures({"floor": "F", "ours": "us", "absent": "x"}, results)
    assert floor.startswith("| F | 3.0 | 2.0, 4.0 | 1.00 |")
    assert ours.startswith("| us | 9.0 | 6.0, 60.0 | 3.00 |")


def test_a_section_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    document = tmp_path / "text.md"
    document.write_text(
        "a\n<!-- one: begin -->\nold\n<!-- one: end -->\nb\n<!-- two: begin -->\n<!-- two: end -->\nc\n"
    )
    write_section("one", [r"new \1"], document)
    write_section("one", [r"newer \1"], document)
    assert document.read_text() == (
        "a\n<!-- one: begin -->\n\nnewer \\1\n\n<!-- one: end -->\nb\n<!-- two: begin -->\n<!-- two: end -->\nc\n"
    )
    with pytest.raises(ValueError, match="three"):
        write_section("three", [], document)


def test_the_document_has_every_section() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for name in ("bench", "stages", "blocks", "peers", "queries", "serving"):
        assert len(re.findall(f"<!-- {name}: begin -->.*?<!-- {name}: end -->", text, re.DOTALL)) == 1, name


def test_the_chart_has_every_tool_and_fits_a_phone(tmp_path: Path) -> None:
    ratios = {"ours": 4.0, "two": 3.0, **{peer.name: 5.0 + place for place, peer in enumerate(PEERS)}}
    ratios["per_domain"] = 400.0
    draw_ratios(ratios, tmp_path / "images" / "chart.svg")
    drawing = ET.parse(tmp_path / "images" / "chart.svg").getroot()  # noqa: S314  our own file
    assert float(drawing.attrib["width"]) < 400
    texts = {element.text for element in drawing.iter() if element.text}
    assert {"lei-exports, 7 tables", "400.0 …", "4.0", *(peer.short for peer in PEERS)} <= texts


def test_every_peer_is_described_and_pinned() -> None:
    for peer in PEERS:
        assert set(peer.does) == set(GUARANTEES)
        assert (ROOT / "bench" / "peers" / f"{peer.module}.py").is_file()
        assert all((ROOT / "bench" / "peers" / f"{name}.sql").is_file() for name in peer.arguments)
        lock = (ROOT / "bench" / "peers" / f"{peer.environment}.lock").read_text(encoding="utf-8")
        pins = re.findall(r"^[a-z0-9-]+(?:\[.*?\])?==", lock, re.MULTILINE)
        assert pins
        assert lock.count("--hash=sha256:") >= len(pins)
        assert "http" not in lock
    assert len({peer.name for peer in PEERS}) == len(PEERS)
    assert len(what_each_does()) == 3 + len(PEERS)


def test_a_peer_that_joins_otherwise_is_found(tmp_path: Path) -> None:
    (tmp_path / "exports" / "current").mkdir(parents=True)
    with duckdb.connect(tmp_path / "exports" / "current" / "exports.duckdb") as connection:
        connection.execute(
            "CREATE TABLE domain_exports AS SELECT 1 AS domain_id, 1 AS gleif_candidate_count, 'A' AS all_lei_codes,"
            " 'N' AS all_legal_names, '' AS all_jurisdictions, 'ACTIVE' AS all_entity_statuses"
            " UNION ALL SELECT 2, 0, '', '', '', ''"
        )
        rows = connection.sql("FROM domain_exports").pl()
    for name, changed in (("same", rows), ("other", rows.with_columns(all_legal_names=pl.lit("N")))):
        folder = tmp_path / name
        folder.mkdir()
        changed.write_csv(folder / "domain_exports.csv", quote_style="necessary")
        assert differing_rows(folder, tmp_path / "exports") == (0 if name == "same" else 1), name
    rows.with_columns(domain_id=pl.col("domain_id") + 1).write_parquet(tmp_path / "other" / "domain_exports-0.parquet")
    assert differing_rows(tmp_path / "other", tmp_path / "exports") == 2
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError):
        differing_rows(tmp_path / "none", tmp_path / "exports")


def test_what_all_parts_take_is_divided_among_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    parts = {name: [measurement(9.0, cpu_seconds=10.0, server_cpu_seconds=2.5)] for name in TITLES}
    lines = blocks({"floor": [measurement(5.0)], **parts})
    assert f"| {TITLES['read']} | 9.0 | 12.5 |" in lines
    assert "50.0 CPU seconds on 2 cores are 25.0 s, 5.0 F" in lines[-1]
