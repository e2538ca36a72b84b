"""Real servers, started, measured and stopped: their tokens are plain PyTorch's, and nothing of them is left."""

import json
import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from bench_utils import backends, catalog
from bench_utils.backends import launch
from bench_utils.backends.ollama import Generate, OllamaBackend
from bench_utils.errors import CellError
from tests.services import ollama_shim
from tests.services.conftest import make, measured

pytestmark = pytest.mark.services

PHASES = ("e2e", "prefill", "decode")


def private(receipt: dict, *words: str) -> list[str]:
    """Words of a receipt that no receipt may hold."""
    said = json.dumps(receipt)
    return [word for word in (*words, "127.0.0.1:", str(Path.home()), "/tmp") if word in said]


def check(found, engine_name: str, steps: int) -> None:
    """What holds for every server."""
    assert set(found.verdicts.values()) == {("ok", None)}
    assert [len(found.tokens[phase]) for phase in PHASES] == [1 + steps, 1, steps]
    assert found.tokens["e2e"][1:] != found.tokens["e2e"][:-1]  # a lost cache would repeat
    assert all(ms > 0 for values in found.latencies.values() for ms in values)
    assert found.timer.startswith("client: ")
    assert found.receipt["engine"] == engine_name
    assert not found.receipt["cached_tokens"]
    assert "threads" not in found.receipt  # no server tells what it computes with
    assert found.receipt.get("asked_threads") == (None if found.receipt["command"] == "at OPENAI_BASE_URL" else 2)
    assert found.receipt["server_threads"] >= 2
    assert found.receipt["client_overhead_us"]["first_token"] > 0
    assert private(found.receipt) == []


# ---------------------------------------------------------------- llama.cpp's own server


@pytest.mark.parametrize(("model", "steps"), [("gpt2-5m", 16), ("gpt2-25m", 64)])
def test_llama_server_gives_plain_pytorchs_tokens(store, model, steps):
    with measured("llama.cpp-server", model, store, steps=steps) as (found, _):
        check(found, "llama.cpp server", steps)
        assert found.provenance["dtype"] == "float32"
        assert found.provenance["parameters"] == catalog.model(model).parameters
        assert found.receipt["cached_tokens"] == 0  # said by the server
        assert "llama_listener.py" in found.receipt["command"]
        assert found.receipt["model"] == model  # as the server names it
        assert len(found.processes) >= 2


@pytest.mark.parametrize("dtype", ["float16", "q8_0"])
def test_llama_server_says_itself_which_type_it_loaded(folder, store, dtype):
    with measured("llama.cpp-server", str(folder), store, dtype, steps=16) as (found, _):
        assert found.provenance["dtype"] == dtype
        assert [len(found.tokens[phase]) for phase in PHASES] == [17, 1, 16]


def test_a_server_that_died_in_a_cell_is_another_in_the_next(folder, store):
    with measured("llama.cpp-server", str(folder), store, steps=16) as (found, engine):
        engine.start("e2e", 16, 16, 1)
        server = found.processes[-1]
        os.kill(server.pid, signal.SIGKILL)
        server.wait(10)
        with pytest.raises(CellError, match="connection to the server was lost.*killed by SIGKILL") as caught:
            engine.generate(engine.prompt(0), 16)
        assert caught.value.status == "server_died"
        engine.start("e2e", 16, 16, 1)
        assert engine.tokens(engine.generate(engine.prompt(0), 16))[0] == found.tokens["e2e"]
        assert engine.processes() != [found.processes[0].pid]


def test_more_sequences_than_one_are_not_offered(folder, store):
    with measured("llama.cpp-server", str(folder), store, steps=16, calls=1) as (_, engine):
        with pytest.raises(CellError, match="one request at a time") as caught:
            engine.start("e2e", 16, 16, 4)
        assert caught.value.status == "unavailable"


# ---------------------------------------------------------------- vLLM

NO_VLLM = backends.unavailable(catalog.variant("vllm"), "cpu")


@pytest.mark.skipif(NO_VLLM is not None, reason=str(NO_VLLM))
class TestVllm:
    def test_vllm_gives_plain_pytorchs_tokens(self, store):
        with measured("vllm", "gpt2-25m", store, steps=64) as (found, _):
            check(found, "vLLM", 64)
            assert found.provenance["dtype"] == "float32"
            assert found.receipt["cached_tokens"] == 0
            assert found.receipt["version"].count(".") >= 2
            assert {"VLLM::EngineCore", "VLLM::Worker"} & {process.name() for process in found.processes}
            assert (found.receipt["model"], found.receipt["device"]) == ("gpt2-25m", "cpu")
            assert found.receipt["kv_cache"] == "float32"

    def test_a_head_size_that_vllm_does_not_run_is_its_own_sentence_and_kept(self, store):
        engine = make("vllm", "gpt2-5m", store)
        for _ in range(2):  # the second time from what was kept
            with pytest.raises(CellError, match="vLLM refuses this model: .*40") as caught:
                engine.build()
            assert caught.value.status == "unavailable"
        assert engine.server is None


