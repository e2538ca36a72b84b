"""transformers, eager or through torch.compile: the callable that is timed is the callable that is compiled."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import transformers
from transformers import DynamicCache, StaticCache

from .checkpoint import Checkpoint
from .inductor import CountingInductor

PAD_TO = 8


@dataclass
class State:
    """Between prefill and decode: the cache and the first token (batch × 1)."""

    cache: object
    token: torch.Tensor
    mask: torch.Tensor | None = None


class TransformersBackend(Checkpoint):
    """One model in one dtype on one device, run the way its variant says."""

    inductor: CountingInductor | None = None

    def start(self, phase: str, prompt_tokens: int, new_tokens: int, batch_size: int) -> None:
        super().start(phase, prompt_tokens, new_tokens, batch_size)
        self.forward, self.inductor = self.module.forward, None
        if self.variant.compiled:
            self.inductor = CountingInductor(self.module.forward, self.variant.mode, self.variant.dynamic)
            self.forward = self.inductor.forward
        self._static = self._static_cache(prompt_tokens + new_tokens) if self.variant.cache == "static" else None

    @torch.inference_mode()
    def prefill(self, prompt: torch.Tensor) -> State:
        return self._prefill(self.forward, prompt)

    @torch.inference_mode()
    def prepare(self, prompt: torch.Tensor) -> State:
        return self._prefill(self.module.forward, prompt)

    @torch.inference_mode()
    def decode(self, state: State, steps: int) -> list[torch.Tensor]:
        token, tokens = state.token, []
        for _ in range(steps):
            token = self._next(self.forward, token, state)
            tokens.append(token)
        return tokens

    def generate(self, prompt: torch.Tensor, steps: int) -> list[torch.Tensor]:
        state = self.prefill(prompt)
        return [state.token, *self.decode(state, steps)]

    def _prefill(self, forward, prompt: torch.Tensor) -> State:
        state = self._begin(prompt)
        state.token = self._next(forward, state.token, state)
        return state

    def _begin(self, prompt: torch.Tensor) -> State:
        state = State(self._empty_cache(), prompt)
        if self.variant.padded:
            state.token, state.mask = _pad_left(prompt, PAD_TO)
        return state

    @torch.inference_mode()
    def logits(self, prompt: torch.Tensor, tokens: list[torch.Tensor]) -> torch.Tensor:
        """This variant's logits along given tokens (1 + steps × batch × vocabulary), through the timed callable."""
        state = self._begin(prompt)
        prefill = self.module.forward if self.phase == "decode" else self.forward
        found = [self._logits(prefill, state.token, state).clone()]  # a CUDA graph overwrites what it returned
        found += [self._logits(self.forward, token, state).clone() for token in tokens[:-1]]
        return torch.stack(found)

    def _next(self, forward, ids: torch.Tensor, state: State) -> torch.Tensor:
        return self._logits(forward, ids, state).argmax(-1, keepdim=True)

    def _logits(self, forward, ids: torch.Tensor, state: State) -> torch.Tensor:
        inputs = {} if state.mask is None else _masked(ids, state)
        keep = 0 if self.variant.all_logits else 1
        if self.inductor is not None:
            self.inductor.mark_step()
        logits = forward(ids, past_key_values=state.cache, use_cache=True, logits_to_keep=keep, **inputs).logits
        return logits[:, -1]

    @torch.inference_mode()
    def _static_cache(self, length: int) -> StaticCache:
        """A static cache that has been used once: its layers are made at first use, which would cost a graph."""
        cache = StaticCache(config=self.config, max_cache_len=length)
        self.module.forward(self._ids[:, :1], past_key_values=cache, use_cache=True)
        return cache

    def _empty_cache(self):
        if self._static is None:
            return DynamicCache(config=self.config)
        self._static.reset()
        return self._static

    def progress(self) -> tuple:
        return self.inductor.progress() if self.inductor else ()

    def compiled_calls(self) -> int:
        return self.inductor.calls if self.inductor else 0

    def expected_calls(self, phase: str, steps: int) -> int:
        if not self.variant.compiled:
            return 0
        return {"prefill": 1, "decode": steps, "e2e": 1 + steps}[phase]

    def receipt(self) -> dict:
        facts = {
            "engine": "transformers",
            "version": transformers.__version__,
            "artifact": "checkpoint",
            "kv_cache": self.dtype,
            "cache": self.variant.cache,
            "threads": torch.get_num_threads(),
            "attention": self.config._attn_implementation,
            "float32_matmul": torch.get_float32_matmul_precision(),  # below "highest" a GPU uses TF32
            "logits": "all" if self.variant.all_logits else "last",
            "mode": self.variant.mode if self.variant.compiled else "eager",
            "dynamic": self.variant.dynamic if self.variant.compiled else None,
        }
        return facts | (self.inductor.receipt() if self.inductor else {})


def _pad_left(prompt: torch.Tensor, multiple: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompt and mask padded on the left, so that the last position is the prompt's own."""
    missing = -prompt.shape[1] % multiple
    padding = prompt.new_zeros(prompt.shape[0], missing)
    mask = torch.cat([padding, torch.ones_like(prompt)], dim=1)
    return torch.cat([padding, prompt], dim=1), mask


def _masked(ids: torch.Tensor, state: State) -> dict:
    """Mask and positions of a padded call; a decode step grows the mask by one."""
    if ids.shape[1] == 1:
        state.mask = torch.cat([state.mask, torch.ones_like(ids)], dim=1)
    positions = (state.mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    return {"attention_mask": state.mask, "position_ids": positions}
