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
import time
from collections.abc import Iterator
from importlib import import_module
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType

import pytest
from hypothesis import Phase, settings

from tests.oracle.prepared import begin_run, end_run
from tests.oracle.server import cluster_of_run

ROOT = Path(__file__).resolve().parents[1]
# What each fork needs is imported once. That plugin would take each another second.
LIBRARIES = "connectorx dataframely duckdb polars psycopg pyarrow pydantic_settings".split()
OPTIONS = "-xq -p no:cacheprovider -p no:schemathesis -Wignore::pytest.PytestAssertRewriteWarning"
OPTIONS += " --hypothesis-seed=0 --hypothesis-profile=mutation"
TIMEOUT_S = 30  # a mutant that takes longer is killed: it does not end
EXPORTS = "integration/test_agreement.py::test_"
ROWS = f"unit/test_validation.py {EXPORTS}all_hostile_rows_at_once[True] {EXPORTS}random_rows[0]"
# Modules, by the tests of each.
MODULES = {
    "unit/test_summaries.py": "transform/batch_summaries transform/entities transform/jurisdiction_summaries"
    " transform/unique_domains",
    "unit/test_summaries.py unit/test_ordering.py": "transform/ordering",
    "unit/test_differences.py": "transform/differences",
    ROWS: "transform/domain_exports transform/joining transform/rejected_rows transform/text transform/validation",
    "integration/test_fingerprint_sums.py": "source/fingerprint",
    "unit/test_segments.py": "contracts/segments",
    "publish/test_guards.py": "snapshots/guards",
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
        case ast.BoolOp(op=op) | ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in SWAPS and not ast.unparse(
            node
        ).endswith("| None"):
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
        signal.alarm(TIMEOUT_S)
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        for name in [name for name in sys.modules if name.split(".")[0] in {"pipelines", "tests"}]:
            del sys.modules[name]
        own = SourceFileLoader.get_code
        changed = lambda self, name: code if code and self.path == str(path) else own(self, name)  # noqa: E731
        setattr(SourceFileLoader, "get_code", changed)  # noqa: B010
        os._exit(pytest.main([*OPTIONS.split(), *tests]))
    finally:  # what this process inherited is not its own to clean up
        os._exit(3)


def run(only: list[str]) -> Iterator[str]:
    """The mutants that survive, then the figures of their module; of the modules that `only` names, or of all."""
    made = killed = 0
    for tests_of, names in MODULES.items():
        for name in (name for name in names.split() if not only or name in only):
            path, tests = ROOT / f"pipelines/{name}.py", [f"tests/{test}" for test in tests_of.split()]
            if not survives(path, None, tests):
                sys.exit(f"{name}: its tests fail without any change: {' '.join(tests)}")
            alive = total = 0
            for what, code in mutants(path):
                total += 1
                if survives(path, code, tests):
                    alive += 1
                    yield f"survived  {name}.py:{what}"
            made, killed = made + total, killed + total - alive
            yield f"{name:34} {total:4} mutants, {total - alive:4} killed"
    yield f"{'all':34} {made:4} mutants, {killed:4} killed: {killed / made:.1%}"


if __name__ == "__main__":
    begun, folder = time.monotonic(), begin_run()
    for library in LIBRARIES:
        import_module(library)
    phases = [Phase.explicit, Phase.generate]  # the first example that fails will do
    settings.register_profile("mutation", deadline=None, database=None, phases=phases)
    with cluster_of_run() as cluster:
        os.environ["PG_TEST_URL"] = cluster.conninfo
        for line in run(sys.argv[1:]):
            print(line, flush=True)
    if folder is not None:
        end_run(folder)
    print(f"in {time.monotonic() - begun:.0f} s")
