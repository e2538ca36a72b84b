"""What servers share: the device that they see, and receipts that tell what was observed from what was asked for."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from bench_utils import backends, catalog
from bench_utils.backends import launch, llama_listener
from bench_utils.backends.llama_server import LlamaServerBackend
from bench_utils.backends.ollama import OllamaBackend
from bench_utils.backends.served import FEW, Served
from bench_utils.backends.stream import Dialect, Stream
from bench_utils.backends.transformers_serve import TransformersServeBackend
from bench_utils.errors import CellError
from tests.services import faulty_server
from tests.services.faulty_server import MODEL

STEPS = 15


class Words:
    """In place of a tokenizer: every word of a planted answer is a token."""

    def prompt(self, drawn, index):
        return drawn

    def text(self, prompt):
        return "x" * prompt.numel()

    def count(self, text):
        return len(text.split())


class Planted(Served):
    """The planted server in a process of its own, as a cell finds it; ``log`` is what it says first."""

    fault, log = "none", ""

    def command(self, port):
        code = (
            f"import runpy, sys; print({self.log!r}, flush=True); sys.argv[1:] = ['{port}', {self.fault!r}]; "
            f"runpy.run_path({faulty_server.__file__!r}, run_name='__main__')"
        )
        return [sys.executable, "-c", code]

    def dialect(self):
        return Dialect(MODEL)


@contextlib.contextmanager
def planted(fault="none", device="cpu", log="", texts=None):
    engine = Planted(catalog.model("gpt2-5m"), catalog.variant("vllm"), "float32", device)
    engine.fault, engine.log, engine.texts = fault, log, texts
    engine.file, engine.config = Path(__file__), SimpleNamespace(vocab_size=100)
    with contextlib.closing(engine):
        engine.serve()
        engine.clock()
        yield engine


def decoded(engine):
    engine.start("decode", 12, STEPS, 1)
    return engine.decode(engine.prepare(engine.prompt(0)), STEPS)


# ---------------------------------------------------------------- the device


@pytest.mark.parametrize(
    ("listed", "device", "seen"),
    [
        (None, "cpu", ""),
        ("4,7", "cpu", ""),
        (None, "cuda:1", "1"),
        (None, "cuda", "0"),
        ("", "cuda:0", "0"),
        ("4, 7", "cuda:1", "7"),
        ("GPU-aaaa,GPU-bbbb", "cuda:0", "GPU-aaaa"),
    ],
)
def test_a_server_is_shown_the_measured_device_and_no_other(monkeypatch, listed, device, seen):
    if listed is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert launch.visible(device) == {"CUDA_VISIBLE_DEVICES": seen}


def test_a_process_that_serves_a_processor_sees_no_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with planted() as engine:
        (server,) = psutil.Process(engine.server.pid).children()
        assert server.environ()["CUDA_VISIBLE_DEVICES"] == ""


def test_transformers_serve_names_the_only_gpu_that_it_sees():
    engine = TransformersServeBackend(
        catalog.model("gpt2-5m"), catalog.variant("transformers-serve"), "float16", "cuda:1"
    )
    engine.file = Path("/store/checkpoint")
    command = engine.command(1)
    assert command[command.index("--device") + 1] == "cuda"


@pytest.mark.parametrize(("device", "layers", "kept_off"), [("cpu", 0, True), ("cuda:1", -1, False)])
def test_llama_cpp_serves_on_one_device_alone(monkeypatch, device, layers, kept_off):
    engine = LlamaServerBackend(catalog.model("gpt2-5m"), catalog.variant("llama.cpp-server"), "float32", device)
    engine.file, engine.config = Path("/store/model.gguf"), SimpleNamespace(n_positions=64)
    asked, found = engine.command(4711)[-1], []
    monkeypatch.setattr(sys, "argv", ["llama_listener.py", asked])
    serve = lambda params: found.append(params) or SimpleNamespace(listening_address="nowhere")  # noqa: E731
    monkeypatch.setattr(llama_listener.xllamacpp, "Server", serve)
    monkeypatch.setattr(signal, "pause", lambda: None)
    llama_listener.main()
    (params,) = found
    none = llama_listener.xllamacpp.llama_split_mode.LLAMA_SPLIT_MODE_NONE
    assert (params.n_gpu_layers, params.split_mode, params.main_gpu) == (layers, none, 0)
    assert (params.no_kv_offload, params.no_op_offload) == (kept_off, kept_off)


@pytest.mark.parametrize(("log", "told"), [("load_tensors: offloaded 3/13 layers to GPU", "3/13"), ("nothing", None)])
def test_layers_on_a_gpu_are_those_that_the_log_tells_of(log, told):
    with planted(log=log) as engine:
        decoded(engine)
        assert engine.receipt()["offloaded_layers"] == told


# ---------------------------------------------------------------- what a receipt says


def test_the_model_in_a_receipt_is_the_one_that_answered():
    with planted() as engine:
        decoded(engine)
        assert (engine.receipt()["model"], engine.receipt()["asked_model"]) == (MODEL, MODEL)


def test_a_server_that_names_no_model_has_none_in_its_receipt():
    with planted("names no model") as engine:
        decoded(engine)
        assert (engine.receipt()["model"], engine.receipt()["asked_model"]) == (None, MODEL)


def test_threads_are_counted_in_the_server_and_not_here():
    threads = torch.get_num_threads()
    torch.set_num_threads(5)
    try:
        with planted() as engine:
            decoded(engine)
            receipt = engine.receipt()
    finally:
        torch.set_num_threads(threads)
    assert "threads" not in receipt
    assert receipt["server_threads"] == 1


@pytest.mark.parametrize("variant", ["llama.cpp-server", "vllm", "ollama", "transformers-serve"])
def test_what_a_server_was_only_told_is_not_a_fact(variant):
    engine = backends.make(catalog.model("gpt2-5m"), catalog.variant(variant), "float32", "cpu", "architecture", 0)
    engine.client = SimpleNamespace(json=lambda path, *_, **__: {"build_info": "b1", "version": "1", "models": None})
    engine.server, engine.name = SimpleNamespace(log=lambda: ""), "bench"
    facts = engine.facts()
    assert facts["asked_threads"] == torch.get_num_threads()
    assert not {"threads", "dtype"} & facts.keys()
    assert facts.get("attention") is facts.get("kv_cache") is None


def test_how_the_reference_attends_is_not_what_the_server_does(monkeypatch):
    engine = Planted(catalog.model("gpt2-5m"), catalog.variant("vllm"), "float32", "cpu")
    engine.provenance = {"attention": "sdpa", "dtype": "float32", "digest": "0123"}
    monkeypatch.setattr(engine, "serve", lambda: None)
    monkeypatch.setattr(engine, "loaded_dtype", lambda: "bfloat16")
    engine.load()
    assert engine.read_back() == {"attention": None, "dtype": "bfloat16", "dtype_from": "the server", "digest": "0123"}


# ---------------------------------------------------------------- tokens that come together


def test_text_of_several_tokens_in_the_first_piece_is_no_decode():
    with planted("sends the text of three first", texts=Words()) as engine:
        engine.start("decode", 12, STEPS, 1)
        for _ in range(FEW):  # a character of two tokens comes as one piece of text now and then
            assert len(engine.decode(engine.prepare(engine.prompt(0)), STEPS)) == 1 + STEPS
        with pytest.raises(CellError, match="in 6 of 6 answers the first token came together.*by itself") as caught:
            engine.decode(engine.prepare(engine.prompt(0)), STEPS)
        assert caught.value.status == "server_error"
        engine.start("e2e", 12, STEPS, 1)
        for _ in range(2 * FEW):  # its end is where it was
            assert len(engine.generate(engine.prompt(0), STEPS)) == 1 + STEPS
        assert engine.receipt()["first_tokens_together"] == 2 * FEW


def test_a_quarter_of_first_tokens_may_come_together_and_no_more():
    engine = Planted(catalog.model("gpt2-5m"), catalog.variant("vllm"), "float32", "cpu")
    engine.phase, engine._cached, engine._answered, engine._calls, engine._together = "decode", None, None, 0, 0
    counts = {"model": MODEL, "cached_tokens": None}
    alone, together = (Stream("", 16, "decode", 0.0, 0, usage=counts, together=n, opening=1) for n in (1, 2))
    for index in range(40):
        engine._noted(together if index % 4 == 3 else alone)
    with pytest.raises(CellError, match="in 11 of 41 answers"):
        engine._noted(together)


@pytest.mark.parametrize("fault", ["shows text only", "shows nothing of a token"])
def test_text_whose_first_piece_is_one_token_is_a_decode(fault):
    with planted(fault, texts=Words()) as engine:
        assert len(decoded(engine)) == 1 + STEPS
        assert engine.receipt()["first_tokens_together"] == 0


# ---------------------------------------------------------------- Ollama


class Gone:
    """A client whose server has gone."""

    closed = False

    def json(self, *_, **__):
        raise CellError("server_died", "the connection to the server was lost")

    def close(self):
        self.closed = True


def ollama(device="cpu"):
    engine = OllamaBackend(catalog.model("gpt2-5m"), catalog.variant("ollama"), "float32", device)
    engine.name, engine.config = "bench", SimpleNamespace(n_positions=64)
    return engine


def test_an_ollama_that_has_gone_is_let_go_of():
    engine, client = ollama(), Gone()
    engine.client, engine.server, engine.created = client, launch.Remote("http://192.0.2.1:1"), True
    engine.close()
    assert engine.server is engine.client is None
    assert client.closed


def test_ollama_decodes_greedily_and_loads_with_the_options_of_every_request():
    dialect = ollama().dialect()
    asked, loads = dialect.body("a prompt", 16)["options"], dialect.preload()
    assert (asked["temperature"], asked["repeat_penalty"]) == (0, 1.0)
    assert loads["options"] == {k: asked[k] for k in ("num_ctx", "num_thread", "num_gpu")}
    assert "prompt" not in loads


@pytest.mark.parametrize(("device", "layers"), [("cpu", {"num_gpu": 0}), ("cuda:0", {})])
def test_ollama_puts_no_layer_on_a_gpu_when_a_processor_is_measured(device, layers):
    options = ollama(device).dialect().body("a prompt", 16)["options"]
    assert {k: v for k, v in options.items() if k == "num_gpu"} == layers


@pytest.mark.parametrize(("device", "size"), [("cpu", 4096), ("cuda:0", 0)])
def test_an_ollama_that_runs_elsewhere_than_the_label_says_is_refused(device, size):
    engine = ollama(device)
    engine.client = SimpleNamespace(json=lambda *_: {"models": [{"name": "bench:latest", "size_vram": size}]})
    with pytest.raises(CellError, match=f"asked for {device}, Ollama has {size} bytes") as caught:
        engine.facts()
    assert caught.value.status == "silent_fallback"


@pytest.mark.parametrize("host", ["127.0.0.1:80a0", "http://[::1", "localhost:99999", "http://:11434"])
def test_an_ollama_address_that_is_none_is_one_sentence(monkeypatch, host):
    monkeypatch.setenv("OLLAMA_HOST", host)
    reason = OllamaBackend.unavailable(catalog.variant("ollama"), "cpu")
    assert reason.startswith("OLLAMA_HOST names no server")
    assert host not in reason


# ---------------------------------------------------------------- the keeper

# Ends a server's children, of which the first is gone by the time that it is asked.
_KEEPER = """
import os, signal, subprocess, sys
import psutil
from bench_utils.backends import keeper

