"""Numbers as a reader wants them: as many digits as are known, plain ASCII, one word for what is missing."""

import math
from numbers import Integral

UNKNOWN = "unknown"

# Outside this range a plain decimal needs more zeros than a reader counts.
_PLAIN_FROM, _PLAIN_TO = 1e-6, 1e15


def significant(value: object, digits: int = 3) -> str:
    """Return a number rounded to `digits` significant digits; None, NaN and non-numbers are "unknown".

    Whole numbers get no decimals. Exponents appear only below 0.000001 and from 1e15 on.
    """
    number = _number(value)
    if number is None:
        return UNKNOWN
    if math.isinf(number):
        return "infinite" if number > 0 else "-infinite"
    if number == 0:
        return "0"
    if not _PLAIN_FROM <= abs(number) < _PLAIN_TO:
        return f"{number:.{max(digits - 1, 0)}e}"
    decimals = digits - 1 - _exponent(number, digits)
    return _fixed(number, min(decimals, 0) if isinstance(value, Integral) else decimals)


def with_interval(value: object, low: object, high: object, unit: str = "") -> str:
    """Return "value (low to high) unit", printed to the first two significant digits of the interval's width.

    Trailing zeros that all three numbers share are left out. Without a finite interval the value gets
    three digits and the words "(no interval)".
    """
    number, start, end = _number(value), _number(low), _number(high)
    tail = f" {unit}" if unit else ""
    if number is None:
        return UNKNOWN
    if start is None or end is None or not all(map(math.isfinite, (number, start, end))):
        return f"{significant(number)}{tail} (no interval)"
    texts = _aligned((number, start, end), _interval_decimals(number, start, end))
    return f"{texts[0]} ({texts[1]} to {texts[2]}){tail}"


def duration(seconds: object) -> str:
    """Return a time span in the largest units that matter: "340 ms", "4.2 s", "3 min 5 s", "2 h 10 min"."""
    span = _number(seconds)
    if span is None or math.isinf(span):
        return UNKNOWN
    if span < 0:
        return f"-{duration(-span)}"
    if span == 0:
        return "0 s"
    if span < 0.001:
        return f"{significant(span * 1e6)} us"
    if span < 1:
        return f"{significant(span * 1000)} ms"
    if span < 59.95:
        return f"{span:.1f}".removesuffix(".0") + " s"
    return _clock(round(span))


def count(n: object) -> str:
    """Return a whole number with thousands separated by commas."""
    number = _number(n)
    if number is None or math.isinf(number):
        return UNKNOWN
    return f"{round(number):,}"


def _number(value: object) -> float | None:
    """Return a finite or infinite float, None for what is no number."""
    if value is None or isinstance(value, (bool, str, bytes)):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return None if math.isnan(number) else number


def _exponent(number: float, digits: int) -> int:
    """Return the decimal exponent after rounding: 9.996 to three digits is 10.0, exponent 1."""
    return int(f"{abs(number):.{max(digits - 1, 0)}e}".partition("e")[2])


def _fixed(number: float, decimals: int) -> str:
    rounded = round(number, decimals)
    text = f"{rounded:,.{max(decimals, 0)}f}"
    return text[1:] if text.startswith("-") and not text.strip("-0.,") else text


def _interval_decimals(number: float, low: float, high: float) -> int:
    width = abs(high - low)
    if width == 0:
        return 2 - _exponent(number, 3) if number else 0
    return 1 - _exponent(width, 2)


def _aligned(values: tuple[float, ...], decimals: int) -> list[str]:
    texts = [_fixed(value, decimals) for value in values]
    while decimals > 0 and all(text.endswith("0") for text in texts):
        decimals -= 1
        texts = [text[:-1].removesuffix(".") for text in texts]
    return texts


def _clock(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"
