"""ONNX Runtime on real exports: it computes what plain PyTorch computes, and its file is the checkpoint's."""

import json
import shutil
from dataclasses import replace

import onnx
import onnxruntime
import pytest
import torch

from bench_utils import artifacts, backends, catalog, equivalence, receipts
from bench_utils.backends import onnx_graph
from bench_utils.backends import onnxruntime as engine
from bench_utils.backends.onnxruntime import CPU, CUDA, TENSORRT, Kernel
from bench_utils.errors import BenchError, CellError
from tests.conftest import REPOSITORY

VARIANT = catalog.variant("onnxruntime")
STEPS = 32


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Where every test of this module finds what another has exported."""
    return tmp_path_factory.mktemp("artifacts")


def make(store, model="tiny-gpt2", dtype="float32", variant=VARIANT):
    return backends.make(catalog.model(model), variant, dtype, "cpu", "architecture", 0, store)


def loaded(store, model="tiny-gpt2", dtype="float32"):
    """An engine as a child drives it, up to the load; its provenance beside it."""
    backend = make(store, model, dtype)
    backend.build()
    backend.load()
    return backend, backend.read_back()


@pytest.fixture(scope="module")
def tiny(store):
    backend, _ = loaded(store)
    backend.start("e2e", 16, STEPS, 1)
    yield backend
    backend.close()


def altered(store, tmp_path):
    """A copy of the store, to spoil."""
    return shutil.copytree(store, tmp_path / "store")


@pytest.mark.parametrize(("model", "steps"), [("tiny-gpt2", STEPS), ("gpt2-5m", STEPS), ("gpt2-25m", 64)])
def test_it_computes_what_plain_pytorch_computes(store, model, steps):
    backend, provenance = loaded(store, model)
    assert receipts.readback("float32", provenance, catalog.model(model).parameters) == ("ok", None)
    backend.start("e2e", 16, steps, 2)
    prompt = backend.prompt(0)
    greedy, plain = backend.plain(prompt, steps)
    expected, state = backend.tokens(greedy), backend.prepare(prompt)
    assert len(set(expected[0])) > 8 or model == "tiny-gpt2"  # a model that repeats itself would prove little
    assert backend.tokens(backend.generate(prompt, steps)) == expected
    assert backend.tokens(backend.prefill(prompt)) == [row[:1] for row in expected]
    assert backend.tokens(backend.decode(state, steps)) == [row[1:] for row in expected]
    assert backend.tokens(backend.decode(state, steps)) == [row[1:] for row in expected]  # the state is as it was
    own = backend.logits(prompt, greedy)
    assert own.shape == (1 + steps, 2, catalog.model(model).vocabulary)
    assert equivalence.compare(own, plain, "float32").difference < 1e-3
    backend.close()


def test_half_precision_runs_and_is_read_back(store):
    backend, provenance = loaded(store, dtype="float16")
    assert receipts.readback("float16", provenance, catalog.model("tiny-gpt2").parameters) == ("ok", None)
    backend.start("e2e", 16, STEPS, 2)
    greedy, plain = backend.plain(backend.prompt(0), STEPS)
    found = equivalence.compare(backend.logits(backend.prompt(0), greedy), plain, "float16")
    assert equivalence.verdict(found) == ("ok", None)
    assert [len(row) for row in backend.tokens(backend.generate(backend.prompt(0), STEPS))] == [1 + STEPS] * 2
    assert backend.receipt()["cast_nodes"] > 0  # a CPU computes it in full precision, and the receipt shows it
    backend.close()


def test_the_logits_depend_on_the_prompt_and_on_the_cache(tiny):
    prompt = tiny.prompt(0)
    greedy, plain = tiny.plain(prompt, STEPS)
    assert not torch.equal(tiny.logits(prompt, greedy), tiny.logits(tiny.prompt(1), greedy))
    without_prompt = tiny.logits(prompt, [greedy[0], greedy[1]])[1] - tiny.logits(greedy[0], [greedy[1]])[0]
    assert without_prompt.abs().max() > 1e-3 * plain.std()


def test_the_receipt_says_what_ran(tiny):
    receipt = tiny.receipt()
    assert (receipt["engine"], receipt["version"]) == ("onnxruntime", onnxruntime.__version__)
    assert receipt["providers"] == [CPU]
    assert receipt["nodes"] == {CPU: len(tiny.kernels)}
    assert receipt["memcpy_nodes"] == receipt["cast_nodes"] == 0
    assert receipt["threads"] == torch.get_num_threads()
    assert (receipt["attention"], receipt["cache"], receipt["mode"]) == ("Attention", "dynamic", "graph")
    operators = [kernel.operator for kernel in tiny.kernels]
    assert operators.count("Attention") == catalog.model("tiny-gpt2").layers
    assert all(kernel.floating for kernel in tiny.kernels if kernel.operator in ("Gemm", "MatMul", "ArgMax"))
    assert not any(kernel.floating for kernel in tiny.kernels if kernel.operator in ("Range", "LessOrEqual"))


def test_a_second_build_uses_the_file(store, tiny):
    written = tiny.file.stat().st_mtime_ns
    _, provenance = loaded(store)
    assert tiny.file.stat().st_mtime_ns == written
    origin = json.loads((tiny.file.parent / artifacts.ORIGIN).read_text())
    assert provenance["digest"] == origin["weights"]
    assert origin["files"][tiny.file.name].startswith(provenance["artifact"])


def test_the_graph_keeps_every_weight_whatever_its_value(tiny):
    """Seeded biases are zeros and norms are ones: neither may be dropped nor merged."""
    gemms = [node for node in onnx.load(tiny.file).graph.node if node.op_type == "Gemm"]
    assert gemms and all(len(node.input) == 3 for node in gemms)
    assert onnx_graph.readback(tiny.file)["parameters"] == catalog.model("tiny-gpt2").parameters


def test_the_file_names_no_path_of_the_machine(tiny):
    content = tiny.file.read_bytes()
    assert str(REPOSITORY).encode() not in content
    assert b"site-packages" not in content


def test_the_inputs_are_written_as_tensorrt_wants_them(tiny):
    first, key, *_ = onnx_graph.shapes(tiny.file, 3, 5, 0).split(",")
    assert (first, key) == ("ids:3x5", "past_key_0:3x2x0x1")


def test_an_altered_file_is_refused(store, tiny, tmp_path):
    store = altered(store, tmp_path)
    backend = make(store)
    file = store / tiny.provenance["digest"] / "onnx" / onnx_graph.FILE
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(BenchError, match="model.onnx is not the file that was built"):
        backend.build()


def test_the_file_of_another_checkpoint_is_refused(store, tiny, tmp_path):
    half, _ = loaded(store, dtype="float16")
    store = altered(store, tmp_path)
    here = store / tiny.provenance["digest"] / "onnx"
    shutil.rmtree(here)
    shutil.copytree(store / half.provenance["digest"] / "onnx", here)
    with pytest.raises(BenchError, match=f"was built from weights {half.provenance['digest']}"):
        make(store).build()


def test_a_session_without_the_provider_asked_for_is_refused(store, tiny):
    backend = make(store, variant=replace(VARIANT, provider=TENSORRT))
    backend.build()
    with pytest.raises(CellError, match=f"asked for {TENSORRT}, the session runs on") as refused:
        backend.load()
    assert refused.value.status == "silent_fallback"
    backend.close()


def test_work_that_left_the_provider_is_refused_and_bookkeeping_is_not():
    ran = [
        Kernel(CUDA, "Gemm", True),
        Kernel(CUDA, "MemcpyToHost", True),
        Kernel(CPU, "Shape", True),  # reads a size
        Kernel(CPU, "Concat", False),
        Kernel(CPU, "Range", False),
    ]
    engine.refuse_fallback(ran, CUDA)
    fallen = [*ran, Kernel(CPU, "Attention", True), Kernel(CPU, "Attention", True), Kernel(CPU, "ArgMax", True)]
    with pytest.raises(CellError, match="3 of 8 nodes left .*: 1 ArgMax on CPU.*, 2 Attention on CPU") as refused:
        engine.refuse_fallback(fallen, CUDA)
    assert refused.value.status == "silent_fallback"
    with pytest.raises(CellError, match="1 Gemm on CUDA"):
        engine.refuse_fallback(ran, TENSORRT)


def test_it_says_what_to_install(monkeypatch):
    assert backends.unavailable(VARIANT, "cpu") is None
    monkeypatch.setattr(engine, "_providers_here", lambda: [CPU])
    assert "pip install onnxruntime-gpu onnx onnxscript" in backends.unavailable(VARIANT, "cuda:0")
    tensorrt = backends.unavailable(catalog.variant("onnxruntime-tensorrt"), "cuda:0")
    assert TENSORRT in tensorrt and "pip install tensorrt" in tensorrt
    monkeypatch.setattr(engine, "_providers_here", lambda: [TENSORRT, CUDA, CPU])
    assert backends.unavailable(catalog.variant("onnxruntime-tensorrt"), "cuda:0") is None
    monkeypatch.setattr(engine, "find_spec", lambda name: None if name == "onnxscript" else object())
    missing = backends.unavailable(VARIANT, "cpu")
    assert missing == "onnxruntime needs onnxscript, not installed here; pip install onnxruntime onnx onnxscript"


@pytest.mark.parametrize("error", [ImportError("libcublas.so.12: cannot open"), OSError("libcudnn.so.9: cannot open")])
def test_a_package_that_cannot_be_loaded_on_cuda_is_a_sentence(monkeypatch, error):
    def broken():
        raise error

    monkeypatch.setattr(engine, "_providers_here", broken)
    assert backends.unavailable(VARIANT, "cpu") is None
    reason = backends.unavailable(VARIANT, "cuda:0")
    assert f"which cannot be loaded: {error}; pip install onnxruntime-gpu" in reason


class Binding:
    """Stands in for a session and what is bound to it: the order of what was asked of them."""

    def __init__(self):
        self.calls = []

    def io_binding(self):
        return self

    def get_outputs(self):
        return ["token", "cache"]

    def __getattr__(self, name):
        return lambda *_: self.calls.append(name)


@pytest.mark.parametrize(("device", "waits"), [("cuda:1", True), ("cpu", False)])
def test_what_pytorch_writes_on_a_gpu_is_waited_for_before_it_is_read(device, waits):
    backend = engine.OnnxruntimeBackend(catalog.model("tiny-gpt2"), VARIANT, "float32", device)
    backend._inputs, backend._presents, backend._empty = ["ids", "past"], ["present"], ["nothing"]
    backend.session = Binding()
    state = backend.prefill(torch.zeros(1, 4, dtype=torch.int64))
    expected = ["bind_ortvalue_input"] * 2 + ["bind_output"] * 2 + ["synchronize_inputs"] * waits
    assert backend.session.calls == [*expected, "run_with_iobinding"]
    backend.session.calls.clear()
    backend.decode(engine.State("token", state.cache), 1)  # a step reads what the session itself has written
    assert "synchronize_inputs" not in backend.session.calls


def test_a_session_can_be_waited_for(tiny):
    assert callable(tiny.session.io_binding().synchronize_inputs)
