"""What computes logits of every position: plain PyTorch in three dtypes, PyTorch in int8, and llama.cpp.

Weights are loaded as they are for a measurement; weights without a checkpoint are refused, because they have a speed
and no quality.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from .. import catalog, loading, receipts
from ..backends import libllama
from ..backends.llama_cpp import LlamaCppBackend
from ..catalog import Model
from ..errors import CellError
from .asked import INT8, refuse_architecture

UNBOUNDED = 1 << 20  # tokens, for an architecture whose config names no longest text


class Engine(Protocol):
    """A loaded model."""

    context: int
    vocabulary: int
    provenance: dict

    def logits(self, ids: Sequence[int]) -> torch.Tensor:
        """The logits behind each token of one sequence (positions × vocabulary), nothing remembered from before."""

    def receipt(self) -> dict:
        """What really computes."""

    def close(self) -> None:
        """Give the memory back."""


def load(model: Model, variant: str, dtype: str, device: str, weights: str, store: Path) -> Engine:
    """The engine of an arm; files made from the checkpoint are kept in ``store``.

    Raises BenchError for a model without a checkpoint and for what cannot run here, CellError when the weights in
    memory are not what was asked for.
    """
    weights = loading.resolve_weights(weights, [model])
    refuse_architecture(model, weights)
    if reason := _unavailable(variant, dtype, device):
        raise CellError("unavailable", reason)
    make = Llama if variant == "llama.cpp" else Int8 if dtype == INT8 else Module
    engine = make(model, dtype, device, weights, store)
    status, reason = receipts.readback(dtype, engine.provenance)
    if status != "ok":
        raise CellError(status, reason)
    return engine


def _unavailable(variant: str, dtype: str, device: str) -> str | None:
    if dtype == INT8 and device != "cpu":
        return "PyTorch computes int8 with dynamic quantisation on processors only; score it with --device cpu"
    return LlamaCppBackend.unavailable(catalog.variant(variant), device) if variant == "llama.cpp" else None


class Module:
    """The checkpoint in plain PyTorch."""

    stored = None  # the dtype that is loaded, where it is not the one asked for

    def __init__(self, model: Model, dtype: str, device: str, weights: str, store: Path) -> None:
        loaded = loading.load_model(model, device, self.stored or dtype, weights)
        self.module, self.device = loaded.module, device
        self.provenance = loaded.provenance.asdict()
        config = self.module.config.get_text_config()
        self.vocabulary = config.vocab_size
        self.context = getattr(config, "max_position_embeddings", None) or UNBOUNDED

    @torch.inference_mode()
    def logits(self, ids: Sequence[int]) -> torch.Tensor:
        """As the engine's protocol says."""
        return self.module(torch.tensor([list(ids)], device=self.device), use_cache=False).logits[0]

    def receipt(self) -> dict:
        """As the engine's protocol says."""
        return {"engine": "transformers", "version": torch.__version__, "threads": torch.get_num_threads()}

    def close(self) -> None:
        """As the engine's protocol says."""
        del self.module


class Int8(Module):
    """The checkpoint with its matrices in int8, one scale a matrix, and activations quantised while it runs."""

    stored = "float32"

    def __init__(self, model: Model, dtype: str, device: str, weights: str, store: Path) -> None:
        super().__init__(model, dtype, device, weights, store)
        self._parameters = self.provenance["parameters"]
        self.quantised = quantise(self.module)
        self.provenance["dtype"] = "+".join(sorted({dtype for _, dtype in self.quantised.values()})) or "float32"

    def receipt(self) -> dict:
        """Which modules were quantised, and how many of the model's parameters they hold."""
        inside = sum(size for size, _ in self.quantised.values())
        return super().receipt() | {
            "quantised": list(self.quantised),
            "quantised_parameters": inside,
            "parameters": self._parameters,
            "kernels": torch.backends.quantized.engine,
        }


def quantise(module: torch.nn.Module) -> dict[str, tuple[int, str]]:
    """Turn every matrix product of a model into int8, in place; each module with its weights' number and dtype.

    GPT-2 keeps its matrices in Conv1D, which PyTorch would leave as they are: they become Linear first. A head that
    shares the embedding's weights gets its own in int8, and the embedding stays.
    """
    from torch.ao.nn.quantized import dynamic

    _conv1d_to_linear(module)
    torch.ao.quantization.quantize_dynamic(module, {torch.nn.Linear}, torch.qint8, inplace=True)
    return {
        name: (part.weight().numel(), str(part.weight().dtype).removeprefix("torch.q"))
        for name, part in module.named_modules()
        if isinstance(part, dynamic.Linear)
    }


def _conv1d_to_linear(module: torch.nn.Module) -> None:
    from transformers.pytorch_utils import Conv1D

    for parent in list(module.modules()):
        for name, part in list(parent.named_children()):
            if isinstance(part, Conv1D):
                linear = torch.nn.Linear(*part.weight.shape, dtype=part.weight.dtype)
                linear.weight = torch.nn.Parameter(part.weight.detach().T.contiguous())
                linear.bias = part.bias
                setattr(parent, name, linear)


class Llama:
    """A GGUF file of the checkpoint in llama.cpp."""

    def __init__(self, model: Model, dtype: str, device: str, weights: str, store: Path) -> None:
        self._backend = AllPositions(model, catalog.variant("llama.cpp"), dtype, device, weights, store=store)
        self._backend.build()
        self.context, self.vocabulary = self._backend.config.n_positions, self._backend.config.vocab_size
        self._backend.load()
        self.provenance = self._backend.read_back()

    def logits(self, ids: Sequence[int]) -> torch.Tensor:
        """As the engine's protocol says."""
        return torch.from_numpy(self._backend.sequence.every(np.array(ids, np.int32)))

    def receipt(self) -> dict:
        """As the engine's protocol says."""
        return self._backend.receipt() | {"logits": "all"}

    def close(self) -> None:
        """As the engine's protocol says."""
        self._backend.close()


class AllPositions(LlamaCppBackend):
    """The engine as it is measured, with room for the logits of a whole context."""

    def load(self) -> None:
        """The engine ready to run."""
        options = self._context_options() | {"n_outputs_max": self.config.n_positions}
        self.sequence = EverySequence(str(self.file), self._model_options(), options)


class EverySequence(libllama.Sequence):
    """One model with one sequence: token ids in, logits of every position out."""

    def every(self, ids: np.ndarray) -> np.ndarray:
        """Logits behind each of ``ids`` (int32), of a sequence that begins with them (positions × vocabulary)."""
        self.clear()
        wanted = np.ones(len(ids), np.int8)
        batch = self._lib.llama_batch_get_one(ids.ctypes.data, len(ids))
        batch.logits = wanted.ctypes.data
        if code := self._lib.llama_decode(self._context, batch):
            raise RuntimeError(f"llama_decode answered {code}")
        rows = (self._lib.llama_get_logits_ith(self._context, i) for i in range(len(ids)))
        return np.stack([np.ctypeslib.as_array(row, (self._vocabulary,)) for row in rows])
