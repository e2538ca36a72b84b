"""Tail probabilities of t and F in log space: published effects reach p = 1e-300 and beyond."""

from __future__ import annotations

import math

import numpy as np
import scipy

_STEPS = 100_000  # continued fraction: needs about sqrt(max(a, b)) steps, so this reaches df of 1e9
_TINY = 1e-300


def log10_p_of_t(t: float, df: float) -> float:
    """Log10 of the two-sided p value of a t statistic; finite for any finite t.

    scipy's log survival function where it does not underflow, else the incomplete beta function in log
    space: p = I_x(df / 2, 1 / 2) with x = df / (df + t^2) (Abramowitz and Stegun 26.7.1).
    """
    with np.errstate(all="ignore"):
        log_p = math.log(2) + float(scipy.stats.t.logsf(abs(t), df))
    if not math.isfinite(log_p):
        log_p = _log_betainc(df / 2, 0.5, df, t * t)
    return min(0.0, log_p / math.log(10))


def log10_p_of_f(f: float, df_between: float, df_within: float) -> float:
    """Log10 of the upper tail of an F statistic, by the same two ways (Abramowitz and Stegun 26.6.2)."""
    with np.errstate(all="ignore"):
        log_p = float(scipy.stats.f.logsf(f, df_between, df_within))
    if not math.isfinite(log_p):
        log_p = _log_betainc(df_within / 2, df_between / 2, df_within, df_between * f)
    return min(0.0, log_p / math.log(10))


def _log_betainc(a: float, b: float, part: float, rest: float) -> float:
    """Log of I_x(a, b) at x = part / (part + rest), for x below (a + 1) / (a + b + 2).

    Continued fraction 8.17.22 of the NIST DLMF, evaluated by Lentz's method. x comes in two parts because 1
    - x is lost to rounding when `rest` is small beside `part`.
    """
    log_x, log_1x = -math.log1p(rest / part), -math.log1p(part / rest)
    front = a * log_x + b * log_1x - math.log(a) - float(scipy.special.betaln(a, b))
    return front - math.log(_beta_fraction(a, b, math.exp(log_x)))


def _beta_fraction(a: float, b: float, x: float) -> float:
    value, c, d = 1.0, 1.0, 0.0
    for step in range(1, _STEPS):
        m = step // 2
        if step % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / (1 + term * d or _TINY)
        c = 1 + term / c or _TINY
        value *= c * d
        if abs(c * d - 1) < 1e-15:
            return value
    raise ValueError(f"the tail probability did not converge (a = {a}, b = {b}, x = {x})")
