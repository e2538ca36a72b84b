"""One call measures a model of one's own: refused in a sentence, or measured whole, said in words and never twice."""

import shutil
from pathlib import Path

import nbformat
import numpy as np
import pytest

import bench_utils as bu
from bench_utils import frames
from bench_utils import plan as plans
from bench_utils.measuring import asking
from bench_utils.records import read_manifest
from bench_utils.reporting.execute import execute
from bench_utils.runs import runs
from tests.conftest import REPOSITORY
from tests.faults.conftest import make_run  # noqa: F401

OPTIONS = {"variants": ["eager-static"], "phases": "decode", "prompt_tokens": 16, "rounds": 2, "budget": "smoke"}


def save_checkpoint(folder: Path, seed: int = 0) -> Path:
    """A GPT-2 of two layers, as its owner would save it."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    sizes = {"vocab_size": 512, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 2}
    config = GPT2Config(**sizes, initializer_range=0.2, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("models") / "my-model")


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A working directory that is no checkout, and must stay empty."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not list(tmp_path.glob("results/*"))


class TestRefusals:
    @pytest.mark.parametrize(("options", "said"), [
        ({"variants": ["compil"]}, "unknown variant 'compil'; did you mean compile"),
        ({"variants": "known-work"}, "unknown variant 'known-work'; known: eager, "),
        ({"variants": ["compile-reduce-overhead"]}, "'compile-reduce-overhead' cannot run here: .*CUDA device"),
        ({"dtype": "int8"}, "unknown dtype 'int8'; known: float32"),
        ({"phases": ["decod"]}, "unknown phase 'decod'; did you mean decode"),
        ({"phases": []}, "my-model cannot be measured so: phases: .*at least 1"),
        ({"rounds": 0}, "rounds: Input should be greater than 0"),
        ({"rounds": "six"}, "rounds: .*integer"),
        ({"prompt_tokens": [16, 0]}, "prompt_tokens: Input should be greater than 0"),
        ({"prompt_tokens": 60}, "beyond the context of .*my-model' .64.; shorten prompt_tokens or new_tokens"),
        ({"new_tokens": 8}, "new_tokens = 8: give at least 16"),
        ({"budget": "quik"}, "unknown budget 'quik'; did you mean quick"),
        ({"budget": {"max_secs": 1.0}}, "'max_secs'; did you mean max_seconds"),
        ({"cell_timeout": 0}, "cell_timeout: Input should be greater than 0"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"run": "2020"}, "unknown run of measure-my-model: '2020'"),
        ({"variants": None}, "unknown variant 'None'"),
        ({"prompt_tokens": 1.5}, "prompt_tokens: .*integer"),
        ({"budget": 5}, "budget 5: give one of smoke, quick, full, or a mapping"),
    ])  # fmt: skip
    def test_bad_input_is_one_sentence_and_measures_nothing(self, checkpoint, nowhere, options, said):
        with pytest.raises(bu.BenchError, match=said) as refused:
            bu.measure(checkpoint, **OPTIONS | options)
        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize(("model", "said"), [
        ("gpt2-25", "unknown model 'gpt2-25'; did you mean gpt2-25m"),
        (Path("gpt2"), "there is no model folder 'gpt2'"),
        (".", "holds no config.json"),
        (None, "model None: give a name of the catalog"),
        ("my-org/my-model", "is not in the local cache and the hub does not answer; .*give a folder"),
    ])  # fmt: skip
    def test_a_model_that_is_not_there_is_refused_before_a_process_starts(self, nowhere, model, said):
        with pytest.raises(bu.BenchError, match=said):
            bu.measure(model, **OPTIONS)

    def test_whole_numbers_of_numpy_are_whole_numbers(self):
        assert [type(size) for size in asking.several(np.int64(16))] == [int]
        assert asking.several(np.array([16, 32, 16])) == [16, 32]

    @pytest.mark.parametrize("content", ["5", '{"n_layer": "12"}', "[" * 100_000])
    def test_a_config_that_states_no_shape_is_refused(self, nowhere, content):
        (nowhere / "odd").mkdir()
        (nowhere / "odd" / "config.json").write_text(content)
        with pytest.raises(bu.BenchError, match="'.*odd': config.json does not state a transformer's shape"):
            bu.measure("odd", **OPTIONS)

    def test_a_folder_without_safetensors_is_refused(self, checkpoint, nowhere):
        (nowhere / "half").mkdir()
        (nowhere / "half" / "config.json").write_text((checkpoint / "config.json").read_text())
        with pytest.raises(bu.BenchError, match="'half' holds no safetensors; write them with save_pretrained"):
            bu.measure("half", **OPTIONS)


class TestPlan:
    def plan(self, model, variants=("compile",)):
        known, spelled = asking.located(model)
        cells = {"models": [spelled], "variants": asking.arms(variants, "float32"), "scenarios": [SCENARIO]}
        return asking.plan_of(known, "quick", asking.limits_of("x", cells, rounds=6, budget=asking.BUDGETS["quick"]))

    def test_eager_and_its_control_are_always_measured_and_the_order_of_names_is_no_other_plan(self, checkpoint):
        variants = self.plan(checkpoint, ["compile-static", "compile"]).preset("quick").cells[0].variants
        assert variants == ["eager", "eager-again", "compile", "compile-static"]
        assert self.plan(checkpoint, ["compile", "eager", "compile-static"]).digest("quick") == self.plan(
            checkpoint, ["compile-static", "compile"]
        ).digest("quick")

    def test_other_weights_in_the_same_folder_are_another_run(self, tmp_path):
        before = self.plan(save_checkpoint(tmp_path / "mine"))
        assert self.plan(tmp_path / "mine").digest("quick") == before.digest("quick")
        save_checkpoint(tmp_path / "mine", seed=1)
        assert self.plan(tmp_path / "mine").digest("quick") != before.digest("quick")

    def test_the_digests_of_committed_plans_do_not_depend_on_checkpoints(self):
        plan = plans.read(REPOSITORY / "notebooks" / "selftest.toml")
        assert plan.checkpoint is None
        assert plan.model_copy(update={"checkpoint": "x"}).digest("quick") != plan.digest("quick")

    def test_a_folder_at_home_is_recorded_without_the_name_of_its_owner(self, checkpoint, monkeypatch):
        monkeypatch.setenv("HOME", str(checkpoint.parents[1]))
        known, spelled = asking.located(checkpoint)
        assert spelled == f"~/{checkpoint.parent.name}/my-model"
        assert known.folder == checkpoint
        assert self.plan(checkpoint).report == "measure-my-model"


SCENARIO = {"prompt_tokens": 16, "new_tokens": 16}


class TestWords:
    @pytest.fixture
    def measured(self, make_run, tmp_path, capsys):  # noqa: F811
        """A planted run of gpt2-25m, read as a measurement that is never made."""

        def read(plant=lambda made: None, **planted):
            root = tmp_path / "results" / "cpu-test-1ghz-1c" / "measure-gpt2-25m"
            options = {"models": ("gpt2-25m",), "speed": {"compile-static": 0.5}} | planted
            run = make_run(plant, root=root, report="measure-gpt2-25m", **options)
            return bu.measure("gpt2-25m", ["compile-static"], run=run.folder.name, root=tmp_path)

        return read

    def test_a_verdict_is_a_sentence_with_outcomes_and_intervals(self, measured, capsys):
        found = measured()
        assert found.verdict.startswith("gpt2-25m on cpu-test-1ghz-1c, against eager: in prefill, compile-static is ")
        assert found.verdict.count(" times faster") == 3
        row = found.effects.query("phase == 'decode' and variant == 'compile-static'").iloc[0]
        assert f"in decode, compile-static is {bu.in_words(found.effects, row.model, row.variant, 'decode')}" in (
            found.verdict
        )
        found.show()
        said = capsys.readouterr().out
        assert said.startswith(found.verdict)
        assert "Eager under two labels differs most in" in said
        assert "Rows: results/cpu-test-1ghz-1c/measure-gpt2-25m/run-1." in said
        assert "seeded random weights" in said

    def test_several_prompts_are_told_apart(self, measured):
        found = measured(prompts=(16, 32))
        assert found.verdict.count("at 16 prompt tokens, compile-static") == 3
        labels = [label.get_text() for label in found.figure().get_yticklabels()]
        assert "decode · gpt2-25m · compile-static · 32 prompt" in labels

    def test_too_few_rounds_are_no_verdict_and_no_outcome(self, measured):
        found = measured(rounds=2)
        assert found.verdict.startswith(
            "No verdict: of 6 rounds, the least that give one, it has 2. So far, gpt2-25m on"
        )
        assert "faster" not in found.verdict
        assert "in decode, compile-static is at 0.5" in found.verdict

    def test_a_failed_gate_is_no_verdict(self, measured):
        def other_weights(made):
            if made.variant == "compile-static":
                made.receipt["provenance"] = made.receipt["provenance"] | {"digest": "another"}

        found = measured(other_weights)
        assert found.verdict.startswith("No verdict: the gate 'all variants of a model ran the same weights")
        assert "faster" not in found.verdict

    def test_an_invalid_contrast_says_why(self, measured):
        def storm(made):
            if made.variant == "compile-static" and made.phase == "decode":
                made.facts["status"] = "recompile_storm"

        assert (
            "in decode, compile-static is not comparable (recompile_storm in 6 of 6 rounds)" in measured(storm).verdict
        )

    def test_without_a_number_of_eager_the_sentence_says_what_happened(self, measured, capsys):
        found = measured(lambda made: made.fail("oom_host", "no memory") if made.variant == "eager" else None)
        assert found.verdict == (
            "No verdict: eager of gpt2-25m gave no number on cpu-test-1ghz-1c (eager oom_host, no memory); "
            "repair it and give run='new'."
        )
        found.show()
        assert capsys.readouterr().out == f"{found.verdict}\n"
        with pytest.raises(bu.BenchError, match="gave no number"):
            found.figure()


NOTEBOOK = """import bench_utils as bu

