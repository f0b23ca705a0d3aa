"""report.html as a whole: whatever the tables hold, it is well-formed, complete, self-contained and harmless."""

import itertools
import re

import polars as pl
import pytest

from pipelines.contracts.records import CheckRecord, FileRecord
from pipelines.contracts.tables import published_tables
from pipelines.report.differences import MAX_COMPARED_ROWS, ChangedFiles
from pipelines.report.rendering import render_report
from tests.report.kit import HOSTILE, SCRIPT, Frames, Page, batches, empty, hostile, lazy, manifest_of, ordinary

pytestmark = pytest.mark.fast

HISTORY = ["history-rows", "history-rejects", "history-warnings", "history-duration", "history-size"]
CARDS = ["over-time", "batches", "primaries", "candidates-per-domain", "confidence", "jurisdictions", "statuses"]
CARDS += ["rejects", "timings"]


def page_of(frames: Frames) -> bytes:
    return render_report(lazy(frames), manifest_of(frames), [manifest_of(frames, id="before", sequence=1)])


@pytest.fixture(scope="module", params=[ordinary, empty, hostile], ids=lambda make: make.__name__)
def page(request: pytest.FixtureRequest) -> bytes:
    return page_of(request.param())


@pytest.fixture(scope="module")
def ordinary_page() -> Page:
    return Page(page_of(ordinary()))


def test_is_well_formed_with_every_card_in_its_place(page: bytes) -> None:
    read = Page(page)
    assert [attributes["id"] for tag, attributes in read.tags if tag == "article"] == HISTORY + CARDS
    levels = [int(tag[1]) for tag, _ in read.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    identifiers = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))


def test_loads_nothing_and_runs_nothing(page: bytes) -> None:
    read = Page(page)
    assert b"http:" not in page.replace(b"http-equiv", b"")
    assert not {tag for tag, _ in read.tags} & {"script", "iframe", "img", "link", "object", "embed", "base", "image"}
    for tag, attributes in read.tags:
        assert not {"src", "xlink:href", "style", "srcset", "action"} & set(attributes), tag
        assert not [name for name in attributes if name.startswith("on")], tag
    links = {attributes["href"] for tag, attributes in read.tags if "href" in attributes}
    assert links <= {f"#{attributes['id']}" for _, attributes in read.tags if "id" in attributes}, "within the page"
    style = page[page.index(b"<style>") : page.index(b"</style>")]
    assert b"url(" not in style
    assert b"@import" not in style
    policy = next(a["content"] for t, a in read.tags if t == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_every_drawing_has_a_name_and_every_table_a_caption(page: bytes) -> None:
    read = Page(page)
    drawings = [attributes for tag, attributes in read.tags if tag == "svg"]
    assert all(a["role"] == "img" and len(a["aria-label"] or "") > 20 for a in drawings)
    tags = [tag for tag, _ in read.tags]
    assert tags.count("caption") == tags.count("table")
    assert all(attributes["scope"] == "col" for tag, attributes in read.tags if tag == "th")


def test_is_the_same_for_the_same_tables() -> None:
    assert page_of(ordinary()) == page_of(ordinary())


def test_works_with_the_tables_that_there_are() -> None:
    frames = ordinary()
    read = Page(render_report(lazy({"rejected_rows": frames["rejected_rows"]}), manifest_of(frames)))
    assert [attributes["id"] for tag, attributes in read.tags if tag == "article"] == ["rejects", "timings"]


def test_of_empty_tables_says_so_without_drawings() -> None:
    read = Page(page_of(empty()))
    assert set(read.labels) == {"timings", "history-warnings", "history-duration"}
    assert "No source row was rejected." in read.texts


def test_hostile_values_are_text() -> None:
    page = page_of_rows(*(frames["domain_exports"] for frames in (hostile(), ordinary())), hostile())
    assert SCRIPT.encode() not in page
    assert b"<iframe" not in page
    assert SCRIPT in "".join(Page(page).texts)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200e\u200f\x00-\x08\x0b-\x1f]", page.decode())
    assert len(page) < 400_000
    assert len(Page(page).tables["batches"]) == 1 + len(HOSTILE)


def test_no_content_of_rows_but_vocabulary_batches_and_counts() -> None:
    secret = "a private text"
    frames = {
        name: frame.with_columns(
            pl.lit(secret).alias(column)
            for column, dtype in frame.schema.items()
            if dtype == pl.String
            and column
            not in {
                "batch_id",
                "status",
                "jurisdiction",
                "entity_status",
                "registration_status",
                "reason",
                "source_table",
            }
        )
        for name, frame in ordinary().items()
    }
    assert secret.encode() not in page_of(frames)


