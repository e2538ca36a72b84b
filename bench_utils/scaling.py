"""What latency grows with: a cost per layer and a cost per megabyte, and the width at which they are equal.

    latency of a step = start + per_layer · layers + per_mb · megabytes

The cost of a layer that does not depend on its width (launches, Python) is ``per_layer``; what its weights cost is
``per_mb`` times their size. Which is larger depends on the width, so the answer is a width: below the ``crossover`` a
layer costs more by being there than by its weights, and depth decides.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from . import catalog, frames, statistics
from .errors import BenchError
from .physics import BYTES
from .records import DISQUALIFIED

LEAST_MODELS = 5  # three coefficients, and two residuals to judge them by
SIZES = ("layers", "width", "block_mb", "head_mb", "parameters_m", "blocks_m")


def sizes(model: str, dtype: str) -> dict[str, float]:
    """Sizes of a model: blocks and tied head in 10^6 bytes as every step reads them, parameters in millions."""
    found = catalog.model(model)
    head = found.vocabulary * found.width
    return dict(zip(SIZES, (
        found.layers, found.width, found.block_parameters * BYTES[dtype] / 1e6, head * BYTES[dtype] / 1e6,
        found.parameters / 1e6, found.block_parameters / 1e6,
    ), strict=True))  # fmt: skip


def grid(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a model, variant, dtype, phase and round: its sizes and ``step_ms``, the latency of one step.

    A step is one forward: the prefill, or a decoded token. Exhibits and rows that do not count are left out. The
    ``machine`` is that of the round: models are compared within rounds of one machine.
    """
    cells = frames.medians(rows[rows["phase"].isin(["prefill", "decode"])])
    cells = cells[~cells["exhibit"].astype(bool) & ~cells["status"].isin(DISQUALIFIED)]
    known = pd.DataFrame([sizes(m, d) for m, d in zip(cells["model"], cells["dtype"], strict=True)], index=cells.index)
    steps = cells["new_tokens"].where(cells["phase"] == "decode", 1)
    kept = cells[[*frames.KEY, "round", "machine"]]
    return pd.concat([kept, known, (cells["latency_ms"] / steps).rename("step_ms")], axis=1).reset_index(drop=True)


def costs(table: pd.DataFrame, embeddings: bool = True) -> pd.DataFrame:
    """The fit of every variant and phase of a ``grid``: a row each, costs in microseconds with 95 % intervals.

    ``layer_us``, ``mb_us`` with ``_low`` and ``_high``, and ``start_us``; ``r2``, and that of layers, and of megabytes,
    alone; ``crossover``: the width at which a layer's weights cost as much as the layer itself, with its interval over
    the ``rounds`` that hold every model (NaN where a cost is not above zero in one). ``embeddings``: whether the head's
    bytes are counted. Variants of fewer than LEAST_MODELS models, such as a control, are left out; BenchError where
    that leaves none.
    """
    keys = ["variant", "dtype", "phase"]
    return pd.DataFrame(
        [dict(zip(keys, key, strict=True)) | _cost(cells, embeddings) for key, cells in _fitted(table, keys)]
    )


def _fitted(table: pd.DataFrame, keys: list[str]) -> list[tuple[tuple, pd.DataFrame]]:
    """Groups of a grid that hold models enough for a fit."""
    groups = [(key, cells) for key, cells in table.groupby(keys, sort=False)]
    enough = [(key, cells) for key, cells in groups if cells["model"].nunique() >= LEAST_MODELS]
    if not enough:
        most = max((cells["model"].nunique() for _, cells in groups), default=0)
        raise BenchError(f"{most} models cannot judge three costs; measure at least {LEAST_MODELS}")
    return enough


