"""Which format of a batch a request accepts (RFC 9110, 12.5.1)."""

from http import HTTPStatus

from pipelines.query.batch.files import BatchFormat
from pipelines.serving.export_response import media_type_of
from pipelines.serving.problems import ProblemError

# The first one is what a client gets that accepts anything.
_OFFERED: dict[str, BatchFormat] = {media_type_of(one): one for one in (BatchFormat.JSON, *BatchFormat)}


def choose_format(accept: str | None) -> BatchFormat:
    """The format that an Accept header prefers; of equals the first that is offered.

    Args:
        accept: The header; None or empty: anything.

    Raises:
        ProblemError: It accepts none of them.
    """
    weights = [(_weight(accept or "*/*", media_type), media_type) for media_type in _OFFERED]
    best, media_type = max(weights, key=lambda weighed: weighed[0])
    if best <= 0:
        detail = f"A batch is offered as {', '.join(_OFFERED)}; the parameter `format` chooses one too."
        raise ProblemError(HTTPStatus.NOT_ACCEPTABLE, "not-acceptable", "Not acceptable", detail)
    return _OFFERED[media_type]


def _weight(accept: str, media_type: str) -> float:
    """The weight of a media type in an Accept header, by the most specific of its ranges; 0: not accepted."""
    kind = media_type.partition("/")[0]
    weights = {}
    for part in accept.split(","):
        media_range, *parameters = (text.strip().lower() for text in part.split(";"))
        weights[media_range] = next((_number(p[2:]) for p in parameters if p.startswith("q=")), 1.0)
    return next((weights[name] for name in (media_type, f"{kind}/*", "*/*") if name in weights), 0.0)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
