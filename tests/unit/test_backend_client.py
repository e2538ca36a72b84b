"""Asking a server: the stamps of an answer, and every way in which one can fail, over real HTTP."""

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from bench_utils import backends, catalog
from bench_utils.backends import launch
from bench_utils.backends.client import Client
from bench_utils.backends.openai import OpenaiBackend
from bench_utils.backends.overhead import client_overhead_us
from bench_utils.backends.stream import Dialect, Piece, Stream, StreamClock
from bench_utils.errors import CellError
from bench_utils.timing import Call
from tests.services import faulty_server
from tests.services.faulty_server import MODEL, QUEUE_SECONDS, serving

PROMPT = list(range(100, 112))
PROGRAM = Path(faulty_server.__file__)


@contextlib.contextmanager
def asking(fault="none", limit=0.4, **options):
    with (
        serving(fault) as server,
        contextlib.closing(Client(server.url, Dialect(MODEL), limit=limit, **options)) as client,
    ):
        yield server, client


def ask(client, new_tokens=16, phase="e2e"):
    return client.complete(PROMPT, len(PROMPT), new_tokens, phase)


# ---------------------------------------------------------------- an answer as it should be


def test_an_answer_has_its_tokens_its_counts_and_its_stamps_in_order():
    with asking() as (server, client):
        stream = ask(client).rest()
    assert stream.tokens == list(range(16))
    assert len(stream) == stream.usage["completion_tokens"] == 16
    assert stream.usage["prompt_tokens"] == len(PROMPT)
    assert stream.arrival < stream.first < stream.last
    assert server.asked[0] == {
        "model": MODEL, "prompt": PROMPT, "max_tokens": 16, "temperature": 0, "seed": 0, "stream": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip


def test_the_phases_of_a_request_add_up():
    with asking() as (_, client):
        stream = ask(client).rest()
    assert stream.latency_ms("prefill") + stream.latency_ms("decode") == pytest.approx(stream.latency_ms("e2e"))


def test_decode_is_the_rest_of_the_answer_whose_first_token_was_read():
    with asking() as (_, client):
        answer = ask(client, phase="decode").until_first()
        seen = time.perf_counter_ns()
        stream = answer.rest()
    assert stream.first < seen < stream.last
    assert len(stream) == 16


def test_the_clock_takes_the_stamps_of_the_stream_not_its_own():
    stream = Stream(PROMPT, 16, "decode", 5.0, arrival=1_000_000, first=3_000_000, last=9_000_000)
    timed = StreamClock().time(Call(lambda index: index, lambda _: stream), 0)
    assert (timed.latency_ms, timed.started_at, timed.result) == (6.0, 5.0, stream)
    assert "intended arrival" in StreamClock().timer


def test_waiting_in_the_servers_queue_is_part_of_the_latency():
    with asking("queues", limit=5.0) as (_, client):
        stream = ask(client, 1, "prefill").rest()
    assert stream.latency_ms("prefill") >= 1e3 * QUEUE_SECONDS


def test_every_request_has_a_connection_of_its_own():
    """llama.cpp's server promises to keep one, and closes it after a streamed answer."""
    with asking() as (server, client):
        for _ in range(3):
            ask(client, 2).rest()
    assert server.connections == 3


def test_an_answer_that_failed_does_not_stand_in_the_way_of_the_next():
    with asking("breaks off") as (server, client):
        for _ in range(2):
            with pytest.raises(CellError, match="not an answer"):
                ask(client).until_first().rest()
    assert len(server.asked) == 2


def test_text_alone_is_counted_by_the_server_and_known_by_its_text():
    with asking("shows text only") as (_, client):
        stream = ask(client, 4).rest()
    assert stream.tokens is None
    assert len(stream) == 4
    assert stream.text == "t0 t1 t2 t3 "


def test_a_token_without_text_arrives_with_the_end_of_the_answer():
    stream = Stream("a prompt", 3, "e2e", 0.0, arrival=0)
    stream.fill([(10, Piece(text="a")), (20, Piece(text="b")), (30, Piece(done=True, completion_tokens=3))])
    assert (stream.first, stream.last) == (10, 30)


def test_pieces_that_were_there_before_the_first_was_read_are_counted():
    stream = Stream("a prompt", 4, "e2e", 0.0, arrival=0)
    stream.fill([(stamp, Piece(ids=[1])) for stamp in (1_000_000, 1_008_000, 1_016_000, 3_000_000)])
    assert stream.together == 3


def test_tokens_and_not_pieces_are_counted_of_what_came_together():
    stream = Stream("a prompt", 5, "e2e", 0.0, arrival=0)
    stream.fill([(1_000_000, Piece(ids=[1, 2, 3])), (1_008_000, Piece(ids=[4])), (3_000_000, Piece(ids=[5]))])
    assert (stream.together, stream.opening) == (4, 3)


def test_a_decode_whose_first_piece_holds_several_tokens_is_refused():
    """Its first stamp would count all of them as prefill, and the rest as so many steps."""
    with asking("sends three first") as (_, client):
        answer = ask(client, phase="decode").until_first()
        with pytest.raises(CellError, match="first piece of the answer holds 3 tokens.*each token by itself") as caught:
            answer.rest()
        assert len(ask(client, phase="e2e").rest()) == 16
    assert caught.value.status == "server_error"


@pytest.mark.parametrize(
    ("fault", "opening"),
    [("none", 1), ("shows text only", 1), ("sends the text of three first", None), ("shows nothing of a token", None)],
)
def test_a_piece_of_text_is_a_token_where_the_server_counts_as_many(fault, opening):
    with asking(fault) as (_, client):
        assert ask(client).rest().opening == opening


# ---------------------------------------------------------------- answers that are none


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        ("dies", "server_died", "the connection to the server was lost"),
        ("hangs", "timeout", "no token within 0.4 s"),
        ("says nothing", "timeout", "no token within 0.4 s"),
        ("pings", "timeout", "no token within 0.4 s"),
        ("fails", "server_error", "the server answered 500: CUDA out of memory"),
        ("refuses", "server_error", "the server answered 400: .*no such field: seed"),
        ("errs", "server_error", "the server answered an error: the engine is gone"),
        ("babbles", "server_error", "not an answer: <html>"),
        ("breaks off", "server_error", "not an answer: data: "),
        ("buffers", "server_error", "all 16 tokens came at once: the server does not stream"),
        ("stops early", "short_output", "asked for 16 tokens, got 5"),
        ("shows fewer", "server_error", "the server counts 16 new tokens and shows 5"),
        ("goes on", "token_mismatch", "asked for 16 tokens, got 19"),
        ("another model", "server_error", "asked for model 'planted', 'another' answered"),
        ("counts the prompt otherwise", "token_mismatch", "12 tokens, of which the server counts 13: its tokenizer"),
        ("answers from a cache", "cached_answer", "12 of 12 prompt tokens came from the server's cache"),
        ("counts nothing", "token_mismatch", "of which the server counts None"),
    ],
)
def test_every_fault_has_its_status_and_says_what_happened(fault, status, words):
    with asking(fault) as (server, client), pytest.raises(CellError, match=words) as caught:
        ask(client).rest()
    assert caught.value.status == status
    assert str(server.server_port) not in str(caught.value)


