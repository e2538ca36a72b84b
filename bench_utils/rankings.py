"""Tables over several cells, and what they refuse: unlike sets, pooled spreads, survivors."""

from __future__ import annotations

import numpy as np
import pandas as pd

from . import frames, statistics
from .contrasts import attempts, refuse_mixture
from .errors import BenchError
from .records import DISQUALIFIED, TIMED, UNFINISHED


def rank(rows: pd.DataFrame, phase: str) -> pd.DataFrame:
    """Variants by geometric mean latency of a phase, over the models that all of them measured.

    ``latency_ms`` is the geometric mean over ``models`` of the rounds' medians; ``left_out`` names models that some
    variant lacks: a mean over different models would rank the models. A cell with a failed round, or one that does not
    count, is no cell: survivors are not ranked, and a variant without any is left out. Raises BenchError when nothing
    is common, and for rows of several timers.
    """
    refuse_mixture(rows)
    rows = rows[(rows["phase"] == phase) & ~rows["exhibit"].astype(bool)]
    tried = attempts(rows)
    bad = tried["status"].isin(DISQUALIFIED | UNFINISHED).groupby([tried[key] for key in frames.KEY]).any()
    cells = frames.medians(rows).set_index(frames.KEY)
    cells = cells[~bad.reindex(cells.index).to_numpy(dtype=bool)].reset_index()
    if cells.empty:
        raise BenchError(f"no {phase} that counts in every round was measured in these rows")
    if cells["timer"].nunique() > 1:
        raise BenchError(f"{phase} was timed by {cells['timer'].nunique()} timers; rank the rows of one (by_clock)")
    wide = cells.pivot_table(
        index=["model", "dtype", "prompt_tokens", "new_tokens", "batch_size"],
        columns="variant",
        values="latency_ms",
        aggfunc="median",
    )
    common = wide.dropna()
    if common.empty:
        raise BenchError(f"the variants share no model in {phase}; measure them on the same models")
    models = {index[0] for index in wide.index.difference(common.index)}
    left_out = ", ".join(sorted(models | set(tried["variant"]) - set(wide.columns)))
    means = np.exp(np.log(common).mean()).sort_values()
    table = means.rename("latency_ms").rename_axis("variant").reset_index()
    return table.assign(models=common.index.get_level_values("model").nunique(), n=len(common), left_out=left_out)


def pool(rows: pd.DataFrame, over: str) -> pd.DataFrame:
    """Median latency per variant over several cells that differ in ``over``, where that means something.

    Raises BenchError when the variance between the cells exceeds that within them: the spread would then be that of
    the cells, and an effect size over it near zero whatever the effect.
    """
    cells = frames.medians(rows[rows["phase"].isin(TIMED)])
    cells = cells[~cells["exhibit"].astype(bool) & ~cells["status"].isin(DISQUALIFIED)]
    alike = [key for key in frames.KEY if key != over]
    logs = np.log(cells["latency_ms"]).groupby([cells[key] for key in (*alike, over)], dropna=False)
    between = logs.mean().groupby(level=alike).var(ddof=1)
    within = logs.var(ddof=1).groupby(level=alike).mean()
    worst = (between > within.fillna(0)) & between.notna()
    if worst.any():
        cell = worst.idxmax()
        raise BenchError(
            f"pooling over {over} mixes cells that differ more between than within ({cell[0]}, {cell[1]}: variance "
            f"{between[cell]:.3g} against {within[cell]:.3g} on the log scale); compare cell by cell"
        )
    return cells.groupby(alike, sort=False)["latency_ms"].agg(median_ms="median", cells="size").reset_index()


def failure_rates(receipts: pd.DataFrame) -> pd.DataFrame:
    """Attempts that gave no number, per variant and phase: ``failed`` of ``attempts`` with a Wilson interval.

    A variant that this machine cannot run at all was not attempted, and has no row.
    """
    timed = receipts[receipts["phase"].isin(TIMED)]
    absent = (timed["status"] == "unavailable").groupby([timed["variant"], timed["phase"]]).transform("all")
    timed = timed[~absent]
    found = []
    for (variant, phase), group in timed.groupby(["variant", "phase"], sort=False):
        failed, asked = int(group["status"].isin(UNFINISHED).sum()), len(group)
        low, high = statistics.wilson(failed, asked)
        found.append(
            {"variant": variant, "phase": phase, "failed": failed, "attempts": asked}
            | {"rate": failed / asked, "low": low, "high": high}
        )
    return pd.DataFrame(found)
