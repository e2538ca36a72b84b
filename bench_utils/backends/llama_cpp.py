"""llama.cpp in the measuring process: a GGUF file of the checkpoint, one sequence, no prompt cache.

On a processor llama.cpp looks GELU up in a table of half-precision numbers, and its flash attention computes in
half precision too; in ``float32`` cells the latter is off and keys and values are kept in full precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from ..catalog import Variant
from ..errors import CellError
from ..privacy import clean
from . import gguf_file, libllama
from .checkpoint import Exported

NEEDED = ("gguf", "xllamacpp")


@dataclass
class State:
    """Between prefill and decode: the first token. Keys and values are in the engine, for the newest prompt only."""

    token: int


def refuse_heads(config, dtype: str) -> None:
    """CellError for a shape at which the library would end the process."""
    if dtype == "float32" and config.n_embd == config.n_head:
        raise CellError("unavailable", "llama.cpp aborts on heads of size 1 when flash attention is off")


class LlamaCppBackend(Exported):
    """One GGUF file in one context of the model's own length."""

    sequence: libllama.Sequence | None = None

    @property
    def arithmetic(self) -> str:
        """What bounds how near plain PyTorch it comes: weights in full precision do not make it of the rest."""
        return "mixed" if self.dtype == "float32" else self.dtype

    @staticmethod
    def unavailable(variant: Variant, device: str) -> str | None:
        if missing := [name for name in NEEDED if find_spec(name) is None]:
            return f"{variant.name} needs {' and '.join(missing)}, not installed here; pip install {' '.join(NEEDED)}"
        if not device.startswith("cuda"):
            return None
        try:
            offloads = libllama.library().llama_supports_gpu_offload()
        except CellError as error:
            return str(error)
        except (ImportError, OSError) as error:  # a build whose CUDA libraries are not here
            return f"{variant.name} needs xllamacpp, which cannot be loaded: {clean(str(error))}; install it again"
        if not offloads:
            return (
                f"{variant.name} here is built for processors only; "
                "pip install --force-reinstall xllamacpp --index-url INDEX, that of CUDA builds in its README"
            )
        return None

    def build(self) -> None:
        super().build()
        self.provenance |= gguf_file.readback(self.file, self.provenance["digest"])
        libllama.library()  # loading the library is not what load times

    def export(self, digest: str) -> Path:
        refuse_heads(self.config, self.dtype)
        return gguf_file.export(self.store, self.model, self.module, self.provenance, self.dtype)

    def load(self) -> None:
        self.sequence = libllama.Sequence(str(self.file), self._model_options(), self._context_options())

    def read_back(self) -> dict:
        return self.provenance | {"parameters": self.sequence.parameters(), "attention": self._attention()}

    def _attention(self) -> str:
        return "flash" if self.sequence.flash else "plain"

    def _model_options(self) -> dict:
        import xllamacpp

        return {
            "n_gpu_layers": self._gpu_layers(),
            "main_gpu": torch.device(self.device).index or 0,
            "split_mode": xllamacpp.llama_split_mode.LLAMA_SPLIT_MODE_NONE,
            "load_mode": xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE,  # read; a mapped file loads while it runs
        }

    def _context_options(self) -> dict:
        import xllamacpp

        cache, flash = xllamacpp.ggml_type.GGML_TYPE_F16, xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_AUTO
        if self.dtype == "float32":
            cache = xllamacpp.ggml_type.GGML_TYPE_F32
            flash = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        context, threads, accelerated = self.config.n_positions, torch.get_num_threads(), bool(self._gpu_layers())
        return {
            "n_ctx": context, "n_batch": context, "n_ubatch": context, "n_outputs_max": 1,  # a prompt is one forward
            "n_threads": threads, "n_threads_batch": threads, "flash_attn_type": flash,
            "type_k": cache, "type_v": cache, "offload_kqv": accelerated, "op_offload": accelerated,
        }  # fmt: skip

    def _gpu_layers(self) -> int:
        """All or none; a negative number is all."""
        return -1 if self.device.startswith("cuda") else 0

    def close(self) -> None:
        if self.sequence is not None:
            self.sequence.close()

    def start(self, phase: str, prompt_tokens: int, new_tokens: int, batch_size: int) -> None:
        if batch_size > 1:
            raise CellError("unavailable", f"one sequence at a time runs here, the cell has {batch_size}; plan 1")
        if prompt_tokens + new_tokens > self.config.n_positions:
            raise CellError("unavailable", f"the cell is longer than the context of {self.config.n_positions} tokens")
        super().start(phase, prompt_tokens, new_tokens, batch_size)

    def prefill(self, prompt: torch.Tensor) -> State:
        self.sequence.clear()
        return State(self._next(prompt[0].tolist()))

    def prepare(self, prompt: torch.Tensor) -> State:
        return self.prefill(prompt)

    def decode(self, state: State, steps: int) -> list[int]:
        token, tokens = state.token, []
        for _ in range(steps):
            token = self._next([token])
            tokens.append(token)
        return tokens

    def generate(self, prompt: torch.Tensor, steps: int) -> list[int]:
        state = self.prefill(prompt)
        return [state.token, *self.decode(state, steps)]

    def _next(self, ids: list[int]) -> int:
        return int(self.sequence.forward(np.array(ids, np.int32)).argmax())

    def logits(self, prompt: torch.Tensor, tokens: list) -> torch.Tensor:
        """The engine's logits along given tokens (1 + steps × 1 × vocabulary)."""
        self.sequence.clear()
        inputs = [prompt[0].tolist(), *([int(token)] for token in tokens[:-1])]
        found = [self.sequence.forward(np.array(ids, np.int32)).copy() for ids in inputs]
        return torch.from_numpy(np.stack(found)).unsqueeze(1).to(prompt.device)

    def receipt(self) -> dict:
        import xllamacpp

        return {
            "engine": "llama.cpp",
            "version": libllama.library().llama_version().decode(),
            "package": f"xllamacpp {version('xllamacpp')}",
            "build": "{build_number}-{commit}".format(**xllamacpp.BUILD_INFO),
            "features": xllamacpp.get_system_info().strip(" |"),
            "threads": self.sequence.threads(),
            "gpu_layers": "all" if self._gpu_layers() else 0,
            "attention": self._attention(),
            "kv_cache": "float32" if self.dtype == "float32" else "float16",
            "artifact": self.provenance["artifact"],
            "cache": "dynamic",
            "logits": "last",
            "mode": "graph",
        }
