"""What the recomputation changes, weightiest first."""

from __future__ import annotations

import pandas as pd

from . import corrections_comparisons as comparisons
from . import corrections_numbers as numbers
from .evidence import Correction

ORDER = (
    comparisons.mean_win, comparisons.backend_winner, comparisons.decode_ratio, comparisons.surviving,
    comparisons.equivalence, comparisons.control_drift, numbers.bandwidth, numbers.prompts,
    comparisons.pooled_lengths, numbers.p_range, numbers.interaction, numbers.anova, numbers.effects, numbers.cpu_p,
    numbers.pooled_std, numbers.trimmed, numbers.rows, comparisons.additive, numbers.which_test, numbers.family,
    comparisons.price, comparisons.power, numbers.cards,
)  # fmt: skip


def headline_corrections() -> pd.DataFrame:
    """One row a correction: report, statement, published, recomputed, consequence, and the claims it rests on.

    Every number in it is computed from the published tables; consequences are sentences without a typed digit.
    """
    return pd.DataFrame([correction() for correction in ORDER], columns=list(Correction._fields))
