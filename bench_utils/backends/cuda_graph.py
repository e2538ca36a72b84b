"""transformers with a decode step captured by hand as one CUDA graph: a launch a token, whatever the depth.

Inductor's graphs fuse as well; this one replays the very kernels of eager PyTorch, so that its gain is that of the
launches alone.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import torch

from ..errors import CellError
from .inductor import GraphCounter
from .transformers import State, TransformersBackend

WARM_UPS = 3  # calls on a side stream before a capture, as PyTorch asks for: libraries make their workspaces


def capture(step: Callable[[], None], device: str) -> torch.cuda.CUDAGraph:
    """``step`` as a graph; it may touch nothing but tensors that stay where they are. CellError where it cannot be."""
    side, graph = torch.cuda.Stream(device), torch.cuda.CUDAGraph()
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            step()
    torch.cuda.current_stream(device).wait_stream(side)
    try:
        # a capture that fails does not leave its own stream: the outer context does
        with torch.cuda.stream(torch.cuda.current_stream(device)), torch.cuda.graph(graph):
            step()
    except torch.OutOfMemoryError:  # a RuntimeError too, with a status of its own
        raise
    except RuntimeError as error:
        raise CellError("graph_skip", f"the decode step cannot be captured: {error}") from error
    return graph


class CudaGraphBackend(TransformersBackend):
    """Prefill as eager with a static cache; every decode step a replay, its argmax included."""

    def start(self, phase: str, prompt_tokens: int, new_tokens: int, batch_size: int) -> None:
        """Capture the step at the cell's own shapes; a prefill needs none."""
        super().start(phase, prompt_tokens, new_tokens, batch_size)
        self._graphs, self._graph = GraphCounter(), None
        if phase != "prefill":
            self._token = torch.zeros(batch_size, 1, dtype=torch.long, device=self.device)
            self._tokens = self._token.repeat(1, prompt_tokens + new_tokens)
            self._at = torch.zeros(1, dtype=torch.long, device=self.device)
            self._capture()
            self.forward = self._replayed

    @torch.inference_mode()
    def _capture(self) -> None:
        self._graph = capture(self._step, self.device)

    @torch.inference_mode()
    def _step(self) -> None:
        """From the token to the next, in place: into ``_token``, and into the row of tokens."""
        found = self.module.forward(self._token, past_key_values=self._static, use_cache=True, logits_to_keep=1)
        self._scores = found.logits
        self._token.copy_(self._scores[:, -1].argmax(-1, keepdim=True))
        self._tokens.index_copy_(1, self._at, self._token)
        self._at.add_(1)

    @torch.inference_mode()
    def decode(self, state: State, steps: int) -> list[torch.Tensor]:
        """A launch a token: nothing is read back in between."""
        self._token.copy_(state.token)
        self._at.zero_()
        for _ in range(steps):
            self._graph.replay()
        return list(self._tokens[:, :steps].clone().split(1, dim=1))

    def _replayed(self, ids: torch.Tensor, **inputs) -> object:
        """What the model's forward gives: for one token through the graph, for a prompt without."""
        if ids.shape[1] > 1:
            return self.module.forward(ids, **inputs)
        self._token.copy_(ids)
        self._at.zero_()
        self._graph.replay()
        return SimpleNamespace(logits=self._scores)

    def progress(self) -> tuple:
        """Graphs captured so far."""
        return (self._graphs.captures,)

    def compiled_calls(self) -> int:
        """Replays: each stands for the forward of one step."""
        return self._graphs.replays

    def expected_calls(self, phase: str, steps: int) -> int:
        """One replay a step; a prefill runs as eager does."""
        return 0 if phase == "prefill" else steps

    def receipt(self) -> dict:
        """The engine's, with captures and replays."""
        return super().receipt() | {
            "mode": "cudagraph",
            "cudagraphs_requested": self._graph is not None,
            "cudagraphs_recorded": self._graphs.captures,
            "cudagraph_replays": self._graphs.replays,
            "replayed_calls": self._graphs.replays,
        }
