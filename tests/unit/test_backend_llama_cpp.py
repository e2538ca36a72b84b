"""The llama.cpp engine: the file that is written, what is read back from it, and what is computed with it."""

import ctypes
import json
import os
import signal
import subprocess
import sys

import gguf
import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from tokenizers.decoders import ByteLevel

from bench_utils import artifacts, backends, catalog
from bench_utils.backends import gguf_file, libllama
from bench_utils.errors import BenchError, CellError

LLAMA = catalog.variant("llama.cpp")
# GELU goes through a table of half-precision numbers: full precision is out of reach, a lost cache is 4 and more.
CLOSE = 0.01


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def engine(store):
    made = []

    def make(model="gpt2-5m", dtype="float32", phase="e2e", prompt=24, steps=32, load=True):
        known = model if isinstance(model, catalog.Model) else catalog.model(model)
        backend = backends.make(known, LLAMA, dtype, "cpu", "local" if known.folder else "architecture", 7, store)
        made.append(backend)
        if load:
            backend.build()
            backend.load()
            backend.loaded = backend.read_back()
            backend.start(phase, prompt, steps, 1)
        return backend

    yield make
    for backend in made:
        backend.close()


def small(**config):
    """A GPT-2 of two layers whose every tensor differs from its neighbours."""
    torch.manual_seed(0)
    options = {"n_embd": 64, "n_head": 2, "n_layer": 2, "vocab_size": 96, "n_positions": 32, "eos_token_id": 95}
    module = transformers.GPT2LMHeadModel(transformers.GPT2Config(**options | config)).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


def tensors(path):
    """Names and values (in full precision, as PyTorch sees them) of a GGUF file."""
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