bu.measure({model!r}, variants=["eager-static"], phases="decode", prompt_tokens=16, rounds=2, budget="smoke")"""


class TestMeasured:
    @pytest.fixture(scope="class")
    def fresh(self, checkpoint, tmp_path_factory):
        """The folder of a fresh notebook, outside of any checkout, and what its only cell showed."""
        folder = tmp_path_factory.mktemp("notes")
        cells = [nbformat.v4.new_code_cell(NOTEBOOK.format(model=str(checkpoint)))]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "fresh.ipynb")
        execution = execute(folder / "fresh.ipynb", {}, folder / "out.ipynb", cwd=folder)
        assert execution.status == "complete", execution.message
        return folder, nbformat.read(folder / "out.ipynb", 4).cells[0].outputs

    def test_three_lines_in_a_fresh_notebook_show_a_sentence_and_a_figure(self, fresh):
        shown = [output.metadata["bench"] for output in fresh[1] if "bench" in output.get("metadata", {})]
        assert [bench["kind"] for bench in shown] == ["headline", "figure", "prose"]
        verdict = "".join(text for text, _ in shown[0]["parts"])
        assert verdict.startswith("No verdict: of 6 rounds, the least that give one, it has 2. So far, my-model on ")
        assert shown[1]["alt"] == verdict
        assert {row["variant"] for row in shown[1]["rows"]} == {"eager-again", "eager-static"}
        assert any("image/png" in output.get("data", {}) for output in fresh[1])

    def test_its_rows_are_where_those_of_any_study_are(self, fresh):
        folder, _ = fresh
        ((run, manifest),) = runs(folder)
        assert run.parent.name == manifest.report == "measure-my-model"
        assert (manifest.status, manifest.preset, manifest.weights) == ("complete", "smoke", "local")
        assert (folder / ".bench" / "machine").exists()
        cells = frames.receipts(run).query("phase == 'decode'")
        assert set(cells["variant"]) == {"eager", "eager-again", "eager-static"}
        assert all(receipt["provenance"]["weights"] == "local" for receipt in cells["receipt"])

    def test_the_same_call_again_measures_nothing(self, fresh, checkpoint, monkeypatch):
        folder, _ = fresh
        monkeypatch.chdir(folder)
        ((run, _),) = runs(folder)
        before = {path: path.read_bytes() for path in run.glob("*.json*")}
        found = bu.measure(checkpoint, **OPTIONS)
        assert found.study.folder == run
        assert {path: path.read_bytes() for path in run.glob("*.json*")} == before
        assert len(found.rows) and set(found.effects["variant"]) == {"eager-again", "eager-static"}
        assert found.gates.set_index("gate")["result"].filter(like="the design is complete").item() == "passed"

    def test_weights_that_do_not_load_are_said_and_kept(self, checkpoint, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        folder = shutil.copytree(checkpoint, tmp_path / "torn")
        (folder / "model.safetensors").write_bytes(b"torn")
        found = bu.measure(folder, [], phases="prefill", prompt_tokens=16, rounds=1, budget="smoke")
        assert found.verdict.startswith("No verdict: eager of torn gave no number on ")
        assert found.effects.empty
        assert read_manifest(found.study.folder).status == "complete"
