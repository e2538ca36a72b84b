"""The decode step that is captured: it touches only tensors that stay, so that running it again is replaying it.

The graph is the one thing that needs a GPU; here a stand-in runs the captured step on the processor.
"""

import contextlib
import dataclasses
import itertools

import pytest
import torch

from bench_utils import backends, catalog, equivalence, frames, ledger, operators, receipts, wording
from bench_utils.backends import cuda_graph, inductor
from bench_utils.backends.inductor import GraphCounter
from bench_utils.compiling import shares
from bench_utils.errors import CellError
from tests.faults.conftest import measure  # noqa: F401


class Graph:
    """Stands in for a CUDA graph: a replay runs the step."""

    def __init__(self, step):
        self.step, self.inputs = step, None
        step()  # as a capture does, in a fashion: memory is fixed from here on
        GraphCounter._captures += 1

    def replay(self):
        GraphCounter._replays += 1
        self.step()


@pytest.fixture
def stand_in(monkeypatch):
    """Graphs by hand without a GPU; variants that need one may run here."""
    monkeypatch.setattr(cuda_graph, "capture", lambda step, device: Graph(step))
    for name in ("cudagraph", "compile-static-reduce-overhead"):
        monkeypatch.setitem(catalog.VARIANTS, name, dataclasses.replace(catalog.variant(name), requires=None))


@pytest.fixture
def engine(stand_in):

    def make(variant="cudagraph", phase="decode", prompt=12, steps=32, batch=1):
        made = backends.make(catalog.model("gpt2-5m"), catalog.variant(variant), "float32", "cpu", "architecture", 7)
        made.load()
        made.start(phase, prompt, steps, batch)
        return made

    return make


@pytest.mark.parametrize("batch", [1, 3])
def test_its_tokens_are_eagers(engine, batch):
    expected = engine("eager", batch=batch)
    made = engine(batch=batch)
    for index in (0, 1):  # the second request finds nothing of the first
        tokens = made.tokens(made.decode(made.prepare(made.prompt(index)), 32))
        assert tokens == expected.tokens(expected.decode(expected.prepare(expected.prompt(index)), 32))


def test_a_request_is_prefill_and_replays(engine):
    made, eager = engine(phase="e2e"), engine("eager", phase="e2e")
    assert made.tokens(made.generate(made.prompt(0), 32)) == eager.tokens(eager.generate(eager.prompt(0), 32))
    assert made.compiled_calls() == made.expected_calls("e2e", 32) == 32


def test_a_prefill_captures_nothing(engine):
    made = engine(phase="prefill")
    made.prefill(made.prompt(0))
    assert made.receipt()["cudagraphs_recorded"] == made.compiled_calls() == made.expected_calls("prefill", 0) == 0
    assert receipts.engagement(made.receipt(), 0, 0) == ("ok", None)


def test_its_logits_are_those_of_the_graph_and_equal_plain_pytorchs(engine):
    made = engine()
    prompt = made.prompt(0)
    greedy, plain = made.plain(prompt, 16)
    before = made.compiled_calls()
    found = equivalence.compare(made.logits(prompt, greedy), plain, "float32")
    assert equivalence.verdict(found) == ("ok", None)
    assert found.top1_agreement == 1.0
    assert made.compiled_calls() - before == 16


def test_replays_are_what_the_receipt_counts(engine):
    made = engine()
    made.decode(made.prepare(made.prompt(0)), 32)
    receipt = made.receipt()
    assert (receipt["mode"], receipt["cudagraphs_recorded"], receipt["cudagraph_replays"]) == ("cudagraph", 1, 32)
    assert receipts.engagement(receipt, 32, 32) == ("ok", None)
    assert receipts.engagement(receipt, 31, 32)[0] == "recompile_storm"


def test_the_step_leaves_every_tensor_where_it_was(engine):
    made = engine()
    state = made.prepare(made.prompt(0))
    layer = made._static.layers[0]
    kept = (made._token, made._tokens, made._at, layer.keys, layer.values, layer.cumulative_length)
    before = [tensor.data_ptr() for tensor in kept]
    made.decode(state, 8)
    made.prepare(made.prompt(1))
    layer = made._static.layers[0]
    now = (made._token, made._tokens, made._at, layer.keys, layer.values, layer.cumulative_length)
    assert [tensor.data_ptr() for tensor in now] == before


def test_its_rows_count_its_replays_and_the_sentence_rests_on_them(stand_in, measure, monkeypatch):  # noqa: F811
    measure("cudagraph")
    rows = frames.load(measure.folder).query("role == 'sample'").groupby("phase")
    assert rows["compiled_calls"].agg(list).map(set).loc[["decode", "e2e"]].to_list() == [{16.0}, {16.0}]
    assert rows["expected_calls"].first().loc[["prefill", "decode", "e2e"]].to_list() == [0.0, 16.0, 16.0]
    assert rows["compiled_calls"].count()["prefill"] == 0
    monkeypatch.setattr(Graph, "replay", lambda graph: graph.step())
    cells = measure("cudagraph", phases=["decode"])
    assert cells.loc["decode", "status"] == "not_compiled"
    said = wording.shares_in_words(shares(frames.load(measure.folder)))
    assert said == "cudagraph on small ran 0 of 16 decode steps compiled."


def replaying(most):
    """Stands in for Inductor with CUDA graphs that are given up after so many replays, as after its own limits."""
    made = itertools.count()

    def compile_fx(graph, _, config_patches):
        def run(*args):
            GraphCounter._replays += next(made) < most
            return graph.forward(*args)

        return run

    return compile_fx