def test_figures_of_batches(ordinary_page: Page) -> None:
    domains = ordinary()["domain_exports"]
    first = domains.group_by("batch_id").agg(pl.col("created_at").min(), pl.len()).sort("created_at", descending=True)
    assert [row[0] for row in ordinary_page.tables["batches"][1:]] == first["batch_id"].to_list()
    assert ordinary_page.numbers("batches", 2) == first["len"].to_list()
    header = ordinary_page.tables["batches"][0]
    assert header == ["batch", "first row", "domain rows", "success", "failed", "processing", "pending", "other"]
    for column, status in enumerate(header[3:7], start=3):
        assert sum(ordinary_page.numbers("batches", column)) == domains.filter(status=status).height
    assert sum(ordinary_page.numbers("batches", 7)) == domains.filter(status="odd").height


def test_figures_over_time(ordinary_page: Page) -> None:
    domains = ordinary()["domain_exports"]
    dated = domains.drop_nulls("created_at")
    assert sum(ordinary_page.numbers("over-time", 1)) == dated.height == domains.height - 1
    assert "1 without a date" in "".join(ordinary_page.texts)
    by_period = dated.group_by(pl.col("created_at").dt.truncate("6h").dt.strftime("%Y-%m-%d %Hh")).len()
    assert dict(by_period.iter_rows()) == {
        row[0]: int(row[1]) for row in ordinary_page.tables["over-time"][1:] if row[1] != "0"
    }


def test_figures_of_candidates_per_domain(ordinary_page: Page) -> None:
    counts = ordinary()["domain_exports"]["gleif_candidate_count"].to_list()
    expected = {str(n): counts.count(n) for n in range(21)} | {"21+": sum(n > 20 for n in counts)}
    assert {row[0]: int(row[1]) for row in ordinary_page.tables["candidates-per-domain"][1:]} == expected


def test_figures_of_confidence(ordinary_page: Page) -> None:
    scores = ordinary()["domain_exports"]["confidence_score"].to_list()
    known = [score for score in scores if score is not None]
    rows = {row[0]: int(row[1]) for row in ordinary_page.tables["confidence"][1:]}
    assert rows["(none)"] == scores.count(None)
    assert rows["< 0"] == sum(score < 0 for score in known)
    assert rows["> 100"] == sum(score > 100 for score in known)
    assert rows["0 to < 5"] == sum(0 <= score < 5 for score in known)
    assert rows["5 to < 10"] == sum(5 <= score < 10 for score in known)
    assert rows["95 to 100"] == sum(95 <= score <= 100 for score in known)
    assert sum(rows.values()) == len(scores)


def test_figures_of_primaries(ordinary_page: Page) -> None:
    frames = ordinary()
    valid = {
        (row["domain_id"], row["lei_code"]) for row in frames["candidate_exports"].to_dicts() if row["is_valid_lei"]
    }
    expected = {"valid primary": 0, "primary not valid": 0, "none chosen": 0, "no candidates": 0}
    for row in frames["domain_exports"].to_dicts():
        chosen = (row["primary_lei_code"] or "").strip()
        if chosen:
            expected["valid primary" if (row["domain_id"], chosen) in valid else "primary not valid"] += 1
        else:
            expected["none chosen" if row["gleif_candidate_count"] else "no candidates"] += 1
    assert min(expected.values()) > 0
    assert {row[0]: int(row[1]) for row in ordinary_page.tables["primaries"][1:]} == expected


def test_figures_of_jurisdictions(ordinary_page: Page) -> None:
    counts = ordinary()["candidate_exports"].group_by(pl.col("jurisdiction").fill_null("(none)")).len()
    rows = ordinary_page.tables["jurisdictions"][1:]
    assert {row[0]: int(row[1]) for row in rows} == dict(counts.iter_rows())
    assert [int(row[1]) for row in rows] == sorted((int(row[1]) for row in rows), reverse=True)


def test_figures_of_gleif_statuses(ordinary_page: Page) -> None:
    candidates = ordinary()["candidate_exports"]
    counts = candidates.group_by("entity_status", "registration_status").len()
    expected = {(e or "others", r or "(none)"): n for e, r, n in counts.iter_rows()}
    rows = {(row[0], row[1]): int(row[2]) for row in ordinary_page.tables["statuses"][1:]}
    assert {cell: n for cell, n in rows.items() if n} == expected
    assert len(rows) == 9


