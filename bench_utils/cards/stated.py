"""A claim of a model card as it is printed, and the verdict made of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .. import catalog
from ..audit.printed import Printed, numbers, parse
from ..claims import INCONCLUSIVE, NOT_TESTABLE, REFUTED, SUPPORTED, Verdict
from ..errors import BenchError

FAMILY = "gpt2-family"  # what a card calls all its models together
MILLION = 1e6  # counts of parameters are printed in it
_HAIR = 1e-9  # of the numbers compared: what floating point adds


@dataclass(frozen=True)
class Stated:
    """A row of ``cards.csv``, as text: what the card states, and what deciding it takes."""

    claim_id: str
    model: str
    card: str
    claim: str
    metric: str
    value: str
    unit: str
    needs: str

    @property
    def text(self) -> str:
        """The claim as one sentence, with the value as it is printed."""
        return f"{self.model}: {self.claim}: {self.printed}"

    @property
    def printed(self) -> str:
        """The value and its unit; parameters in millions, as the cards print them."""
        if not self._in_millions:
            return self.value if self.unit in ("", "count") else f"{self.value} {self.unit}"
        return f"{self._millions}M"

    @property
    def number(self) -> Printed:
        """The value and what its rounding hides. Raises BenchError where the card prints no number."""
        try:
            if not self._in_millions:
                return parse(self.value)
            short = parse(self._millions)
            return Printed(short.value * MILLION, short.half * MILLION)
        except ValueError:
            raise BenchError(f"cards.csv: {self.claim_id} states {self.value!r} where a number is needed") from None

    @property
    def _millions(self) -> str:
        return f"{float(self.value) / MILLION:.12g}"

    @property
    def _in_millions(self) -> bool:
        return self.metric == "parameters"

    @property
    def numbers(self) -> list[float]:
        """Numbers named in the sentence itself, in order."""
        return [number.value for number in numbers(self.claim)]

    def numbered(self, pattern: str) -> float:
        """The number that a pattern finds in the sentence; BenchError where there is none."""
        if not (found := re.search(pattern, self.claim)):
            raise BenchError(f"cards.csv: the claim of {self.claim_id} names no number to compute with: {self.claim!r}")
        return float(found[1])

    @property
    def two(self) -> tuple[float, float]:
        """The first two numbers of the sentence; BenchError where it names fewer."""
        if len(self.numbers) < 2:
            raise BenchError(f"cards.csv: the claim of {self.claim_id} names fewer than two numbers: {self.claim!r}")
        return self.numbers[0], self.numbers[1]

    def shape(self) -> catalog.Model:
        """The architecture of the model it is about; BenchError for a model that the catalog does not have."""
        return catalog.model(self.model)

    def holds(self, low: float, high: float | None = None) -> bool:
        """Whether a computed number, known to lie between two bounds, rounds to the digits printed."""
        printed, high = self.number, low if high is None else high
        hair = _HAIR * (abs(printed.value) + abs(high))
        return printed.low - hair <= high and low <= printed.high + hair


def decided(stated: Stated, verdict: str, reason: str, **facts: object) -> Verdict:
    """A verdict with its computation; ``facts`` are value, interval, n and unit."""
    return Verdict(stated.claim_id, stated.text, verdict, reason, source=f"card {stated.card}", **facts)


def either(stated: Stated, holds: bool, reason: str, **facts: object) -> Verdict:
    """Supported or refuted."""
    return decided(stated, SUPPORTED if holds else REFUTED, reason, **facts)


def open_(stated: Stated, needed: str, known: str = "", **facts: object) -> Verdict:
    """Not testable here: what would decide it, and what is known meanwhile."""
    reason = f"{needed} would decide it" + (f"; meanwhile: {known}" if known else "")
    return decided(stated, NOT_TESTABLE, reason, **facts)


def undecided(stated: Stated, reason: str, **facts: object) -> Verdict:
    """Inconclusive, and why."""
    return decided(stated, INCONCLUSIVE, reason, **facts)
