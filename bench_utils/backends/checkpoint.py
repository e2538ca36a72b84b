"""A checkpoint in plain PyTorch: the prompts of a cell, and the reference that every engine is compared with."""

from __future__ import annotations

import zlib
from pathlib import Path

import torch
from transformers import DynamicCache

from ..catalog import TORCH_DTYPES, Model, Variant
from ..loading import fetched, load_model
from ..timing import Clock


class Checkpoint:
    """What engines share: weights with provenance, prompts, plain greedy decoding. An engine adds what is timed."""

    def __init__(
        self,
        model: Model,
        variant: Variant,
        dtype: str,
        device: str,
        weights: str = "auto",
        seed: int = 0,
        store: Path | None = None,
    ) -> None:
        self.model, self.variant, self.dtype, self.device = model, variant, dtype, device
        self.weights, self.seed, self.store = weights, seed, store

    @staticmethod
    def unavailable(variant: Variant, device: str) -> str | None:
        """PyTorch is always there."""
        return None

    @property
    def arithmetic(self) -> str:
        """What bounds how near plain PyTorch the engine can come: as its weights are stored."""
        return self.dtype

    def build(self) -> None:
        """Have the checkpoint here, and stay at its commit: what comes over a network is not what load times."""
        self.model = fetched(self.model, self.weights)

    def load(self) -> None:
        """The checkpoint in memory. A dtype that PyTorch does not have is loaded in full precision."""
        dtype = self.dtype if self.dtype in TORCH_DTYPES else "float32"
        self._loaded = load_model(self.model, self.device, dtype, self.weights)
        self.module, self.config = self._loaded.module, self._loaded.module.config

    def read_back(self) -> dict:
        """Where the weights came from, and what they are."""
        return self._loaded.provenance.asdict()

    def close(self) -> None:
        """Nothing to stop."""

    def processes(self) -> list[int]:
        """No process but this one."""
        return []

    def clock(self) -> Clock:
        """The clock that times this engine's calls."""
        return Clock(self.device)

    def start(self, phase: str, prompt_tokens: int, new_tokens: int, batch_size: int) -> None:
        """Draw the cell's prompt: the same for every variant, and another for every phase and size."""
        drawn = zlib.crc32(f"{self.seed} {phase} {prompt_tokens} {new_tokens} {batch_size}".encode())
        generator = torch.Generator().manual_seed(drawn)
        ids = torch.randint(self.config.vocab_size, (batch_size, prompt_tokens), generator=generator)
        self.phase, self._ids = phase, ids.to(self.device)

    def prompt(self, index: int) -> torch.Tensor:
        """The first token differs for every index, so that no cached prefix helps (batch × prompt tokens)."""
        ids = self._ids.clone()
        ids[:, 0] = (ids[:, 0] + index) % self.config.vocab_size
        return ids

    def tokens_in(self, prompt: torch.Tensor) -> int:
        """Every element of the prompt is a token."""
        return prompt.numel()

    @torch.inference_mode()
    def plain(self, prompt: torch.Tensor, steps: int) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Greedy decoding without any of the variant's options: tokens, and logits (1 + steps × batch × vocabulary)."""
        cache, ids, tokens, logits = DynamicCache(config=self.config), prompt, [], []
        for _ in range(1 + steps):
            logits.append(self.module(ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1])
            ids = logits[-1].argmax(-1, keepdim=True)
            tokens.append(ids)
        return tokens, torch.stack(logits)

    def tokens(self, result) -> list[list[int]]:
        """Ids (batch × tokens) of a list of steps, each batch × 1, or of a state that holds its first ``token``."""
        parts = [result.token] if hasattr(result, "token") else result
        return torch.cat([torch.as_tensor(part).reshape(-1, 1) for part in parts], dim=1).tolist()

    def progress(self) -> tuple:
        """Nothing compiles while this engine warms up."""
        return ()

    def compiled_calls(self) -> int:
        """This engine compiles nothing at run time."""
        return 0

    def expected_calls(self, phase: str, steps: int) -> int:
        """This engine compiles nothing at run time."""
        return 0


class Exported(Checkpoint):
    """An engine that runs a file made from the checkpoint; the checkpoint itself stays beside it, as the reference."""

    def build(self) -> None:
        """Load the reference, untimed, and have the engine's file made unless it is there."""
        super().build()
        Checkpoint.load(self)
        self.provenance = Checkpoint.read_back(self)
        self.file = self.export(self.provenance["digest"])

    def export(self, digest: str) -> Path:
        """The engine's file, through ``artifacts.artifact``."""
        raise NotImplementedError

    def load(self) -> None:
        """The engine ready to run from its file."""
        raise NotImplementedError

    def read_back(self) -> dict:
        """The provenance of the checkpoint, with what the file says of itself."""
        return self.provenance
