"""The answer of a server, token by token: when they came, and whether it is the answer that was asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from ..errors import CellError
from ..timing import Call, Clock, Timed

# Reading a piece that has arrived takes this client some 8 µs; what follows within this was there already.
AT_ONCE_NS = 30_000
# The remedy for a decode whose first stamp is that of several tokens.
APART = "have the server send each token by itself (a stream interval of 1, nothing speculative)"


class Piece(NamedTuple):
    """What one line of an answer says, in words that all servers share; None is not said."""

    ids: list[int] | None = None
    text: str = ""
    done: bool = False
    model: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None

    @property
    def tokens(self) -> int:
        """How many tokens arrived with it; text is taken for one."""
        return len(self.ids) if self.ids else int(bool(self.text))


class Dialect:
    """How a server is asked and how it answers: OpenAI's completions, streamed.

    ``answered`` is the model that the answer must name; ``extra`` goes into every request, for what a server knows
    beyond the standard.
    """

    path = "/v1/completions"

    def __init__(self, model: str, answered: str | None = None, **extra) -> None:
        self.model, self.answered, self.extra = model, answered or model, extra

    def body(self, prompt: list[int] | str, new_tokens: int) -> dict:
        """A greedy request."""
        return {
            "model": self.model,
            "prompt": prompt,
            "max_tokens": new_tokens,
            "temperature": 0,
            "seed": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self.extra,
        }

    def piece(self, said: dict) -> Piece:
        """One event of the answer."""
        choice = (said.get("choices") or [{}])[0]
        usage = said.get("usage") or {}
        return Piece(
            ids=choice.get("token_ids"),
            text=choice.get("text") or "",
            done=choice.get("finish_reason") is not None,
            model=said.get("model"),
            prompt_tokens=usage.get("prompt_tokens"),
            completion_tokens=usage.get("completion_tokens"),
            cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens"),
        )


@dataclass
class Stream:
    """An answer, and when it came: stamps are ``perf_counter_ns``, ``arrival`` is when the request was due.

    ``tokens`` are ids where the server shows them, else None. ``together`` is how many tokens had come when the first
    piece was read: with more than one, the first is stamped too late. ``opening`` is how many the first piece holds,
    None where the text ``head`` in it does not tell.
    """

    prompt: object
    asked: int
    phase: str
    started_at: float
    arrival: int
    first: int = 0
    last: int = 0
    tokens: list[int] | None = None
    text: str = ""
    usage: dict = field(default_factory=dict)
    together: int = 0
    opening: int | None = None
    head: str = ""

    def __len__(self) -> int:
        return len(self.tokens or ()) or self.usage.get("completion_tokens") or 0

    def latency_ms(self, phase: str) -> float:
        """Milliseconds of a phase; waiting for the first token counts from the intended arrival."""
        begin, end = {
            "prefill": (self.arrival, self.first),
            "decode": (self.first, self.last),
            "e2e": (self.arrival, self.last),
        }[phase]
        return (end - begin) / 1e6

    def fill(self, pieces: list[tuple[int, Piece]]) -> None:
        """Stamps, tokens and counts from the pieces of the whole answer, each with its stamp.

        Where only text is shown, a last token without any arrives with the end of the answer.
        """
        parts = [piece for _, piece in pieces]
        shown = [part.ids for part in parts if part.ids is not None]
        self.tokens = [token for ids in shown for token in ids] if shown else None
        self.text = "".join(part.text for part in parts)
        for name in ("model", "prompt_tokens", "completion_tokens", "cached_tokens"):
            self.usage[name] = _last(getattr(part, name) for part in parts)
        stamped = [(stamp, part) for stamp, part in pieces if part.tokens or (part.done and not shown)]
        if stamped:
            stamps = [stamp for stamp, _ in stamped]
            self.first, self.last = stamps[0], stamps[-1]
            self.together = sum(max(1, part.tokens) for _, part in stamped[: _run(stamps)])
            self._open(stamped[0][1], sum(part.tokens for part in parts))

    def _open(self, first: Piece, seen: int) -> None:
        """How many tokens came first; of text, one a piece only where the server counts no more than there are pieces.

        Fewer pieces are no fault by themselves: a token within a character has no text.
        """
        counted = self.usage["completion_tokens"]
        self.head = first.text
        self.opening = first.tokens if self.tokens is not None or (counted and counted <= seen) else None

    def check(self, model: str, prompt_tokens: int) -> None:
        """CellError unless this answers what was asked: that model, that prompt, computed now, that many tokens."""
        for status, said in self._faults(model, prompt_tokens):
            raise CellError(status, said)

    def _faults(self, model: str, prompt_tokens: int) -> Iterable[tuple[str, str]]:
        usage, count = self.usage, len(self)
        if usage["model"] not in (None, model):
            yield "server_error", f"asked for model {model!r}, {usage['model']!r} answered"
        if usage["completion_tokens"] not in (None, count):
            yield "server_error", f"the server counts {usage['completion_tokens']} new tokens and shows {count}"
        if count < self.asked:
            yield "short_output", f"asked for {self.asked} tokens, got {count}"
        if count > self.asked:
            yield "token_mismatch", f"asked for {self.asked} tokens, got {count}"
        if usage["prompt_tokens"] != prompt_tokens:
            said = f"a prompt of {prompt_tokens} tokens, of which the server counts {usage['prompt_tokens']}"
            yield "token_mismatch", f"{said}: its tokenizer disagrees"
        if usage["cached_tokens"]:
            said = f"{usage['cached_tokens']} of {prompt_tokens} prompt tokens came from the server's cache"
            yield "cached_answer", f"{said}; turn its prompt cache off"
        if self.phase == "decode" and (self.opening or 0) > 1:
            said = f"the first piece of the answer holds {self.opening} tokens"
            yield "server_error", f"{said}, so fewer steps were timed than were asked for; {APART}"
        if count > 1 and self.first == self.last:
            yield "server_error", f"all {count} tokens came at once: the server does not stream"


class StreamClock(Clock):
    """Reads the stamps that a stream has taken itself."""

    timer = "client: perf_counter_ns, intended arrival to arrival of tokens"

    def __init__(self) -> None:
        """No device to wait for: the server works elsewhere."""

    def time(self, call: Call, index: int) -> Timed:
        """One call that yields a stream; its phase says between which of its stamps."""
        stream = call.run(call.prepare(index))
        return Timed(stream, stream.latency_ms(stream.phase), None, stream.started_at)


def _run(stamps: list[int]) -> int:
    """How many stamps, from the first on, follow each other as fast as what has arrived is read."""
    gaps = zip(stamps, stamps[1:], strict=False)
    return 1 + next((i for i, (a, b) in enumerate(gaps) if b - a > AT_ONCE_NS), len(stamps) - 1)


def _last(values: Iterable) -> object | None:
    """The last value that is said at all."""
    return next((value for value in reversed(list(values)) if value is not None), None)
