"""Statistics against data whose truth is known: coverage of intervals, and what the published protocol would call."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from . import statistics as st

TRIALS, PROCESSES, SAMPLES = 400, 6, 50


def coverage(seed: int) -> pd.DataFrame:
    """Share of 95 % intervals that hold the truth: a row a kind of data, with its own Wilson interval."""
    rng = np.random.default_rng(seed)
    kinds = {
        "independent samples": (st.independent(rng, (TRIALS, SAMPLES)), st.median_interval),
        "neighbours correlate 0.6": (st.autoregressive(rng, (TRIALS, SAMPLES), 0.6), st.median_interval),
        "processes differ by 1 %": (st.process_effects(rng, (TRIALS, PROCESSES, SAMPLES)), _over_processes),
    }
    found = []
    for kind, (data, interval) in kinds.items():
        intervals = [interval(values) for values in data]
        share = st.coverage([(i.low, i.high) for i in intervals], 1.0)
        found.append({"data": kind, "coverage": share.rate, "low": share.low, "high": share.high, "n": share.n,
                      "method": intervals[0].method})  # fmt: skip
    return pd.DataFrame(found)


def _over_processes(values: np.ndarray) -> st.MedianInterval:
    labels = np.repeat(np.arange(values.shape[0]), values.shape[1])
    return st.median_over_processes(values.ravel(), labels)


def false_alarms(seed: int) -> pd.DataFrame:
    """How often identical code is called different: by this protocol, and by a t test over pooled samples.

    Simulated processes differ by 1 % between and 2 % within them, as on a quiet machine.
    """
    rng = np.random.default_rng(seed)
    arms = st.process_effects(rng, (2, TRIALS, PROCESSES, SAMPLES))
    medians = np.log(np.median(arms, axis=-1))
    ours = [st.paired_ratio(a - b).p < 0.05 for a, b in zip(*medians, strict=True)]
    pooled = stats.ttest_ind(*arms.reshape(2, TRIALS, -1), axis=1).pvalue < 0.05
    return pd.DataFrame(
        [_rate("paired t over rounds", sum(ours)), _rate("t test over pooled samples", int(pooled.sum()))]
    )


def _rate(protocol: str, called: int) -> dict:
    low, high = st.wilson(called, TRIALS)
    return {"protocol": protocol, "called_different": called / TRIALS, "low": low, "high": high, "n": TRIALS}


def shapes(seed: int) -> pd.DataFrame:
    """Whether two modes and slow drift are flagged, and one mode is not."""
    rng = np.random.default_rng(seed)
    two, one = st.two_modes(rng, (200,)), st.independent(rng, (200,))
    drifting = st.independent(rng, (200,), 0.01) * np.linspace(1, 1.1, 200)
    drift = st.drift(drifting, np.arange(200))
    return pd.DataFrame(
        [
            {"data": "two modes", "flag": "bimodal", "raised": st.bimodality(two).bimodal, "expected": True},
            {"data": "one mode", "flag": "bimodal", "raised": st.bimodality(one).bimodal, "expected": False},
            {"data": "10 % drift", "flag": "drift", "raised": drift.p < 0.05, "expected": True},
        ]
    )
