"""PostgreSQL's versions of the ten questions give the answers of docs/analysts.md: both are the same question."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from bench.generate import fill
from bench.questions import Question, comparable, questions, subjects
from tests.exporting import export, settings_for
from tests.oracle.postgres import Cluster
from tests.oracle.source import create_source_tables, load_csv_dir

pytestmark = [pytest.mark.integration, pytest.mark.extended]

ROOT = Path(__file__).resolve().parents[2]
ALL = range(1, 11)
# The others, as one writes them in PostgreSQL, judge no rows: the sample's blank domains and repeated LEIs count.
ON_THE_SAMPLE = (1, 7, 9)
# Nothing in the generated data is rejected.
EMPTY_ON_GENERATED = {9}


@dataclass
class Both:
    """A database and what was exported of it."""

    exported: duckdb.DuckDBPyConnection
    source: psycopg.Connection[Any]
    questions: dict[int, Question]

    def ask(self, number: int) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        question = self.questions[number]
        ours = self.exported.execute(question.exported).fetchall()
        return comparable(ours), comparable(self.source.execute(question.source.encode()).fetchall())


@pytest.fixture(scope="module")
def generated(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with cluster.new_database() as database:
        fill(database.url, 12_000, random_order=True)  # three batches
        snapshot = export(settings_for(database, tmp_path_factory.mktemp("generated")))
        with snapshot.connect() as exported, database.connect(autocommit=True) as source:
            yield Both(exported, source, {q.number: q for q in questions(*subjects(source))})


@pytest.fixture(scope="module")
def sample(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with cluster.new_database() as database:
        with database.connect() as connection:
            create_source_tables(connection)
            load_csv_dir(connection, ROOT / "pipelines" / "sample" / "data")
        snapshot = export(settings_for(database, tmp_path_factory.mktemp("sample")))
        with snapshot.connect() as exported, database.connect(autocommit=True) as source:
            yield Both(exported, source, {q.number: q for q in questions()})


@pytest.mark.parametrize("number", ALL)
def test_answers_on_generated_data(generated: Both, number: int) -> None:
    ours, theirs = generated.ask(number)
    assert theirs == ours
    assert bool(ours) == (number not in EMPTY_ON_GENERATED)


@pytest.mark.parametrize("number", ON_THE_SAMPLE)
def test_answers_on_the_sample(sample: Both, number: int) -> None:
    ours, theirs = sample.ask(number)
    assert ours
    assert theirs == ours
