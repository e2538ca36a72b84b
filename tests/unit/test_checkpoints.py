"""The page on checkpoints, run as a user runs it: its snippets against a hub that has small checkpoints of those names.

One process runs every section of the page in a namespace of its own; what its variables hold afterwards is compared
with plain PyTorch on the files that the hub served.
"""

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch.nn.functional import log_softmax, softmax
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from bench_utils import catalog, equivalence, loading
from tests.conftest import REPOSITORY
from tests.hub_server import serving

PAGE = (REPOSITORY / "docs" / "checkpoints.md").read_text()
NAMES = ("tiny-gpt2", "gpt2-25m", "gpt2-50m", "gpt2-100m", "gpt2", "gpt-124m", "slimgpt")
OWN = "gpt-124m"
EOS, CONTEXT = 256, 256
WIDTHS = {"tiny-gpt2": 2, "gpt2-25m": 32, "gpt2-50m": 40, "gpt2-100m": 48, "gpt2": 48, OWN: 60, "slimgpt": 72}

CONFIGURATION = """
from transformers import PretrainedConfig

class GPTConfig(PretrainedConfig):
    model_type = "custom_gpt"

    def __init__(self, block_size=1024, vocab_size=50304, n_layer=12, n_head=12, n_embd=768, **others):
        super().__init__(**others)
        self.block_size, self.vocab_size = block_size, vocab_size
        self.n_layer, self.n_head, self.n_embd = n_layer, n_head, n_embd
"""
# A class as that repository's: GPT-2 with linear layers, one sequence in, a dictionary of logits out. What it publishes
# lacks the line that names post_init.
MODELING = """
from pathlib import Path
import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel
from .configuration_gpt import GPTConfig

Path("code-has-run").touch()

class Block(nn.Module):
    def __init__(self, heads, width):
        super().__init__()
        self.heads, self.ln_1, self.ln_2 = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.ModuleDict({"c_attn": nn.Linear(width, 3 * width), "c_proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(self, x):
        parts = self.attn["c_attn"](self.ln_1(x)).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn["c_proj"](mixed.transpose(1, 2).flatten(2))
        inner = functional.gelu(self.mlp["c_fc"](self.ln_2(x)), approximate="tanh")
        return x + self.mlp["c_proj"](inner)

class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config.n_embd
        self.transformer = nn.ModuleDict({
            "wte": nn.Embedding(config.vocab_size, width),
            "wpe": nn.Embedding(config.block_size, width),
            "h": nn.ModuleList([Block(config.n_head, width) for _ in range(config.n_layer)]),
            "ln_f": nn.LayerNorm(width),
        })
        self.lm_head = nn.Linear(width, config.vocab_size, bias=False)
        self.transformer["wte"].weight = self.lm_head.weight

    def forward(self, ids):
        x = self.transformer["wte"](ids) + self.transformer["wpe"](torch.arange(ids.shape[1], device=ids.device))
        for block in self.transformer["h"]:
            x = block(x)
        return self.lm_head(self.transformer["ln_f"](x))

class GPTModelForTextGeneration(PreTrainedModel):
    config_class = GPTConfig

    def __init__(self, config):
        super().__init__(config)
        self.model = GPT(config)
        self.post_init()

    def forward(self, input_ids):
        assert input_ids.shape[0] == 1
        return {"logits": self.model(input_ids)}
"""
AUTO_MAP = {
    "AutoConfig": "configuration_gpt.GPTConfig", "AutoModelForCausalLM": "modeling_gpt.GPTModelForTextGeneration"
}  # fmt: skip
TURNED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")

