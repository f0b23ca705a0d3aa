"""How PostgreSQL prints a real (float4out): the fewest digits that give the same real back, `85.3`, `1e+06`, `1e-05`.

Belongs here: the rule, for the rare values that SQL can't print the same way (expressions.py). Does not: SQL.
"""

import math
import struct
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from functools import lru_cache

# Nine digits always tell one real from the next.
_MOST_DIGITS = 9
# Decimal exponents that PostgreSQL prints without `e`.
_FIXED = range(-4, 6)


def real_text(value: float) -> str:
    """Text of a finite real as PostgreSQL prints it.

    Args:
        value: The real, widened.

    Returns:
        The shortest text that lies strictly between the middles to its neighbours, nearest to the value.
    """
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


@lru_cache(maxsize=1 << 16)
def _shortest(value: float) -> tuple[str, int]:
    low, high = _middles(value)
    exact = Decimal(value)
    for digits in range(1, _MOST_DIGITS + 1):
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