def expected(module):
    """The module's tensors under GGUF's names."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2, module.config.n_layer)
    found = {names.get_name(n, (".weight", ".bias")): (n, p.detach().float()) for n, p in module.named_parameters()}
    turned = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    return {k: (p.T if n.endswith(turned) else p).numpy() for k, (n, p) in found.items()}


def written(module, path, dtype, **options):
    gguf_file.write(module, path, dtype, "0123456789abcdef", **options)
    return path


def spread(own, plain):
    return ((own - plain).abs().max() / plain.std()).item()


def test_full_precision_keeps_every_bit(tmp_path):
    module = small()
    found, wanted = tensors(written(module, tmp_path / "a.gguf", "float32")), expected(module)
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


def test_half_precision_keeps_every_bit_of_a_half_precision_module(tmp_path):
    module = small().half()
    found, wanted = tensors(written(module, tmp_path / "a.gguf", "float16")), expected(module)
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


def test_q8_0_is_within_half_a_step_of_its_block(tmp_path):
    module = small()
    found, wanted = tensors(written(module, tmp_path / "a.gguf", "q8_0")), expected(module)
    for name, values in wanted.items():
        if values.ndim == 1 or name.startswith("position_embd"):
            assert np.array_equal(found[name], values)
            continue
        blocks = values.reshape(-1, 32)
        step = np.abs(blocks).max(1, keepdims=True) / 127
        error = np.abs(found[name].reshape(-1, 32) - blocks)
        assert (error <= 0.57 * step).all()  # half a step, and the step itself is rounded to half precision
        assert error.max() > 0


@pytest.mark.parametrize("dtype", ["float32", "float16", "q8_0"])
def test_a_file_says_what_it_holds(tmp_path, dtype):
    module = small()
    found = gguf_file.describe(written(module, tmp_path / "a.gguf", dtype))
    assert found == {
        "architecture": "gpt2", "dtype": dtype, "parameters": sum(p.numel() for p in module.parameters()),
        "weights": "0123456789abcdef", "tokenizer": "none", "layers": 2, "heads": 2, "width": 64, "context": 32,
    }  # fmt: skip


def test_a_tied_head_is_not_written_and_another_one_is(tmp_path):
    tied, untied = small(), small(tie_word_embeddings=False)
    assert "output.weight" not in tensors(written(tied, tmp_path / "tied.gguf", "float32"))
    found = tensors(written(untied, tmp_path / "untied.gguf", "float32"))
    assert np.array_equal(found["output.weight"], untied.lm_head.weight.detach().numpy())


def test_same_weights_same_bytes(tmp_path):
    one, two = (written(small(), tmp_path / name, "q8_0") for name in ("one.gguf", "two.gguf"))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(("config", "dtype", "reason"), [
    ({"n_embd": 48}, "q8_0", "blocks of 32 weights, and a width of 48"),
    ({"n_inner": 80}, "q8_0", "blocks of 32"),
    ({"activation_function": "relu"}, "float32", "gelu_new only, this one has 'relu'"),
    ({"scale_attn_by_inverse_layer_idx": True}, "float32", "by the head size alone"),
    ({"scale_attn_weights": False}, "float32", "by the head size alone"),
])  # fmt: skip
def test_what_the_format_cannot_hold_is_refused(tmp_path, config, dtype, reason):
    with pytest.raises(CellError, match=reason) as caught:
        written(small(**config), tmp_path / "a.gguf", dtype)
    assert caught.value.status == "unavailable"


def test_another_architecture_is_refused(tmp_path):
    config = transformers.LlamaConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=64
    )
    with pytest.raises(CellError, match="GPT-2 checkpoints only, this one is 'llama'"):
        written(transformers.LlamaForCausalLM(config), tmp_path / "a.gguf", "float32")


@pytest.mark.parametrize(("model", "steps"), [("gpt2-5m", 32), ("gpt2-25m", 64)])
def test_greedy_tokens_and_logits_are_those_of_plain_pytorch(engine, model, steps):
    llama = engine(model, steps=steps)
    greedy, plain = llama.plain(llama.prompt(0), steps)
    own = llama.logits(llama.prompt(0), greedy)
    assert own.shape == plain.shape == (1 + steps, 1, 50257)
    (found,), (wanted,) = llama.tokens(llama.generate(llama.prompt(0), steps)), llama.tokens(greedy)
    parted = next((i for i, (mine, theirs) in enumerate(zip(found, wanted, strict=True)) if mine != theirs), None)
    if parted is not None:  # between two tokens that are nearer to each other than the engine to plain PyTorch
        first, second = plain[parted].topk(2).values[0]
        assert parted > 8 and first - second < CLOSE * plain.std()
    assert spread(own, plain) < CLOSE
    assert (llama.loaded["dtype"], llama.arithmetic) == ("float32", "mixed")


@pytest.mark.parametrize(("dtype", "close"), [("float16", 0.1), ("q8_0", 2.0)])
def test_fewer_bits_are_close_and_say_so(engine, dtype, close):
    llama = engine("gpt2-25m", dtype, steps=8)
    greedy, plain = llama.plain(llama.prompt(0), 8)
    assert 1e-3 < spread(llama.logits(llama.prompt(0), greedy), plain.float()) < close
    assert llama.loaded["dtype"] == llama.arithmetic == dtype
    assert llama.receipt()["kv_cache"] == "float16"


@pytest.mark.parametrize("config", [{"tie_word_embeddings": False}, {"n_embd": 768}, {"n_inner": 96}], ids=str)
def test_other_shapes_run(tmp_path, engine, config):
    module = small(n_positions=64, **config)
    module.save_pretrained(tmp_path / "other")
    llama = engine(catalog.model(str(tmp_path / "other")), prompt=8, steps=8)
    greedy, plain = llama.plain(llama.prompt(0), 8)
    assert spread(llama.logits(llama.prompt(0), greedy), plain) < CLOSE
    assert llama.loaded["parameters"] == sum(p.numel() for p in module.parameters())
    assert gguf_file.describe(llama.file)["tokenizer"] == "none"


def test_a_lost_cache_shows(engine):
    llama = engine(steps=8)
    greedy, plain = llama.plain(llama.prompt(0), 8)
    llama.prefill(llama.prompt(0))
    llama.sequence.clear()
    lost = llama.sequence.forward(np.array([int(greedy[0])], np.int32))
    assert spread(torch.from_numpy(lost.copy()), plain[1, 0]) > 1


def test_no_prompt_helps_another(engine):
    llama = engine()
    alone = llama.tokens(llama.generate(llama.prompt(0), 16))
    llama.generate(llama.prompt(1), 16)
    assert llama.tokens(llama.generate(llama.prompt(0), 16)) == alone
    state = llama.prepare(llama.prompt(0))
    assert llama.tokens(state) == [alone[0][:1]]
    assert llama.tokens(llama.decode(state, 16)) == [alone[0][1:]]


def test_the_receipt_says_what_ran(engine):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        llama = engine()
    finally:
        torch.set_num_threads(threads)
    receipt = llama.receipt()
    origin = json.loads((llama.file.parent / artifacts.ORIGIN).read_text())
    assert (receipt["engine"], receipt["cache"], receipt["mode"]) == ("llama.cpp", "dynamic", "graph")
    assert (receipt["threads"], receipt["gpu_layers"]) == (1, 0)
    assert (receipt["attention"], receipt["kv_cache"]) == ("plain", "float32")
    assert receipt["artifact"] == llama.loaded["artifact"] == origin["files"]["model.gguf"][:16]
    assert "AVX" in receipt["features"] or "NEON" in receipt["features"]


def test_a_second_build_writes_nothing(engine):
    first = engine(load=False)
    first.build()
    before = first.file.stat()
    second = engine(load=False)
    second.build()
    assert second.file == first.file
    assert (second.file.stat().st_ino, second.file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.fixture
def private(tmp_path):
    """An engine with a store that a test may spoil."""

    def make(model="tiny-gpt2"):
        return backends.make(catalog.model(model), LLAMA, "float16", "cpu", "architecture", 7, tmp_path / "store")

    return make


def test_an_altered_file_is_refused(private):
    llama = private()
    llama.build()
    content = bytearray(llama.file.read_bytes())
    content[-1] ^= 1
    llama.file.write_bytes(content)
    with pytest.raises(BenchError, match="model.gguf is not the file that was built; remove the folder"):
        private().build()


def test_the_file_of_another_checkpoint_is_refused(private):
    llama = private()
    llama.build()
    gguf_file.write(small(), llama.file, "float16", "feedfeedfeedfeed")
    origin = llama.file.parent / artifacts.ORIGIN
    said = json.loads(origin.read_text())
    said["files"]["model.gguf"] = artifacts._sha256(llama.file)
    origin.write_text(json.dumps(said))
    with pytest.raises(BenchError, match="holds weights feedfeedfeedfeed, asked for .*; remove the folder"):
        private().build()


def test_what_cannot_run_says_why_in_one_sentence(engine):
    with pytest.raises(CellError, match="heads of size 1") as caught:
        engine("tiny-gpt2")
    assert caught.value.status == "unavailable"
    llama = engine()
    with pytest.raises(CellError, match="one sequence at a time runs here, the cell has 2; plan 1"):
        llama.start("decode", 16, 16, 2)
    with pytest.raises(CellError, match="longer than the context of 1024 tokens"):
        llama.start("decode", 1000, 25, 1)


def test_a_file_that_llama_cpp_refuses_becomes_its_own_words(tmp_path):
    path = written(small(), tmp_path / "cut.gguf", "float32")
    path.write_bytes(path.read_bytes()[:-64])
    with pytest.raises(CellError, match="llama.cpp cannot load this file: .*") as caught:
        libllama.Sequence(str(path), {"n_gpu_layers": 0}, {})
    assert "does not say" not in str(caught.value)
    assert caught.value.status == "unavailable"


ABORT = """
import numpy as np, sys
from bench_utils.backends.libllama import Sequence
options = {"n_ctx": 256, "flash_attn_type": 0, "type_k": 0, "type_v": 0}
Sequence(sys.argv[1], {}, options).forward(np.array([1], np.int32))
"""


@pytest.mark.parametrize(("heads", "code"), [(32, 0), (64, -signal.SIGABRT)])
def test_heads_of_size_1_do_abort(tmp_path, heads, code):
    path = written(small(n_head=heads), tmp_path / "a.gguf", "float32")
    quiet = os.environ | {"GGML_NO_BACKTRACE": "1"}
    done = subprocess.run([sys.executable, "-c", ABORT, path], capture_output=True, text=True, env=quiet)
    assert done.returncode == code, done.stderr[-500:]


def test_missing_packages_come_with_their_command(monkeypatch):
    assert backends.unavailable(LLAMA, "cpu") is None
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    assert "needs xllamacpp, not installed here; pip install gguf xllamacpp" in backends.unavailable(LLAMA, "cpu")


def test_a_library_for_processors_is_refused_on_cuda():
    if libllama.library().llama_supports_gpu_offload():
        assert backends.unavailable(LLAMA, "cuda:0") is None
    else:
        assert "--index-url INDEX" in backends.unavailable(LLAMA, "cuda:0")


@pytest.mark.parametrize(
    "error",
    [
        libllama.moved("n_ctx reads 0, not 512"),
        ImportError("libcudart.so.13: cannot open shared object file"),
        OSError("/root/lib/xllamacpp.abi3.so: undefined symbol: cuInit"),
    ],
)
def test_a_library_that_cannot_be_used_on_cuda_is_a_sentence(monkeypatch, error):
    def broken():
        raise error

    monkeypatch.setattr(libllama, "library", broken)
    for variant in ("llama.cpp", "llama.cpp-server"):
        reason = backends.unavailable(catalog.variant(variant), "cuda:0")
        assert "xllamacpp" in reason and str(error).rpartition("/")[2] in reason
        assert "/root" not in reason


def test_a_library_whose_structures_have_moved_is_refused():
    params = libllama.library().llama_context_default_params()
    libllama.check(params, libllama.CONTEXT_DEFAULTS)
    ctypes.memmove(ctypes.addressof(params), ctypes.addressof(params) + 8, ctypes.sizeof(params) - 8)
    with pytest.raises(CellError, match=f"n_batch reads 1, not 2048.*; pip install xllamacpp=={libllama.TESTED}"):
        libllama.check(params, libllama.CONTEXT_DEFAULTS)


@pytest.fixture
def with_tokenizer(tmp_path):
    """A checkpoint folder with a byte-level BPE tokenizer of its own, smaller than the model's vocabulary."""
    folder, tokenizer = tmp_path / "talking", Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())
    )
    tokenizer.train_from_iterator(["the engine runs the other engine, the runs run on"] * 4, trainer)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", bos_token="<|endoftext|>"
    ).save_pretrained(folder)
    small(vocab_size=320, eos_token_id=0, bos_token_id=0).save_pretrained(folder)
    return folder, tokenizer


