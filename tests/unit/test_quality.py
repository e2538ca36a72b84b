"""Losses that agree with a loop written by hand and with the harness, and refusals where there is nothing to state."""

import json
import math
import shutil

import nbformat
import pytest
import torch

from bench_utils import quality
from bench_utils.errors import BenchError
from bench_utils.plan import Plan
from bench_utils.quality import asked, engines, figures, harness, scoring, wording
from bench_utils.quality.asked import Source
from bench_utils.quality.rows import SCORES, Arm, Score, Task, read, write
from bench_utils.quality.texts import read_text
from bench_utils.reporting.execute import execute
from bench_utils.reporting.publish import publish
from tests.conftest import REPOSITORY, make_project
from tests.small_model import CONTEXT, ENDINGS, TEXT, train

STRIDE = 16
ARMS = [("eager", "float32"), ("eager", "int8"), ("llama.cpp", "q8_0")]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return train(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="module")
def project(checkpoint, tmp_path_factory):
    """A project whose plan scores the checkpoint, and a model that has none, on the tests' own text."""
    root = make_project(tmp_path_factory.mktemp("project"), {})
    for path in (TEXT, ENDINGS):
        shutil.copy(path, root / "notebooks")
    shutil.copy(REPOSITORY / "notebooks" / "quality.ipynb", root / "notebooks")
    (root / "notebooks" / "quality.toml").write_text(plan_text(checkpoint))
    return root


def plan_text(checkpoint) -> str:
    return f"""
report = "quality"
title = "Quality of a small model"
question = "What does a variant cost?"
expectation = "Little."

[scores.quick]
help = "one model that was trained, one that was not"
models = [{json.dumps(str(checkpoint))}, "gpt2-5m"]
texts = ["{TEXT.name}"]
tasks = ["{ENDINGS.name}"]
context = {CONTEXT}
stride = {STRIDE}
arm_seconds = 8
arms = [{{ variant = "eager", dtypes = ["float32", "int8"] }}, {{ variant = "llama.cpp", dtypes = ["q8_0"] }}]
"""


@pytest.fixture(scope="module")
def found(project):
    """Everything that the plan asks for, each arm in a process of its own."""
    return quality.Scoring("quality", "cpu", root=project).measure()


@pytest.fixture(scope="module")
def engine(checkpoint, tmp_path_factory):
    return opened(checkpoint, "eager", "float32", tmp_path_factory)


def opened(checkpoint, variant, dtype, tmp_path_factory):
    from bench_utils import catalog

    store = tmp_path_factory.mktemp("store")
    return engines.load(catalog.model(str(checkpoint)), variant, dtype, "cpu", "local", store)


@pytest.fixture(scope="module")
def tokenizer(checkpoint):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(checkpoint)


def mine(found, dtype, task=TEXT.name):
    rows = found.scores
    return rows[(rows["dtype"] == dtype) & (rows["task"] == task) & (rows["model"] == "small")].reset_index(drop=True)


def by_hand(checkpoint, context, stride, documents=None):
    """Losses of the documents, as one writes them: labels outside of a window's new tokens are masked."""
    from transformers import AutoTokenizer, GPT2LMHeadModel

    module = GPT2LMHeadModel.from_pretrained(checkpoint).eval()
    tokenizer, found = AutoTokenizer.from_pretrained(checkpoint), []
    for text in TEXT.read_text().strip().split("\n\n")[:documents]:
        ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(text)["input_ids"]]])
        total, end, last = 0.0, 0, ids.shape[1] - 1  # what is predicted: positions 1 to last
        while end < last:
            new = min(stride if end else context, last - end)
            end += new
            window = ids[:, max(0, end - context) : end + 1]
            labels = window.clone()
            labels[:, : window.shape[1] - new] = -100
            with torch.no_grad():
                logits = module(window[:, :-1]).logits
            flat = torch.nn.functional.cross_entropy(logits[0], labels[0, 1:], ignore_index=-100, reduction="sum")
            total += flat.item()
        found.append((total, last))
    return found


