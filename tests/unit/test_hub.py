"""Checkpoints from a hub: the real client against one on the loopback, with everything that can be wrong there."""

import dataclasses
import io
import json
import os
import pickle
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants, hf_hub_download

from bench_utils import backends, catalog, hub, loading
from bench_utils.errors import BenchError
from tests.conftest import REPOSITORY
from tests.hub_server import WORDS, Fault, changed, checkpoint, serving

NAME = "tests/small"
WEIGHTS = "model.safetensors"
LAYOUTS = {
    "one file": {},
    "shards": {"shard": "8KB"},
    "untied head": {"tie_word_embeddings": False},
    "padded vocabulary": {"vocab_size": WORDS + 24},
    "no tokenizer": {"words": None},
}
OWN_CODE = """
from pathlib import Path
from transformers import GPT2Config, GPT2LMHeadModel
Path({canary!r}).touch()

class OwnConfig(GPT2Config):
    model_type = "own"

class OwnModel(GPT2LMHeadModel):
    config_class = OwnConfig
"""
AUTO_MAP = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnModel"}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, dict[str, bytes]]:
    """The files of one checkpoint of every layout."""
    return {name: checkpoint(tmp_path_factory.mktemp("made"), **how) for name, how in LAYOUTS.items()}


@pytest.fixture
def plain(made) -> dict[str, bytes]:
    return made["one file"]


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A hub with an empty cache; the client read where both are when it was imported."""
    with serving() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        template = served.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield served


@pytest.fixture
def canary(tmp_path) -> Path:
    """A file that nothing but a checkpoint's own code or pickle would make."""
    return tmp_path / "canary"


def load(name: str | catalog.Model = NAME, **options) -> loading.Loaded:
    return loading.load_model(name, weights="hub", **options)


def refused(said: str, do=load, name=NAME) -> str:
    """The sentence that a checkpoint is refused with: one, that names the checkpoint and holds these words."""
    with pytest.raises(BenchError, match=said) as caught:
        do(name)
    sentence = str(caught.value)
    assert "\n" not in sentence and len(sentence) < 400
    assert name in sentence
    return sentence


def pinned(commit: str | None, **changes) -> catalog.Model:
    return dataclasses.replace(catalog.model(NAME), revision=commit, **changes)


def pickled(canary: Path) -> bytes:
    """What touches the canary as soon as it is unpickled."""

    class Touch:
        def __reduce__(self):
            return os.system, (f"touch {canary}",)

    return pickle.dumps(Touch())


# what is loaded


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_loaded_as_it_was_saved(server, made, tmp_path, layout):
    commit = server.add(NAME, made[layout])
    for name, content in made[layout].items():
        (tmp_path / name).write_bytes(content)
    found, local = load().provenance, loading.load_model(str(tmp_path)).provenance
    assert (found.weights, found.repository, found.revision) == ("hub", NAME, commit)
    assert (local.weights, local.revision) == ("local", None)
    assert found.digest == local.digest


def test_a_head_is_tied_as_the_config_says(server, made):
    for layout, tied in (("one file", True), ("untied head", False)):
        server.add(NAME, made[layout])
        module = load().module
        assert (module.lm_head.weight.data_ptr() == module.transformer.wte.weight.data_ptr()) is tied


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_have_the_dtype_that_is_asked_for(server, plain, dtype):
    server.add(NAME, plain)
    assert load(dtype=dtype).provenance.dtype == dtype


def test_a_pinned_revision_is_loaded_after_main_has_moved_on(server, plain, made):
    first = server.add(NAME, plain)
    second = server.add(NAME, made["padded vocabulary"])
    assert load(pinned(first)).provenance.revision == first
    assert load().provenance.revision == second


def test_what_is_cached_comes_from_the_cache(server, plain):
    commit = server.add(NAME, plain)
    before = load().provenance.digest
    server.requests.clear()
    assert load(pinned(commit)).provenance.digest == before
    assert not server.requests
    load()
    assert not server.files()


def test_loading_is_timed_without_a_request(server, plain):
    commit = server.add(NAME, plain)
    engine = backends.make(catalog.model(NAME), catalog.variant("eager"), "float32", "cpu", "hub", 0)
    engine.build()
    server.requests.clear()
    engine.load()
    assert not server.requests
    assert engine.read_back()["revision"] == commit


def test_weights_alone_are_fetched_of_all_that_a_repository_holds(server, plain):
    beside = {"pytorch_model.bin": b"0", "model.onnx": b"0", "README.md": b"0", "modeling_own.py": b"raise"}
    server.add(NAME, plain | beside)
    load()
    assert sorted(server.files()) == ["config.json", "generation_config.json", WEIGHTS]


