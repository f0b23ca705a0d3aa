"""Drawing: from a Vega-Lite specification to SVG, by vl-convert (Vega itself, in one library, without network).

Belongs here: all that touches vl-convert. The first drawing of a process starts its engine: 0.5 s and 75 MB, the ones
after it take 0.03 s. It is imported where it is used, so that a process that draws nothing pays nothing.
"""

import base64
import html
import re

from pipelines.report.charts import Spec

_VEGA_LITE = "6.4"
_SVG_TAG = re.compile(r'<svg [^>]*?width="([0-9.]+)" height="([0-9.]+)"[^>]*>')
# Vega's helpers that show nothing: empty shapes, and roles for a reader that the drawing's own label serves.
_EMPTY_SHAPES = re.compile(
    r'<path class="(?:background|foreground)"(?: [a-z-]+="[^"<>]*")* d=""(?: [a-z-]+="[^"<>]*")*/>'
)
_ROLES = re.compile(r'(<g [^<>]*?)(?: (?:role|aria-roledescription|aria-hidden|pointer-events)="[^"<>]*")+')


def inline_svg(spec: Spec, label: str) -> str:
    """An `<svg>` element for an HTML page, named for those who don't see it; it takes the page's text colour."""
    drawn = _svg(spec)
    tag = _SVG_TAG.match(drawn)
    if tag is None:
        raise AssertionError("vl-convert draws SVG with a width and a height")
    width, height = tag.groups()
    body = _ROLES.sub(r"\1", _EMPTY_SHAPES.sub("", drawn[tag.end() :]))
    opening = f'<svg class="chart" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'{opening} role="img" aria-label="{html.escape(label)}">{body}'


def image_uri(spec: Spec) -> str:
    """The drawing as `data:` address, on white: it stands in pages whose colours are not ours."""
    drawn = _svg({**spec, "background": "white", "padding": 10})
    return f"data:image/svg+xml;base64,{base64.b64encode(drawn.encode()).decode('ascii')}"


def _svg(spec: Spec) -> str:
    import vl_convert  # noqa: PLC0415  see above

    drawn: str = vl_convert.vegalite_to_svg(spec, vl_version=_VEGA_LITE, allowed_base_urls=[])
    return drawn
