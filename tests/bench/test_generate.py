"""The benchmark's data is what docs/benchmarks.md says of it, and the same every time."""

import numpy as np
import polars as pl
import pytest
from stdnum import lei

from bench.generate import Population, fill
from tests.oracle.postgres import Cluster, Database

pytestmark = pytest.mark.extended

ROWS = 30_000


@pytest.fixture(scope="module")
def population() -> Population:
    return Population(ROWS)


@pytest.fixture(scope="module")
def domains(population: Population) -> pl.DataFrame:
    return population.domains(np.arange(population.rows))


@pytest.fixture(scope="module")
def candidates(population: Population) -> pl.DataFrame:
    return population.candidates_of(np.arange(population.candidates))


def test_two_fifths_of_the_domains_are_in_two_batches(domains: pl.DataFrame) -> None:
    batches = domains.group_by("domain").agg(rows=pl.len(), batches=pl.col("batch_id").n_unique())
    assert domains.height == ROWS
    assert batches["rows"].max() == 2
    assert (batches["rows"] == 2).mean() == pytest.approx(0.4, abs=0.001)
    # One batch holds the last first rows and the first second ones; of a million rows that is 1 in 300.
    assert (batches["batches"] == 2).sum() / (batches["rows"] == 2).sum() > 0.95


def test_leis_are_a_third_of_the_candidates_and_valid(candidates: pl.DataFrame, domains: pl.DataFrame) -> None:
    assert candidates["lei_code"].n_unique() / candidates.height == pytest.approx(1 / 3, abs=0.01)
    assert candidates.height / domains.height == pytest.approx(4.714, rel=0.02)
    assert all(lei.is_valid(code) for code in candidates["lei_code"].unique().sort()[:500])


def test_nothing_is_to_be_rejected(candidates: pl.DataFrame) -> None:
    assert candidates.select("domain_id", "lei_code").is_unique().all()
    assert candidates.group_by("lei_code").agg(pl.col("legal_name").n_unique())["legal_name"].max() == 1


def test_the_primary_lei_is_the_first_candidate(candidates: pl.DataFrame, domains: pl.DataFrame) -> None:
    first = candidates.filter("is_primary_selection").select("domain_id", "lei_code", "legal_name")
    chosen = domains.filter(pl.col("primary_lei_code").is_not_null())
    joined = chosen.join(first, left_on="id", right_on="domain_id", how="full")
    assert joined.height == first.height
    assert (joined["primary_lei_code"] == joined["lei_code"]).all()
    assert (joined["primary_gleif_name"] == joined["legal_name"]).all()


def test_lengths_are_like_real_ones(candidates: pl.DataFrame, domains: pl.DataFrame) -> None:
    """Means of the application's real rows: domain 12, company 20, legal name 28 characters."""
    assert 10 < domains["domain"].str.len_chars().mean() < 25
    assert 15 < domains["company_name"].drop_nulls().str.len_chars().mean() < 30
    assert 20 < candidates["legal_name"].str.len_chars().mean() < 40


def _contents(database: Database) -> list[object]:
    with database.connect() as connection:
        return [
            connection.execute(query).fetchone()
            for query in (
                "SELECT count(*), md5(string_agg(md5(d::text), '' ORDER BY id)) FROM domains AS d",
                "SELECT count(*), md5(string_agg(md5(c::text), '' ORDER BY id)) FROM gleif_candidates AS c",
                "SELECT md5(string_agg(id::text, ',' ORDER BY ctid)) FROM gleif_candidates",
            )
        ]


@pytest.mark.integration
def test_the_same_arguments_give_the_same_rows_in_the_same_place(cluster: Cluster) -> None:
    with cluster.new_database() as one, cluster.new_database() as other, cluster.new_database() as in_order:
        fill(one.url, 2_000, random_order=True)
        fill(other.url, 2_000, random_order=True)
        fill(in_order.url, 2_000, random_order=False)
        found, again, ordered = (_contents(database) for database in (one, other, in_order))
        assert found == again
        assert found[:2] == ordered[:2]
        assert found[2] != ordered[2]