# ---------------------------------------------------------------- transformers serve


def test_transformers_serve_answers_the_text_of_plain_pytorch(folder, store):
    with measured("transformers-serve", str(folder), store) as (found, _):
        check(found, "transformers serve", 32)
        assert found.receipt["prompt"] == "text"
        assert found.receipt["model"] == "checkpoint@main"
        assert found.receipt["version"].startswith("5.")


def test_a_checkpoint_without_a_tokenizer_is_unavailable_to_servers_of_text(store):
    engine = make("transformers-serve", "gpt2-5m", store)
    with pytest.raises(CellError, match="takes text and 'gpt2-5m' has no tokenizer") as caught:
        engine.build()
    assert caught.value.status == "unavailable"


# ---------------------------------------------------------------- Ollama's API, over llama.cpp


@pytest.fixture
def ollama(tmp_path, monkeypatch) -> Path:
    """A program of that name on PATH; nothing at OLLAMA_HOST."""
    program = tmp_path / "bin" / "ollama"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P {ollama_shim.__file__} "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    return program


def test_ollama_is_started_given_the_file_and_asked_for_text(ollama, folder, store):
    with measured("ollama", str(folder), store) as (found, _):
        check(found, "Ollama", 32)
        assert found.provenance["dtype"] == "float32"
        assert found.receipt["version"] == ollama_shim.VERSION
        assert found.receipt["command"] == "ollama serve"
        assert found.receipt["gpu_bytes"] == 0


def test_ollama_loads_a_model_once_and_never_for_a_timed_request(ollama, folder, store):
    with measured("ollama", str(folder), store, steps=16) as (_, engine):
        (running,) = engine.client.json("/api/ps")["models"]
        assert running["loads"] == 1
        engine.client.json("/api/generate", "POST", json={"model": engine.name, "options": {"num_thread": 1}})
        assert engine.client.json("/api/ps")["models"][0]["loads"] == 2  # so other options would be seen


def test_ollama_on_a_gpu_under_a_processors_label_is_refused(ollama, folder, store, monkeypatch):
    monkeypatch.setattr(OllamaBackend, "dialect", lambda engine: Generate(engine.name, num_ctx=256))
    engine = make("ollama", str(folder), store)
    with pytest.raises(CellError, match="asked for cpu, Ollama has [1-9].* bytes of the model on a GPU") as caught:
        try:
            engine.build()
            engine.load()
            engine.clock()
        finally:
            engine.close()
    assert caught.value.status == "silent_fallback"


def test_an_ollama_that_runs_already_is_used_and_left_as_it_was(ollama, folder, store, tmp_path, monkeypatch):
    port = launch.free_port()
    environment = {"OLLAMA_HOST": f"127.0.0.1:{port}", "OLLAMA_MODELS": str(tmp_path / "models")}
    server = launch.Server([str(ollama), "serve"], environment, port)
    try:
        server.wait("/api/version", 30)
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{port}")
        with measured("ollama", str(folder), store, steps=16) as (found, engine):
            check(found, "Ollama", 16)
            assert private(found.receipt, str(port)) == []
            name, client = engine.name, launch.httpx.Client(base_url=server.url)
        assert server.running()
        assert client.post("/api/generate", json={"model": name}).status_code == 404
    finally:
        server.close()


def test_without_ollama_the_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    monkeypatch.setenv("PATH", "")
    assert "install Ollama" in backends.unavailable(catalog.variant("ollama"), "cpu")


def test_ollama_without_a_tokenizer_is_unavailable(ollama, store):
    with pytest.raises(CellError, match="has no tokenizer") as caught:
        make("ollama", "gpt2-5m", store).build()
    assert caught.value.status == "unavailable"


# ---------------------------------------------------------------- a server at OPENAI_BASE_URL


def test_any_openai_compatible_server_is_measured_by_its_address(ollama, folder, store, monkeypatch):
    """transformers serve, started by somebody else."""
    theirs = make("transformers-serve", str(folder), store)
    theirs.build()
    theirs.load()
    try:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{theirs.server.url}/v1")
        monkeypatch.setenv("OPENAI_MODEL", theirs.client.dialect.model)
        with measured("openai", str(folder), store) as (found, _):
            check(found, "OpenAI-compatible server", 32)
            assert found.receipt["model"] == theirs.client.dialect.model
            assert found.provenance["digest"] is None
            assert found.provenance["dtype_from"].startswith("the label")
            assert private(found.receipt, str(theirs.server.port)) == []
    finally:
        theirs.close()