def test_the_cache_is_enough_offline(server, made, monkeypatch):
    server.add(NAME, made["shards"])
    before = load().provenance
    loading.load_tokenizer(NAME)
    server.requests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert load().provenance == before
    assert len(loading.load_tokenizer(NAME)) == WORDS
    assert loading.resolve_weights("auto", [catalog.model(NAME)]) == "hub"
    assert not server.requests
    refused("not in the local cache and HF_HUB_OFFLINE forbids", name="tests/other")


def test_the_cache_is_enough_when_the_hub_does_not_answer(server, plain, monkeypatch):
    commit = server.add(NAME, plain)
    load()
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert load().provenance.revision == commit
    assert loading.resolve_weights("auto", [catalog.model(NAME)]) == "hub"
    refused("not in the local cache and the hub does not answer", name="tests/other")


def test_a_cache_that_lacks_weights_is_not_taken_for_a_checkpoint(server, plain, monkeypatch):
    server.add(NAME, plain)
    hf_hub_download(NAME, "config.json")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert loading.resolve_weights("auto", [catalog.model("gpt2")]) == "architecture"
    assert not loading._cached(catalog.model(NAME))


def test_a_cache_that_another_tool_began_is_completed(server, plain):
    server.add(NAME, plain)
    hf_hub_download(NAME, "config.json")
    assert load().provenance.weights == "hub"
    assert len(loading.load_tokenizer(NAME)) == WORDS


def test_checkpoints_are_fetched_before_processes_load_them(server, plain):
    commit = server.add(NAME, plain)
    server.add("tests/pickled", {"config.json": b"{}", "pytorch_model.bin": b"0"})
    loading.prefetch([catalog.model(name) for name in ("tests/none-such", "tests/pickled", "gpt2-5m", NAME)])
    server.requests.clear()
    assert load(pinned(commit)).provenance.weights == "hub"
    assert not server.requests


# what is refused


def test_pickled_weights_are_refused_with_how_to_convert_them(server, plain, canary):
    files = {name: content for name, content in plain.items() if name != WEIGHTS}
    server.add(NAME, files | {"pytorch_model.bin": pickled(canary)})
    assert "save_pretrained" in refused("pickled weights only .pytorch_model.bin")
    assert "pytorch_model.bin" not in server.files()
    server.add(NAME, files)
    refused("holds no model.safetensors")


@pytest.mark.parametrize("kind", ["pickle", "zip", "text", "nothing"])
def test_a_pickle_under_the_name_of_safetensors_is_refused_unread(server, plain, canary, kind):
    archive = io.BytesIO()
    torch.save({"transformer.wte.weight": torch.zeros(2)}, archive)
    contents = {"pickle": pickled(canary), "zip": archive.getvalue(), "text": b"# weights", "nothing": b""}
    server.add(NAME, plain | {WEIGHTS: contents[kind]})
    refused("is no safetensors file, whatever its name says")
    assert not canary.exists()


@pytest.mark.parametrize("shard", ["pytorch_model.bin", "../../model.safetensors", "/tmp/model.safetensors", ""])
def test_an_index_that_names_anything_but_safetensors_beside_it_is_refused(server, made, canary, shard):
    index = {"metadata": {}, "weight_map": {"transformer.wte.weight": shard}}
    files = made["shards"] | {"pytorch_model.bin": pickled(canary)}
    server.add(NAME, changed(files, "model.safetensors.index.json", **index))
    refused("weight_map in model.safetensors.index.json")
    assert not canary.exists()


def test_a_config_that_names_another_file_of_weights_does_not_have_it_read(plain, tmp_path, canary):
    """In a folder, where anything may lie beside the weights."""
    files = plain | {"adapter_model.bin": pickled(canary)}
    for name, content in changed(files, "config.json", transformers_weights="adapter_model.bin").items():
        (tmp_path / name).write_bytes(content)
    refused("cannot be read", do=lambda _: loading.load_model(str(tmp_path)), name=tmp_path.name)
    assert not canary.exists()


def test_a_missing_shard_is_named(server, made):
    shard = next(name for name in made["shards"] if name.startswith("model-00002"))
    server.add(NAME, {name: content for name, content in made["shards"].items() if name != shard})
    refused(f"{shard} of .* is missing")


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_of_a_checkpoint_that_is_not_listed_is_refused_and_not_run(server, plain, canary, file):
    code = {"modeling_own.py": OWN_CODE.format(canary=str(canary)).encode()}
    server.add(NAME, changed(plain | code, file, auto_map=AUTO_MAP))
    refused(f"auto_map in {file} .* list the model in the catalog", do=loading.load_tokenizer)
    if file == "config.json":
        refused(f"auto_map in {file} .* list the model in the catalog")
        assert not {WEIGHTS, "modeling_own.py"} & {*server.files()}
    refused("not listed as a model with its own code", do=lambda name: load(name, trust_remote_code=True))
    assert not canary.exists()


