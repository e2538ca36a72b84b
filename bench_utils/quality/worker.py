"""A program: one arm. Reads a request on stdin, loads a model once, scores its texts and tasks, appends rows.

A process of its own: what crashes here is a row with a status, and nothing of it is left in a notebook's kernel.
"""

from __future__ import annotations

import hashlib
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import torch
from pydantic import BaseModel

from .. import catalog
from ..board import number_by_bus
from ..errors import BenchError, CellError
from ..ledger import status_of
from ..loading import load_tokenizer
from ..privacy import clean
from ..processes import die_with_parent
from ..records import Failure
from . import engines, scoring
from .asked import Source
from .rows import Arm, Score, Task, write
from .texts import Document, digest, read_text


class Request(BaseModel):
    """One arm, and the texts and tasks that it still lacks."""

    folder: Path
    store: Path
    device: str
    weights: str
    threads: int
    arm: Arm
    model: str
    sources: list[Source]
    context: int
    stride: int
    limit: int | None


class Session:
    """A loaded model, and what its receipts have in common."""

    def __init__(self, request: Request) -> None:
        self.request, model = request, catalog.model(request.model)
        self.engine = engines.load(
            model, request.arm.variant, request.arm.dtype, request.device, request.weights, request.store
        )
        self.tokenizer = load_tokenizer(model)

    def score(self, source: Source) -> tuple[list[Score], dict]:
        """The rows of a text or task, and the receipt."""
        found, facts = self._text(source) if source.is_text else self._task(source)
        arm = self.request.arm.model_dump()
        scores = [Score(**arm, task=source.name, **row) for row in found]
        _refuse_missing(scores)
        return scores, self._receipt() | facts | {"documents": len(scores), "text": _together(scores)}

    def _text(self, source: Source) -> tuple[list[dict], dict]:
        documents = read_text(source.path)[: self.request.limit]
        sizes = self.request.context, self.request.stride
        found = scoring.losses(self.engine, self.tokenizer, documents, *sizes)
        return [_row(i, document, loss) for i, (document, loss) in enumerate(zip(documents, found, strict=True))], {}

    def _task(self, source: Source) -> tuple[list[dict], dict]:
        try:
            from . import harness
        except ModuleNotFoundError as error:
            raise CellError("unavailable", f"tasks need EleutherAI's harness ({error}); pip install lm_eval") from None
        model = harness.scorer(self.engine, self.tokenizer, self.request.context, self.request.stride)
        return harness.run(model, source, self.request.limit)

    def _receipt(self) -> dict:
        return {
            "context": self.request.context,
            "stride": self.request.stride,
            "begins": scoring.begins(self.tokenizer),
            "tokenizer": _tokenizer_digest(self.tokenizer),
            "provenance": self.engine.provenance,
            "device": self.request.device,
        } | self.engine.receipt()


def _row(number: int, document: Document, loss: scoring.Loss) -> dict:
    return {"document": number, "digest": document.digest} | loss._asdict()


def _together(scores: list[Score]) -> str:
    """One digest of all documents of a task, in their order."""
    return digest("\n".join(score.digest for score in scores))


def _tokenizer_digest(tokenizer) -> str:
    """Digest of what turns text into tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    text = backend.to_str() if backend else repr(sorted(tokenizer.get_vocab().items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def ended(arm: Arm, source: Source, **facts) -> Task:
    """The row that ends a task."""
    return Task(**arm.model_dump(), task=source.name, **facts)


def failed(arm: Arm, source: Source, error: Exception) -> Task:
    """The row of a task that an exception ended."""
    said, failure = clean(str(error)), None
    if not isinstance(error, BenchError):
        trace = clean("".join(traceback.format_exception(error)))
        failure = Failure(type=type(error).__qualname__, message=said[:2000], traceback=trace[-8000:])
    return ended(arm, source, status=status_of(error), reason=said.partition("\n")[0][:400], failure=failure)


def scored(request: Request) -> Iterator[list[Score | Task]]:
    """The rows of each text and task, in order; an exception becomes a row."""
    try:
        session = Session(request)
    except Exception as error:
        yield [failed(request.arm, source, error) for source in request.sources]
        return
    for source in request.sources:
        try:
            scores, receipt = session.score(source)
            yield [*scores, ended(request.arm, source, status="ok", receipt=receipt)]
        except Exception as error:
            yield [failed(request.arm, source, error)]


def _refuse_missing(scores: list[Score]) -> None:
    if any(score.nll is None and score.correct is None for score in scores):
        raise CellError("harness_bug", "a document of this task came back without a score")


def main() -> None:
    """Score the arm described on stdin."""
    number_by_bus()
    request = Request.model_validate_json(sys.stdin.readline())
    die_with_parent(int(os.environ["BENCH_PARENT"]))
    torch.set_num_threads(request.threads)
    for rows in scored(request):
        write(request.folder, rows)


if __name__ == "__main__":
    main()
