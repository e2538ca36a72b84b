"""Whether a conclusion about compiled code survives another platform: another GPU, stack, cache or compile mode.

`gather` brings published aggregates (TR126, TR147) and complete runs into one table of contrasts with outcomes;
`compare` sets every pair of platforms side by side; `published_index` and `measured_index` are the index of
reproducibility with its condition enforced; `checklist` fills in the five gates; `headlines` judges what TR147
concludes by its own numbers. Nothing is measured here.
"""

from .bearing import between_platforms, by_platform, on_platforms
from .evidence import Evidence, gather
from .headlines import headlines, unsupported
from .outcomes import tally, triton_comparison
from .pairs import by_question, compare, kept, matrix
from .platforms import measured_platforms, platform_table, published_cells
from .protocol import checklist
from .reproducibility import measured_index, published_index

__all__ = [
    "Evidence",
    "between_platforms",
    "by_platform",
    "by_question",
    "checklist",
    "compare",
    "gather",
    "headlines",
    "kept",
    "matrix",
    "measured_index",
    "measured_platforms",
    "on_platforms",
    "platform_table",
    "published_cells",
    "published_index",
    "tally",
    "triton_comparison",
    "unsupported",
]
