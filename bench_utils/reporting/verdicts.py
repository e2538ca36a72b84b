"""Verdicts as a reader meets them: a word, a symbol and a colour, never the colour alone."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from ..formatting import count, significant, with_interval
from .tabular import jsonable
from .text import plain

FIELDS = ("id", "text", "verdict", "reason", "value", "interval", "n", "unit")


class Look(NamedTuple):
    """How a verdict appears; ink and tint are for places without the page's style sheet."""

    symbol: str
    css: str
    ink: str
    tint: str


LOOKS = {
    "supported": Look("✓", "supported", "#0b5a2c", "#dcf3e4"),
    "refuted": Look("✗", "refuted", "#96161c", "#fbe4e4"),
    "inconclusive": Look("≈", "inconclusive", "#6f4a00", "#faecc8"),
    "not testable here": Look("–", "untestable", "#454c57", "#e9ecf0"),
    "not measured": Look("○", "unmeasured", "#454c57", "#e9ecf0"),
}


def claim_record(verdict: object) -> dict[str, object]:
    """Return a verdict as a plain record with the fields `FIELDS`.

    Takes a mapping, a dataclass or any object with these attributes. Raises ValueError for a word that is no
    verdict, and for a claim without id or text.
    """
    found = _as_mapping(verdict)
    record = {field: jsonable(found.get(field)) for field in FIELDS}
    word = found.get("verdict")
    record["verdict"] = str(getattr(word, "value", word))
    if record["verdict"] not in LOOKS:
        raise ValueError(f"{record['verdict']!r} is no verdict; the words are: {', '.join(LOOKS)}")
    for field in ("id", "text"):
        if not record[field]:
            raise ValueError(f"a claim needs its {field}")
        record[field] = plain(record[field], None)
    return record


def claim_text(claim: Mapping[str, object]) -> str:
    """Return a claim as one line of plain text."""
    symbol = LOOKS[str(claim["verdict"])].symbol
    return f"{symbol} {claim['verdict']}: {claim['text']} {measured_text(claim)}".rstrip()


def measured_text(claim: Mapping[str, object]) -> str:
    """Return what was measured for a claim, with its interval; empty where nothing was."""
    value, unit = claim.get("value"), claim.get("unit") or ""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    interval = claim.get("interval")
    if isinstance(interval, (list, tuple)) and len(interval) == 2:
        return with_interval(value, interval[0], interval[1], str(unit))
    return f"{significant(value)} {unit}".strip()


def sample_text(claim: Mapping[str, object]) -> str:
    """Return "n = 6", with a word where the value has no interval; nothing where the count is unknown."""
    n, interval, value = claim.get("n"), claim.get("interval"), claim.get("value")
    if not isinstance(n, (int, float)):
        return ""
    return f"n = {count(n)}" if interval or not isinstance(value, (int, float)) else f"n = {count(n)}, no interval"


def tally(claims: list[Mapping[str, object]]) -> dict[str, int]:
    """Return how many claims have each verdict, in the fixed order, zeros left out."""
    words = [claim.get("verdict") for claim in claims]
    return {word: words.count(word) for word in LOOKS if word in words}


def _as_mapping(verdict: object) -> Mapping[str, object]:
    if isinstance(verdict, Mapping):
        return verdict
    if dataclasses.is_dataclass(verdict):
        return {field.name: getattr(verdict, field.name) for field in dataclasses.fields(verdict)}
    return {field: getattr(verdict, field, None) for field in FIELDS}