def test_figures_of_rejects(ordinary_page: Page) -> None:
    counts = ordinary()["rejected_rows"].group_by("reason", "source_table").len()
    rows = {(row[0], row[1]): int(row[2]) for row in ordinary_page.tables["rejects"][1:]}
    assert rows == {(reason, table): n for reason, table, n in counts.iter_rows()}


def test_changes_since_the_snapshot_before() -> None:
    now, before = ordinary(), empty()
    manifest = manifest_of(now, base_snapshot="20261122T065932Z-00000001", changed_segments=("000003", "000007"))
    read = Page(render_report(lazy(now), manifest, [manifest_of(before, id="20261122T065932Z-00000001", sequence=1)]))
    assert read.tables["Rows per table"][1:] == [
        ["domain_exports", "0", "40", "+40"],
        ["candidate_exports", "0", "80", "+80"],
        ["rejected_rows", "0", "7", "+7"],
    ]
    text = "".join(read.texts)
    assert "Compared with snapshot 20261122T065932Z-00000001 (sequence 1)" in text
    assert "2 segments changed and read again (000003, 000007)" in text


def page_of_batches(now: pl.DataFrame, before: pl.DataFrame) -> Page:
    frames = {**ordinary(), "batch_summaries": now}
    previous = manifest_of(frames, id="before", sequence=1)
    return Page(render_report(lazy(frames), manifest_of(frames), [previous], before.lazy()))


def test_changes_of_batches_are_counted_and_drawn() -> None:
    """A row that changed its status is in no difference of numbers of rows."""
    read = page_of_batches(batches(a=3, b=None, d=2), batches(a=3, b=1, c=5))
    assert "Batches: 1 new, 1 gone, 1 changed, 1 as before." in read.texts
    assert read.tables["changes-by-kind"] == [
        ["domain rows", "before", "now", "difference"],
        ["success", "9", "5", "\N{MINUS SIGN}4"],
        ["failed", "0", "1", "+1"],
    ]
    assert "changes-by-kind" in read.labels


def test_batches_without_a_change_are_said_not_drawn() -> None:
    read = page_of_batches(batches(a=3), batches(a=3))
    assert "Batches: 1 as before; no count differs." in read.texts
    assert "changes-by-kind" not in read.labels


def test_batches_of_an_older_contract_are_compared_by_what_both_have() -> None:
    older = batches(a=2).drop("with_primary_count").with_columns(pl.col("failed_count").cast(pl.Float64))
    read = page_of_batches(batches(a=3), older)
    assert "Batches: 1 changed, 0 as before." in read.texts
    assert [row[0] for row in read.tables["changes-by-kind"][1:]] == ["success"]


def page_of_rows(before: pl.DataFrame, now: pl.DataFrame, frames: Frames) -> bytes:
    changed = {"domain_exports": ChangedFiles(("domain_id",), before.lazy(), now.lazy(), now.height)}
    earlier = [manifest_of(frames, id="before", sequence=1)]
    return render_report(lazy(frames), manifest_of(frames), earlier, changed=changed)


def test_domain_rows_that_are_new_gone_or_changed_are_named_by_id() -> None:
    frames = ordinary()
    now = frames["domain_exports"].with_columns(domain=pl.format("d{}.example", "domain_id"))
    is_third = pl.col("domain_id") == 3
    other = [
        pl.when(is_third).then(pl.lit(text)).otherwise(name).alias(name)
        for name, text in (("status", "failed"), ("company_name", "Acme"))
    ]
    before = now.with_columns(other).filter(pl.col("domain_id") <= 9).filter(pl.col("domain_id") != 5)
    read = Page(page_of_rows(before, now.filter(pl.col("domain_id") != 2), frames))
    text = "".join(read.texts)
    assert "Domain rows: 32 new, 1 gone, 1 changed. The first 20 of each kind, by id, are named." in text
    assert read.tables["Rows that differ, by table"][1:] == [["domain_exports", "32", "1", "1"]]
    header, *rows = read.tables["Domain rows that differ, by id"]
    assert header == ["kind", "domain_id", "domain", "differs in", "batch"]
    assert [row[1] for row in rows if row[0] == "new"] == ["5", *map(str, range(10, 29))]
    assert rows[20:] == [
        ["gone", "2", "d2.example", "", "batch-2"],
        ["changed", "3", "d3.example", "status, company_name", "batch-0"],
    ]


def test_rows_of_an_older_contract_are_compared_by_what_both_have() -> None:
    now = ordinary()["domain_exports"]
    read = Page(page_of_rows(now.drop("company_name"), now, ordinary()))
    assert read.tables["Rows that differ, by table"][1:] == [["domain_exports", "0", "0", "0"]]


