"""Engines, one file each; all speak the same protocol."""

from __future__ import annotations

from typing import Protocol

from ..catalog import Model, Variant


class Backend(Protocol):
    """What a worker asks of an engine.

    A step is one forward of one token per sequence, argmax included. ``prefill`` yields the first token,
    ``decode`` ``steps`` more, ``generate`` both in one region. ``prepare`` is an untimed prefill that leaves
    no trace in the receipt.
    """

    def load(self) -> dict:
        """Load the weights; the provenance, read back from them."""

    def start(self, phase: str, prompt_tokens: int, new_tokens: int, batch_size: int) -> None:
        """Begin a cell: forget compiled code and counters, size the caches."""

    def prompt(self, index: int) -> object:
        """The prompt of a call, different for every index."""

    def tokens_in(self, prompt: object) -> int:
        """Tokens that a prompt really has, over the batch."""

    def prefill(self, prompt: object) -> object:
        """The whole prompt with cache, and the first token: a state for ``decode``."""

    def prepare(self, prompt: object) -> object:
        """The same state, made outside the engine's measured path."""

    def decode(self, state: object, steps: int) -> list:
        """Tokens of ``steps`` single-token steps from a prepared state."""

    def generate(self, prompt: object, steps: int) -> list:
        """``prefill`` and ``decode`` in one region: 1 + steps tokens."""

    def plain(self, prompt: object, steps: int) -> tuple[list, object]:
        """Reference: greedy tokens and logits (1 + steps × batch × vocabulary) of plain PyTorch on the same weights."""

    def logits(self, prompt: object, tokens: list) -> object:
        """The engine's own logits along given tokens, through what is timed."""

    def tokens(self, result: object) -> list[list[int]]:
        """Token ids (batch × tokens) of what a phase returned, read back outside the timed region."""

    def progress(self) -> tuple:
        """Counters that move while the engine still compiles or captures."""

    def compiled_calls(self) -> int:
        """Calls of compiled code so far in this cell."""

    def expected_calls(self, phase: str, steps: int) -> int:
        """Calls of compiled code that one timed call must make; zero for an engine that compiles nothing."""

    def receipt(self) -> dict:
        """What really ran in this cell."""


def make(model: Model, variant: Variant, dtype: str, device: str, weights: str, seed: int) -> Backend:
    """The engine of a variant."""
    if variant.backend == "planted":
        from .planted import PlantedBackend as Engine
    else:
        from .transformers import TransformersBackend as Engine

    return Engine(model, variant, dtype, device, weights, seed)


def unavailable(variant: Variant, device: str) -> str | None:
    """Why a variant cannot run on a device, with the remedy; None when it can."""
    if variant.requires == "cuda" and not device.startswith("cuda"):
        return "CUDA graphs need a CUDA device; measure with --device cuda:0"
    return None
