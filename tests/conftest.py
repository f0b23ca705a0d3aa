"""Fixtures of all tests: one PostgreSQL for the run, a database per test, the shared data.

NO_SKIP=1 turns every skip into a failure.

Helpers to import: tests.oracle.source (tables and rows), tests.oracle.compare (the oracle), tests.oracle.postgres
(another cluster), tests.hostile (hostile rows).
"""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.oracle.postgres import Cluster, Database, NoPostgresError, cluster_of_run
from tests.oracle.source import create_source_tables, load_csv_dir

__all__ = ["create_source_tables", "load_csv_dir"]

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The one PostgreSQL of this run: PG_TEST_URL, else embedded."""
    context = cluster_of_run()
    try:
        started = context.__enter__()
    except NoPostgresError as error:
        pytest.skip(str(error))
    try:
        yield started
    finally:
        context.__exit__(None, None, None)


@pytest.fixture
def database(cluster: Cluster) -> Iterator[Database]:
    """A new, empty database."""
    with cluster.new_database() as database:
        yield database


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The directory of real `domains` and `gleif_candidates` data."""
    if not (SHARED_DATA / "domains.csv").is_file():
        pytest.skip(f"no real data: {SHARED_DATA} is missing")
    return SHARED_DATA


def _may_not_skip() -> bool:
    return os.environ.get("NO_SKIP") == "1"


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With NO_SKIP=1 a skipped test (not an expected failure) is a failed one."""
    report = yield
    if _may_not_skip() and report.skipped and not hasattr(report, "wasxfail"):
        report.longrepr = f"NO_SKIP=1, but this was skipped: {_reason(report)}"
        report.outcome = "failed"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """With NO_SKIP=1 a module that skips itself while it is collected is a failed one."""
    report = yield
    if _may_not_skip() and report.skipped:
        report.longrepr = f"NO_SKIP=1, but this was skipped: {_reason(report)}"
        report.outcome = "failed"
    return report