def _cost(cells: pd.DataFrame, embeddings: bool) -> dict:
    medians = _medians(cells)
    fitted = _fit(medians, embeddings)
    layer, mb = fitted.coefficients["layers"], fitted.coefficients["mb"]
    whole = _whole_rounds(cells)
    width, low, high = _crossover(whole, embeddings)
    return {
        "models": len(medians),
        "rounds": whole["round"].nunique(),
        "start_us": 1e3 * fitted.coefficients["intercept"].estimate,
        **{f"layer_us{end}": 1e3 * value for end, value in _bounds(layer)},
        **{f"mb_us{end}": 1e3 * value for end, value in _bounds(mb)},
        "r2": fitted.r_squared,
        "r2_layers": _r2(medians["layers"], medians),
        "r2_mb": _r2(_mb(medians, embeddings), medians),
        "crossover": width,
        "crossover_low": low,
        "crossover_high": high,
    }


def _medians(cells: pd.DataFrame) -> pd.DataFrame:
    return cells.groupby(["model", *SIZES], sort=False)["step_ms"].median().reset_index()


def _mb(table: pd.DataFrame, embeddings: bool) -> pd.Series:
    return table["block_mb"] + (table["head_mb"] if embeddings else 0.0)


def _fit(medians: pd.DataFrame, embeddings: bool):
    predictors = {"layers": medians["layers"].astype(float), "mb": _mb(medians, embeddings)}
    return statistics.relative_fit(medians["step_ms"], predictors)


def _bounds(coefficient) -> list[tuple[str, float]]:
    return [("", coefficient.estimate), ("_low", coefficient.low), ("_high", coefficient.high)]


def _r2(values: pd.Series, medians: pd.DataFrame) -> float:
    """Share of the variance of log latency that one predictor alone explains: it depends on the ranges chosen."""
    return float(np.corrcoef(np.log(values), np.log(medians["step_ms"]))[0, 1] ** 2)


def _whole_rounds(cells: pd.DataFrame) -> pd.DataFrame:
    """Rounds in which one machine measured every model: a fit over fewer would be of other models."""
    rounds = cells.groupby("round")
    every = rounds["model"].transform("nunique") == cells["model"].nunique()
    return cells[every & (rounds["machine"].transform("nunique") <= 1)]


def _crossover(cells: pd.DataFrame, embeddings: bool) -> tuple[float, float, float]:
    """Width at which 12 w² weights cost as much as their layer: from the rounds' own fits, with a t interval."""
    size = BYTES[cells["dtype"].iloc[0]]
    widths = []
    for _, one in cells.groupby("round"):
        c = _fit(_medians(one), embeddings).coefficients
        layer, mb = c["layers"].estimate, c["mb"].estimate
        widths.append(np.sqrt(layer / (mb * 12 * size / 1e6)) if layer > 0 and mb > 0 else np.nan)
    if len(widths) < 2 or np.isnan(widths).any():
        return (float("nan"),) * 3
    found = statistics.paired_ratio(np.log(widths))
    return found.estimate, found.low, found.high


def residuals(table: pd.DataFrame, embeddings: bool = True) -> pd.DataFrame:
    """Measured against fitted, a row a model of each variant and phase: ``off`` is the relative residual."""
    found = []
    for (variant, phase), cells in _fitted(table, ["variant", "phase"]):
        medians = _medians(cells)
        c = _fit(medians, embeddings).coefficients
        fitted = (
            c["intercept"].estimate
            + c["layers"].estimate * medians["layers"]
            + c["mb"].estimate * _mb(medians, embeddings)
        )
        off = medians["step_ms"] / fitted - 1
        found.append(medians.assign(variant=variant, phase=phase, fitted_ms=fitted, off=off))
    columns = [
        "variant", "phase", "model", "layers", "width", "parameters_m", "blocks_m", "step_ms", "fitted_ms", "off",
    ]  # fmt: skip
    return pd.concat(found, ignore_index=True)[columns]


def model_ratio(rows: pd.DataFrame, first: str, second: str, variant: str, phase: str):
    """Latency of one model over that of another, paired by round (a ``PairedRatio``) where one machine measured both;
    None where fewer than two rounds hold them."""
    cells = grid(rows)
    mine = cells[(cells["variant"] == variant) & (cells["phase"] == phase) & cells["model"].isin([first, second])]
    wide = _whole_rounds(mine).pivot_table(index="round", columns="model", values="step_ms")
    if not {first, second} <= set(wide.columns) or len(wide) < 2:
        return None
    return statistics.paired_ratio(np.log(wide[first] / wide[second]))
