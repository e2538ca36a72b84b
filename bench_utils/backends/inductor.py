"""torch.compile with Inductor, counted: how many calls of the timed function really ran compiled code."""

from __future__ import annotations

import torch
import torch._dynamo
from torch._dynamo.utils import counters
from torch._inductor import list_mode_options
from torch._inductor.compile_fx import compile_fx
from torch._inductor.cudagraph_trees import reset_cudagraph_trees


class GraphCounter:
    """Captures and replays of CUDA graphs in this process since the counter was made."""

    _captures = _replays = 0

    def __init__(self) -> None:
        self._watch("capture_end", "_captures")
        self._watch("replay", "_replays")
        self._start = (GraphCounter._captures, GraphCounter._replays)

    @staticmethod
    def _watch(method: str, counter: str) -> None:
        original = getattr(torch.cuda.CUDAGraph, method)
        if getattr(original, "counted", False):
            return

        def counted(graph, *args, **kwargs):
            setattr(GraphCounter, counter, getattr(GraphCounter, counter) + 1)
            return original(graph, *args, **kwargs)

        counted.counted = True
        setattr(torch.cuda.CUDAGraph, method, counted)

    @property
    def captures(self) -> int:
        """Graphs captured."""
        return GraphCounter._captures - self._start[0]

    @property
    def replays(self) -> int:
        """Graph replays."""
        return GraphCounter._replays - self._start[1]


class CountingInductor:
    """Inductor as a Dynamo backend whose graphs count their calls.

    A label is no evidence, nor is a graph that exists: only calls of compiled code per timed call show that the
    timed callable ran compiled. ``torch.compile(backend=callable)`` ignores ``mode``, so its options are passed
    to Inductor as ``torch.compile`` itself does.
    """

    def __init__(self, forward, mode: str, dynamic: bool | None) -> None:
        torch._dynamo.reset()
        counters.clear()
        self._code = forward.__func__.__code__
        self._options = list_mode_options(mode, dynamic)
        self._cudagraphs = bool(self._options.get("triton.cudagraphs"))
        self._graphs = GraphCounter()
        if self._cudagraphs:
            reset_cudagraph_trees()  # Dynamo's reset has torch.compile's own backend do it, and a callable not
        self.calls = self.replayed_calls = 0
        self.entries_at_start = self._entries()
        self.forward = torch.compile(forward, backend=self._backend, dynamic=dynamic)

    def _backend(self, graph, inputs):
        compiled = compile_fx(graph, inputs, config_patches=dict(self._options))
        if self._cudagraphs:
            compiled = self._watched(compiled)

        def counted(*args):
            self.calls += 1
            return compiled(*args)

        return counted

    def _watched(self, compiled):
        """Count the calls that replayed a graph: past a limit of re-recordings Inductor goes on without, quietly."""

        def watched(*args):
            before = self._graphs.replays
            found = compiled(*args)
            self.replayed_calls += self._graphs.replays > before
            return found

        return watched

    def _entries(self) -> int:
        """Dynamo's cache entries of the code object: the recompile limit is spent per code object."""
        return len(torch._dynamo.eval_frame._debug_get_cache_entry_list(self._code))

    def mark_step(self) -> None:
        """Tell CUDA-graph trees that outputs of the last step may be overwritten."""
        if self._cudagraphs:
            torch.compiler.cudagraph_mark_step_begin()

    def progress(self) -> tuple:
        """Counters that move while Dynamo or Inductor still compile, or CUDA graphs are recorded."""
        return (counters["stats"]["unique_graphs"], counters["frames"]["total"], self._graphs.captures)

    def receipt(self) -> dict:
        """Graphs, breaks and cache entries of this cell; CUDA-graph counters where the mode asks for graphs."""
        facts = {
            "graphs": counters["stats"]["unique_graphs"],
            "graph_breaks": sum(counters["graph_break"].values()),
            "frames": counters["frames"]["total"],
            "cache_entries_at_start": self.entries_at_start,
            "cache_entries": self._entries(),
            "recompile_limit": torch._dynamo.config.recompile_limit,
            "compiled_calls": self.calls,
            "cudagraphs_requested": self._cudagraphs,
        }
        if self._cudagraphs:
            facts["cudagraphs_recorded"] = self._graphs.captures
            facts["cudagraph_replays"] = self._graphs.replays
            facts["replayed_calls"] = self.replayed_calls
            facts["cudagraph_skips"] = counters["inductor"]["cudagraph_skips"]
        return facts