@pytest.mark.parametrize("fault", ["dies", "errs"])
def test_a_fault_after_the_first_token_ends_a_decode(fault):
    with asking(fault) as (_, client):
        answer = ask(client, phase="decode").until_first()
        with pytest.raises(CellError) as caught:
            answer.rest()
    assert caught.value.status in ("server_died", "server_error")


def test_nobody_listens():
    with pytest.raises(CellError, match="connection to the server was lost") as caught:
        ask(Client(f"http://127.0.0.1:{launch.free_port()}", Dialect(MODEL)))
    assert caught.value.status == "server_died"


KEY = "sk-planted-0123456789"


def test_a_header_that_http_refuses_is_not_quoted():
    with asking(key=KEY + "\r") as (_, client), pytest.raises(CellError) as caught:
        client.json("/v1/models")
    assert caught.value.status == "unavailable"
    assert "look at the address and the key" in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_server_that_quotes_the_key_is_not_quoted():
    with asking("quotes the key", key=KEY) as (_, client), pytest.raises(CellError) as caught:
        ask(client)
    assert str(caught.value) == "the server answered 401: no such key: Bearer [key]"


def test_the_client_measures_what_it_costs_itself():
    cost = client_overhead_us()
    assert 0 < cost["per_token"] < cost["first_token"]


# ---------------------------------------------------------------- servers of our own


@contextlib.contextmanager
def started(*command):
    port = launch.free_port()
    command = [sys.executable, *(word.replace("PORT", str(port)) for word in command)]
    with contextlib.closing(launch.Server(command, {}, port)) as server:
        yield server


