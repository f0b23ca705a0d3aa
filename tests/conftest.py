"""Fixtures of all tests: one PostgreSQL for each process of the run, a database per test, the shared data.

NO_SKIP=1 turns every skip into a failure.

Helpers to import: tests.oracle.source (tables and rows), tests.oracle.compare (the oracle), tests.oracle.server
(another PostgreSQL), tests.oracle.prepared (what a run makes once), tests.hostile and tests.random_rows (rows).
"""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
from xdist.remote import Producer

from tests.oracle.postgres import Cluster, Database
from tests.oracle.prepared import begin_run, end_run
from tests.oracle.server import cluster_of_run
from tests.parallel import GroupScheduling, tell_groups
from tests.published import PublishedSources, published_sources_of
from tests.tiers import TIERS, settle_tiers

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


# How long an example takes, or to draw one, says more of what else the machine does.
_TOO_SLOW = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile("tests", deadline=None, suppress_health_check=_TOO_SLOW)
hypothesis.settings.load_profile("tests")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The one PostgreSQL of this process: PG_TEST_URL, else embedded."""
    with cluster_of_run() as cluster:
        yield cluster


@pytest.fixture
def database(cluster: Cluster) -> Iterator[Database]:
    """A new, empty database; its name is the same in all tests of this process."""
    with cluster.new_database(f"lei_test_{os.getpid()}") as database:
        yield database


@pytest.fixture(scope="session")
def published_sources(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublishedSources]:
    """Sources that are published already, for tests to go on from."""
    with published_sources_of(cluster, tmp_path_factory.mktemp("published")) as sources:
        yield sources


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The directory of real `domains` and `gleif_candidates` data."""
    if not (SHARED_DATA / "domains.csv").is_file():
        pytest.skip(f"no real data: {SHARED_DATA} is missing")
    return SHARED_DATA


COMPLAINTS = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """The tiers' markers; in the process that was started: a folder for what its workers share."""
    for name, what in TIERS.items():
        config.addinivalue_line("markers", f"{name}: {what}")
    folder = begin_run()
    if folder is not None:
        config.add_cleanup(lambda: end_run(folder))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Before anything is selected by it: the tier of each test. tests/unit/test_tiers.py looks at what is wrong."""
    config.stash[COMPLAINTS] = settle_tiers(items)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """In a process that runs tests for another, before it says that it has them: tell which of them stay together."""
    if hasattr(session.config, "workerinput"):
        tell_groups(session.items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> GroupScheduling | None:
    """With `--dist loadgroup`: the scheduler that keeps them together."""
    return GroupScheduling(config, log) if config.getoption("dist") == "loadgroup" else None


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