def test_too_many_rows_to_compare_are_said() -> None:
    frames = ordinary()
    rows = frames["domain_exports"].lazy()
    changed = {"domain_exports": ChangedFiles(("domain_id",), rows, rows, MAX_COMPARED_ROWS + 1)}
    read = Page(render_report(lazy(frames), manifest_of(frames), [manifest_of(frames)], changed=changed))
    assert read.tables["Rows that differ, by table"][1:] == [["domain_exports", *["not compared"] * 3]]
    assert "Tables with more than 500,000 rows in files that differ were not compared." in read.texts


def test_history_of_the_last_snapshots() -> None:
    frames = ordinary()
    file = FileRecord(path="exports.duckdb", segment=None, rows=0, bytes=2_500_000, sha256="")
    earlier = [
        manifest_of(empty(), id=f"s{number}", sequence=number, timings_s={"stage_read": number}) for number in (7, 8)
    ]
    manifest = manifest_of(frames, sequence=9, database=file, timings_s={"stage_read": 90})
    read = Page(render_report(lazy(frames), manifest, earlier))
    assert [row[0] for row in read.tables["history-rows"]] == ["sequence", "7", "8", "9"]
    assert read.tables["history-rows"][3][2:] == ["40", "80", "7"]
    assert read.tables["history-rejects"][3][2] == "7"
    assert read.tables["history-warnings"][3][2] == "1"
    assert [row[2] for row in read.tables["history-duration"][1:]] == [f"{n}.0 s" for n in (7, 8, 90)]
    assert read.tables["history-size"][3][2] == "2.5 MB"
    assert "From 0 to 120 domain rows and candidates in the last 3 snapshots." in read.texts
    assert "history-rows" not in Page(render_report(lazy(frames), manifest)).labels


def test_a_long_batch_id_is_shown_whole_on_demand() -> None:
    frames = ordinary()
    long = "a-batch-" * 10
    frames["domain_exports"] = frames["domain_exports"].with_columns(batch_id=pl.lit(long))
    page = page_of(frames)
    assert Page(page).tables["batches"][1][0] == f"{long[:39]}…{long}"
    assert b"<details class=whole>" in page


def test_blank_and_none_are_one_thing() -> None:
    """The heat map had a column (blank) beside (none), which nobody could tell apart."""
    frames = ordinary()
    blank = [pl.when(pl.col("candidate_id") % 2 == 0).then(pl.lit(" ")).alias("jurisdiction")]
    frames["candidate_exports"] = frames["candidate_exports"].with_columns(blank)
    assert Page(page_of(frames)).tables["jurisdictions"][1:] == [["(none)", "80"]]


def test_every_table_is_in_the_dictionary_that_its_charts_lead_to(ordinary_page: Page) -> None:
    for table in published_tables(include_full_data=False):
        rows = ordinary_page.tables[f"Columns of {table.name}"][1:]
        assert [row[0] for row in rows] == list(table.columns)
    links = {attributes["href"] for tag, attributes in ordinary_page.tags if tag == "a"}
    assert links >= {f"#table-{name}" for name in ordinary()} | {"#changes", "#history", "#checks", "#dictionary"}


def test_checks_worst_first_and_open_where_one_did_not_pass() -> None:
    frames = ordinary()
    failed = CheckRecord(
        table="snapshot",
        name="faces_agree",
        passed=False,
        severity="error",
        metadata={"failed": [SCRIPT], "rows": 1234},
    )
    manifest = manifest_of(frames)
    page = render_report(lazy(frames), manifest.model_copy(update={"checks": (*manifest.checks, failed)}))
    rows = Page(page).tables["Checks of the snapshot and its tables"]
    assert [row[0].split()[-1] for row in rows[1:]] == ["failed", "warning", "passed"]
    assert rows[1][3] == f'failed ["{SCRIPT}"], rows 1,234'
    assert rows[2][1:] == ["domain_exports", "source_hash_agrees", "rows differ 1"]
    assert b"<details open>" in page
    calm = tuple(table.model_copy(update={"checks": ()}) for table in manifest.tables)
    assert b"<details open>" not in render_report(lazy(frames), manifest.model_copy(update={"tables": calm}))


def test_header_says_which_snapshot_of_what(ordinary_page: Page) -> None:
    text = " ".join(ordinary_page.texts)
    source = "database app at cluster 7711307137820363992, schema public"
    for fact in ("20261123T065932Z-1f3a9c2e", "sequence 2", source, "06:59:32 UTC", "1.0.0"):
        assert fact in text
