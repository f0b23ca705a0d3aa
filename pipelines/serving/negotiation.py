"""What of an answer a request accepts (RFC 9110, 12.5): the format of a batch, and how it is compressed."""

import sys
import zlib
from http import HTTPStatus
from typing import Literal, Protocol

from pipelines.query.batch.files import BatchFormat
from pipelines.serving.problems import ProblemError

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdCompressor
else:
    from backports.zstd import ZstdCompressor

Encoding = Literal["zstd", "gzip"]
# In order of preference where a client has none: zstd is three times as fast at the same size.
_ENCODINGS: tuple[Encoding, ...] = ("zstd", "gzip")
_GZIP_LEVEL, _ZSTD_LEVEL = 4, 3
_GZIP_WINDOW = 31  # zlib's 15 with a gzip header
MEDIA_TYPES = {
    BatchFormat.JSON: "application/json",
    BatchFormat.CSV: "text/csv; charset=utf-8; header=present",
    BatchFormat.NDJSON: "application/x-ndjson",
    BatchFormat.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    BatchFormat.PARQUET: "application/vnd.apache.parquet",
}


def media_type_of(batch_format: BatchFormat) -> str:
    """The media type of a format, without parameters."""
    return MEDIA_TYPES[batch_format].partition(";")[0]


# The first one is what a client gets that accepts anything.
_OFFERED: dict[str, BatchFormat] = {media_type_of(one): one for one in (BatchFormat.JSON, *BatchFormat)}


class Compressor(Protocol):
    """What both libraries have in common."""

    def compress(self, data: bytes, /) -> bytes:
        """Take some; what comes out may be empty."""

    def flush(self) -> bytes:
        """The end."""


def choose_format(accept: str) -> BatchFormat:
    """The format that an Accept header prefers; of equals the first that is offered.

    Args:
        accept: The header; where it names nothing: anything.

    Raises:
        ProblemError: It accepts none of them.
    """
    weights = _weights(accept) or {"*/*": 1.0}

    def weigh(media_type: str) -> float:
        """By the most specific range that names it; 0: not accepted."""
        ranges = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
        return next((weights[name] for name in ranges if name in weights), 0.0)

    media_type = max(_OFFERED, key=weigh)
    if weigh(media_type) <= 0:
        detail = f"A batch is offered as {', '.join(_OFFERED)}; the parameter `format` chooses one too."
        raise ProblemError(HTTPStatus.NOT_ACCEPTABLE, "not-acceptable", "Not acceptable", detail)
    return _OFFERED[media_type]


def choose_encoding(accepted: str) -> Encoding | None:
    """The encoding to send, by the Accept-Encoding of a request; None: as it is."""
    weights = _weights(accepted)

    def weigh(encoding: Encoding) -> float:
        return weights.get(encoding, weights.get("*", 0.0))

    encoding = max(_ENCODINGS, key=weigh)
    return encoding if weigh(encoding) > 0 and weigh(encoding) >= weights.get("identity", 0.0) else None


def compressor_of(encoding: Encoding) -> Compressor:
    """A new compressor."""
    return ZstdCompressor(_ZSTD_LEVEL) if encoding == "zstd" else zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WINDOW)


def _weights(header: str) -> dict[str, float]:
    """What a header of that kind names, with the weight of each (`q`), from 0 to 1; 0 where that is no number."""
    weights: dict[str, float] = {}
    for part in header.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        if not name:  # an empty element counts for nothing (RFC 9110, 5.6.1)
            continue
        weights[name] = next((_weight(piece[2:]) for piece in parameters if piece.startswith("q=")), 1.0)
    return weights


def _weight(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0
