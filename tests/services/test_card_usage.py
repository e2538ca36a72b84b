"""A card's request to vLLM, as `docs/checkpoints.md` shows it: sent by curl, answered with plain PyTorch's tokens."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from bench_utils import backends, catalog, loading
from bench_utils.backends.served import Served
from bench_utils.backends.vllm import VllmBackend
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.services

SLIM = catalog.model("slimgpt").repository
PAGE = (REPOSITORY / "docs" / "checkpoints.md").read_text()
START, REQUEST = re.findall(r"^```bash\n((?:vllm|curl) .*?)^```", PAGE, re.S | re.M)
NO_VLLM = backends.unavailable(catalog.variant("vllm"), "cpu")


class WithTokenizer(VllmBackend):
    """vLLM as it is measured, but with the tokenizer, since a card's request is text."""

    takes_text = True

    def command(self, port: int) -> list[str]:
        return [word for word in super().command(port) if word != "--skip-tokenizer-init"]


@pytest.fixture(scope="module")
def slim(tmp_path_factory) -> catalog.Model:
    """A small checkpoint under the card's name, of the context that its request needs, with a token for every byte."""
    folder = tmp_path_factory.mktemp("checkpoint")
    vocabulary = {character: id_ for id_, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    found = Tokenizer(models.BPE(vocabulary, []))
    found.pre_tokenizer, found.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    found.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
    PreTrainedTokenizerFast(tokenizer_object=found, eos_token="<|endoftext|>").save_pretrained(folder)
    size = found.get_vocab_size()
    config = GPT2Config(vocab_size=size, n_embd=128, n_layer=2, n_head=2, bos_token_id=size - 1, eos_token_id=size - 1)
    module = GPT2LMHeadModel(config)
    loading._seed(module)
    module.save_pretrained(folder)
    return replace(catalog.model(str(folder)), name=SLIM)


@pytest.fixture(scope="module")
def engine(slim, store):
    """One server for all requests, without the trial that a measurement makes first."""
    made = WithTokenizer(slim, catalog.variant("vllm"), "float32", "cpu", "auto", 0, store)
    Served.build(made)
    try:
        made.load()
        yield made
    finally:
        made.close()


def ask(engine, **changes) -> dict:
    """The page's request, sent to this server by curl; ``changes`` are other values of its JSON."""
    head, data, tail = re.fullmatch(r"(.*--data ')(\{.*\})('\n)", REQUEST, re.S).groups()
    request = head + (json.dumps(json.loads(data) | changes) if changes else data) + tail
    assert request.count("http://localhost:8000") == 1
    sent = ["bash", "-c", request.replace("http://localhost:8000", engine.server.url)]
    done = subprocess.run(sent, capture_output=True, text=True, timeout=120, env=os.environ | {"NO_PROXY": "*"})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_page_shows_the_same_model_to_start_and_to_ask():
    assert shutil.which("curl")
    assert f'vllm serve "{SLIM}"\n' == START
    assert f'"model": "{SLIM}"' in REQUEST and "/v1/completions" in REQUEST


@pytest.mark.skipif(NO_VLLM is not None, reason=str(NO_VLLM))
class TestCard:
    def test_the_request_as_it_is_printed_is_answered(self, engine):
        answer = ask(engine)
        (choice,) = answer["choices"]
        assert (answer["model"], answer["object"]) == (SLIM, "text_completion")
        assert answer["usage"]["prompt_tokens"] == len("Once upon a time,")
        assert 0 < answer["usage"]["completion_tokens"] <= 512
        assert choice["finish_reason"] == ("length" if answer["usage"]["completion_tokens"] == 512 else "stop")
        assert choice["text"]

    def test_without_temperature_its_tokens_are_those_of_greedy_generation(self, engine):
        assert engine.loaded_dtype() == "float32"
        answer = ask(engine, temperature=0, max_tokens=128, return_token_ids=True)
        (choice,) = answer["choices"]
        words = engine.texts.tokenizer
        prompt = words("Once upon a time,", return_tensors="pt")["input_ids"]
        expected = engine.tokens(engine.plain(prompt, 127)[0])[0]
        if words.eos_token_id in expected:
            expected = expected[: expected.index(words.eos_token_id) + 1]
        assert choice["token_ids"] == expected
        assert len(set(expected)) > 8  # a model that repeats itself would prove little
        assert answer["usage"]["completion_tokens"] == len(expected)
        said = words.decode(expected, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert choice["text"].rstrip("\ufffd") == said.rstrip("\ufffd")

    def test_without_temperature_it_is_answered_the_same_again(self, engine):
        first, second = (self.text(engine) for _ in range(2))
        assert first == second
        assert self.text(engine, prompt="Another prompt") != first

    @staticmethod
    def text(engine, **changes) -> str:
        return ask(engine, temperature=0, max_tokens=32, **changes)["choices"][0]["text"]
