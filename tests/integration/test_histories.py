"""Whatever happens to a source between two exports, the second is that of a full refresh (histories.py says what)."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.histories import run_history
from tests.oracle.server import Server, embedded_programs, new_server

pytestmark = [pytest.mark.integration, pytest.mark.extended]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with new_server(embedded_programs()) as started:
        yield started


@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_any_history_gives_what_a_full_refresh_gives(
    server: Server, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    run_history(server, tmp_path_factory.mktemp("history"), seed, 3)
