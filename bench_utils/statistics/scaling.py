"""Scaling of latency with size: power law, two predictors, rank correlation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from bench_utils.statistics.models import Coefficient, LinearFit, fit
from bench_utils.statistics.summaries import as_matched, as_positive, check_share


@dataclass(frozen=True)
class PowerLawFit:
    """y = factor x^exponent, with the t interval of the exponent and p against an exponent of zero."""

    exponent: float
    low: float
    high: float
    factor: float
    r_squared: float
    p: float
    n: int
    method: str


@dataclass(frozen=True)
class TwoPredictorFit:
    """y on two predictors: coefficients raw and in standard deviations, and how far the predictors agree."""

    intercept: Coefficient
    first: Coefficient
    second: Coefficient
    first_standardised: Coefficient
    second_standardised: Coefficient
    r_squared: float
    adjusted_r_squared: float
    predictor_correlation: float
    n: int
    method: str


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rho with its interval (NaN bounds below four pairs or at rho of exactly 1 or -1)."""

    rho: float
    low: float
    high: float
    p: float
    n: int
    method: str


def loglog_fit(x: ArrayLike, y: ArrayLike, confidence: float = 0.95) -> PowerLawFit:
    """Power law y = factor x^exponent by least squares of log y on log x, exponent with its t interval.

    Raises ValueError below three points, for values that are not positive, or when all x are equal.
    """
    as_matched(x, y, ("x", "y"), 3)
    log_x, log_y = np.log(as_positive(x, "x")), np.log(as_positive(y, "y"))
    if np.ptp(log_x) == 0:
        raise ValueError("x is the same for all points: no exponent can be fitted")
    line = scipy.stats.linregress(log_x, log_y)
    t = float(scipy.special.stdtrit(log_x.size - 2, (1 + check_share(confidence, "confidence")) / 2))
    slope, half = float(line.slope), t * float(line.stderr)
    return PowerLawFit(
        slope,
        slope - half,
        slope + half,
        math.exp(line.intercept),
        float(line.rvalue) ** 2,
        float(line.pvalue),
        log_x.size,
        "least squares of log y on log x",
    )


def two_predictor_fit(x1: ArrayLike, x2: ArrayLike, y: ArrayLike, confidence: float = 0.95) -> TwoPredictorFit:
    """Least squares of y on two predictors, with raw and standardised coefficients and their t intervals.

    A standardised coefficient is the raw one times sd(x) / sd(y). Raises ValueError below four points, when
    a predictor or y is constant, and when one predictor is a linear function of the other.
    """
    first, second = as_matched(x1, x2, ("x1", "x2"), 4)
    _, response = as_matched(x1, y, ("x1", "y"), 4)
    for name, values in (("x1", first), ("x2", second), ("y", response)):
        if np.ptp(values) == 0:
            raise ValueError(f"{name} is the same for all points: nothing can be fitted")
    model = fit(response, {"x1": first, "x2": second}, confidence=confidence)
    raw = model.coefficients
    scaled = [_scale(raw[k], x.std() / response.std()) for k, x in (("x1", first), ("x2", second))]
    adjusted = 1 - (1 - model.r_squared) * (model.n - 1) / model.df_residual
    correlation = float(np.corrcoef(first, second)[0, 1])
    return TwoPredictorFit(
        raw["intercept"],
        raw["x1"],
        raw["x2"],
        *scaled,
        model.r_squared,
        adjusted,
        correlation,
        model.n,
        "ordinary least squares on two predictors",
    )


def relative_fit(y: ArrayLike, predictors: Mapping[str, ArrayLike], confidence: float = 0.95) -> LinearFit:
    """Least squares of relative errors: y on named predictors and an intercept, each point weighted by 1 / y².

    Errors of latencies are in proportion to them; without weights the largest cells alone would decide. R² is that of
    the weighted data. Raises ValueError for y that is not positive, and as ``fit`` does for a design that cannot be
    estimated.
    """
    values = as_positive(y, "y")
    columns = {name: as_matched(x, y, (name, "y"), 2)[0] for name, x in predictors.items()}
    plain = fit(values, columns, confidence=confidence)  # refuses what cannot be estimated
    from statsmodels.regression.linear_model import WLS

    matrix = np.column_stack([np.ones_like(values), *columns.values()])
    result = WLS(values, matrix, weights=values**-2.0).fit()
    bounds = result.conf_int(1 - confidence)
    found = {
        name: Coefficient(*map(float, (result.params[i], *bounds[i], result.pvalues[i])))
        for i, name in enumerate(("intercept", *columns))
    }
    return LinearFit(
        plain.terms,
        found,
        float(result.rsquared),
        float(result.ssr),
        plain.df_residual,
        plain.n,
        "least squares of relative errors",
    )


def _scale(c: Coefficient, factor: float) -> Coefficient:
    return Coefficient(*(float(part * factor) for part in (c.estimate, c.low, c.high)), c.p)


def spearman(x: ArrayLike, y: ArrayLike, confidence: float = 0.95) -> RankCorrelation:
    """Spearman's rank correlation: p from t with n - 2 degrees of freedom, interval on Fisher's scale.

    Standard error sqrt((1 + rho^2 / 2) / (n - 3)) of Bonett and Wright (2000). Raises ValueError below
    three pairs or when a variable is constant.
    """
    a, b = as_matched(x, y, ("x", "y"), 3)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        raise ValueError("x or y is the same for all pairs: ranks cannot correlate")
    result = scipy.stats.spearmanr(a, b)
    rho = float(result.statistic)
    z = float(scipy.special.ndtri((1 + check_share(confidence, "confidence")) / 2))
    low = high = math.nan
    if a.size > 3 and 1 - abs(rho) > 1e-12:
        half = z * math.sqrt((1 + rho**2 / 2) / (a.size - 3))
        low, high = math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)
    return RankCorrelation(rho, low, high, float(result.pvalue), a.size, "Spearman, Bonett-Wright interval")
