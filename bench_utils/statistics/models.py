"""Linear models of factors: a design that refuses what it cannot estimate, additive against interaction."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bench_utils.statistics.published import Anova, f_test
from bench_utils.statistics.summaries import Array, as_sample, check_share

Column = Sequence[Any] | Array


@dataclass(frozen=True)
class Coefficient:
    """An estimated coefficient with its t interval and two-sided p against zero."""

    estimate: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class LinearFit:
    """A least-squares fit: `coefficients` by column name, in design order, the intercept first."""

    terms: tuple[str, ...]
    coefficients: dict[str, Coefficient]
    r_squared: float
    rss: float
    df_residual: int
    n: int
    method: str


@dataclass(frozen=True)
class ModelComparison:
    """The additive model, the one with all two-way interactions, and the F test between them."""

    additive: LinearFit
    interaction: LinearFit
    test: Anova


def fit(
    response: ArrayLike,
    factors: Mapping[str, Column],
    terms: Sequence[str] | None = None,
    confidence: float = 0.95,
) -> LinearFit:
    """Least squares of a response on named factors; without `terms` the additive model of all of them.

    Numbers enter as they are, anything else as treatment contrasts against the first level in sorted order.
    A term is a factor or a product such as "backend:model". Intervals are t intervals (statsmodels OLS).
    Raises ValueError naming the term whose columns the earlier ones already hold (empty cells, a factor
    that repeats another), a factor with one level or missing values, or lengths that differ; and when no
    residual is left.
    """
    y = as_sample(response, "response", 2)
    check_share(confidence, "confidence")
    chosen = tuple(factors if terms is None else terms)
    names, matrix = _design(factors, chosen, y.size)
    if y.size <= matrix.shape[1]:
        raise ValueError(f"{y.size} rows cannot judge {matrix.shape[1]} coefficients: no residual is left")
    return _least_squares(y, names, matrix, chosen, confidence)


def _least_squares(y: Array, names: list[str], matrix: Array, terms: tuple[str, ...], confidence: float) -> LinearFit:
    from statsmodels.regression.linear_model import OLS

    result = OLS(y, matrix, hasconst=True).fit()
    bounds = result.conf_int(1 - confidence)
    coefficients = {
        name: Coefficient(*map(float, (result.params[i], *bounds[i], result.pvalues[i])))
        for i, name in enumerate(names)
    }
    r_squared = float(result.rsquared) if np.ptp(y) > 0 else math.nan
    return LinearFit(
        terms,
        coefficients,
        r_squared,
        float(result.ssr),
        int(result.df_resid),
        y.size,
        "ordinary least squares, treatment contrasts",
    )


def _design(factors: Mapping[str, Column], terms: Sequence[str], n: int) -> tuple[list[str], Array]:
    """Column names and design matrix; each term must raise the rank by all its columns."""
    coded = {name: _code(name, column, n) for name, column in factors.items()}
    names, matrix = ["intercept"], np.ones((n, 1))
    for term in terms:
        labels, columns = _product(term, coded)
        wider = np.column_stack([matrix, columns])
        missing = wider.shape[1] - _rank(wider)
        if missing:
            raise ValueError(_refusal(term, factors, missing, len(labels)))
        names, matrix = names + labels, wider
    return names, matrix


def _rank(matrix: Array) -> int:
    lengths = np.linalg.norm(matrix, axis=0)
    return int(np.linalg.matrix_rank(matrix / np.where(lengths > 0, lengths, 1)))


def _code(name: str, column: Column, n: int) -> tuple[list[str], Array]:
    values = np.asarray(column)
    if values.shape != (n,):
        raise ValueError(f"factor {name!r} must hold {n} values, one for each response")
    if values.dtype.kind in "iuf":
        return [name], as_sample(values, f"factor {name!r}")[:, None]
    if any(value is None or value != value for value in column):
        raise ValueError(f"factor {name!r} holds missing values")
    texts = [str(value) for value in column]
    levels = sorted(set(texts))
    if len(levels) < 2:
        raise ValueError(f"factor {name!r} has one level, {levels[0]!r}: it has no effect to estimate")
    coded = [[float(text == level) for level in levels[1:]] for text in texts]
    return [f"{name}[{level}]" for level in levels[1:]], np.array(coded)


def _product(term: str, coded: Mapping[str, tuple[list[str], Array]]) -> tuple[list[str], Array]:
    parts = term.split(":")
    unknown = [part for part in parts if part not in coded]
    if unknown:
        raise ValueError(f"term {term!r} names no factor: {', '.join(unknown)}")
    labels, columns = coded[parts[0]]
    for part in parts[1:]:
        more, others = coded[part]
        labels = [f"{a}:{b}" for a, b in itertools.product(labels, more)]
        columns = np.einsum("ri,rj->rij", columns, others).reshape(len(columns), -1)
    return labels, columns


def _refusal(term: str, factors: Mapping[str, Column], missing: int, width: int) -> str:
    parts = [[str(value) for value in factors[part]] for part in term.split(":")]
    seen = set(zip(*parts, strict=True))
    empty = [cell for cell in itertools.product(*(sorted(set(p)) for p in parts)) if cell not in seen]
    why = "earlier terms already hold them"
    if len(parts) > 1 and empty:
        why = "no rows for " + ", ".join(" x ".join(cell) for cell in empty[:3])
        why += f" and {len(empty) - 3} more" if len(empty) > 3 else ""
    return f"the term {term!r} cannot be estimated: {missing} of its {width} columns add nothing ({why})"


def additive_against_interaction(response: ArrayLike, factors: Mapping[str, Column]) -> ModelComparison:
    """Test main effects with all two-way interactions against main effects alone.

    F of the drop in the residual sum of squares. Refuses, as `fit`, an interaction with empty cells: fit
    the estimable part, or use `interaction_from_cells`, which counts its degrees of freedom. Raises
    ValueError with fewer than two factors.
    """
    if len(factors) < 2:
        raise ValueError("factors must name at least two, or nothing can interact")
    pairs = [":".join(pair) for pair in itertools.combinations(factors, 2)]
    additive, interaction = fit(response, factors), fit(response, factors, [*factors, *pairs])
    test = f_test(
        max(additive.rss - interaction.rss, 0.0),
        additive.df_residual - interaction.df_residual,
        interaction.rss,
        interaction.df_residual,
        "F of " + ", ".join(pairs) + " over the additive model",
    )
    return ModelComparison(additive, interaction, test)
