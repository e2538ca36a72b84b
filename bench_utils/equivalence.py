"""Whether an engine computes what plain PyTorch computes: logits along the same tokens, and the tokens themselves."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch

# Largest difference of a logit, in standard deviations of the logits. In full precision 1e-6 was seen between
# engines, in bfloat16 2e-2: tokens may differ there, and are compared in full precision only.
# mixed: weights in full precision, some of the arithmetic in half (llama.cpp's GELU): 3e-3 to 9e-3 was seen. q8_0: 0.4
# to 1.2 was seen, where a lost cache makes 4 and more.
TOLERANCE = {"float32": 1e-3, "mixed": 0.03, "bfloat16": 0.1, "float16": 0.1, "q8_0": 2.0}


@dataclass(frozen=True)
class Equivalence:
    """How far an engine's logits are from plain PyTorch's, per step of one request."""

    difference: float
    tolerance: float
    top1_agreement: float
    steps: int

    def asdict(self) -> dict:
        """As a plain dictionary."""
        return asdict(self)


def compare(own: torch.Tensor, plain: torch.Tensor, dtype: str) -> Equivalence:
    """Two runs along the same tokens; logits are steps × batch × vocabulary."""
    own, plain = own.double(), plain.double()
    spread = plain.std().clamp_min(1e-12)
    agree = (own.argmax(-1) == plain.argmax(-1)).double().mean()
    difference = ((own - plain).abs().max() / spread).item()
    return Equivalence(difference, TOLERANCE[dtype], agree.item(), own.shape[0])


def verdict(found: Equivalence) -> tuple[str, str | None]:
    """``ok`` or ``output_mismatch`` with the number and its threshold."""
    if found.difference <= found.tolerance:  # also refuses NaN
        return "ok", None
    return (
        "output_mismatch",
        f"a logit differs by {found.difference:.2g} standard deviations, {found.tolerance:g} allowed",
    )


def token_verdict(phase: str, own: list[list[int]], plain: list[list[int]], dtype: str) -> tuple[str, str | None]:
    """``ok`` or ``token_mismatch``: the phase's tokens against those of plain greedy decoding.

    Their number always counts; which they are, in full precision only.
    """
    expected = [row[:1] if phase == "prefill" else row[1:] if phase == "decode" else row for row in plain]
    if list(map(len, own)) == list(map(len, expected)) and (dtype != "float32" or own == expected):
        return "ok", None
    same = sum(a == b for mine, theirs in zip(own, expected, strict=False) for a, b in zip(mine, theirs, strict=False))
    return "token_mismatch", f"{same} of {sum(map(len, expected))} tokens are those of plain greedy decoding"


def check(backend, phase: str, steps: int, tokens: list[list[int]]) -> tuple[list[tuple[str, str | None]], dict]:
    """Verdicts and evidence on what a cell computed, against plain PyTorch on the same weights and prompt.

    ``tokens`` are those of its first timed call, whose prompt is ``backend.prompt(0)``. An engine that shows no logits
    is compared by its tokens alone.
    """
    prompt, arithmetic = backend.prompt(0), backend.arithmetic
    greedy, plain = backend.plain(prompt, steps)
    same = token_verdict(phase, tokens, backend.tokens(greedy), arithmetic)
    own = backend.logits(prompt, greedy)
    if own is None:
        return [same], {"compared": "tokens"}
    found = compare(own, plain, arithmetic)
    return [verdict(found), same], found.asdict()
