"""What must be imported first is imported first: a lint fix that takes such an import away costs a tenth of a run."""

import subprocess
import sys

import pytest

REPORT = (
    "import importlib, os, sys; importlib.import_module({module!r}); import pyarrow;"
    " print(os.environ.get('_RJEM_MALLOC_CONF'), 'sqlalchemy' in sys.modules, 'dataframely' in sys.modules,"
    " pyarrow.default_memory_pool().backend_name)"
)


def loaded_by(module: str) -> list[str]:
    """After an import in a new process: Polars' setting, are SQLAlchemy and dataframely loaded, Arrow's pool."""
    command = [sys.executable, "-c", REPORT.format(module=module)]
    return subprocess.run(command, capture_output=True, check=True, text=True, env={}).stdout.split()


@pytest.mark.fast
@pytest.mark.parametrize("module", ["assets.cli.commands", "pipelines.serving.__main__"])
def test_a_process_without_dagster_loads_no_sqlalchemy(module: str) -> None:
    assert loaded_by(module)[1:3] == ["False", "True"]


@pytest.mark.parametrize(
    "module",
    [
        pytest.param("assets.cli.commands", marks=pytest.mark.fast),
        pytest.param("assets.defs.definitions", marks=pytest.mark.standard),
    ],
)
def test_polars_and_arrow_get_their_allocators(module: str) -> None:
    found = loaded_by(module)
    assert "narenas:1," in found[0]
    assert found[3] == "system"
