"""A checkpoint and a text of one's own, scored in one call."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .. import catalog
from ..environment import resolve_device
from ..errors import BenchError
from ..plan import Plan
from ..project import STATE, root_or_here
from .asked import BASELINE, is_file
from .run import Scoring
from .summary import Found, losses
from .texts import paragraphs

CONTEXT = 1024  # of a model whose own is unknown until it is loaded


def score(
    model: str | Path,
    texts: Sequence[str | Path] = (),
    tasks: Sequence[str | Path] = (),
    *,
    variant: str = BASELINE[0],
    dtypes: Sequence[str] = (BASELINE[1],),
    context: int | None = None,
    stride: int | None = None,
    limit: int | None = None,
    device: str = "auto",
    timeout: float = 7200.0,
) -> Found:
    """Score a folder, a hub id or a model of the catalog on text files and tasks; nothing is kept on disk.

    ``texts`` are files (paragraphs are documents), ``tasks`` names of EleutherAI's harness or files of tasks. Each
    dtype runs in a process of its own. ``context`` is by default the model's own, ``stride`` half of it, in tokens.
    Losses come from ``losses(found.scores)``. Raises BenchError before anything runs; what fails later is a row.
    """
    known, spelled = _located(model)
    context = (known.context or CONTEXT) if context is None else context
    asked = {
        "help": "one model",
        "models": [spelled],
        "arms": [{"variant": variant, "dtypes": list(dtypes)}],
        "texts": [str(Path(text).resolve()) for text in texts],
        "tasks": [str(Path(task).resolve()) if is_file(str(task)) else str(task) for task in tasks],
        "context": context,
        "stride": max(1, context // 2) if stride is None else stride,
        "limit": limit,
        "timeout": timeout,
    }
    plan = Plan(report="quality", title="", question="", expectation="", scores={"own": asked})
    with tempfile.TemporaryDirectory(prefix="bench_quality_") as scratch:
        return Scoring(plan, device, "own", "new", root=scratch).measure()


def _located(model: str | Path) -> tuple[catalog.Model, str]:
    folder = Path(model).expanduser()
    spelled = str(folder.resolve()) if str(model) not in catalog.MODELS and folder.is_dir() else str(model)
    return catalog.model(spelled), spelled


@dataclass(frozen=True)
class Perplexity:
    """What one text says of one model: exploratory, computed in this process."""

    perplexity: float
    low: float
    high: float
    loss: float
    bits: float
    documents: int
    tokens: int
    context: int
    stride: int
    exploratory: str = "computed in this process; it enters no report"

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the perplexity over documents, missing with a single one."""
        return self.low, self.high


def perplexity(
    model: str | Path,
    text: str,
    dtype: str = "float32",
    *,
    variant: str = BASELINE[0],
    context: int | None = None,
    stride: int | None = None,
    device: str = "cpu",
) -> Perplexity:
    """Perplexity of a text under a model, by the sliding-window protocol; paragraphs are documents.

    ``loss`` is in nats a token, ``bits`` a byte. Raises BenchError for weights that are an architecture alone, and for
    a text that gives no loss.
    """
    from ..loading import load_tokenizer
    from . import engines, scoring

    known, _ = _located(model)
    store = root_or_here() / STATE / "artifacts"
    engine = engines.load(known, variant, dtype, resolve_device(device).name, "auto", store)
    try:
        context = context or min(engine.context, CONTEXT)
        stride = max(1, context // 2) if stride is None else stride
        documents = paragraphs(text)
        if not documents:
            raise BenchError("the text is empty: there is nothing to score")
        found = scoring.losses(engine, load_tokenizer(known), documents, context, stride)
        row = losses(pd.DataFrame([_row(variant, dtype, i, loss) for i, loss in enumerate(found)])).iloc[0]
    finally:
        engine.close()
    bounds = (float(row["perplexity_low"]), float(row["perplexity_high"]))
    return Perplexity(
        math.exp(row["loss"]), *bounds, float(row["loss"]), float(row["bits"]), int(row["documents"]),
        int(row["tokens"]), context, stride,
    )  # fmt: skip


def _row(variant: str, dtype: str, number: int, loss) -> dict:
    return {"model": "", "variant": variant, "dtype": dtype, "task": "", "document": number} | loss._asdict()