class TestLosses:
    def test_they_are_those_of_a_loop_written_by_hand(self, found, checkpoint):
        expected, rows = by_hand(checkpoint, CONTEXT, STRIDE), mine(found, "float32")
        assert rows["nll"].tolist() == pytest.approx([nll for nll, _ in expected], rel=1e-6)
        assert rows["tokens"].tolist() == [tokens for _, tokens in expected]
        loss = quality.losses(rows).iloc[0]["loss"]
        assert loss == pytest.approx(sum(n for n, _ in expected) / sum(t for _, t in expected), rel=1e-6)

    @pytest.mark.parametrize("stride", [1, 7, CONTEXT])
    def test_at_any_stride(self, engine, tokenizer, checkpoint, stride):
        number = 1 if stride == 1 else 4
        losses = list(scoring.losses(engine, tokenizer, read_text(TEXT)[:number], CONTEXT, stride))
        expected = by_hand(checkpoint, CONTEXT, stride, number)
        assert [loss.nll for loss in losses] == pytest.approx([nll for nll, _ in expected], rel=1e-6)

    def test_disjoint_windows_give_the_harness_own_numbers(self, engine, tokenizer, theirs):
        from lm_eval.api.instance import Instance

        documents = read_text(TEXT)
        requests = [Instance("loglikelihood_rolling", {}, (d.text,), i) for i, d in enumerate(documents)]
        expected = theirs.loglikelihood_rolling(requests, disable_tqdm=True)
        losses = scoring.losses(engine, tokenizer, documents, CONTEXT, CONTEXT)
        assert [-loss.nll for loss in losses] == pytest.approx(expected, rel=1e-6)

    def test_the_model_has_learned_something(self, found):
        table = quality.losses(found.scores).query("dtype == 'float32'").iloc[0]
        assert table["loss"] < 0.8 * math.log(512)
        assert table["documents"] == 16 and table["bytes"] == sum(d.bytes for d in read_text(TEXT))

    @pytest.mark.parametrize(("variant", "dtype"), ARMS[1:])
    def test_narrow_weights_differ_by_little_and_not_by_nothing(self, found, variant, dtype):
        difference = (mine(found, dtype)["nll"] - mine(found, "float32")["nll"]).abs() / mine(found, "float32")["nll"]
        assert 0 < difference.max() < 0.05
        rows = quality.differences(found.scores)
        row = rows[(rows["dtype"] == dtype) & (rows["task"] == TEXT.name)].iloc[0]
        assert row["low"] <= row["difference"] <= row["high"] and row["documents"] == 16

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
    def test_half_precision_too(self, checkpoint, found, tokenizer, tmp_path_factory, dtype):
        half = opened(checkpoint, "eager", dtype, tmp_path_factory)
        losses = list(scoring.losses(half, tokenizer, read_text(TEXT)[:2], CONTEXT, STRIDE))
        expected = mine(found, "float32")["nll"].tolist()[:2]
        assert [loss.nll for loss in losses] == pytest.approx(expected, rel=0.02)
        assert half.provenance["dtype"] == dtype and losses[0].nll != expected[0]

    def test_llama_cpp_in_full_precision_agrees_with_pytorch(self, checkpoint, found, tokenizer, tmp_path_factory):
        engine = opened(checkpoint, "llama.cpp", "float32", tmp_path_factory)
        losses = list(scoring.losses(engine, tokenizer, read_text(TEXT), CONTEXT, STRIDE))
        engine.close()
        assert [loss.nll for loss in losses] == pytest.approx(mine(found, "float32")["nll"].tolist(), rel=2e-3)


