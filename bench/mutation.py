"""Changes the rules, the fingerprints and the guards, one place at a time: do their tests notice? `make mutation`.

A mutant is a module with one change. It runs the module's tests below, in this order, until one fails, in a process
that is forked before Polars has threads. Texts stay: most are names of columns, without which everything fails.
"""

import ast
import contextlib
import copy
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import import_module
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType

import pytest

from tests.oracle.prepared import begin_run, end_run
from tests.oracle.server import cluster_of_run

ROOT = Path(__file__).resolve().parents[1]
# What each fork needs is imported once. That plugin would take each another second.
LIBRARIES = "connectorx dataframely duckdb hypothesis.strategies polars psycopg pyarrow pydantic_settings".split()
OPTIONS = "-xq -p no:cacheprovider -p no:schemathesis --hypothesis-seed=0 -Wignore::pytest.PytestAssertRewriteWarning"
LONGEST_S = 120  # a mutant that takes longer is killed: it does not end
SUMMARIES = "unit/test_summaries.py"
ROWS = (
    "unit/test_validation.py integration/test_agreement.py::test_all_hostile_rows_at_once[True]"
    " integration/test_agreement.py::test_random_rows[0]"
)
TESTS = {
    "transform/batch_summaries.py": SUMMARIES,
    "transform/differences.py": "unit/test_differences.py",
    "transform/domain_exports.py": ROWS,
    "transform/entities.py": SUMMARIES,
    "transform/joining.py": f"{SUMMARIES} {ROWS}",
    "transform/jurisdiction_summaries.py": SUMMARIES,
    "transform/ordering.py": f"{SUMMARIES} unit/test_ordering.py",
    "transform/rejected_rows.py": ROWS,
    "transform/text.py": ROWS,
    "transform/unique_domains.py": SUMMARIES,
    "transform/validation.py": ROWS,
    "source/fingerprint.py": "integration/test_fingerprint_sums.py",
    "contracts/segments.py": "unit/test_segments.py",
    "snapshots/guards.py": "publish/test_guards.py",
}
PAIRS = [
    (ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.Is, ast.IsNot), (ast.In, ast.NotIn),
    (ast.And, ast.Or), (ast.Add, ast.Sub), (ast.BitAnd, ast.BitOr),
]  # fmt: skip
SWAPS = dict(PAIRS) | {two: one for one, two in PAIRS}
REMOVED = {"sort", "unique", "fill_null", "filter"}


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """What could stand in place of a node."""
    fields = dict(ast.iter_fields(node))
    match node:
        case ast.Compare(ops=ops):
            for place, op in enumerate(ops):
                yield ast.Compare(**{**fields, "ops": [*ops[:place], SWAPS[type(op)](), *ops[place + 1 :]]})
        case ast.BoolOp(op=op) | ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in SWAPS:
            yield type(node)(**{**fields, "op": SWAPS[type(op)]()})
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.If() | ast.While() | ast.IfExp():
            yield type(node)(**{**fields, "test": ast.UnaryOp(ast.Not(), node.test)})
        case ast.comprehension(ifs=[_, *_]):
            yield ast.comprehension(**{**fields, "ifs": []})
        case ast.Call(func=ast.Attribute(attr=name, value=value)) if name in REMOVED:
            yield value


def mutants(path: Path) -> Iterator[tuple[str, CodeType]]:
    """Each change of a module: its line with what becomes of what, and the code of the changed module."""
    tree = ast.parse(path.read_text())
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            nodes = value if isinstance(value, list) else [value]
            for place, node in enumerate(nodes):
                for new in changes(node) if isinstance(node, ast.AST) else ():
                    changed = [*nodes[:place], new, *nodes[place + 1 :]]
                    setattr(parent, field, changed if isinstance(value, list) else new)
                    code = compile(ast.fix_missing_locations(copy.deepcopy(tree)), path, "exec")
                    setattr(parent, field, value)
                    before, after = (ast.unparse(one).split("\n")[0] for one in (node, new))
                    yield f"{getattr(node, 'lineno', getattr(parent, 'lineno', 0))}: {before}  ->  {after}", code


def survives(path: Path, code: CodeType | None, tests: list[str]) -> bool:
    """Whether all tests pass with this code in place of a module's own."""
    if child := os.fork():
        status = os.waitpid(child, 0)[1]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # what its tests started
        return status == 0
    try:
        os.setpgid(0, 0)
        signal.alarm(LONGEST_S)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        for name in [name for name in sys.modules if name.split(".")[0] in {"pipelines", "tests"}]:
            del sys.modules[name]
        own = SourceFileLoader.get_code
        changed = lambda self, name: code if code and self.path == str(path) else own(self, name)  # noqa: E731
        setattr(SourceFileLoader, "get_code", changed)  # noqa: B010
        os._exit(pytest.main([*OPTIONS.split(), *tests]))
    finally:  # what this process inherited is not its own to clean up
        os._exit(3)


def run(only: str = "") -> Iterator[str]:
    """The mutants that survive, then the figures of the modules whose name has `only` in it."""
    figures = [f"{'module':36} mutants  killed"]
    total = dead = 0
    for name in (name for name in TESTS if only in name):
        path, tests = ROOT / "pipelines" / name, [f"tests/{test}" for test in TESTS[name].split()]
        if not survives(path, None, tests):
            sys.exit(f"{name}: its tests fail without any change: {' '.join(tests)}")
        results = [(what, survives(path, code, tests)) for what, code in mutants(path)]
        yield from (f"survived  {name}:{what}" for what, is_alive in results if is_alive)
        killed = sum(not is_alive for _, is_alive in results)
        total, dead = total + len(results), dead + killed
        figures.append(f"{name:36} {len(results):7} {killed:7}")
    yield from (*figures, f"{'all':36} {total:7} {dead:7}")


if __name__ == "__main__":
    begun, folder = time.monotonic(), begin_run()
    for library in LIBRARIES:
        import_module(library)
    with tempfile.TemporaryDirectory() as examples, cluster_of_run() as cluster:
        os.environ |= {"PG_TEST_URL": cluster.conninfo, "HYPOTHESIS_STORAGE_DIRECTORY": examples}
        for line in run(*sys.argv[1:]):
            print(line, flush=True)
    if folder is not None:
        end_run(folder)
    print(f"in {time.monotonic() - begun:.0f} s")