keeper.GRACE_SECONDS = {grace}
sleep = [sys.executable, "-c", "import signal, time; {stubborn}; print('up', flush=True); time.sleep(60)"]
children = [subprocess.Popen(sleep, stdout=subprocess.PIPE) for _ in range(2)]
for child in children:
    child.stdout.readline()
ask = psutil.Process.{method}

def reaped(process):
    if process.pid == children[0].pid:
        os.kill(process.pid, signal.SIGKILL)
        children[0].wait()
    return ask(process)

psutil.Process.{method} = reaped
keeper._end_all()
print(*(psutil.pid_exists(child.pid) for child in children))
"""


@pytest.mark.parametrize(
    ("method", "grace", "stubborn"),
    [
        ("status", 5.0, "pass"),
        ("terminate", 5.0, "pass"),
        ("kill", 0.0, "signal.signal(signal.SIGTERM, signal.SIG_IGN)"),
    ],
)
def test_a_process_that_is_gone_when_asked_does_not_save_the_others(method, grace, stubborn):
    code = _KEEPER.format(method=method, grace=grace, stubborn=stubborn)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False", "False"]


def ended(process, seconds=10.0):
    """Whether nothing is left of a process but an entry that nobody has read."""
    until = time.monotonic() + seconds
    with contextlib.suppress(psutil.NoSuchProcess):
        while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < until:
            time.sleep(0.02)
        return process.status() == psutil.STATUS_ZOMBIE
    return True


def test_closing_is_not_stopped_by_a_process_that_has_ended(monkeypatch):
    with planted() as engine:
        server = engine.server
        (below,) = psutil.Process(server.pid).children()
        kill = psutil.Process.kill

        def gone(process):
            kill(process)
            raise psutil.NoSuchProcess(process.pid)

        monkeypatch.setattr(psutil.Process, "kill", gone)
        monkeypatch.setattr(launch, "STOP_SECONDS", 0.2)
        os.kill(server.pid, signal.SIGSTOP)  # a keeper that does not do its work
        server.close()
    assert ended(below)
    assert not server.running()