@pytest.fixture(scope="module")
def theirs(checkpoint):
    """The harness's own model of the same folder."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(checkpoint), max_length=CONTEXT, device="cpu", dtype="float32", batch_size=1)


class TestChoices:
    def test_item_by_item_as_the_harness_own_model_chooses(self, engine, tokenizer, theirs, found):
        source = Source(ENDINGS.name, ENDINGS, False)
        ours, _ = harness.run(harness.scorer(engine, tokenizer, CONTEXT, STRIDE), source, None)
        expected, facts = harness.run(theirs, source, None)
        assert ours == expected and len(ours) == 10
        rows = mine(found, "float32", ENDINGS.name)
        assert rows["correct"].tolist() == [row["correct"] for row in expected]
        assert rows["correct_norm"].mean() == facts["harness"]["results"]["acc_norm"]

    def test_each_continuation_has_the_harness_likelihood(self, engine, tokenizer, theirs):
        from lm_eval.api.instance import Instance

        pairs = [
            ("The tide comes in", " twice a day."), ("", "The bell"), ("A net is mended. " * 30, "The bell"),
            ("The", " quay"),
        ]  # fmt: skip
        requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
        ours = harness.scorer(engine, tokenizer, CONTEXT, STRIDE).loglikelihood(requests, disable_tqdm=True)
        expected = theirs.loglikelihood(requests, disable_tqdm=True)
        assert [likelihood for likelihood, _ in ours] == pytest.approx([e for e, _ in expected], rel=1e-5)
        assert [greedy for _, greedy in ours] == [greedy for _, greedy in expected]

    def test_a_task_of_whole_documents_gives_the_losses_of_the_text(self, engine, tokenizer, tmp_path):
        lines = [json.dumps({"text": d.text}) for d in read_text(TEXT)]
        (tmp_path / "pages.jsonl").write_text("\n".join(lines))
        (tmp_path / "pages.yaml").write_text(PAGES.replace("FILE", str(tmp_path / "pages.jsonl")))
        model = harness.scorer(engine, tokenizer, CONTEXT, STRIDE)
        rows, facts = harness.run(model, Source("pages.yaml", tmp_path / "pages.yaml", False), None)
        expected = list(scoring.losses(engine, tokenizer, read_text(TEXT), CONTEXT, STRIDE))
        assert [row["nll"] for row in rows] == pytest.approx([loss.nll for loss in expected], rel=1e-9)
        assert [(row["tokens"], row["bytes"]) for row in rows] == [(loss.tokens, loss.bytes) for loss in expected]
        bits = sum(loss.nll for loss in expected) / math.log(2) / sum(loss.bytes for loss in expected)
        assert facts["harness"]["results"]["bits_per_byte"] == pytest.approx(bits, rel=1e-6)


PAGES = """
task: pages
dataset_path: json
dataset_kwargs:
  data_files:
    test: FILE
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - metric: bits_per_byte
  - metric: byte_perplexity
