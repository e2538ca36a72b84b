"""Published statistics recomputed from published inputs: what reproduces, what does not, what nobody can check.

`recompute` gives every claim a verdict; `headline_corrections`, `like_for_like` and `invariant_arm_drift` say what
the recomputation changes; `statements` are the findings as claims. Nothing is measured, and no number is typed: which
rows belong to which claim is data (`reference/audit_links.csv`), how a kind of claim is recomputed is one short
function in `arithmetic` or `inference`.
"""

from .control import invariant_arm_drift
from .corrections import headline_corrections
from .ranking import like_for_like
from .sources import digests
from .statements import statements
from .verdicts import DIFFERS, NOT_RECOMPUTABLE, REPRODUCES, VERDICTS, recompute, verdict_counts

__all__ = [
    "DIFFERS",
    "NOT_RECOMPUTABLE",
    "REPRODUCES",
    "VERDICTS",
    "digests",
    "headline_corrections",
    "invariant_arm_drift",
    "like_for_like",
    "recompute",
    "statements",
    "verdict_counts",
]
