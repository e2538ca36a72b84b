"""Losses of documents under a model: negative log-likelihoods in nats, of every token once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..errors import BenchError, CellError
from .texts import Document
from .windows import Window, windows

if TYPE_CHECKING:
    import torch

    from .engines import Engine

SHORTEST = 2  # tokens of a text


class Loss(NamedTuple):
    """A document's negative log-likelihood in nats, and how many tokens and bytes it is of."""

    nll: float
    tokens: int
    bytes: int


def begins(tokenizer) -> int:
    """The token that a text is read behind: its beginning where the tokenizer has one, else its end.

    Raises BenchError for a tokenizer that has neither.
    """
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return token
    raise BenchError(
        "the tokenizer names neither a bos_token nor an eos_token, so a first token has no context; add one"
    )


def encode(tokenizer, text: str) -> list[int]:
    """The tokens of a text, without any that the tokenizer would put around it."""
    return tokenizer.encode(text, add_special_tokens=False)


def losses(engine: Engine, tokenizer, documents: Sequence[Document], context: int, stride: int) -> Iterable[Loss]:
    """The loss of each document by itself, by the sliding-window protocol.

    Raises BenchError for a context that the model does not have, a text of fewer than two tokens, and a token beyond
    the model's vocabulary, before anything is computed.
    """
    refuse_context(engine, context)
    prefix, encoded = begins(tokenizer), [encode(tokenizer, document.text) for document in documents]
    refuse_short(encoded)
    refuse_beyond(engine, [[prefix], *encoded])
    for document, tokens in zip(documents, encoded, strict=True):
        yield Loss(nll(engine, [prefix, *tokens], context, stride), len(tokens), document.bytes)


def refuse_context(engine: Engine, context: int) -> None:
    """BenchError for windows that are longer than the model can read."""
    if context > engine.context:
        raise BenchError(f"context = {context}: this model reads {engine.context} tokens at most; lower context")


def refuse_short(encoded: Sequence[Sequence[int]]) -> None:
    """BenchError for a text too short to score."""
    if sum(map(len, encoded)) < SHORTEST:
        raise BenchError(f"the text has fewer than {SHORTEST} tokens, which gives no loss; give a longer one")


def refuse_beyond(engine: Engine, encoded: Sequence[Sequence[int]]) -> None:
    """BenchError for a token that the model does not have."""
    highest = max(max(ids, default=0) for ids in encoded)
    if highest >= engine.vocabulary:
        raise BenchError(
            f"token {highest} is beyond the model's vocabulary of {engine.vocabulary}: tokenizer and weights are not "
            "of one checkpoint; give the folder that has both"
        )


def nll(engine: Engine, sequence: Sequence[int], context: int, stride: int) -> float:
    """Negative log-likelihood in nats of ``sequence[1:]``, each token given those before it in its window.

    CellError where it is no number.
    """
    found = sum(_of_window(engine, sequence, window) for window in windows(len(sequence) - 1, context, stride))
    if not math.isfinite(found):
        raise CellError("output_mismatch", "the logits of this arm are no finite numbers; score it in a wider dtype")
    return found


def _of_window(engine: Engine, sequence: Sequence[int], window: Window) -> float:
    logits = engine.logits(sequence[window.start : window.stop])
    targets = sequence[window.start + 1 : window.stop + 1]
    return -float(log_likelihoods(logits, targets)[-window.scored :].sum())


def log_likelihoods(logits: torch.Tensor, targets: Sequence[int]) -> torch.Tensor:
    """Log-likelihood in nats of the target that each position predicts (positions × vocabulary -> positions).

    In single precision, as training computes it, whatever the model computes in; summed by callers in double.
    """
    import torch

    chosen = torch.as_tensor(targets, device=logits.device).unsqueeze(-1)
    return logits.float().log_softmax(-1).gather(-1, chosen).squeeze(-1).double()
