"""A model of your own, measured by the whole protocol in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..claims import LEAST_ROUNDS
from ..records import TIMED
from ..study import Study
from ..timing import Budget
from .asking import arms, budget_of, limits_of, located, plan_of, refuse_unavailable, refuse_unreachable, several
from .finding import Measurement, found

__all__ = ["Measurement", "measure"]


def measure(
    model: str | Path,
    variants: Sequence[str] = ("eager", "compile"),
    *,
    prompt_tokens: int | Sequence[int] = 128,
    new_tokens: int = 16,
    batch_size: int = 1,
    phases: Sequence[str] = TIMED,
    rounds: int = LEAST_ROUNDS,
    dtype: str = "float32",
    device: str = "auto",
    budget: str | Mapping | Budget = "quick",
    cell_timeout: float = 600.0,
    run: str = "latest",
    root: Path | str | None = None,
) -> Measurement:
    """Measure a model by the whole protocol: rounds of fresh processes, receipts, gates, an A/A control.

    ``model``: a name of the catalog, a hub id, or a local folder with config.json and safetensors. ``eager`` and its
    control ``eager-again`` are always measured, because every variant is contrasted with them. Sizes are tokens and
    sequences; several ``prompt_tokens`` are several scenarios. ``budget`` bounds each cell of a round: ``smoke`` (half
    a second), ``quick`` (two), ``full`` (half a minute), or fields of ``Budget``; ``cell_timeout`` in seconds.

    Rows go to ``results/<device>/measure-<model>/<run>`` of this checkout, or of the working directory outside of
    one; the same call again measures nothing, unless ``run="new"``, and goes on where it was interrupted. Fewer than
    six rounds give no verdict. Raises BenchError, before anything is measured, for what cannot be measured.
    """
    known, spelled = located(model)
    cells = {
        "models": [spelled],
        "variants": arms(variants, dtype),
        "dtypes": [dtype],
        "phases": sorted(several(phases), key=lambda phase: TIMED.index(phase) if phase in TIMED else 0),
        "scenarios": [
            {"prompt_tokens": prompt, "new_tokens": new_tokens, "batch_size": batch_size}
            for prompt in several(prompt_tokens)
        ],
    }
    limits = limits_of(known.name, cells, rounds=rounds, budget=budget_of(budget), cell_timeout=cell_timeout)
    preset = budget if isinstance(budget, str) else "own"
    study = Study(plan_of(known, preset, limits), device, preset, run, root)
    if not study.complete:
        refuse_unavailable(cells["variants"], study.device.name)
        refuse_unreachable(known)
    return found(known.name, study, study.measure())