RUNNER = """
import contextlib, io, json, pickle, sys, traceback
from collections import UserDict
import torch
from bench_utils import loading

def kept(value):
    if isinstance(value, torch.nn.Module):
        return loading.digest(value)
    return value.provenance if isinstance(value, loading.Loaded) else value

programs, found = json.load(sys.stdin), {}
plain = (torch.Tensor, str, int, float, list, tuple, dict, loading.Provenance)
for name, code in programs.items():
    namespace, printed, error = {"__name__": "__main__"}, io.StringIO(), None
    torch.set_num_threads(1)
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(code, name, "exec"), namespace)
    except Exception:
        error = traceback.format_exc()
    values = {key: kept(value) for key, value in namespace.items() if not key.startswith("_")}
    values |= {key: dict(value) for key, value in values.items() if isinstance(value, UserDict)}
    values = {key: value for key, value in values.items() if isinstance(value, plain)}
    for key in list(values):
        try:
            pickle.dumps(values[key])
        except Exception:
            del values[key]
    found[name] = {"values": values, "printed": printed.getvalue(), "error": error}
with open(sys.argv[1], "wb") as file:
    pickle.dump(found, file)
"""


def python(text: str) -> list[str]:
    """The snippets in a part of the page."""
    return re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)


_PARTS = re.split(r"^## (.+)\n", PAGE, flags=re.M)[1:]
SECTIONS = {
    heading: "\n".join(python(text)) for heading, text in zip(_PARTS[::2], _PARTS[1::2], strict=True) if python(text)
}
GREEDY, PIPELINE, SAMPLING = "Greedy generation", "The text-generation pipeline", "Sampling"
INSTRUCT, FOREIGN = "The instruct prompt of GPT-124M", "GPT_124M: code of its own"

# Beside the page: the claims of its sentences, and what must be refused before any code of a repository has run.
EVERY = """
import bench_utils as bu
from transformers import AutoModelForCausalLM
from bench_utils import catalog, loading
names = [name for name in {names} if name != "gpt-124m"]
theirs = {{n: loading.digest(AutoModelForCausalLM.from_pretrained(catalog.model(n).repository)) for n in names}}
ours = {{n: bu.load_model(n, weights="hub").provenance for n in names}}
words = {{n: len(bu.load_tokenizer(n)) for n in names}}
halves = {{d: bu.load_model("gpt2-100m", dtype=d, weights="hub").provenance.dtype for d in ("float16", "bfloat16")}}
"""
REFUSED = """
from dataclasses import replace
from pathlib import Path
import bench_utils as bu
from bench_utils import BenchError, catalog
listed, said = replace(catalog.model("gpt-124m"), revision={commit!r}), {{}}
asked = {{
    "unasked": (listed, False), "unpinned": ("gpt-124m", True), "unlisted": ("samkeet/GPT_124M", True),
    "by its id": ("samkeet/GPT_124M", False), "as uploaded": (replace(listed, revision={uploaded!r}), True),
}}
for key, (model, trusted) in asked.items():
    try:
        bu.load_model(model, weights="hub", trust_remote_code=trusted)
    except BenchError as error:
        said[key] = str(error)
ran = Path("code-has-run").exists()
"""
AS_TOKENS = """
prompt = "Once upon a time,"
tokens = generator(prompt, max_new_tokens=32, do_sample=False, return_tensors=True)[0]["generated_token_ids"]
drawn = []
for seed in range(2):
    __import__("torch").manual_seed(seed)
    drawn.append(generator(prompt, max_new_tokens=32, return_tensors=True)[0]["generated_token_ids"])
"""
JOINT = """
every = pad_sequence([each for _, each in examples], batch_first=True, padding_value=-100)
with torch.inference_mode():
    joint = model(batch, attention_mask=mask, labels=every).loss
"""
PUBLISHED = """
from transformers import AutoModelForCausalLM
try:
    AutoModelForCausalLM.from_pretrained("samkeet/GPT_124M", revision=commit, trust_remote_code=True)
except AttributeError as error:
    refused = str(error)
"""
THREE_WAYS = """
ids, ran = torch.arange(12)[None], Path("code-has-run").exists()
with torch.inference_mode():
    logits = [loaded.module(ids)["logits"], model(ids)["logits"], plain(ids).logits]
folder = bu.load_model("./gpt-124m").provenance
words = len(bu.load_tokenizer("./gpt-124m"))
"""