TIMED = 6 * 16  # calls of the timed samples


@pytest.fixture
def inductor_with(stand_in, measure, monkeypatch):  # noqa: F811
    """The decode cell of a process whose Inductor replays so many times."""

    def run(most):
        monkeypatch.setattr(inductor, "compile_fx", replaying(most))
        return measure("compile-static-reduce-overhead", phases=["decode"]).loc["decode"]

    return run


def test_graphs_replayed_while_warming_up_alone_are_skipped_graphs(inductor_with):
    cell = inductor_with(1)
    receipt = cell["receipt"]
    assert (receipt["compiled_calls"], receipt["expected_calls"]) == (TIMED, TIMED)
    assert (receipt["cudagraph_replays"], receipt["replayed_calls"]) == (1, 0)
    assert cell["status"] == "graph_skip"
    assert f"0 of {TIMED} timed calls replayed one" in cell["reason"]


def test_graphs_given_up_in_the_middle_are_skipped_graphs(inductor_with):
    whole = inductor_with(10**6)
    assert (whole["status"], whole["receipt"]["replayed_calls"]) == ("ok", TIMED)
    cell = inductor_with(whole["receipt"]["cudagraph_replays"] - 1)
    assert cell["status"] == "graph_skip"
    assert f"{TIMED - 1} of {TIMED} timed calls replayed one" in cell["reason"]


def test_graphs_of_the_cell_before_are_forgotten(engine, monkeypatch):
    forgotten = []
    monkeypatch.setattr(inductor, "reset_cudagraph_trees", lambda: forgotten.append(1))
    monkeypatch.setattr(inductor, "compile_fx", replaying(10**6))
    made = engine("compile-static-reduce-overhead")
    made.start("prefill", 12, 0, 1)
    assert len(forgotten) == 2
    engine("compile-static")
    assert len(forgotten) == 2


def test_memory_is_not_stated_where_replays_hide_it(stand_in, measure, monkeypatch):  # noqa: F811
    """The allocator counts a graph's memory while it is captured, and nothing of it while it is replayed."""
    monkeypatch.setattr(operators, "peak_memory", lambda call, device: {"peak_memory_mb": 1.0})
    cells = measure("cudagraph", phases=["prefill", "decode"])["receipt"]
    assert ["peak_memory_mb" in cells[phase] for phase in ("prefill", "decode")] == [True, False]


@pytest.mark.parametrize(("error", "kind", "status"), [
    (RuntimeError("operation not permitted when stream is capturing"), CellError, "graph_skip"),
    (torch.OutOfMemoryError("CUDA out of memory"), torch.OutOfMemoryError, "oom_gpu"),
])  # fmt: skip
def test_a_capture_without_memory_is_no_skipped_graph(monkeypatch, error, kind, status):
    stream = type("Stream", (), {"wait_stream": lambda self, other: None})
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: stream())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream())
    for name in ("stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    steps = itertools.count(1)

    def step():
        if next(steps) > cuda_graph.WARM_UPS:
            raise error

    with pytest.raises(kind) as caught:
        cuda_graph.capture(step, "cuda:0")
    assert ledger.status_of(caught.value) == status


def test_it_needs_a_gpu_and_says_so():
    assert "needs a CUDA device" in backends.unavailable(catalog.variant("cudagraph"), "cpu")
    assert backends.unavailable(catalog.variant("cudagraph"), "cuda:0") is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
class TestOnAGpu:
    @staticmethod
    def make(variant, dtype="float32", steps=128):
        made = backends.make(catalog.model("gpt2-5m"), catalog.variant(variant), dtype, "cuda:0", "architecture", 7)
        made.load()
        made.start("decode", 12, steps, 1)
        return made

    @pytest.mark.parametrize("variant", ["cudagraph", "compile-static-reduce-overhead"])
    def test_every_step_is_a_replay_and_the_tokens_are_eagers(self, variant):
        eager, made = self.make("eager"), self.make(variant)
        expected = eager.tokens(eager.decode(eager.prepare(eager.prompt(0)), 128))
        for index in range(4):  # Inductor records in the first calls
            found = made.tokens(made.decode(made.prepare(made.prompt(index)), 128))
            assert index or found == expected
        before = made.receipt()["cudagraph_replays"]
        made.decode(made.prepare(made.prompt(0)), 128)
        assert made.receipt()["cudagraph_replays"] - before == 128
        assert made.receipt()["replayed_calls"] >= 128

    def test_outputs_of_a_graph_that_are_kept_uncloned_are_overwritten(self):
        """The published crash: a decode loop that marks no step keeps what the next replay overwrites."""
        forward = torch.compile(lambda x: x * 2, mode="reduce-overhead")
        values = [torch.full((4,), float(i), device="cuda:0") for i in range(4)]
        with pytest.raises(RuntimeError, match="overwritten"):
            kept = []
            for value in values:
                torch.compiler.cudagraph_mark_step_begin()
                kept.append(forward(value))
            sum(kept).sum().item()
        kept = []
        for value in values:
            torch.compiler.cudagraph_mark_step_begin()
            kept.append(forward(value).clone())
        assert sum(kept).tolist() == [12.0] * 4

    def test_a_step_that_cannot_be_captured_is_a_typed_error(self):
        values = torch.ones(4, device="cuda:0")
        with pytest.raises(CellError, match="cannot be captured") as caught:
            cuda_graph.capture(lambda: values.sum().item(), "cuda:0")
        assert caught.value.status == "graph_skip"
