"""What tokens cost: dollars from a plan's price, joules from receipts; no number without the one or the other."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd

from . import frames, statistics
from .contrasts import bad_rounds, refuse_mixture
from .errors import BenchError
from .prices import NO_PRICE, Price, assumptions, price_of

__all__ = ["Price", "assumptions", "cost_table", "energy_table", "price_of"]

NAN = float("nan")
SPEED = ("tokens_per_s", "tokens_low", "tokens_high")
USD = ("usd_per_million", "usd_low", "usd_high")
JOULES = ("gross_j", "gross_low", "gross_high", "idle_w", "net_j")
NOT_ASKED = "this preset does not ask for energy"


def cost_table(rows: pd.DataFrame, price: Price | None) -> pd.DataFrame:
    """Tokens a second of decode, and US dollars for a million of them: a row a cell, exhibits left out.

    ``tokens_per_s`` counts the tokens of all sequences of a batch, typical of the rounds' medians, with the 95 %
    interval ``tokens_low``..``tokens_high``; ``usd_per_million`` with ``usd_low``..``usd_high`` follows from it.
    ``reason`` says why a number is missing. One price holds for all variants: BenchError for rows of several devices
    or machines, and for a price that is younger than the run.
    """
    refuse_mixture(rows)
    decode = rows[(rows["phase"] == "decode") & ~rows["exhibit"].astype(bool)]
    if decode.empty:
        raise BenchError("no decode was measured in these rows; add the phase to the plan")
    if price is not None and rows["started_at"].notna().any():
        price.refuse_future(datetime.datetime.fromtimestamp(rows["started_at"].min(), datetime.UTC).date())
    keyed = decode.groupby(frames.KEY, sort=False)
    return pd.DataFrame([dict(zip(frames.KEY, key, strict=True)) | _cost(cell, price) for key, cell in keyed])


def _cost(rows: pd.DataFrame, price: Price | None) -> dict:
    """Speed and cost of one cell over its rounds."""
    attempts = rows.drop_duplicates(["run", "round"])
    found = {"rounds": len(attempts)} | dict.fromkeys((*SPEED, *USD), NAN)
    if reason := _no_speed(attempts):
        return found | {"reason": reason}
    rounds = frames.medians(rows)
    seconds = rounds["latency_ms"] / 1e3 / rounds["tokens_out"].astype("float64")
    typical = statistics.median_over_processes(seconds, rounds["run"] + rounds["process"])
    bounds = (typical.median, typical.low, typical.high)
    found |= dict(zip(SPEED, (1 / typical.median, 1 / typical.high, 1 / typical.low), strict=True))
    if price is None:
        return found | {"reason": NO_PRICE}
    return found | dict(zip(USD, map(price.per_million, bounds), strict=True)) | {"reason": ""}


def _no_speed(attempts: pd.DataFrame) -> str:
    """Why a cell has no speed; empty when it has one."""
    return bad_rounds(attempts) or ("" if (attempts["tokens_out"] > 0).all() else "the tokens were not counted")


def energy_table(receipts: pd.DataFrame) -> pd.DataFrame:
    """Joules per generated token of whole requests (e2e), prompt included: a row a cell.

    ``gross_j`` as metered, with the 95 % interval ``gross_low``..``gross_high`` over the rounds; ``idle_w`` of windows
    without a call; ``net_j`` is the gross energy less that of idling as long, from ``rounds`` rounds. ``meter`` counted
    them; ``reason`` says why a number, or that of a round, is missing. BenchError for receipts of several meters: they
    do not count the same.
    """
    cells = receipts[(receipts["phase"] == "e2e") & ~receipts["exhibit"]]
    asked = [r.get("energy", {"reason": NOT_ASKED}) for r in cells["receipt"]]
    _refuse_several_meters({found["meter"] for found in asked if found.get("meter")})
    groups = cells.assign(energy=asked).groupby(frames.KEY, sort=False)
    return pd.DataFrame([dict(zip(frames.KEY, key, strict=True)) | _energy(cell) for key, cell in groups])


def _refuse_several_meters(meters: set[str]) -> None:
    if len(meters) > 1:
        raise BenchError(f"energy of several meters in one table: {', '.join(sorted(meters))}; make a table a meter")


def _energy(cells: pd.DataFrame) -> dict:
    """Energy of one cell over its rounds."""
    meter = next((one["meter"] for one in cells["energy"] if one.get("meter")), None)
    found = {"meter": meter, "rounds": 0} | dict.fromkeys(JOULES, NAN)
    if reason := bad_rounds(cells):
        return found | {"reason": reason}
    known = cells[[not one.get("reason") for one in cells["energy"]]]
    reasons = sorted({one["reason"] for one in cells["energy"] if one.get("reason")})
    missing = f"{'; '.join(reasons)} (in {len(cells) - len(known)} of {len(cells)} rounds)" if reasons else ""
    if known.empty:
        return found | {"reason": missing}
    gross = statistics.median_over_processes([one["gross_j_per_token"] for one in known["energy"]], known["process"])
    idle_w, net_j = (float(np.median([one[k] for one in known["energy"]])) for k in ("idle_w", "net_j_per_token"))
    numbers = dict(zip(JOULES, (gross.median, gross.low, gross.high, idle_w, net_j), strict=True))
    return found | numbers | {"rounds": len(known), "reason": missing}