def tokenizer() -> PreTrainedTokenizerFast:
    """A token for every byte and, as in GPT-2, one for the end of a text and none for padding."""
    vocabulary = {character: id_ for id_, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    found = Tokenizer(models.BPE(vocabulary, []))
    found.pre_tokenizer, found.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    found.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
    return PreTrainedTokenizerFast(tokenizer_object=found, eos_token="<|endoftext|>", bos_token="<|endoftext|>")


def small(name: str) -> GPT2LMHeadModel:
    """A model of the catalog with its depth and heads, narrower and of few tokens."""
    model = catalog.model(name)
    words = EOS + 1 + model.vocabulary - catalog.model("gpt2").vocabulary  # a padded vocabulary stays padded
    config = GPT2Config(vocab_size=words, n_positions=CONTEXT, n_embd=WIDTHS[name], n_layer=model.layers,
                        n_head=model.heads, bos_token_id=EOS, eos_token_id=EOS)  # fmt: skip
    module = GPT2LMHeadModel(config).eval()
    loading._seed(module)
    return module


def foreign(module: GPT2LMHeadModel, scratch: Path) -> dict[str, bytes]:
    """The same weights as a repository with a class of its own holds them, in both formats."""
    from safetensors.torch import save_file

    weights = {
        f"model.{name}": (value.T if name.endswith(TURNED) else value).contiguous().clone()
        for name, value in module.state_dict().items()
    }
    save_file(weights, scratch / "model.safetensors", {"format": "pt"})
    torch.save(weights, scratch / "pytorch_model.bin")
    shape = module.config
    config = {
        "architectures": ["GPTModelForTextGeneration"], "model_type": "custom_gpt", "auto_map": AUTO_MAP,
        "block_size": CONTEXT, "vocab_size": shape.vocab_size, "n_embd": shape.n_embd, "n_head": shape.n_head,
        "n_layer": shape.n_layer, "dtype": "float32",
    }  # fmt: skip
    code = {"configuration_gpt.py": CONFIGURATION, "modeling_gpt.py": MODELING, "config.json": json.dumps(config)}
    files = {path.name: path.read_bytes() for path in scratch.iterdir()}
    return files | {name: text.encode() for name, text in code.items()}


def published(files: dict[str, bytes]) -> dict[str, bytes]:
    """The same repository as its own script uploads it."""
    code = changed(MODELING, "        self.post_init()\n", "").encode()
    return {name: content for name, content in files.items() if name != "model.safetensors"} | {"modeling_gpt.py": code}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Models as small as these are slower with more: threads wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def modules() -> dict[str, GPT2LMHeadModel]:
    return {name: small(name) for name in NAMES}


@pytest.fixture(scope="module")
def ran(modules, tmp_path_factory) -> dict[str, dict]:
    """Every section, and what goes beside it, run by one process that knows the hub by its environment alone."""
    here, commits = tmp_path_factory.mktemp("here"), {}
    with serving() as hub:
        for name, module in modules.items():
            scratch, repository = tmp_path_factory.mktemp(name), catalog.model(name).repository
            tokenizer().save_pretrained(scratch)
            if name == OWN:
                files = foreign(module, scratch)
                commits["uploaded"] = hub.add(repository, published(files))
            else:
                module.save_pretrained(scratch)
                files = {path.name: path.read_bytes() for path in scratch.iterdir()}
            commits[name] = hub.add(repository, files)
        programs = {
            "every": EVERY.format(names=NAMES),
            "refused": REFUSED.format(commit=commits[OWN], uploaded=commits["uploaded"]),
            **SECTIONS,
            "again": SECTIONS[SAMPLING],
            "other seed": changed(SECTIONS[SAMPLING], "manual_seed(42)", "manual_seed(43)"),
            "top_k=1": changed(SECTIONS[SAMPLING], "top_k=50", "top_k=1"),
            "published": at(commits["uploaded"], python(PAGE[PAGE.index(f"## {FOREIGN}") :])[0]) + PUBLISHED,
        }
        for heading, more in ((PIPELINE, AS_TOKENS), (INSTRUCT, JOINT), (FOREIGN, THREE_WAYS)):
            programs[heading] += more
        environment = os.environ | {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(here / "home"),
            "PYTHONPATH": str(REPOSITORY),
        }
        done = subprocess.run(
            [sys.executable, "-c", RUNNER, str(here / "found")],
            input=json.dumps(programs), env=environment, cwd=here, capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return pickle.loads((here / "found").read_bytes()) | {"commits": commits}


def changed(code: str, old: str, new: str) -> str:
    assert code.count(old) == 1
    return code.replace(old, new)


def at(commit: str, code: str) -> str:
    """The snippet that asks which commit main is, at another."""
    return changed(code, 'model_info("samkeet/GPT_124M").sha', repr(commit))


@pytest.fixture
def after(ran):
    """The variables that a section left behind."""

    def find(name: str) -> dict:
        assert ran[name]["error"] is None, ran[name]["error"]
        return ran[name]["values"]

    return find


@torch.inference_mode()
def greedy(module, ids: torch.Tensor, steps: int) -> torch.Tensor:
    """One argmax after the other over the whole sequence, without a cache."""
    for _ in range(steps):
        token = module(ids).logits[:, -1].argmax(-1, keepdim=True)
        ids = torch.cat([ids, token], 1)
        if token.item() == EOS:
            break
    return ids


def encoded(text: str) -> torch.Tensor:
    return torch.tensor([tokenizer()(text)["input_ids"]])


# ---------------------------------------------------------------- the page as a page


def test_the_table_is_the_catalog():
    rows = [
        (m.name, m.repository, m.layers, m.width, m.heads, f"{m.vocabulary:,}", f"{m.parameters:,}")
        for m in map(catalog.model, NAMES)
    ]
    lines = [f"| `{name}` | `{repository}` | {' | '.join(map(str, rest))} |" for name, repository, *rest in rows]
    assert "\n".join(lines) in PAGE
    assert {m.name for m in catalog.MODELS.values() if m.repository} == set(NAMES)


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_snippet_of_the_page_runs(ran, heading):
    assert ran[heading]["error"] is None, ran[heading]["error"]


def test_every_section_with_a_snippet_is_compared_below():
    source = Path(__file__).read_text()
    named = {GREEDY: "GREEDY", PIPELINE: "PIPELINE", SAMPLING: "SAMPLING", INSTRUCT: "INSTRUCT", FOREIGN: "FOREIGN"}
    for heading in SECTIONS:
        assert f"after({named.get(heading, json.dumps(heading))})" in source


# ---------------------------------------------------------------- loading


def test_all_but_one_load_by_name_and_by_their_repository_as_they_were_saved(ran, after, modules):
    found = after("every")
    plain = [name for name in NAMES if name != OWN]
    assert found["theirs"] == {name: loading.digest(modules[name]) for name in plain}
    assert {name: p.digest for name, p in found["ours"].items()} == found["theirs"]
    for name in plain:
        provenance = found["ours"][name]
        assert (provenance.weights, provenance.repository) == ("hub", catalog.model(name).repository)
        assert provenance.revision == ran["commits"][name]
    assert set(found["words"].values()) == {EOS + 1}
    assert all(asked == read for asked, read in found["halves"].items())


def test_loading_by_name_says_which_commit_and_a_commit_loads_the_same(ran, after, modules):
    found = after("Load by name")
    assert found["loaded"] == found["again"] == found["provenance"]
    assert found["loaded"].revision == ran["commits"]["gpt2-25m"]
    assert found["loaded"].digest == loading.digest(modules["gpt2-25m"])


def test_transformers_loads_the_same_weights(after, modules):
    assert after("Load with transformers")["model"] == loading.digest(modules["gpt2-25m"])


# ---------------------------------------------------------------- generation


def test_greedy_generation_is_one_argmax_after_the_other(ran, after, modules):
    found, prompt = after(GREEDY), encoded("Once upon a time,")
    expected = greedy(modules["gpt2-50m"], prompt, 32)
    assert found["sequence"].tolist() == expected.tolist()
    assert len(set(expected[0, prompt.shape[1] :].tolist())) > 4  # a model that repeats itself would prove little
    assert ran[GREEDY]["printed"] == tokenizer().decode(expected[0]) + "\n"


def test_the_pipeline_gives_the_tokens_of_generate_and_samples_unless_told_otherwise(ran, after, modules):
    found = after(PIPELINE)
    expected = greedy(modules["slimgpt"], encoded("Once upon a time,"), 32)[0]
    assert torch.as_tensor(found["tokens"]).tolist() == expected.tolist()
    assert found["answer"][0]["generated_text"] == tokenizer().decode(expected, skip_special_tokens=True)
    first, second = (torch.as_tensor(tokens).tolist() for tokens in found["drawn"])
    assert first != second and first != expected.tolist()


@torch.inference_mode()
def allowed(logits: torch.Tensor, temperature: float, top_k: int, top_p: float) -> set[int]:
    """The likeliest tokens, one after the other until they hold enough of what the likeliest ``top_k`` hold."""
    best = (logits.double() / temperature).topk(top_k)
    held, tokens = 0.0, set()
    for share, token in zip(softmax(best.values, -1).tolist(), best.indices.tolist(), strict=True):
        if held >= top_p:
            break
        held, tokens = held + share, tokens | {token}
    return tokens


@torch.inference_mode()
def test_sampling_draws_what_it_may_and_the_same_again_from_the_same_seed(after, modules):
    found = after(SAMPLING)["sequence"]
    assert found.tolist() == after("again")["sequence"].tolist()
    assert found.tolist() != after("other seed")["sequence"].tolist()
    start = len("Earth revolves around the")
    drawn, logits = found[0, start:].tolist(), modules["gpt2"](found).logits[0, start - 1 : -1]
    may = [allowed(each, 0.9, 50, 0.5) for each in logits]
    assert len(drawn) == len(may) > 0
    assert all(token in tokens for token, tokens in zip(drawn, may, strict=True))
    assert 1 < max(map(len, may)) < 50  # both limits cut
    torch.manual_seed(42)
    own = [draw(each / 0.9, tokens) for each, tokens in zip(logits, may, strict=True)]
    assert own == drawn != logits.argmax(-1).tolist()


def draw(logits: torch.Tensor, tokens: set[int]) -> int:
    """One of these tokens, by their shares."""
    left_out = torch.ones_like(logits, dtype=torch.bool)
    left_out[list(tokens)] = False
    return torch.multinomial(softmax(logits.masked_fill(left_out, -torch.inf), -1), 1).item()


def test_of_one_token_sampling_is_greedy(after, modules):
    expected = greedy(modules["gpt2"], encoded("Earth revolves around the"), 32)
    assert after("top_k=1")["sequence"].tolist() == expected.tolist()


# ---------------------------------------------------------------- what a forward gives


@torch.inference_mode()
def test_hidden_states_are_one_more_than_layers_and_the_last_is_what_the_head_reads(after, modules):
    found, module = after("Hidden states as features"), modules["gpt2"]
    inputs, states, features = found["inputs"], found["states"], found["features"]
    shape = (*inputs["input_ids"].shape, module.config.n_embd)
    assert [state.shape for state in states] == [shape] * (module.config.n_layer + 1)
    positions = torch.arange(shape[1])
    embedded = module.transformer.wte(inputs["input_ids"]) + module.transformer.wpe(positions)
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(states[0][real], embedded[real])
    logits = module(**inputs).logits
    torch.testing.assert_close(module.lm_head(states[-1])[real], logits[real])
    for text, feature in zip(("A short text.", "A text of more words."), features, strict=True):
        alone = module.transformer(encoded(text)).last_hidden_state[0].mean(0)
        torch.testing.assert_close(feature, alone, rtol=1e-4, atol=1e-5)
    assert not real.all()  # or padding would have proved nothing


@torch.inference_mode()
def test_half_precision_is_what_is_read_back_and_its_logits_are_near(after, modules):
    found = after("Half precision")
    names = ("float32", "float16", "bfloat16")
    assert found["dtypes"] == {name: {f"torch.{name}"} for name in names}
    plain = modules["gpt2-100m"](torch.arange(16)[None]).logits
    for name in names:
        near = equivalence.compare(found["logits"][name], plain, name)
        assert equivalence.verdict(near) == ("ok", None)
        assert (near.difference > 1e-6) is (name != "float32")  # half precision was really used


@torch.inference_mode()
def test_threads_are_as_many_as_asked_and_change_no_logit(ran, after, modules):
    found = after("Threads")
    assert found["counts"] == [1, 2]
    plain = modules["gpt2"](torch.arange(64)[None]).logits
    for logits in found["logits"]:
        assert equivalence.compare(logits, plain, "float32").difference < 1e-4
    assert ran["Threads"]["printed"] == "[1, 2]\n"


@torch.inference_mode()
def test_onnx_runtime_gives_the_tokens_of_eager(ran, after, modules):
    found = after("ONNX Runtime on a CPU")
    expected = greedy(modules["gpt2-25m"], torch.arange(16)[None], 33)[0, 16:].tolist()
    assert found["tokens"][: len(expected)] == found["greedy"][: len(expected)] == expected
    assert len(found["tokens"]) == 33
    assert ran["ONNX Runtime on a CPU"]["printed"].startswith("True artifacts/")


# ---------------------------------------------------------------- the instruct prompt


@torch.inference_mode()
def own_loss(module, ids: torch.Tensor, labels: torch.Tensor) -> tuple[float, int]:
    """Mean surprise at each token that is its own label, and how many there are."""
    surprise = -log_softmax(module(ids[None]).logits[0].double(), -1)
    counted = [at for at in range(1, len(ids)) if labels[at] != -100]
    return sum(surprise[at - 1, ids[at]].item() for at in counted) / len(counted), len(counted)


def test_the_loss_of_an_instruct_example_is_that_of_its_response_alone(after, modules):
    found, words = after(INSTRUCT), tokenizer()
    ids, labels = found["ids"], found["labels"]
    asked = labels == -100
    assert words.decode(ids[asked]) == "### Instruction:\nName the capital of France.\n\n### Response:\n"
    assert words.decode(ids[~asked]) == "Paris.<|endoftext|>"
    assert torch.equal(labels[~asked], ids[~asked])
    loss, count = own_loss(modules["gpt2"], ids, labels)
    assert count == len("Paris.") + 1
    assert found["loss"].item() == pytest.approx(loss, rel=1e-5)
    everything, _ = own_loss(modules["gpt2"], ids, ids)
    assert loss != pytest.approx(everything, rel=1e-3)


def test_padding_leaves_each_example_its_loss_and_the_batch_weighs_by_tokens(after, modules):
    found = after(INSTRUCT)
    alone = [own_loss(modules["gpt2"], *example) for example in found["examples"]]
    assert found["losses"].tolist() == pytest.approx([loss for loss, _ in alone], rel=1e-5)
    assert not found["mask"].all()
    weighed = sum(loss * count for loss, count in alone) / sum(count for _, count in alone)
    assert found["joint"].item() == pytest.approx(weighed, rel=1e-5)
    assert weighed != pytest.approx(found["losses"].mean().item(), rel=1e-4)


# ---------------------------------------------------------------- code of a repository


def test_code_of_a_repository_is_refused_unless_listed_asked_for_and_pinned(after):
    found = after("refused")
    expected = {
        "unasked": "needs its own code; read it", "unpinned": "only run at a pinned revision",
        "unlisted": "not listed as a model with its own code", "by its id": "asks to run code",
        "as uploaded": "pickled weights only (pytorch_model.bin)",
    }  # fmt: skip
    assert found["said"].keys() == expected.keys()
    assert [key for key, words in expected.items() if words not in found["said"][key]] == []
    assert found["ran"] is False


@torch.inference_mode()
def test_code_of_a_listed_model_computes_what_its_weights_as_a_plain_gpt2_compute(ran, after, modules):
    found = after(FOREIGN)
    assert found["ran"] is True
    assert (found["loaded"].repository, found["loaded"].revision) == ("samkeet/GPT_124M", ran["commits"][OWN])
    plain = modules[OWN](torch.arange(12)[None]).logits
    for logits in found["logits"]:
        assert equivalence.compare(logits, plain, "float32").difference < 1e-4
    assert found["plain"] == found["folder"].digest == loading.digest(modules[OWN])
    assert found["words"] == EOS + 1


def test_the_repository_as_it_is_published_loads_as_a_plain_gpt2_and_not_by_its_own_class(after, modules):
    found = after("published")
    assert found["plain"] == loading.digest(modules[OWN])
    assert "all_tied_weights_keys" in found["refused"]
