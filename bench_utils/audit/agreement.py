"""A printed number beside the recomputed one: how far they lie apart, and how far rounding lets them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..formatting import significant
from . import arithmetic, inference
from .case import Case, Range, spread
from .printed import Printed, cut_off, on_log10, parse
from .sources import Sources

LAST_DIGIT = "off in the last digit printed"
_HAIR = 1e-9  # of the numbers compared: what floating point adds


@dataclass(frozen=True)
class Agreement:
    """Printed minus recomputed (`gap`), and what rounding hides in the one and allows in the other on that side.

    `shown` is the recomputed number itself; gap, `rounding` and `allowed` are in its units, or in decades where the
    `scale` is "log10".
    """

    shown: float
    printed: Printed
    gap: float
    rounding: float
    allowed: float
    scale: str
    method: str

    @property
    def tolerance(self) -> float:
        return self.rounding + self.allowed

    @property
    def agrees(self) -> bool:
        return abs(self.gap) <= self.tolerance + _HAIR * (1 + abs(self.gap))

    def why(self) -> str:
        """What makes the two agree, or keeps them apart."""
        if self.agrees:
            rounds = abs(self.gap) <= self.rounding
            return "rounds to the digits printed" if rounds else "within the rounding of its inputs"
        if self.scale == "value" and cut_off(self.shown, self.printed):
            return f"{LAST_DIGIT}: cut off, not rounded"
        whole = self.shown.is_integer()
        if self.scale == "value" and not whole and abs(self.gap) <= 2 * self.printed.half:
            return LAST_DIGIT
        return f"off by {significant(abs(self.gap) / self.tolerance, 2)} times what rounding allows"


def compare(sources: Sources, claim_id: str, name: str) -> Agreement:
    """A claim beside its recomputation by the method `name`. Raises ValueError for a method that there is not."""
    method = method_of(name)
    found, printed = spread(method, sources, claim_id), parse(sources.claims[claim_id]["value"])
    log10, shown = method in inference.LOG10, float(found.value)
    if log10:
        shown = 10**found.value
        if printed.value == 0:  # printed as "~0": it has no logarithm
            log10, found = False, Range(*(10**end for end in found))
    low, high = on_log10(printed) if log10 else (printed.low, printed.high)
    centre = math.log10(printed.value) if log10 else printed.value
    gap = centre - found.value
    sides = (centre - low, found.high - found.value) if gap > 0 else (high - centre, found.value - found.low)
    words = (method.__doc__ or "").strip()
    return Agreement(shown, printed, gap, *sides, "log10" if log10 else "value", words)


def method_of(name: str) -> Callable[[Case], float]:
    """The function that recomputes a kind of claim. Raises ValueError for a kind that there is not."""
    method = getattr(arithmetic, name, None) or getattr(inference, name, None)
    if name.startswith("_") or getattr(method, "__module__", None) not in (arithmetic.__name__, inference.__name__):
        raise ValueError(f"audit_links names the kind {name!r}, which does not exist")
    return method
