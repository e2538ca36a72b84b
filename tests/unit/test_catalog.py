"""Models and variants as data."""

import json

import pytest

from bench_utils import catalog
from bench_utils.errors import BenchError
from bench_utils.published import _read

CHECKPOINTS = [name for name, model in catalog.MODELS.items() if model.layers]


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_parameter_counts_are_those_of_transformers(name):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    model = catalog.model(name)
    sizes = {"vocab_size": model.vocabulary, "n_positions": model.context, "n_embd": model.width}
    config = GPT2Config(n_layer=model.layers, n_head=model.heads, **sizes)
    with torch.device("meta"):
        module = GPT2LMHeadModel(config)
    assert model.parameters == sum(p.numel() for p in module.parameters())


def test_shapes_are_those_of_the_reference_table():
    table = _read("models").set_index("id")
    names = {"gpt-124m": "gpt-124m-samkeet", "slimgpt": "slimgpt-124m"}
    for name in CHECKPOINTS:
        model = catalog.model(name)
        row = table.loc[names.get(name, name)]
        assert (model.layers, model.width, model.heads) == (int(row.n_layer), int(row.n_embd), int(row.n_head))
        assert model.vocabulary == int(row.vocab)


@pytest.mark.parametrize(("find", "wrong", "nearest"), [
    (catalog.model, "gpt2-25", "gpt2-25m"),
    (catalog.variant, "compile-statik", "compile-static"),
])  # fmt: skip
def test_unknown_names_get_the_nearest_ones(find, wrong, nearest):
    with pytest.raises(BenchError, match=f"did you mean {nearest}"):
        find(wrong)


def test_a_folder_is_a_model_with_the_shape_of_its_configuration(tmp_path):
    shape = {"n_layer": 2, "n_embd": 8, "n_head": 2, "vocab_size": 50, "n_positions": 64}
    (tmp_path / "config.json").write_text(json.dumps(shape))
    model = catalog.model(str(tmp_path))
    assert (model.layers, model.width, model.heads, model.vocabulary, model.context) == (2, 8, 2, 50, 64)
    assert model.folder == tmp_path


@pytest.mark.parametrize(
    ("content", "said"), [(None, "holds no config.json"), ("{}", "does not state"), ("[", "does not")]
)
def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path, content, said):
    if content:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(BenchError, match=said):
        catalog.model(str(tmp_path))


def test_a_hub_id_is_a_model_of_unknown_shape():
    model = catalog.model("my-org/my-model")
    assert (model.repository, model.layers) == ("my-org/my-model", 0)
