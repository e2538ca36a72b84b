"""Engines, one file each; all speak the same protocol."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol

from ..catalog import Model, Variant
from ..timing import Clock


class Backend(Protocol):
    """What a worker asks of an engine.

    A step is one forward of one token per sequence, argmax included. ``prefill`` yields the first token,
    ``decode`` ``steps`` more, ``generate`` both in one region. ``prepare`` is an untimed prefill that leaves
    no trace in the receipt.
    """

    @staticmethod
    def unavailable(variant: Variant, device: str) -> str | None:
        """Why the engine cannot run here, with the command that makes it available; None when it can."""

    @property
    def arithmetic(self) -> str:
        """A key of ``equivalence.TOLERANCE``: the dtype, or ``mixed`` where weights of full precision meet less."""

    def build(self) -> None:
        """Have what the engine loads, untimed: a checkpoint fetched, or a file exported from it."""

    def load(self) -> None:
        """Load the weights."""

    def read_back(self) -> dict:
        """The provenance of what was loaded, read back from it, untimed."""

    def clock(self) -> Clock:
        """The clock that times the calls; its name is in every row."""

    def close(self) -> None:
        """Stop what was started."""

    def processes(self) -> list[int]:
        """Processes that work for this engine beside the measuring one: their processor time is not a neighbour's."""

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

    def decode(self, state: object, steps: int) -> object:
        """Tokens of ``steps`` single-token steps from a prepared state."""

    def generate(self, prompt: object, steps: int) -> object:
        """``prefill`` and ``decode`` in one region: 1 + steps tokens."""

    def plain(self, prompt: object, steps: int) -> tuple[list, object]:
        """Reference: greedy tokens and logits (1 + steps × batch × vocabulary) of plain PyTorch on the same weights."""

    def logits(self, prompt: object, tokens: list) -> object | None:
        """The engine's own logits along given tokens, through what is timed; None where it does not show them."""

    def tokens(self, result: object) -> list[list[int]]:
        """Token ids (batch × tokens) of what a phase returned, read back outside the timed region."""

    def progress(self) -> tuple:
        """Counters that move while the engine still compiles or captures."""

    def compiled_calls(self) -> int:
        """Calls of compiled code so far in this cell."""

    def expected_calls(self, phase: str, steps: int) -> int:
        """Calls of compiled code that one timed call must make; zero for an engine that compiles nothing."""

    def receipt(self) -> dict:
        """What really ran in this cell; ``replayed_calls`` are its compiled calls that replayed a CUDA graph."""


_ENGINES = {
    "transformers": "transformers:TransformersBackend",
    "cuda_graph": "cuda_graph:CudaGraphBackend",
    "onnxruntime": "onnxruntime:OnnxruntimeBackend",
    "llama_cpp": "llama_cpp:LlamaCppBackend",
    "llama_server": "llama_server:LlamaServerBackend",
    "ollama": "ollama:OllamaBackend",
    "vllm": "vllm:VllmBackend",
    "transformers_serve": "transformers_serve:TransformersServeBackend",
    "openai": "openai:OpenaiBackend",
    "planted": "planted:PlantedBackend",
}


def _engine(variant: Variant) -> type[Backend]:
    module, _, name = _ENGINES[variant.backend].partition(":")
    return getattr(importlib.import_module(f".{module}", __name__), name)


def make(
    model: Model, variant: Variant, dtype: str, device: str, weights: str, seed: int, store: Path | None = None
) -> Backend:
    """The engine of a variant; ``store`` is where files made from a checkpoint are kept."""
    return _engine(variant)(model, variant, dtype, device, weights, seed, store)


def unavailable(variant: Variant, device: str) -> str | None:
    """Why a variant cannot run on a device, with the remedy; None when it can."""
    if variant.requires == "cuda" and not device.startswith("cuda"):
        return f"{variant.name} needs a CUDA device; measure with --device cuda:0"
    return _engine(variant).unavailable(variant, device)
