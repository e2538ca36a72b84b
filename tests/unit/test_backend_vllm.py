"""vLLM without vLLM: which of its failures are kept, and what is read from its log."""

from types import SimpleNamespace

import pytest

from bench_utils import catalog
from bench_utils.backends.served import Served
from bench_utils.backends.vllm import VllmBackend
from bench_utils.errors import CellError

HEADS = "Unsupported CPU attention configuration: head_dim=40 isa=1 kv_cache_idx=0"
# What a server logs that goes on well.
HARMLESS = (
    "WARNING [system_utils.py:255] This can cause fd limit errors like `OSError: [Errno 24] Too many open files`.\n"
    "ImportError: cannot import name 'flash_attn'\n"
    "WARNING [base.py:380] ValueError: Tokenizer not available when `skip_tokenizer_init=True`\n"
)
STARTED = "config: dtype=torch.bfloat16, max_seq_len=64, kv_cache_dtype={kv}, device_config={device}, seed=0\n"


def vllm(monkeypatch, tmp_path, log, error=None, device="cpu"):
    """The engine on a planted server: what it logs, and how asking it ends."""
    engine = VllmBackend(catalog.model("gpt2-5m"), catalog.variant("vllm"), "bfloat16", device, store=tmp_path)
    engine.tries = 0

    def built(backend):
        backend.provenance = {"digest": "0123", "dtype": "bfloat16"}
        backend._caches.mkdir(parents=True, exist_ok=True)

    def serve():
        engine.tries += 1
        engine.server = SimpleNamespace(log=lambda: log, close=lambda: None)
        engine.client = SimpleNamespace(complete=asked, json=lambda _: {"version": "1"}, close=lambda: None)

    def asked(*_):
        if error:
            raise error
        return SimpleNamespace(rest=lambda: None)

    monkeypatch.setattr(Served, "build", built)
    monkeypatch.setattr(engine, "serve", serve)
    return engine


@pytest.mark.parametrize(
    "said",
    [
        f"(Worker) ERROR RuntimeError: {HEADS}",
        f"RuntimeError: Worker failed with error '{HEADS}', please check the stack trace above for the root cause",
        "ValueError: No valid attention backend found for cuda with AttentionSelectorConfig(head_size=40, dtype=x)",
        "ValueError: Head size 40 is not supported by PagedAttention",
        "  Value error, Model architectures ['OddLMHeadModel'] are not supported for now. [type=value_error]",
    ],
)
def test_a_model_that_vllm_does_not_run_is_refused_and_not_tried_again(monkeypatch, tmp_path, said):
    engine = vllm(monkeypatch, tmp_path, HARMLESS + said, CellError("server_error", "EngineCore encountered an issue"))
    for _ in range(2):
        with pytest.raises(CellError, match="vLLM refuses this model: ") as caught:
            engine.build()
        assert caught.value.status == "unavailable"
    assert engine.tries == 1


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("timeout", ""),
        ("timeout", f"RuntimeError: {HEADS}"),  # another backend was taken, and then it hung
        ("server_died", ""),
        ("server_died", "MemoryError: Unable to allocate 3.0 GiB"),
        ("server_died", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.0 GiB"),
        ("server_died", "OSError: [Errno 28] No space left on device"),
        ("server_error", "ImportError: libcudart.so.13: cannot open shared object file"),
        ("server_died", "  Value error, Model architectures ['GPT2LMHeadModel'] failed to be inspected."),
    ],
)
def test_a_failure_that_may_pass_is_tried_again(monkeypatch, tmp_path, status, said):
    engine = vllm(monkeypatch, tmp_path, HARMLESS + said, CellError(status, "planted"))
    for _ in range(2):
        with pytest.raises(CellError) as caught:
            engine.build()
        assert caught.value.status == status
        assert "refuses" not in str(caught.value)
    assert engine.tries == 2


def test_a_failure_that_was_kept_and_is_no_refusal_is_tried_again(monkeypatch, tmp_path):
    engine = vllm(monkeypatch, tmp_path, HARMLESS)
    Served.build(engine)
    (engine._caches / "refused").write_text("Tokenizer not available when `skip_tokenizer_init=True`")
    engine.build()
    assert engine.tries == 1


def test_a_model_that_vllm_runs_is_tried_once(monkeypatch, tmp_path):
    engine = vllm(monkeypatch, tmp_path, HARMLESS)
    engine.build()
    engine.build()
    assert engine.tries == 1


@pytest.mark.parametrize(
    ("kv", "attention", "expected"),
    [
        ("auto", "Using FLASH_ATTN attention backend out of potential backends: [].", ("bfloat16", "FLASH_ATTN")),
        ("fp8", "", ("fp8", None)),
    ],
)
def test_what_a_receipt_tells_of_the_engine_is_from_its_log(monkeypatch, tmp_path, kv, attention, expected):
    engine = vllm(monkeypatch, tmp_path, STARTED.format(kv=kv, device="cpu") + attention)
    engine.serve()
    facts = engine.facts()
    assert (facts["kv_cache"], facts["attention"]) == expected
    assert facts["device"] == "cpu"


def test_a_log_that_tells_nothing_leaves_it_unknown(monkeypatch, tmp_path):
    engine = vllm(monkeypatch, tmp_path, HARMLESS)
    engine.serve()
    facts = engine.facts()
    assert facts["kv_cache"] is facts["attention"] is facts["device"] is None
    assert engine.loaded_dtype() == "unknown"


@pytest.mark.parametrize(("label", "told"), [("cuda:0", "cpu"), ("cpu", "cuda")])
def test_a_vllm_that_was_built_for_another_device_is_refused(monkeypatch, tmp_path, label, told):
    engine = vllm(monkeypatch, tmp_path, STARTED.format(kv="auto", device=told), device=label)
    engine.provenance = {}
    engine.load()
    with pytest.raises(CellError, match=f"asked for {label}, this vLLM runs on {told}") as caught:
        engine.read_back()
    assert caught.value.status == "silent_fallback"
