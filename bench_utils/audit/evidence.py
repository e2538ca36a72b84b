"""Audited numbers as words: what a claim printed and what its inputs give, bound to the rows that say so."""

from __future__ import annotations

import functools
import string
from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

from ..formatting import count, significant
from .sources import read
from .verdicts import recompute

sources = functools.cache(read)


class Correction(NamedTuple):
    """A row of the table of corrections; `claims` are the ids it rests on."""

    report: str
    statement: str
    published: str
    recomputed: str
    consequence: str
    claims: str


class _Words(string.Formatter):
    """Fills a template with numbers as a reader wants them: whole ones with commas, others to three digits."""

    def format_field(self, value: object, spec: str) -> str:
        if spec or isinstance(value, str):
            return format(value, spec)
        return count(value) if float(value).is_integer() else significant(value)  # type: ignore[arg-type]


def said(template: str, **values: object) -> str:
    """A sentence from a template without digits: every number in it comes from a value."""
    return _Words().format(template, **values)


@functools.cache
def audited() -> pd.DataFrame:
    """The audit, a row a claim, indexed by claim."""
    return recompute().set_index("claim_id")


def printed(*claim_ids: str) -> str:
    """The numbers that claims print, with the unit where it differs from the next one's."""
    return _listed(claim_ids, lambda claim: claim["published"])


def again(*claim_ids: str, digits: int = 3) -> str:
    """The numbers recomputed for claims, in the same way."""
    return _listed(claim_ids, lambda claim: _number(claim["recomputed"], digits))


def _number(value: float, digits: int) -> str:
    return count(value) if float(value).is_integer() else significant(value, digits)


def _listed(claim_ids: tuple[str, ...], text: Callable[[pd.Series], str]) -> str:
    claims = [audited().loc[claim_id] for claim_id in claim_ids]
    units = [claim["unit"] for claim in claims]
    kept = [unit if unit != following else "" for unit, following in zip(units, [*units[1:], None], strict=True)]
    return ", ".join(f"{text(claim)} {unit}".strip() for claim, unit in zip(claims, kept, strict=True))


def ids(report: str, *numbers: int) -> list[str]:
    """Claim ids of a report."""
    return [f"{report}-{number:03}" for number in numbers]