"""


class TestRuns:
    def test_every_task_of_every_arm_has_a_row_and_a_receipt(self, found):
        assert len(found.tasks) == 2 * 3 * 2
        good = found.tasks[found.tasks["model"] == "small"]
        assert set(good["status"]) == {"ok"}
        for receipt in good["receipt"]:
            assert (receipt["context"], receipt["stride"]) == (CONTEXT, STRIDE)
            assert {"tokenizer", "text", "provenance", "engine", "begins"} <= receipt.keys()
        assert {r["provenance"]["dtype"] for r in good["receipt"]} == {"float32", "int8", "q8_0"}

    def test_int8_covers_the_matrices_that_pytorch_leaves_out(self, found):
        receipt = found.tasks.query("dtype == 'int8' and model == 'small'")["receipt"].iloc[0]
        assert len(receipt["quantised"]) == 2 * 4 + 1
        assert receipt["quantised_parameters"] == 2 * 12 * 64 * 64 + 512 * 64

    def test_an_architecture_has_no_quality_and_the_row_says_what_would_change_that(self, found):
        refused = found.tasks[found.tasks["model"] == "gpt2-5m"]
        assert set(refused["status"]) == {"unavailable"}
        assert refused["reason"].str.contains("no quality is stated: the catalog knows no checkpoint of this").all()
        assert found.scores["model"].unique().tolist() == ["small"]

    def test_a_complete_run_is_not_scored_again(self, project, found):
        before = (found.folder / SCORES).read_bytes()
        again = quality.Scoring("quality", "cpu", root=project)
        assert again.complete and again.measure().folder == found.folder
        assert (found.folder / SCORES).read_bytes() == before
        assert again.progress() == (12, 12)

    def test_an_interrupted_run_goes_on_with_what_is_missing(self, project, found, tmp_path):
        copy = shutil.copytree(project, tmp_path / "copy")
        folder = copy / found.folder.relative_to(project)
        lines = (folder / SCORES).read_text().splitlines()
        kept = [line for line in lines if '"gpt2-5m"' not in line]
        (folder / SCORES).write_text("\n".join(kept) + "\n" + lines[-1][:40])
        manifest = folder / "run.json"
        manifest.write_text(manifest.read_text().replace('"complete"', '"measuring"'))
        again = quality.Scoring("quality", "cpu", root=copy)
        assert not again.complete and again.folder == folder and again.progress() == (6, 12)
        assert len(again.measure().tasks) == 12 and again.complete

    def test_another_text_under_the_same_name_is_another_run(self, project, found, tmp_path):
        copy = shutil.copytree(project, tmp_path / "copy")
        assert quality.Scoring("quality", "cpu", root=copy).complete
        with (copy / "notebooks" / TEXT.name).open("a") as file:
            file.write("\n\nOne more paragraph.\n")
        assert quality.Scoring("quality", "cpu", root=copy).folder is None

    def test_nothing_begins_that_would_end_too_late(self, project, found, tmp_path):
        copy = shutil.copytree(project, tmp_path / "copy")
        new = quality.Scoring("quality", "cpu", run="new", root=copy)
        with pytest.raises(BenchError, match="no arm fits into so few minutes"):
            new.measure(minutes=0.01)
        assert set(new.rows().tasks["model"]) == {"gpt2-5m"} and not new.complete

    def test_a_process_that_does_not_end_is_a_row(self, checkpoint):
        found = quality.score(checkpoint, [TEXT], timeout=0.05)
        row = found.tasks.iloc[0]
        assert row["status"] == "timeout" and "raise timeout" in row["reason"] and found.scores.empty

    def test_the_hubs_text_out_of_reach_is_a_row_with_the_remedy(self, checkpoint):
        row = quality.score(checkpoint, tasks=["wikitext"], limit=1).tasks.iloc[0]
        assert row["status"] == "unavailable"
        assert "'wikitext'" in row["reason"] and "go online once" in row["reason"]

    def test_the_page_states_losses_and_reasons(self, project, found):
        nb, status = executed(project, found.folder.name)
        assert status == "complete"
        page = publish(nb, root=project, report="quality", device=found.manifest.device, facts={"run": "x"})
        assert page.html.stat().st_size < 300_000
        said = page.html.read_text()
        assert "the catalog knows no checkpoint of this model" in said and "perplexity" in said.lower()
        assert len(json.loads(page.json.read_text())["tables"]["losses"]) == 3


def executed(root, run):
    output = root / "executed.ipynb"
    done = execute(root / "notebooks" / "quality.ipynb", {"run": run}, output, cwd=root / "notebooks")
    return nbformat.read(output, 4), done.message or done.status if done.status != "complete" else done.status


class TestNothingToState:
    @pytest.fixture(scope="class")
    def nothing(self, tmp_path_factory):
        """The reports' own plan where no hub answers."""
        root = make_project(tmp_path_factory.mktemp("nothing"), {})
        for name in ("quality.toml", "quality.ipynb"):
            shutil.copy(REPOSITORY / "notebooks" / name, root / "notebooks")
        quality.Scoring("quality", "cpu", root=root).measure()
        return root

    def test_every_arm_says_why(self, nothing):
        found = quality.Scoring("quality", "cpu", root=nothing).rows()
        assert found.scores.empty and set(found.tasks["status"]) == {"unavailable"}
        reasons = dict(zip(found.tasks["model"], found.tasks["reason"], strict=True))
        assert "the hub does not answer" in reasons["gpt2"] and "--run new" in reasons["gpt2"]
        assert "knows no checkpoint of this model" in reasons["gpt2-5m"]

    def test_the_page_renders_and_states_no_number(self, nothing):
        study = quality.Scoring("quality", "cpu", root=nothing)
        nb, status = executed(nothing, study.manifest.run)
        assert status == "complete"
        shown = publish(nb, root=nothing, report="quality", device=study.manifest.device, facts={"run": "x"})
        tables = json.loads(shown.json.read_text())["tables"]
        assert tables["losses"] == [] and len(tables["refused"]) == 2
        assert "no quality is stated for any of 42 arms" in shown.html.read_text()


