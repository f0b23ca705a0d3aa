"""Drawing: from a Vega-Lite specification to SVG, by vl-convert (Vega itself, in one library, without network).

The engine takes 0.6 s to start and 75 MB, a drawing then 0.03 s. A run lets a process of its own draw: it starts while
the run works, its memory is gone when it ends, and what stops it (a crash of the engine, the kernel) does not stop the
run.
"""

import base64
import html
import json
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO

from pipelines.errors import ReportError
from pipelines.report.charts import Spec
from pipelines.system.child_errors import describe_stderr

Draw = Callable[[Spec], str]
"""Takes a specification and gives the SVG; raises ReportError."""

MOST_SECONDS = 30.0  # for one drawing, a thousand times what it takes
_VEGA_LITE = "6.4"
_SVG_TAG = re.compile(r'<svg [^>]*?width="([0-9.]+)" height="([0-9.]+)"[^>]*>')
# Vega's helpers that show nothing: empty shapes, and roles for a reader that the drawing's own label serves.
_EMPTY_SHAPES = re.compile(
    r'<path class="(?:background|foreground)"(?: [a-z-]+="[^"<>]*")* d=""(?: [a-z-]+="[^"<>]*")*/>'
)
_ROLES = re.compile(r'(<g [^<>]*?)(?: (?:role|aria-roledescription|aria-hidden|pointer-events)="[^"<>]*")+')
_REFUSED = "the engine refused its specification"
_SERVE = "import sys; sys.path[:] = sys.argv[1:]; from pipelines.report.drawing import serve; serve()"
_WARM_UP: Spec = {"data": {"values": [{}]}, "mark": "point"}


def draw_here(spec: Spec) -> str:
    """Draw in this process, which keeps the engine's memory.

    Raises:
        ReportError: The engine refused the specification.
    """
    import vl_convert  # noqa: PLC0415  a process that draws nothing pays nothing

    try:
        drawn: str = vl_convert.vegalite_to_svg(spec, vl_version=_VEGA_LITE, allowed_base_urls=[])
    except ValueError:
        raise ReportError("A chart could not be drawn", found=_REFUSED) from None
    return drawn


@contextmanager
def drawing_process(most_seconds: float = MOST_SECONDS) -> Iterator[Draw]:
    """A process that draws while the block runs. It starts at once and gets ready beside what the caller does.

    Args:
        most_seconds: Longest time for one drawing (the first one waits for the engine too).

    Yields:
        What draws, one drawing at a time. It raises ReportError where the process ended, took too long or refused.
    """
    with tempfile.TemporaryFile() as errors, _process(errors) as process:
        questions, answers = process.stdin, process.stdout
        if questions is None or answers is None:
            raise AssertionError  # both are pipes

        def draw(spec: Spec) -> str:
            timer = threading.Timer(most_seconds, process.kill)
            timer.start()
            line = ""
            try:
                with suppress(BrokenPipeError):
                    questions.write(f"{json.dumps(spec)}\n")
                    questions.flush()
                    line = answers.readline()
            finally:
                timer.cancel()
            if not line:
                raise _ended(process.wait(), describe_stderr(errors), most_seconds)
            answer = json.loads(line)
            if "svg" not in answer:
                raise ReportError("A chart could not be drawn", found=_REFUSED)
            return str(answer["svg"])

        yield draw


@contextmanager
def _process(errors: IO[bytes]) -> Iterator["subprocess.Popen[str]"]:
    """The running process; however the block ends, it has ended too."""
    process = subprocess.Popen(  # noqa: S603  this interpreter, and nothing of the user's
        [sys.executable, "-P", "-X", "faulthandler", "-c", _SERVE, *sys.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        encoding="utf-8",
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


def _ended(status: int, said: str, most_seconds: float) -> ReportError:
    return ReportError(
        "A chart could not be drawn",
        expected=f"a drawing within {most_seconds:g} s",
        found=f"the drawing process ended with status {status}{f' after {said}' if said else ''}",
        fix="draw it again with lei-exports report; a kernel short of memory kills processes",
    )


def serve() -> None:
    """The drawing process: a specification a line on standard input, the drawing a line on standard output."""
    draw_here(_WARM_UP)
    for line in sys.stdin:
        try:
            answer = {"svg": draw_here(json.loads(line))}
        except ReportError:
            answer = {}
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()


def inline_svg(spec: Spec, label: str, draw: Draw = draw_here) -> str:
    """An `<svg>` element for an HTML page, named for those who don't see it; it takes the page's text colour.

    Raises:
        ReportError: It could not be drawn.
    """
    drawn = draw(spec)
    tag = _SVG_TAG.match(drawn)
    if tag is None:
        raise AssertionError("vl-convert draws SVG with a width and a height")
    width, height = tag.groups()
    body = _ROLES.sub(r"\1", _EMPTY_SHAPES.sub("", drawn[tag.end() :]))
    opening = f'<svg class="chart" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'{opening} role="img" aria-label="{html.escape(label)}">{body}'


def image_uri(spec: Spec, draw: Draw = draw_here) -> str:
    """The drawing as `data:` address, on white: it stands in pages whose colours are not ours.

    Raises:
        ReportError: It could not be drawn.
    """
    drawn = draw({**spec, "background": "white", "padding": 10})
    return f"data:image/svg+xml;base64,{base64.b64encode(drawn.encode()).decode('ascii')}"
