"""What speed costs in loss: the measured latency of each arm beside what it loses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from .. import comparison, frames, statistics
from ..claims import LEAST_ROUNDS
from ..records import DISQUALIFIED
from .asked import BASELINE
from .summary import ARM, NATS, Found

REPORT = "TR117"
SPEED = [*ARM, "latency", "latency_low", "latency_high", "rounds", "run"]
_SCENARIO = ["prompt_tokens", "new_tokens", "batch_size"]
NO_SPEED = "its decode was not measured"
NO_LOSS = "no loss is stated"


def speeds(root: Path, device: str, report: str = REPORT) -> pd.DataFrame:
    """Decode latency of each arm over that of eager float32, SPEED: from the newest complete run on a device.

    Paired by the rounds of that run, over the scenarios that both arms have, with the t interval of the log ratios.
    Exhibits, cells that a gate disqualified, and arms with fewer than six rounds give no number. Empty without a run.
    """
    newest = comparison.newest(root, report).get(device)
    if newest is None:
        return pd.DataFrame(columns=SPEED)
    folder, manifest = newest
    cells = frames.medians(frames.load(folder)).query("phase == 'decode'")
    cells = cells[~cells["exhibit"].astype(bool) & ~cells["status"].isin(DISQUALIFIED)]
    found = [_speed(key, group) | {"run": manifest.run} for key, group in _paired(cells).groupby(ARM, sort=True)]
    return pd.DataFrame([row for row in found if row["rounds"] >= LEAST_ROUNDS], columns=SPEED)


def _paired(cells: pd.DataFrame) -> pd.DataFrame:
    """Each cell beside the baseline of the same model, scenario and round."""
    key = ["model", *_SCENARIO, "round"]
    plain = cells[(cells["variant"] == BASELINE[0]) & (cells["dtype"] == BASELINE[1])]
    return cells.merge(plain[[*key, "latency_ms"]], on=key, suffixes=("", "_base"))


def _speed(key: tuple, pairs: pd.DataFrame) -> dict:
    logs = np.log(pairs["latency_ms"] / pairs["latency_ms_base"]).groupby(pairs["round"]).mean()
    known = dict(zip(ARM, key, strict=True)) | {"rounds": len(logs)}
    if len(logs) < 2:
        return known
    ratio = statistics.paired_ratio(logs)
    return known | {"latency": ratio.estimate, "latency_low": ratio.low, "latency_high": ratio.high}


def beside(found: Found, differences: pd.DataFrame, speed: pd.DataFrame) -> pd.DataFrame:
    """A row an arm and text: its latency beside its loss, both against eager float32. Without any loss, a row an arm.

    ``missing`` says in words which of the two there is not.
    """
    texts = set(found.scores.dropna(subset=["nll"])["task"]) or {*found.tasks["task"].head(1)}
    arms = found.tasks.loc[found.tasks["task"].isin(texts), [*ARM, "task", "status"]]
    known = differences[(differences["compared"] == "variants") & (differences["unit"] == NATS)]
    table = arms.merge(known[["task", *ARM, "difference", "low", "high"]], on=[*ARM, "task"], how="left")
    plain = (table["variant"] == BASELINE[0]) & (table["dtype"] == BASELINE[1]) & (table["status"] == "ok")
    table.loc[plain, ["difference", "low", "high"]] = 0.0
    table = table.merge(speed.drop(columns=["rounds", "run"]), on=ARM, how="left")
    table["missing"] = [_missing(*pair) for pair in zip(table["difference"], table["latency"], strict=True)]
    return table.drop(columns="status")


def _missing(loss: float, latency: float) -> str:
    return " and ".join(words for words, known in ((NO_LOSS, loss), (NO_SPEED, latency)) if known != known)
