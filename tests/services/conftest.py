"""What tests of servers share: a checkpoint with a tokenizer, and an engine taken through a whole measurement."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import torch

from bench_utils import backends, catalog, equivalence, loading
from bench_utils.backends.launch import Remote
from bench_utils.timing import Call
from tests.conftest import REPOSITORY

PROMPT_TOKENS = 16


@dataclass
class Measured:
    """What one engine gave: tokens and verdict of each phase, latencies, the receipt, and processes while it ran."""

    provenance: dict
    tokens: dict[str, list[int]]
    verdicts: dict[str, tuple]
    latencies: dict[str, list[float]]
    receipt: dict
    timer: str
    processes: list[psutil.Process]


@pytest.fixture(autouse=True)
def _threads():
    """As many threads as a child would set."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Path:
    """Where files made from checkpoints are kept."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """A small checkpoint with a byte-level BPE tokenizer that was trained on this project's documents."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    found = Tokenizer(models.BPE())
    found.pre_tokenizer, found.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1500, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"], show_progress=False
    )
    found.train_from_iterator([path.read_text() for path in sorted((REPOSITORY / "docs").glob("*.md"))], trainer)
    path = tmp_path_factory.mktemp("checkpoint") / "toy"
    PreTrainedTokenizerFast(tokenizer_object=found, eos_token="<|endoftext|>").save_pretrained(path)
    config = GPT2Config(vocab_size=found.get_vocab_size(), n_positions=256, n_embd=64, n_layer=2, n_head=2,
                        bos_token_id=0, eos_token_id=0)  # fmt: skip
    module = GPT2LMHeadModel(config)
    loading._seed(module)
    module.save_pretrained(path)
    return path


def make(variant: str, model: str, store: Path, dtype: str = "float32"):
    """An engine as a measuring process makes it."""
    return backends.make(catalog.model(model), catalog.variant(variant), dtype, "cpu", "auto", 3, store)


def measure(engine, steps: int = 32, calls: int = 3) -> Measured:
    """Build, load, every phase with several calls each, the check of outputs, the receipt; the engine stays open."""
    engine.build()
    engine.load()
    provenance, clock = engine.read_back(), engine.clock()
    tokens, verdicts, latencies = {}, {}, {}
    for phase in ("e2e", "prefill", "decode"):
        new_tokens = 0 if phase == "prefill" else steps
        engine.start(phase, PROMPT_TOKENS, new_tokens, 1)
        timed = [clock.time(_call(engine, phase, new_tokens), index) for index in range(calls)]
        tokens[phase] = engine.tokens(timed[0].result)[0]
        greedy = engine.tokens(engine.plain(engine.prompt(0), new_tokens)[0])
        verdicts[phase] = equivalence.token_verdict(phase, [tokens[phase]], greedy, engine.dtype)
        latencies[phase] = [one.latency_ms for one in timed]
    running = [p for pid in engine.processes() for p in (psutil.Process(pid), *psutil.Process(pid).children(True))]
    return Measured(provenance, tokens, verdicts, latencies, engine.receipt(), clock.timer, running)


def _call(engine, phase: str, steps: int) -> Call:
    if phase == "prefill":
        return Call(engine.prompt, engine.prefill)
    if phase == "decode":
        return Call(lambda i: engine.prepare(engine.prompt(i)), lambda state: engine.decode(state, steps))
    return Call(engine.prompt, lambda prompt: engine.generate(prompt, steps))


def _runs(process: psutil.Process) -> bool:
    """Whether it is more than an entry that nobody has read yet."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


@contextlib.contextmanager
def measured(variant: str, model: str, store: Path, dtype: str = "float32", **options):
    """A measurement and its engine, closed at the end; then no process may be left but those of somebody else."""
    engine = make(variant, model, store, dtype)
    found = None
    try:
        found = measure(engine, **options)
        yield found, engine
    finally:
        ours = not isinstance(engine.server, Remote)
        engine.close()
        assert not ours or not [p for p in (found.processes if found else ()) if _runs(p)]
