"""Printed numbers: a value, and the half unit of its last digit that rounding may have taken."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

ALPHA = 0.05  # the level below which a p value printed as "~0" is said to lie
_NUMBER = re.compile(r"[-+]?\d+(?:\.(\d+))?(?:[eE]([-+]?\d+))?")
_RANGE = re.compile(r"(\d[\d.]*)-(\d[\d.]*)")


class Printed(NamedTuple):
    """A number as printed: the true one lies within `half` of `value`."""

    value: float
    half: float

    @property
    def low(self) -> float:
        return self.value - self.half

    @property
    def high(self) -> float:
        return self.value + self.half


def parse(text: str) -> Printed:
    """Read "8.87e-61", "-40.0", a range "0.04-0.28" (its middle), or "~0" (below the level of significance).

    Raises ValueError for anything else.
    """
    if text == "~0":
        return Printed(0.0, ALPHA)
    if found := _RANGE.fullmatch(text):
        low, high = parse(found[1]), parse(found[2])
        return Printed((low.low + high.high) / 2, (high.high - low.low) / 2)
    if not (found := _NUMBER.fullmatch(text)):
        raise ValueError(f"{text!r} is no printed number")
    return Printed(float(text), 0.5 * 10.0 ** (int(found[2] or 0) - len(found[1] or "")))


def numbers(text: str) -> list[Printed]:
    """The numbers of a phrase such as "1.006 USD/h + 0.2 USD/kWh", in order."""
    return [parse(found[0]) for found in re.finditer(r"(?<![\w.])\d+(?:\.\d+)?", text)]


def on_log10(number: Printed) -> tuple[float, float]:
    """The ends of a printed p value on the log10 scale; the lower one may be minus infinity."""
    return tuple(math.log10(end) if end > 0 else -math.inf for end in (number.low, number.high))


def cut_off(value: float, printed: Printed) -> bool:
    """Whether the printed number is `value` cut off at its last digit instead of rounded to it."""
    unit = 2 * printed.half
    return unit > 0 and math.isclose(math.trunc(value / unit + 1e-9) * unit, printed.value, rel_tol=1e-9)