def test_code_of_another_repository_is_refused_even_of_a_listed_model(server, plain, monkeypatch):
    files = changed(plain, "config.json", auto_map={"AutoModelForCausalLM": "tests/other--modeling_own.OwnModel"})
    model = pinned(server.add(NAME, files), remote_code=True)
    monkeypatch.setitem(catalog.MODELS, NAME, model)
    refused("names code of another repository", do=lambda name: load(name, trust_remote_code=True))


def test_code_of_a_listed_model_runs_at_a_commit_only(server, plain, monkeypatch):
    commit = server.add(NAME, plain)
    for revision in (None, "main", commit[:12]):
        monkeypatch.setitem(catalog.MODELS, NAME, pinned(revision, remote_code=True))
        refused("only run at a pinned revision", do=lambda name: load(name, trust_remote_code=True))
        refused("needs its own code; read it")


@pytest.mark.parametrize(("lie", "said"), [
    ({"vocab_size": WORDS + 1}, r"transformer.wte.weight is stored as \[40, 16\] and should be \[41, 16\]"),
    ({"n_positions": 31}, r"transformer.wpe.weight is stored as \[32, 16\] and should be \[31, 16\]"),
    ({"n_layer": 3}, "transformer.h.2.attn.c_attn.bias is not stored, nor are 11 others"),
    ({"n_layer": 1}, "it has no place for transformer.h.1.attn.c_attn.weight, nor for 10 others"),
    ({"n_inner": 65}, "mlp.c_fc.bias is stored as"),
    ({"tie_word_embeddings": False}, "lm_head.weight is not stored"),
    ({"n_embd": 2**20}, "describes .* parameters and .* are stored"),
    ({"n_layer": 10**9}, "describes 1000000000 layers"),
    ({"n_head": 3}, "cannot be read"),
    ({"n_head": 0}, "cannot be read"),
    ({"n_embd": "wide"}, "cannot be read"),
    ({"model_type": "none such"}, "cannot be read"),
    ({"vocab_size": -1}, "cannot be read"),
])  # fmt: skip
def test_a_config_that_does_not_describe_the_weights_is_refused(server, plain, lie, said):
    """Otherwise transformers fills what is missing, or of another shape, with random numbers."""
    server.add(NAME, changed(plain, "config.json", **lie))
    refused(said)


@pytest.mark.parametrize("content", [b"{", b"[]", b"[" * 100_000, b"\xff"])
def test_a_config_that_is_no_object_is_refused(server, plain, content):
    server.add(NAME, plain | {"config.json": content})
    refused("config.json of 'tests/small' holds no JSON object")


def test_a_padded_vocabulary_and_no_tokenizer_are_told_apart(server, made):
    server.add(NAME, made["padded vocabulary"])
    assert len(loading.load_tokenizer(NAME)) == WORDS < load().module.config.vocab_size
    server.add(NAME, made["no tokenizer"])
    refused("comes without a tokenizer; use token ids", do=loading.load_tokenizer)


@pytest.mark.parametrize("id_", [-1, WORDS, 2**40, "7", None, 1.5])
@pytest.mark.parametrize("where", ["vocabulary", "added"])
def test_a_tokenizer_with_an_id_that_the_checkpoint_lacks_is_refused(server, plain, where, id_):
    tokenizer = json.loads(plain["tokenizer.json"])
    if where == "vocabulary":
        tokenizer["model"]["vocab"]["w5"] = id_
    else:
        tokenizer["added_tokens"].append(tokenizer["added_tokens"][0] | {"id": id_, "content": "more"})
    server.add(NAME, changed(plain, "tokenizer.json", **tokenizer))
    refused(f"has the id {id_!r}, and vocab_size in config.json allows 0 to {WORDS - 1}", do=loading.load_tokenizer)


def test_a_tokenizer_that_cannot_be_read_is_refused(server, plain):
    server.add(NAME, changed(plain, "tokenizer.json", model={"type": "none such"}))
    refused("the tokenizer of .* cannot be read", do=loading.load_tokenizer)


# what goes wrong on the way


