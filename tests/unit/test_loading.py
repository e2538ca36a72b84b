"""Models with provenance: what was loaded is read back from what was loaded."""

import pytest
import torch

from bench_utils import catalog, loading
from bench_utils.errors import BenchError


def test_an_unreachable_hub_gives_the_architecture_and_says_so():
    loaded = loading.load_model("tiny-gpt2")
    assert loaded.provenance.weights == "architecture"
    assert loaded.provenance.repository is None
    assert loaded.provenance.parameters == catalog.model("tiny-gpt2").parameters


def test_seeded_weights_are_the_same_every_time_and_depend_on_dtype():
    first, second = (loading.load_model("gpt2-5m", weights="architecture") for _ in range(2))
    half = loading.load_model("gpt2-5m", dtype="bfloat16", weights="architecture")
    assert first.provenance.digest == second.provenance.digest != half.provenance.digest
    assert half.provenance.dtype == "bfloat16"
    assert not first.module.training


def test_one_changed_weight_changes_the_digest():
    module = loading.load_model("tiny-gpt2", weights="architecture").module
    before = loading.digest(module)
    with torch.no_grad():
        module.transformer.h[0].mlp.c_fc.weight[0, 0] += 1e-6
    assert loading.digest(module) != before


def test_greedy_decoding_notices_a_lost_cache():
    """With the usual small weights it would not: a model then repeats a few tokens whatever it remembers."""
    module = loading.load_model("gpt2-5m", weights="architecture").module
    prompt = torch.arange(100, 116)[None]
    with torch.inference_mode():
        full = module.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=24, do_sample=False, pad_token_id=0
        )
        lost = prompt
        for _ in range(24):
            lost = torch.cat([lost, module(lost[:, -1:]).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    assert full.tolist() != lost.tolist()
    assert len(set(full[0, 16:].tolist())) > 4


def test_the_head_stays_tied():
    module = loading.load_model("tiny-gpt2", weights="architecture").module
    assert module.lm_head.weight.data_ptr() == module.transformer.wte.weight.data_ptr()


def test_a_local_folder_is_loaded_as_it_is(tmp_path):
    original = loading.load_model("tiny-gpt2", weights="architecture")
    original.module.save_pretrained(tmp_path)
    loaded = loading.load_model(str(tmp_path))
    assert loaded.provenance.weights == "local"
    assert loaded.provenance.digest == original.provenance.digest


def test_a_folder_with_pickled_weights_only_is_refused(tmp_path):
    loading.load_model("tiny-gpt2", weights="architecture").module.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(BenchError, match="pickled weights only"):
        loading.load_model(str(tmp_path))


@pytest.mark.parametrize(("arguments", "said"), [
    ({"name": "tiny-gpt"}, "unknown model 'tiny-gpt'; did you mean tiny-gpt2"),
    ({"name": "tiny-gpt2", "dtype": "float23"}, "unknown dtype 'float23'; did you mean"),
    ({"name": "tiny-gpt2", "weights": "hubb"}, "unknown weights 'hubb'; did you mean hub"),
    ({"name": "tiny-gpt2", "weights": "local"}, "need a folder"),
    ({"name": "my-org/my-model", "weights": "architecture"}, "use weights='hub'"),
    ({"name": "gpt-124m", "weights": "hub"}, "needs its own code"),
    ({"name": "gpt-124m", "weights": "hub", "trust_remote_code": True}, "pinned revision"),
])  # fmt: skip
def test_bad_arguments_are_refused_with_the_remedy(arguments, said):
    with pytest.raises(BenchError, match=said):
        loading.load_model(**arguments)


def test_offline_mode_is_respected_without_a_probe(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: pytest.fail("probed"))
    assert loading.resolve_weights("auto", [catalog.model("gpt2")]) == "architecture"
