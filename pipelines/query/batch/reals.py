"""How PostgreSQL prints a real (float4out): the fewest digits that give the same real back: `85.3`, `1e+06`."""

import math
import struct
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from functools import lru_cache

# Nine digits always tell one real from the next.
_MAX_DIGITS = 9
# Decimal exponents that PostgreSQL prints without `e`.
_FIXED = range(-4, 6)
# Of these `%g` prints six digits or more without `e`.
_USUAL = 0.001, 1_000_000.0


def real_text(value: float) -> str:
    """Text of a finite real as PostgreSQL prints it.

    Args:
        value: The real, widened.

    Returns:
        The shortest text that lies strictly between the middles to its neighbours, nearest to the value.
    """
    if _USUAL[0] <= abs(value) < _USUAL[1] and (text := _usual_text(value)) is not None:
        return text
    sign = "-" if math.copysign(1.0, value) < 0 else ""
    if value == 0:
        return f"{sign}0"
    digits, exponent = _shortest(abs(value))
    if exponent not in _FIXED:
        fraction = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{fraction}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    whole = digits[: exponent + 1].ljust(exponent + 1, "0")
    fraction = digits[exponent + 1 :]
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def _usual_text(value: float) -> str | None:
    """The text, where the nearest one of some digits can be told to be the shortest; 2.5 instead of 21 microseconds.

    Of six digits or less, no two texts give the same real. Of more, the nearest one is within the middles if any is,
    but for powers of two, where one middle is closer. No text of nine digits is a middle itself: that has eleven.
    """
    for digits in range(6, _MAX_DIGITS + 1):
        text = f"{value:.{digits}g}"
        near = float(text)
        if _real(near) == value:
            other = 2 * near - value
            is_middle = other != value and _real(other) == other  # of the double, which may have been rounded to it
            is_sure = digits == 6 or not (is_middle or abs(math.frexp(value)[0]) == 0.5)  # noqa: PLR2004
            return text if is_sure else None
    return None


def _real(value: float) -> float:
    """The real nearest to a double."""
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


@lru_cache(maxsize=1 << 16)
def _shortest(value: float) -> tuple[str, int]:
    low, high = _middles(value)
    exact = Decimal(value)
    for digits in range(1, _MAX_DIGITS + 1):
        fitting = [
            near
            for rounding in (ROUND_FLOOR, ROUND_CEILING)
            if low < (near := Context(prec=digits, rounding=rounding).plus(exact)) < high
        ]
        if fitting:
            nearest = min(fitting, key=lambda near: (abs(near - exact), near.as_tuple().digits[-1] % 2))
            return "".join(map(str, nearest.as_tuple().digits)).rstrip("0"), nearest.adjusted()
    raise ValueError(value)


def _middles(value: float) -> tuple[Decimal, Decimal]:
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    below = struct.unpack("<f", struct.pack("<I", bits - 1))[0]
    above = struct.unpack("<f", struct.pack("<I", bits + 1))[0]
    above = above if math.isfinite(above) else value + (value - below)
    # Exact: the sum of two neighbouring reals fits in a double.
    return Decimal((below + value) / 2), Decimal((value + above) / 2)