def test_a_tokenizer_goes_into_the_file_and_reads_text_as_it_does(with_tokenizer, engine):
    folder, tokenizer = with_tokenizer
    llama = engine(catalog.model(str(folder)), prompt=8, steps=8)
    assert gguf_file.describe(llama.file)["tokenizer"] == "checkpoint"
    text = "the runs, on the engine"
    assert tokenize(llama, text) == tokenizer.encode(text).ids
    greedy, _ = llama.plain(llama.prompt(0), 8)
    assert llama.tokens(llama.generate(llama.prompt(0), 8)) == llama.tokens(greedy)


def tokenize(llama, text):
    """Ids by llama.cpp's own tokenizer."""
    lib, said, ids = libllama.library(), text.encode(), (ctypes.c_int32 * 64)()
    lib.llama_tokenize.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_void_p,
                                   ctypes.c_int32, ctypes.c_bool, ctypes.c_bool]  # fmt: skip
    vocabulary = lib.llama_model_get_vocab(llama.sequence._model)
    return ids[: lib.llama_tokenize(vocabulary, said, len(said), ids, len(ids), False, False)]


FORKED = """
import multiprocessing, sys
from pathlib import Path
import torch, torch._inductor.compile_fx
from bench_utils import backends, catalog

def child(sender, store):
    torch.set_num_threads(2)
    model, variant = catalog.model("gpt2-5m"), catalog.variant("llama.cpp")
    made = backends.make(model, variant, "float32", "cpu", "architecture", 7, store)
    made.build()
    made.load()
    made.start("e2e", 24, 16, 1)
    greedy, _ = made.plain(made.prompt(0), 16)
    sender.send(made.tokens(made.generate(made.prompt(0), 16)) == made.tokens(greedy))
    made.close()

context = multiprocessing.get_context("fork")
for _ in range(2):
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(sender, Path(sys.argv[1])))
    process.start()
    sender.close()
    same = receiver.recv()
    process.join(60)
    print(same, process.exitcode)
"""


def test_forked_children_run_it(store):
    done = subprocess.run([sys.executable, "-c", FORKED, store], capture_output=True, text=True, timeout=240)
    assert done.stdout.split() == ["True", "0"] * 2, done.stderr[-2000:]