class TestRefusals:
    def test_an_architecture_is_refused_whoever_asks(self):
        with pytest.raises(BenchError, match="no quality is stated: the catalog knows no checkpoint of this model"):
            quality.perplexity("gpt2-5m", "A text. " * 20)
        with pytest.raises(BenchError, match="no quality is stated: the hub does not answer"):
            quality.perplexity("gpt2-25m", "A text. " * 20)

    def test_a_tokenizer_of_another_model_is_refused(self, checkpoint, tmp_path):
        larger = train(tmp_path / "larger", steps=0, vocabulary=600)
        folder = shutil.copytree(checkpoint, tmp_path / "mixed")
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(larger / name, folder)
        with pytest.raises(BenchError, match="has the id 512, and vocab_size in config.json allows 0 to 511"):
            quality.perplexity(folder, TEXT.read_text())

    @pytest.mark.parametrize(("text", "options", "said"), [
        ("", {}, "the text is empty"),
        ("a", {}, "fewer than 2 tokens"),
        ("Some words.", {"stride": 65}, "stride = 65 with a context of 64"),
        ("Some words.", {"context": 65}, "context = 65: this model reads 64 tokens at most"),
        ("Some words.", {"dtype": "int9"}, "unknown dtype"),
    ])  # fmt: skip
    def test_what_cannot_be_scored_is_one_sentence(self, checkpoint, text, options, said):
        with pytest.raises(BenchError, match=said):
            quality.perplexity(checkpoint, text, **options)

    @pytest.mark.parametrize(("changes", "said"), [
        ({"modelz": ["gpt2"]}, "scores.quick: unknown key 'modelz'; did you mean models"),
        ({"stride": 2048}, "stride = 2048 is longer than the context of 1024"),
        ({"texts": [], "tasks": []}, "nothing to score; name texts or tasks"),
        ({"arms": [{"variant": "compile", "dtypes": ["float32"]}]}, "unknown variant that is scored: 'compile'"),
        ({"arms": [{"variant": "llama.cpp", "dtypes": ["int8"]}]}, "unknown dtype of llama.cpp: 'int8'"),
        ({"arms": [{"variant": "eager", "dtype": ["int8"]}]}, "unknown key 'dtype'; did you mean dtypes"),
        ({"models": ["gpt3"]}, "unknown model 'gpt3'"),
        ({"context": 0}, "context: Input should be greater than 0"),
    ])  # fmt: skip
    def test_a_wrong_plan_names_the_field(self, changes, said):
        good = {
            "help": "", "models": ["gpt2"], "tasks": ["wikitext"], "arms": [{"variant": "eager", "dtypes": ["float32"]}]
        }  # fmt: skip
        plan = Plan(report="q", title="", question="", expectation="", scores={"quick": good | changes})
        with pytest.raises(BenchError, match=said):
            asked.preset_of(plan, "quick")

    def test_a_missing_file_and_a_missing_preset_are_named(self, tmp_path):
        scores = {
            "help": "",
            "models": ["gpt2"],
            "texts": ["no.txt"],
            "arms": [{"variant": "eager", "dtypes": ["int8"]}],
        }
        plan = Plan(report="q", title="", question="", expectation="", scores={"quick": scores})
        with pytest.raises(BenchError, match="there is no file 'no.txt'; correct its path"):
            quality.Scoring(plan, "cpu", root=tmp_path)
        with pytest.raises(BenchError, match="unknown preset 'quik'; did you mean quick"):
            quality.Scoring(plan, "cpu", "quik", root=tmp_path)


