"""What goes in: checked samples and `(n, mean, std)` triples."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class Summary(NamedTuple):
    """A published or computed summary: count, mean and sample standard deviation (n - 1)."""

    n: int
    mean: float
    std: float


def as_sample(values: ArrayLike, name: str, least: int = 1) -> Array:
    """Return `values` as a finite one-dimensional float array.

    Raises ValueError naming the argument when it has another shape, fewer than `least` values, or a value
    that is missing or infinite (a missing measurement must be left out by the caller, with its reason).
    """
    array = np.asarray(values, dtype=float)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, not of shape {array.shape}")
    if array.size < least:
        raise ValueError(f"{name} holds {array.size} values; at least {least} are needed")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds missing or infinite values")
    return array


def as_positive(values: ArrayLike, name: str, least: int = 1) -> Array:
    """Return `values` as by `as_sample`, refusing those without a logarithm (ValueError)."""
    array = as_sample(values, name, least)
    if (array <= 0).any():
        raise ValueError(f"{name} must be positive throughout: its logarithm is needed")
    return array


def as_matched(first: ArrayLike, second: ArrayLike, names: tuple[str, str], least: int) -> tuple[Array, Array]:
    """Return two samples of one length, or raise ValueError naming both."""
    a, b = as_sample(first, names[0], least), as_sample(second, names[1], least)
    if a.size != b.size:
        raise ValueError(f"{names[0]} and {names[1]} must be of one length, not {a.size} and {b.size}")
    return a, b


def check_share(value: float, name: str) -> float:
    """Return `value` when it lies strictly between 0 and 1, else raise ValueError naming it."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie strictly between 0 and 1, not {value}")
    return float(value)


def as_summary(value: object, name: str, least: int = 2) -> Summary:
    """Return a checked Summary from a `(n, mean, std)` triple; ValueError names what is wrong with it."""
    try:
        n, mean, std = (math.nan if part is None else float(part) for part in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a (n, mean, std) triple, not {value!r}") from None
    if not (math.isfinite(n) and n == int(n) and n >= least):
        raise ValueError(f"{name} needs a whole n of at least {least}, not {n:g}")
    if not math.isfinite(mean):
        raise ValueError(f"{name} has no finite mean")
    if not (math.isfinite(std) and std >= 0):
        raise ValueError(f"{name} needs a standard deviation of zero or more, not {std:g}")
    return Summary(int(n), mean, std)


def summarise(values: ArrayLike) -> Summary:
    """Summarise a sample of two or more values; the standard deviation divides by n - 1."""
    array = as_sample(values, "values", 2)
    return Summary(array.size, float(array.mean()), float(array.std(ddof=1)))


def summary_of(value: object, name: str) -> Summary:
    """Take a triple as it is (a tuple of three) and summarise anything else as a sample."""
    if isinstance(value, tuple) and len(value) == 3:
        return as_summary(value, name)
    return summarise(as_sample(value, name, 2))  # type: ignore[arg-type]
