"""Quality beside speed: losses and choices of a checkpoint, by a protocol that is printed, with intervals.

``Scoring`` is a report's run, ``score`` one model in one call, ``perplexity`` a number to explore with. Importing this
room imports neither torch nor EleutherAI's harness.
"""

from .asked import Scores
from .own import Perplexity, perplexity, score
from .run import Scoring, study_of
from .speed import beside, speeds
from .summary import Found, accuracies, differences, found, losses

__all__ = [
    "Found",
    "Perplexity",
    "Scores",
    "Scoring",
    "accuracies",
    "beside",
    "differences",
    "found",
    "losses",
    "perplexity",
    "score",
    "speeds",
    "study_of",
]
