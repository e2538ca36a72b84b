"""Every token is scored once, behind what came before it: pure arithmetic, and a model whose losses are known."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch

from bench_utils.errors import BenchError
from bench_utils.quality import scoring
from bench_utils.quality.summary import accuracies, differences, losses, ratio_of_totals
from bench_utils.quality.texts import Document, read_text
from bench_utils.quality.windows import Window, windows

SIZES = [s for s in itertools.product((1, 2, 5, 8, 9, 31, 64), (1, 2, 8, 13), (1, 2, 3, 8, 13)) if s[2] <= s[1]]


@pytest.mark.parametrize(("tokens", "context", "stride"), SIZES)
def test_every_token_is_scored_once_behind_as_much_as_the_context_holds(tokens, context, stride):
    scored = []
    for start, stop, count in windows(tokens, context, stride):
        assert 0 <= start < stop <= tokens and stop - start <= context
        assert start == 0 or stop - start == context  # nothing that fits is left out
        scored += range(stop - count + 1, stop + 1)  # targets are one further than what predicts them
    assert scored == list(range(1, tokens + 1))


def test_a_stride_of_the_whole_context_is_disjoint_but_for_the_last_window():
    assert list(windows(10, 4, 4)) == [Window(0, 4, 4), Window(4, 8, 4), Window(6, 10, 2)]


@pytest.mark.parametrize(("context", "stride"), [(4, 5), (4, 0), (4, -1), (0, 1)])
def test_sizes_that_would_lose_tokens_are_refused(context, stride):
    with pytest.raises(BenchError, match="stride = |context = "):
        list(windows(10, context, stride))


class Counting:
    """A model that expects each token to be one more than the one before, and gives that 0.9 of the probability."""

    context, vocabulary, provenance = 8, 32, {}

    def __init__(self):
        self.calls = []

    def logits(self, ids):
        self.calls.append(list(ids))
        found = torch.full((len(ids), self.vocabulary), 0.1 / (self.vocabulary - 1)).log()
        for position, token in enumerate(ids):
            found[position, (token + 1) % self.vocabulary] = math.log(0.9)
        return found


class Letters:
    """A tokenizer of the letters from a on, behind a token 0."""

    bos_token_id, eos_token_id = None, 0

    def encode(self, text, add_special_tokens):
        assert not add_special_tokens
        return [ord(letter) - ord("a") + 1 for letter in text]


@pytest.mark.parametrize("stride", [1, 3, 8])
def test_a_prediction_is_held_against_the_token_behind_it(stride):
    """One position off, in either direction or only in later windows, and every token would have the other loss."""
    sequence = list(range(24))
    right = scoring.nll(Counting(), sequence, 8, stride)
    assert right == pytest.approx(-23 * math.log(0.9), rel=1e-6)
    still = scoring.nll(Counting(), [5] * 24, 8, stride)
    assert still == pytest.approx(-23 * math.log(0.1 / 31), rel=1e-6)


def test_a_single_unexpected_token_costs_what_it_costs_wherever_it_stands():
    plain, odd = -math.log(0.9), -math.log(0.1 / 31)
    for place in range(1, 24):
        sequence = list(range(24))
        sequence[place] = 31
        unexpected = 1 if place == 23 else 2  # the token itself, and the one behind it
        expected = (23 - unexpected) * plain + unexpected * odd
        assert scoring.nll(Counting(), sequence, 8, 3) == pytest.approx(expected, rel=1e-6)


def test_documents_are_scored_one_by_one_and_their_first_token_too():
    engine = Counting()
    first, second = scoring.losses(engine, Letters(), [Document("abc"), Document("xb")], 8, 4)
    assert first == (pytest.approx(-3 * math.log(0.9)), 3, 3)
    assert second == (pytest.approx(-2 * math.log(0.1 / 31)), 2, 2)
    assert engine.calls == [[0, 1, 2], [0, 24]]


@pytest.mark.parametrize(("documents", "context", "said"), [
    (["a"], 8, "fewer than 2 tokens"),
    ([], 8, "fewer than 2 tokens"),
    (["abc~"], 8, "token 30 is beyond|token .* is beyond the model's vocabulary of 32"),
    (["abc"], 9, "context = 9: this model reads 8 tokens at most; lower context"),
])  # fmt: skip
def test_what_gives_no_loss_is_one_sentence_before_anything_is_computed(documents, context, said):
    engine = Counting()
    documents = [Document(text.replace("~", chr(ord("a") + 40))) for text in documents]
    with pytest.raises(BenchError, match=said):
        list(scoring.losses(engine, Letters(), documents, context, 4))
    assert not engine.calls


def test_logits_that_are_no_numbers_give_no_loss():
    engine = Counting()
    engine.logits = lambda ids: torch.full((len(ids), 32), math.nan)
    with pytest.raises(BenchError, match="no finite numbers"):
        list(scoring.losses(engine, Letters(), [Document("abc")], 8, 4))


class TestTexts:
    def test_paragraphs_are_documents_and_bytes_are_those_of_utf_8(self, tmp_path):
        (tmp_path / "a.txt").write_text("Eins zwölf.\nNoch eine.\n \n\nZwei.\n", encoding="utf-8")
        found = read_text(tmp_path / "a.txt")
        assert [d.text for d in found] == ["Eins zwölf.\nNoch eine.", "Zwei."]
        assert found[0].bytes == 23 and found[0].digest != found[1].digest

    def test_lines_of_json_are_documents(self, tmp_path):
        (tmp_path / "a.jsonl").write_text('{"text": "one"}\n\n{"text": "two\\n\\nthree"}\n')
        assert [d.text for d in read_text(tmp_path / "a.jsonl")] == ["one", "two\n\nthree"]
        (tmp_path / "b.jsonl").write_text('{"text": "a line\u2028of two"}\n', encoding="utf-8")
        assert [d.text for d in read_text(tmp_path / "b.jsonl")] == ["a line\u2028of two"]

    @pytest.mark.parametrize(("name", "content", "said"), [
        ("a.txt", b"", "is empty"),
        ("a.txt", b" \n\n \n", "is empty"),
        ("a.txt", b"\xff\xfe\x00", "not UTF-8"),
        ("a.jsonl", b'{"words": 1}', "whose 'text' is a text"),
        ("a.jsonl", b'{"text": null}', "whose 'text' is a text"),
    ])  # fmt: skip
    def test_a_file_without_text_is_refused(self, tmp_path, name, content, said):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BenchError, match=said):
            read_text(tmp_path / name)

    def test_a_missing_file_is_refused(self, tmp_path):
        with pytest.raises(BenchError, match="'no.txt' cannot be read"):
            read_text(tmp_path / "no.txt")


class TestIntervals:
    def test_they_cover_documents_of_unequal_length(self):
        generator, hits, rounds, truth = np.random.default_rng(1), 0, 2000, 3.0
        for _ in range(rounds):
            tokens = generator.integers(20, 400, 20)
            nll = tokens * generator.normal(truth, 0.4, 20)
            found = ratio_of_totals(nll, tokens)
            hits += found.low <= truth <= found.high
        assert 0.93 < hits / rounds < 0.97

    def test_one_document_has_a_loss_and_no_interval(self):
        found = ratio_of_totals([6.0], [3.0])
        assert (found.estimate, found.n) == (2.0, 1)
        assert math.isnan(found.low) and math.isnan(found.p)

    def test_pairing_finds_what_the_spread_of_documents_hides(self):
        generator = np.random.default_rng(2)
        tokens = generator.integers(50, 200, 16)
        base = tokens * generator.normal(3.0, 0.8, 16)
        table = differences(frame("float32", base, tokens, "float16", base + tokens * generator.normal(0.02, 0.01, 16)))
        row = table.iloc[0]
        assert (row["dtype"], row["against"], row["unit"]) == ("float16", "m eager float32", "nats a token")
        assert 0 < row["low"] < 0.02 < row["high"] and row["significant"]

    def test_other_documents_are_not_paired(self):
        rows = frame("float32", np.array([3.0, 4.0]), np.array([2, 2]), "int8", np.array([3.5, 4.5]))
        rows.loc[rows["dtype"] == "int8", "digest"] = "other"
        row = differences(rows).iloc[0]
        assert row["documents"] == 0 and math.isnan(row["difference"]) and not row["significant"]

    def test_models_are_compared_by_the_byte(self):
        rows = frame("float32", np.array([10.0, 20.0, 30.0]), np.array([5, 10, 15]))
        other = rows.assign(model="n", nll=rows["nll"] * 1.1, tokens=rows["tokens"] * 3)
        row = differences(pd.concat([rows, other])).iloc[0]
        assert (row["model"], row["against"], row["unit"]) == ("n", "m eager float32", "bits a byte")
        assert row["difference"] == pytest.approx(0.1 * 60 / math.log(2) / (30 * 4))

    def test_loss_perplexity_and_bits_agree(self):
        row = losses(frame("float32", np.array([10.0, 21.0, 32.0]), np.array([5, 10, 15]))).iloc[0]
        assert row["loss"] == pytest.approx(2.1) and row["perplexity"] == pytest.approx(math.exp(2.1))
        assert row["bits"] == pytest.approx(63 / math.log(2) / 120)
        assert row["loss_low"] < row["loss"] < row["loss_high"]

    def test_shares_have_wilsons_interval(self):
        rows = frame("float32", np.full(10, np.nan), np.zeros(10)).assign(correct=[True] * 7 + [False] * 3)
        row = accuracies(rows).iloc[0]
        assert (row["items"], row["accuracy"]) == (10, 0.7)
        assert row["low"] == pytest.approx(0.397, abs=1e-3) and row["high"] == pytest.approx(0.892, abs=1e-3)


def frame(dtype, nll, tokens, *more):
    """Rows of one model: a dtype and its losses, the tokens of each document, and another dtype and its losses."""
    tables = []
    for name, values in ((dtype, nll), *([more] if more else [])):
        known = {"model": "m", "variant": "eager", "dtype": name, "task": "t", "document": range(len(tokens))}
        known |= {"digest": "d", "nll": values, "tokens": tokens, "bytes": np.asarray(tokens) * 4}
        tables.append(pd.DataFrame(known).assign(correct=None, correct_norm=None))
    return pd.concat(tables, ignore_index=True)
