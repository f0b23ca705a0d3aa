"""A process of our own that works for this one: its answers, its end, what of its standard error may be repeated."""

import io
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

import pytest

from pipelines.system.child import ChildEndedError, child_process, describe_stderr

pytestmark = pytest.mark.fast

ROW = "ROWSECRET 4711"


@pytest.mark.parametrize(
    ("code", "described"),
    [
        (f"raise ValueError('{ROW}')", "ValueError"),
        (f"import json; json.loads('{ROW}')", "json.decoder.JSONDecodeError at decoder.py:"),
        (f"class OurError(Exception): pass\nraise OurError('{ROW}\\nOther: {ROW}')", "OurError"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        (f"import warnings; warnings.warn('{ROW}')", "UserWarning"),
        ("import os, faulthandler; faulthandler.enable(); os.abort()", "Fatal Python error: Aborted"),
        (f"import sys; sys.stderr.write('{ROW}\\n{ROW}\\n')", "2 lines of no known kind"),
        ("pass", ""),
    ],
    ids=["error", "traceback", "several lines", "import", "warning", "crash", "unknown", "nothing"],
)
def test_a_process_is_described(code: str, described: str) -> None:
    with tempfile.TemporaryFile() as errors:
        subprocess.run([sys.executable, "-c", code], stderr=errors, check=False)
        said = describe_stderr(errors)
    assert said.startswith(described)
    assert bool(said) == (code != "pass")
    assert "SECRET" not in said
    assert "4711" not in said


@pytest.mark.parametrize(
    ("text", "described"),
    [
        (
            "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc",
            "std::bad_alloc",
        ),
        ("thread 'main' panicked at src/lib.rs:41:9:\n" + ROW, "panicked at src/lib.rs:41"),
        ("python: error while loading shared libraries: libz.so.1: cannot open shared object file", "libz.so.1"),
    ],
)
def test_libraries_are_described(text: str, described: str) -> None:
    said = describe_stderr(io.BytesIO(text.encode()))
    assert described in said
    assert ROW not in said


class Unknown:
    """A class that is gone in the process, as after an update of the code beside a run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return getattr, ("text", "no_such_thing")  # type: ignore[return-value]


def double(numbers: Iterator[int], answer: Callable[[int], None]) -> None:
    print("what a library prints is no answer")  # noqa: T201
    for number in numbers:
        answer(2 * number)


def test_a_child_answers_and_what_it_can_not_read_ends_it() -> None:
    with child_process(double) as child:
        for number in (1, 10**30):
            child.send(number)
            assert child.receive(20) == 2 * number
        child.send(Unknown())
        with pytest.raises(ChildEndedError) as caught:
            child.receive(20)
    assert (caught.value.status, caught.value.said.partition(" at ")[0]) == (1, "AttributeError")