def test_a_number_to_explore_with_says_what_it_is(checkpoint, found):
    whole = quality.perplexity(checkpoint, TEXT.read_text(), stride=STRIDE)
    expected = quality.losses(found.scores).query("dtype == 'float32'").iloc[0]
    assert whole.perplexity == pytest.approx(expected["perplexity"], rel=1e-6)
    assert whole.low < whole.perplexity < whole.high and "no report" in whole.exploratory


def test_what_speed_costs_stands_beside_what_was_measured(found):
    import pandas as pd

    changes = quality.differences(found.scores)
    speed = {"model": "small", "variant": "llama.cpp", "dtype": "q8_0", "latency": 0.5, "latency_low": 0.45}
    speeds = pd.DataFrame([speed | {"latency_high": 0.55, "rounds": 6, "run": "r"}])
    table = quality.beside(found, changes, speeds).set_index(["model", "dtype"])
    assert table.loc[("small", "q8_0"), "missing"] == ""
    assert table.loc[("small", "int8"), "missing"] == "its decode was not measured"
    assert table.loc[("gpt2-5m", "int8"), "missing"] == "no loss is stated and its decode was not measured"
    assert table.loc[("small", "float32"), "difference"] == 0
    words = wording.headline(found, table.reset_index())
    assert "small llama.cpp q8_0, takes 0.50 (0.45 to 0.55) times as long to decode" in words
    axes = figures.cost(table.reset_index())
    assert [label.get_text() for label in axes[0].get_yticklabels()] == [
        "small · eager · float32", "small · eager · int8", "small · llama.cpp · q8_0"
    ]  # fmt: skip
    assert [text.get_text() for text in axes[0].texts] == ["not timed", "not timed"]
    assert not axes[1].texts


def test_speeds_come_from_committed_runs_paired_by_round():
    device = next(path.parent.name for path in (REPOSITORY / "results").glob("*/TR117"))
    table = quality.speeds(REPOSITORY, device)
    plain = table[(table["variant"] == "eager") & (table["dtype"] == "float32")]
    assert len(plain) and (plain["latency"] == 1).all() and (table["rounds"] >= 6).all()
    assert (table["latency_low"] <= table["latency"]).all()
    assert quality.speeds(REPOSITORY, "cpu-nowhere").empty


def test_a_row_of_a_task_that_did_not_end_does_not_count(tmp_path):
    arm = Arm(model="m", variant="eager", dtype="float32").model_dump()
    line = json.dumps(arm | {"kind": "score", "task": "t", "document": 0, "digest": "d", "nll": 1.0})
    (tmp_path / SCORES).write_text(line + "\n" + line[:20])
    assert read(tmp_path) == ([], [])
    scores = [Score(**arm, task="t", document=n, digest="d", nll=2.0) for n in range(3)]
    write(tmp_path, [*scores, Task(**arm, task="t", status="ok")])
    assert [score.nll for score in read(tmp_path)[0]] == [2.0, 2.0, 2.0]


def test_importing_the_room_brings_neither_torch_nor_the_harness():
    import subprocess
    import sys

    code = "import sys, bench_utils.quality; sys.exit('torch' in sys.modules or 'lm_eval' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
