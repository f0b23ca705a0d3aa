"""Drawing: from a Vega-Lite specification to SVG, by vl-convert (Vega itself, in one library, without network).

The engine takes 0.6 s to start and 75 MB, a drawing then 0.03 s. A run lets a process of its own draw: it starts while
the run works, its memory is gone when it ends, and what stops it (a crash of the engine, the kernel) does not stop the
run.
"""

import base64
import html
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipelines.errors import ReportError
from pipelines.report.charts import Spec
from pipelines.system.child import ChildEndedError, child_process

Draw = Callable[[Spec], str]
"""Takes a specification and gives the SVG; raises ReportError."""

MAX_SECONDS = 30.0  # for one drawing, a thousand times what it takes
_VEGA_LITE = "6.4"
_SVG_TAG = re.compile(r'<svg [^>]*?width="([0-9.]+)" height="([0-9.]+)"[^>]*>')
# Vega's helpers that show nothing: empty shapes, and roles for a reader that the drawing's own label serves.
_EMPTY_SHAPES = re.compile(
    r'<path class="(?:background|foreground)"(?: [a-z-]+="[^"<>]*")* d=""(?: [a-z-]+="[^"<>]*")*/>'
)
_ROLES = re.compile(r'(<g [^<>]*?)(?: (?:role|aria-roledescription|aria-hidden|pointer-events)="[^"<>]*")+')
_REFUSED = "the engine refused its specification"
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_MARGIN = 10  # pixels
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
def drawing_process(max_seconds: float = MAX_SECONDS) -> Iterator[Draw]:
    """A process that draws while the block runs. It starts at once and gets ready while the caller works.

    Args:
        max_seconds: Longest time for one drawing (the first one waits for the engine too).

    Yields:
        What draws, one drawing at a time. It raises ReportError where the process ended, took too long or refused.
    """
    with child_process(serve) as child:

        def draw(spec: Spec) -> str:
            child.send(spec)
            try:
                svg: str | None = child.receive(max_seconds)
            except ChildEndedError as ended:
                said = f" after {ended.said}" if ended.said else ""
                raise ReportError(
                    "A chart could not be drawn",
                    expected=f"a drawing within {max_seconds:g} s",
                    found=f"the drawing process ended with status {ended.status}{said}",
                    fix="draw it again with lei-exports report; a kernel short of memory kills processes",
                ) from None
            if svg is None:
                raise ReportError("A chart could not be drawn", found=_REFUSED)
            return svg

        yield draw


def serve(specs: Iterator[Spec], answer: Callable[[str | None], None]) -> None:
    """The drawing process: a drawing for each specification, None where the engine refused it."""
    draw_here(_WARM_UP)
    for spec in specs:
        try:
            answer(draw_here(spec))
        except ReportError:
            answer(None)


def inline_svg(spec: Spec, label: str, draw: Draw = draw_here) -> str:
    """An `<svg>` element for an HTML page, named for those who don't see it; it takes the page's text colour.

    Raises:
        ReportError: It could not be drawn.
    """
    body, width, height = _parts(draw(spec))
    body = _ROLES.sub(r"\1", _EMPTY_SHAPES.sub("", body))
    opening = f'<svg class="chart" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'{opening} role="img" aria-label="{html.escape(label)}">{body}'


def image_uri(spec: Spec, draw: Draw = draw_here) -> str:
    """The drawing as `data:` address, on white: it stands in pages whose colours are not ours.

    Raises:
        ReportError: It could not be drawn.
    """
    body, *size = _parts(draw(spec))
    width, height = (float(length) + 2 * _MARGIN for length in size)
    framed = (
        f'<svg xmlns="{_SVG}" xmlns:xlink="{_XLINK}" viewBox="-{_MARGIN} -{_MARGIN} {width:g} {height:g}"'
        f' width="{width:g}" height="{height:g}" style="background: white">{body}'
    )
    return f"data:image/svg+xml;base64,{base64.b64encode(framed.encode()).decode('ascii')}"


def _parts(drawn: str) -> tuple[str, str, str]:
    """What is in an SVG, with its closing tag; its width and its height."""
    tag = _SVG_TAG.match(drawn)
    if tag is None:
        raise AssertionError("vl-convert draws SVG with a width and a height")
    width, height = tag.groups()
    return drawn[tag.end() :], width, height
