"""What of a child's standard error may be repeated: kinds and places, never a text."""

import io
import subprocess
import sys
import tempfile

import pytest

from pipelines.system.child import describe_stderr

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
