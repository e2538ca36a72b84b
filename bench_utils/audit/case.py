"""One recomputation: what it may read, and the range that the rounding of its inputs leaves open."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..statistics import Summary, summary_from_interval
from .printed import Printed, numbers, parse
from .sources import Sources

LATENCIES = ("mean_ms", "median_ms", "throughput_tok_s")  # the first that a row prints is its value
# A percentile bootstrap of B resamples knows an end of a 95 % interval to sqrt(0.025 * 0.975 / B) / 0.0584 standard
# errors, so half the interval to 3 % of itself (one standard deviation) at B = 1000, TR147's number of resamples.
BOOTSTRAP_SLACK = 0.06
_EXACT = ("n", "n_attempted")
_SIZE = re.compile(r"\b(\d+(?:\.\d+)?)([MB])\b")  # of a model, as in "7B / 7.6B"
_UNITS = {"M": 1e6, "B": 1e9}


class Range(NamedTuple):
    """A recomputed value and how far the rounding of its inputs lets it move."""

    value: float
    low: float
    high: float


class Case:
    """The inputs of one claim, each movable within the half unit that its rounding hides.

    `a`, `b` and `others` are the linked rows and claims, `options` the link's parameters. Every number read is
    noted in `seen`; `moves` shifts some of them by a share (-1 to 1) of what rounding hides.
    """

    def __init__(self, sources: Sources, claim_id: str, moves: Mapping[tuple, float] | None = None) -> None:
        link = sources.links[claim_id]
        self.sources, self.claim_id, self.moves = sources, claim_id, moves or {}
        self.a, self.b, self.others = (link[column].split() for column in ("rows_a", "rows_b", "claims"))
        self.options = dict(pair.split("=", 1) for pair in link["params"].split(";") if pair)
        self.text = sources.claims[claim_id]
        self.seen: dict[tuple, float] = {}

    def between(self, key: tuple, low: float, high: float) -> float:
        """A number known to lie between two bounds: their middle, moved as this case says."""
        self.seen[key] = high - low
        return (low + high) / 2 + self.moves.get(key, 0.0) * (high - low) / 2

    def _number(self, key: tuple, number: Printed) -> float:
        return self.between(key, number.low, number.high)

    def row(self, row_id: str) -> dict[str, str]:
        """A row of the published tables, as text. Raises KeyError when there is none."""
        return self.sources.latency[row_id]

    def cell(self, row_id: str, column: str) -> float:
        """A printed number of a row; counts are exact. Raises ValueError where nothing is printed."""
        text = self.row(row_id)[column]
        return float(text) if column in _EXACT else self._number((row_id, column), parse(text))

    def value(self, row_id: str) -> float:
        """The latency (or throughput) a row prints, or the column that the link names."""
        row = self.row(row_id)
        return self.cell(row_id, self.options.get("column") or next(c for c in LATENCIES if row[c]))

    def values(self, row_ids: list[str]) -> list[float]:
        return [self.value(row_id) for row_id in row_ids]

    def counts(self, row_ids: list[str], column: str) -> list[int]:
        return [int(self.cell(row_id, column)) for row_id in row_ids]

    def claim(self, claim_id: str) -> float:
        """The value another claim prints; counts are exact."""
        claim = self.sources.claims[claim_id]
        exact = claim["metric"] == "count" or claim["unit"] == "USD/h"
        return float(claim["value"]) if exact else self._number((claim_id, "value"), parse(claim["value"]))

    def stated(self, claim_id: str | None = None) -> list[float]:
        """Numbers beside a claim, in its unit and comparison (prices, counts): exact, because they were chosen."""
        claim = self.sources.claims[claim_id or self.claim_id]
        return [number.value for number in numbers(f"{claim['unit']} {claim['comparison']}")]

    def summary(self, row_id: str) -> Summary:
        """Count, mean and standard deviation of a row; the latter from its interval where it is not printed."""
        row = self.row(row_id)
        n, mean = int(self.cell(row_id, "n")), self.cell(row_id, "mean_ms")
        if row["std_ms"]:
            return Summary(n, mean, self.cell(row_id, "std_ms"))
        low, high = self.cell(row_id, "ci_low_ms"), self.cell(row_id, "ci_high_ms")
        distribution = "t" if self.options.get("interval") == "t" else "normal"
        std = summary_from_interval(n, (low + high) / 2, low, high, distribution).std
        return Summary(n, mean, self._slack(row_id, mean, low, high) * std)

    def _slack(self, row_id: str, mean: float, low: float, high: float) -> float:
        """A percentile interval that is not symmetric leaves the standard deviation open to its asymmetry."""
        if self.options.get("interval") != "bootstrap":
            return 1.0
        width = BOOTSTRAP_SLACK + abs(low + high - 2 * mean) / (high - low)
        return self.between((row_id, "resampling"), 1 - width, 1 + width)

    def summaries(self, row_ids: list[str]) -> list[Summary]:
        return [self.summary(row_id) for row_id in row_ids]

    def models(self, row_ids: list[str], column: str) -> list[float]:
        """A property of each row's model. Models known only by an Ollama tag have the size last claimed for them."""
        return [self._model(self.row(row_id)["model"], column) for row_id in row_ids]

    def _model(self, name: str, column: str) -> float:
        models = self.sources.models
        model = models.get(name) or next(m for m in models.values() if m["hub_repo"].endswith(f"tag {name}"))
        if name in models and model[column]:
            return float(model[column])
        digits, unit = _SIZE.findall(model["claimed_params"])[-1]
        return self._number((name, column), parse(digits)) * _UNITS[unit]


def spread(recompute: Callable[[Case], float], sources: Sources, claim_id: str) -> Range:
    """A recomputation at its printed inputs, and at the two corners of their rounding that move it furthest.

    Each input is moved alone first, to see which way it takes the result; then all go together, up and down. This
    finds the extremes of any function that is monotone in each input.
    """
    nominal = Case(sources, claim_id)
    value = recompute(nominal)
    ways = {}
    for key in [key for key, width in nominal.seen.items() if width > 0]:
        up, down = (recompute(Case(sources, claim_id, {key: move})) for move in (1.0, -1.0))
        ways[key] = math.copysign(1.0, up - down) if up != down else 0.0
    ends = [recompute(Case(sources, claim_id, {key: way * side for key, way in ways.items()})) for side in (-1, 1)]
    return Range(value, min(value, *ends), max(value, *ends))
