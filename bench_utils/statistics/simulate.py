"""Latencies whose truth is known, and the share of intervals that hold it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import scipy

from bench_utils.statistics.decisions import wilson
from bench_utils.statistics.summaries import Array


@dataclass(frozen=True)
class Coverage:
    """Share of intervals that hold the truth, with its own Wilson interval."""

    rate: float
    low: float
    high: float
    n: int


def independent(rng: np.random.Generator, shape: tuple[int, ...], cv: float = 0.05) -> Array:
    """Log-normal latencies of the given shape with median 1 and log standard deviation `cv`."""
    return np.exp(cv * rng.standard_normal(shape))


def autoregressive(rng: np.random.Generator, shape: tuple[int, ...], rho: float = 0.6, cv: float = 0.05) -> Array:
    """As `independent`, but AR(1) along the last axis: neighbours' log latencies correlate `rho`.

    Started in its stationary distribution. Raises ValueError unless -1 < rho < 1.
    """
    if not -1 < rho < 1:
        raise ValueError(f"rho must lie strictly between -1 and 1, not {rho}")
    shocks = rng.standard_normal(shape)
    shocks[..., 1:] *= math.sqrt(1 - rho**2)
    return np.exp(cv * scipy.signal.lfilter([1.0], [1.0, -rho], shocks, axis=-1))


def process_effects(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    between: float = 0.01,
    within: float = 0.02,
    rho: float = 0.0,
) -> Array:
    """Latencies of shape (..., processes, samples), each process with a level of its own around 1.

    `between` and `within` are log standard deviations; `rho` correlates neighbours within a process.
    """
    levels = np.exp(between * rng.standard_normal((*shape[:-1], 1)))
    return levels * autoregressive(rng, shape, rho, within)


def two_modes(
    rng: np.random.Generator, shape: tuple[int, ...], share: float = 0.3, apart: float = 0.2, cv: float = 0.02
) -> Array:
    """Latencies of which a `share` in expectation lies higher by a factor exp(apart)."""
    return independent(rng, shape, cv) * np.exp(apart * (rng.random(shape) < share))


def coverage(intervals: Iterable[tuple[float, float]], truth: float) -> Coverage:
    """Share of `(low, high)` pairs that hold the truth; a NaN interval does not. ValueError when empty."""
    hits = [low <= truth <= high for low, high in intervals]
    if not hits:
        raise ValueError("intervals is empty")
    return Coverage(sum(hits) / len(hits), *wilson(sum(hits), len(hits)), len(hits))