def gone(pids, seconds=10.0):
    """Whether none of these processes is left, or only as an entry that nobody has read."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        alive = [p for p in pids if psutil.pid_exists(p) and psutil.Process(p).status() != psutil.STATUS_ZOMBIE]
        if not alive:
            return True
        time.sleep(0.02)
    return False


def test_a_server_that_dies_says_how_and_its_last_words():
    with started(str(PROGRAM), "PORT", "dies") as server:
        server.wait("/health", 20)
        client = Client(server.url, Dialect(MODEL), last_words=server.last_words)
        with pytest.raises(CellError, match="it ended with exit code 7; planted: out of cheese") as caught:
            ask(client).rest()
        assert caught.value.status == "server_died"
        assert not server.running()


@pytest.mark.parametrize(
    ("program", "status", "words"),
    [
        ("import os; os.kill(os.getpid(), 11)", "server_died", "killed by SIGSEGV"),
        (
            "raise SystemExit('no such model: x')",
            "server_died",
            "the server ended while it started: .*no such model: x",
        ),
        ("raise SystemExit(128)", "server_died", "it ended with exit code 128"),
        ("raise SystemExit(193)", "server_died", "it ended with exit code 193"),
        ("raise SystemExit(255)", "server_died", "it ended with exit code 255"),
        ("import time; time.sleep(60)", "timeout", "the server did not answer within 0.5 s"),
    ],
)
def test_a_server_that_does_not_come_up_says_why(program, status, words):
    with started("-c", program) as server, pytest.raises(CellError, match=words) as caught:
        while status == "server_died" and server.running():
            time.sleep(0.01)
        server.wait("/health", 0.5)
    assert caught.value.status == status


def test_a_port_that_was_taken_is_a_sentence():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with started(str(PROGRAM), port, "none") as server, pytest.raises(CellError, match="took the port"):
            while server.running():
                time.sleep(0.01)
            server.wait("/health", 0.5)


# A server that starts a child of its own in another session, and tells who they are.
_FAMILY = (
    "import os, subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)\n"
    "print(os.getpid(), child.pid, flush=True)\n"
    "time.sleep(60)\n"
)


def family(server):
    while not server.log().strip():
        time.sleep(0.01)
    return [server.pid, *map(int, server.log().split())]


def test_closing_ends_a_server_its_children_and_what_they_leave(capfd):
    with started("-c", _FAMILY) as server:
        pids = family(server)
    assert gone(pids)
    assert str(pids[1]) in capfd.readouterr().out  # what it said is in this process's log


def test_a_child_that_outlives_its_server_is_ended_too():
    with started("-c", _FAMILY) as server:
        pids = family(server)
        os.kill(pids[1], signal.SIGKILL)
        assert gone(pids)


def test_nothing_is_left_of_a_server_whose_measuring_process_is_killed():
    code = (
        "import sys, time\n"
        "from bench_utils.backends.launch import Server\n"
        f"server = Server([sys.executable, '-c', {_FAMILY!r}], {{}}, 1)\n"
        "while not server.log().strip(): time.sleep(0.01)\n"
        "print(server.pid, server.log(), flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as measuring:
        pids = list(map(int, measuring.stdout.readline().split()))
        measuring.kill()
    assert len(pids) == 3
    assert gone(pids)


def test_a_command_is_shown_without_folders_and_ports():
    command = ["/somebody/bin/python", "-m", "server", "--model", "/somebody/store/checkpoint", "--port", "4711"]
    assert launch.shown(command, 4711) == "python -m server --model checkpoint --port PORT"


def test_json_in_a_command_loses_its_file_and_its_port_and_nothing_else():
    asked = {"file": "/somebody/store/model.gguf", "name": "owner/gpt2-25m", "port": 4711, "context": 1024}
    command = ["/somebody/bin/python", "listener.py", json.dumps(asked), "--served-model-name", "owner/gpt2-25m"]
    said = launch.shown(command, 4711)
    assert shlex.split(said)[3:] == ["--served-model-name", "owner/gpt2-25m"]
    assert json.loads(shlex.split(said)[2]) == {"name": "owner/gpt2-25m", "context": 1024}
    assert "4711" not in said
    assert "somebody" not in said


def test_the_command_of_llama_cpp_is_shown_whole():
    engine = backends.make(catalog.model("gpt2-25m"), catalog.variant("llama.cpp-server"), "float32", "cpu", "", 0)
    engine.file, engine.config = Path("/somebody/store/model.gguf"), SimpleNamespace(n_positions=1024)
    asked = json.loads(shlex.split(launch.shown(engine.command(4711), 4711))[-1])
    assert (asked["name"], asked["context"]) == ("gpt2-25m", 1024)
    assert not {"file", "port"} & asked.keys()


def test_the_process_that_listens_at_a_url_of_this_machine_is_known():
    with serving() as server:
        assert launch.Remote(server.url).pid == os.getpid()
    assert launch.Remote("http://192.0.2.1:80").pid is None


# ---------------------------------------------------------------- a server at OPENAI_BASE_URL


@contextlib.contextmanager
def openai(monkeypatch, url, model=None):
    """The engine as a cell finds it once its reference is loaded."""
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    monkeypatch.setenv("OPENAI_MODEL", model) if model else monkeypatch.delenv("OPENAI_MODEL", raising=False)
    engine = OpenaiBackend(catalog.model("gpt2-5m"), catalog.variant("openai"), "float32", "cpu")
    with contextlib.closing(engine):
        engine.serve()
        yield engine


def test_without_an_address_the_variant_is_unavailable(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert "set it to an address" in backends.unavailable(catalog.variant("openai"), "cpu")


@pytest.mark.parametrize(
    "address",
    ["http://localhost:80a0/v1", "http://[::1/v1", "http://localhost:99999/v1", "http:///v1", "nonsense"],
)
def test_an_address_that_is_none_is_one_sentence(monkeypatch, address):
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    reason = backends.unavailable(catalog.variant("openai"), "cpu")
    assert reason.startswith("OPENAI_BASE_URL names no server; set it to an address")
    assert address not in reason


@pytest.mark.parametrize("key", ["sk-planted\nanother", "sk-plant\u00e9d", "sk-planted\x7f", "sk-planted\udcff"])
def test_a_key_that_no_header_can_hold_is_one_sentence_that_does_not_quote_it(monkeypatch, key):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")
    monkeypatch.setenv("OPENAI_API_KEY", key)
    reason = backends.unavailable(catalog.variant("openai"), "cpu")
    assert reason.startswith("OPENAI_API_KEY is no key")
    assert "plant" not in reason


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", " "])
def test_a_key_and_an_address_are_used_without_what_a_file_ends_them_with(monkeypatch, end):
    with serving() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url + end)
        monkeypatch.setenv("OPENAI_API_KEY", KEY + end)
        monkeypatch.delenv("OPENAI_MODEL", raising=False)
        assert backends.unavailable(catalog.variant("openai"), "cpu") is None
        engine = OpenaiBackend(catalog.model("gpt2-5m"), catalog.variant("openai"), "float32", "cpu")
        with contextlib.closing(engine):
            engine.serve()
        assert server.keys == [f"Bearer {KEY}"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_dtype_that_a_server_does_not_tell_is_not_measured(dtype):
    engine = OpenaiBackend(catalog.model("gpt2-5m"), catalog.variant("openai"), dtype, "cpu", "hub")
    with pytest.raises(CellError, match=f"does not tell whether it runs in {dtype}; plan float32") as caught:
        engine.build()
    assert caught.value.status == "unavailable"


def test_a_server_of_somebody_else_has_neither_the_digest_nor_the_word_of_the_reference(monkeypatch):
    with serving() as server, openai(monkeypatch, server.url) as engine:
        engine.provenance = {"dtype": "float32", "digest": "0123456789abcdef", "attention": "sdpa"}
        engine.load()
        found = engine.read_back()
    assert (found["digest"], found["attention"]) == (None, None)
    assert found["dtype_from"].startswith("the label: the server does not tell")


@pytest.mark.parametrize(("fault", "model"), [("none", None), ("none", MODEL), ("lists nothing", MODEL)])
def test_the_only_model_or_the_one_that_was_named_is_asked(monkeypatch, fault, model):
    with serving(fault) as server, openai(monkeypatch, server.url + "/v1/", model) as engine:
        assert engine.client.dialect.model == MODEL
        said = json.dumps(engine.facts()) + engine.shown
    assert str(server.server_port) not in said
    assert "sk-planted" not in said


@pytest.mark.parametrize(
    ("fault", "model", "words"),
    [
        ("none", "llama", "serves planted; OPENAI_MODEL asks for 'llama'"),
        ("two models", None, "serves one, another; set OPENAI_MODEL to one"),
        ("no models", None, "serves no model; set OPENAI_MODEL to one"),
        ("not an API", None, "no OpenAI-compatible server answers at OPENAI_BASE_URL: .*no JSON: <html>"),
    ],
)
def test_another_model_or_no_server_is_one_sentence(monkeypatch, fault, model, words):
    refused = pytest.raises(CellError, match=words)
    with serving(fault) as server, refused as caught, openai(monkeypatch, server.url, model):
        pass
    assert caught.value.status == "unavailable"
    assert str(server.server_port) not in str(caught.value)


def test_an_address_where_nobody_listens_is_one_sentence(monkeypatch):
    refused = pytest.raises(CellError, match="no OpenAI-compatible server answers at OPENAI_BASE_URL")
    with refused as caught, openai(monkeypatch, f"http://127.0.0.1:{launch.free_port()}"):
        pass
    assert caught.value.status == "unavailable"


@pytest.mark.parametrize("variant", ["transformers-serve", "openai"])
def test_weights_without_a_checkpoint_have_no_text_and_nobody_is_asked_for_it(variant, tmp_path):
    model, asked = catalog.model("gpt2-25m"), catalog.variant(variant)
    made = backends.make(model, asked, "float32", "cpu", "architecture", 1, tmp_path)
    begin = time.monotonic()
    with pytest.raises(CellError, match="takes text, and weights without a checkpoint have no tokenizer") as caught:
        made.build()
    assert caught.value.status == "unavailable"
    assert time.monotonic() - begin < 1.0
