"""Which tokens each window scores: the sliding-window protocol, as pure arithmetic on positions.

A document of n tokens is read behind one token that begins a text, so that its first token is predicted too: every
token is scored exactly once, and the document's bits belong to all of its bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..errors import BenchError


class Window(NamedTuple):
    """One forward: it reads ``sequence[start:stop]``, and the last ``scored`` of its predictions count.

    The prediction at position i is of ``sequence[i + 1]``; ``sequence`` is the document behind its first token.
    """

    start: int
    stop: int
    scored: int


def windows(tokens: int, context: int, stride: int) -> Iterator[Window]:
    """The windows that score a document of that many tokens.

    The first scores ``context`` tokens, each later one ``stride`` more, behind as much of what came before as the
    context holds; the last ends with the document. With a stride of the whole context these are the disjoint windows
    of EleutherAI's harness. Raises BenchError for a stride beyond the context, under which tokens would be lost.
    """
    refuse_sizes(context, stride)
    done = 0
    while done < tokens:
        stop = min(done + (stride if done else context), tokens)
        yield Window(max(0, stop - context), stop, stop - done)
        done = stop


def refuse_sizes(context: int, stride: int) -> None:
    """BenchError unless 1 <= stride <= context."""
    if context < 1:
        raise BenchError(f"context = {context}: give at least one token, and at most the model's own context")
    if not 1 <= stride <= context:
        raise BenchError(
            f"stride = {stride} with a context of {context}: tokens between two windows would not be scored; "
            f"give 1 to {context}"
        )