@pytest.mark.parametrize(("fault", "said"), [
    (Fault(401, "RepoNotFound"), "private or does not exist .* 401.*`hf auth login` or set HF_TOKEN"),
    (Fault(401), "private or does not exist .* 401.*`hf auth login` or set HF_TOKEN"),
    (Fault(403, "GatedRepo", only="config.json"), "is gated; ask for access .*`hf auth login` or set HF_TOKEN"),
    (Fault(404, "RepoNotFound"), "is not on the hub; correct the name"),
    (Fault(503), "the hub answered 503 .*; run again later"),
    (Fault(served={WEIGHTS: b"short"}), "did not arrive whole .*run again"),
], ids=str)  # fmt: skip
def test_each_fault_is_one_sentence_with_its_remedy(server, plain, fault, said):
    server.add(NAME, plain, fault)
    refused(said)
    server.faults[NAME] = Fault()
    assert load().provenance.weights == "hub"


def test_a_name_and_a_revision_that_are_not_there_are_named(server, plain):
    refused("is not on the hub", name="tests/none-such")
    refused("is no id of a repository; write it as owner/name", name="tests/a name")
    server.add(NAME, plain)
    refused("has no revision 'v9'; correct the revision", do=lambda _: load(pinned("v9")))


def test_a_token_is_sent_when_there_is_one(server, plain, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    server.add(NAME, plain)
    load()
    assert {request.token for request in server.requests} == {"Bearer hf_test"}


def test_a_broken_connection_is_resumed_where_it_broke(server, plain, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)  # what is kept is a multiple of it
    server.add(NAME, plain, Fault(cut=WEIGHTS))
    load()
    begun = [request.range for request in server.requests if request.method == "GET" and request.file == WEIGHTS]
    half = len(plain[WEIGHTS]) // 2
    assert begun == [None, f"bytes={half - half % 1024}-"]


def test_a_connection_that_breaks_for_good_keeps_what_is_finished(server, plain, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    server.add(NAME, plain, Fault(cut=WEIGHTS, times=100))
    refused("did not arrive whole .*; run again, finished files are kept")
    server.faults[NAME], before = Fault(), len(server.files())
    load()
    assert server.files()[before:] == [WEIGHTS]


@pytest.mark.parametrize("file", [WEIGHTS, "config.json"])
def test_a_damaged_file_is_refused_and_comes_again(server, plain, file):
    """Of the right size: the client alone would keep it."""
    damaged = plain[file][:-1] + bytes([plain[file][-1] ^ 1])
    server.add(NAME, plain, Fault(served={file: damaged}))
    refused(f"{file} of 'tests/small' came with another checksum than the hub states and was removed; run again")
    server.faults[NAME] = Fault()
    assert load().provenance.weights == "hub"


def test_a_full_disk_is_one_sentence_with_its_remedy(server, plain):
    """The kernel refuses to write files beyond this size."""
    server.add(NAME, plain)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(plain[WEIGHTS]) // 2, hard))
    try:
        refused("the local cache cannot take .*; free disk space, or set HF_HOME to another disk")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert load().provenance.weights == "hub"


def test_no_space_left_is_told_by_its_number():
    error = hub._explained(catalog.model(NAME), OSError(28, "No space left on device"))
    assert "(No space left on device); free disk space, or set HF_HOME" in str(error)


# the environment as a user sets it

CHILD = """
import json, sys
from dataclasses import replace
from bench_utils import catalog, loading
name, commit, own = sys.argv[1:]
found = [loading.load_model(name).provenance.asdict()]
catalog.MODELS[own] = replace(catalog.model(own), revision=commit, remote_code=True)
found.append(loading.load_model(own, weights="hub", trust_remote_code=True).provenance.asdict())
print(json.dumps(found))
"""


def test_the_environment_says_where_the_hub_and_the_cache_are(plain, tmp_path, canary):
    """In a process of its own, with bars forced on; code of a listed model runs at its pinned revision."""
    code = {"modeling_own.py": OWN_CODE.format(canary=str(canary)).encode()}
    with serving() as served:
        commit = served.add(NAME, plain)
        own = served.add("tests/own", changed(plain | code, "config.json", auto_map=AUTO_MAP, model_type="own"))
        home = tmp_path / "home"
        environment = os.environ | {"HF_ENDPOINT": served.url, "HF_HOME": str(home), "TQDM_POSITION": "-1"}
        done = subprocess.run(
            [sys.executable, "-c", CHILD, NAME, own, "tests/own"],
            env=environment, cwd=REPOSITORY, capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)
    assert (first["weights"], first["revision"]) == ("hub", commit)
    assert (second["revision"], second["digest"]) == (own, first["digest"])
    assert canary.exists()
    assert (home / "hub" / "models--tests--small" / "snapshots" / commit / WEIGHTS).is_file()
    assert "100%" in done.stderr
