"""Exploring: every run can be chosen, every choice is drawn or said in a sentence, and none changes an outcome."""

import gc
import json
import time

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from bench_utils import contrasts, figures
from bench_utils.errors import BenchError
from bench_utils.explore import Explorer, drawing, widgets
from bench_utils.explore.selection import ALL, VIEWS
from bench_utils.explore.showing import has_front_end
from tests.faults.conftest import make_run  # noqa: F401

REPORT = "results/cpu-test-1ghz-1c/mini"
VARIANTS = ("eager", "eager-again", "compile", "compile-static")
SPEED = {"compile": 0.97, "compile-static": 0.5}


def in_time(run):
    """The run's samples one after the other, as a measurement leaves them: a hundredth of a second each."""
    path = run.folder / "samples.jsonl"
    rows = [json.loads(line) | {"started_at": 0.01 * n} for n, line in enumerate(path.read_text().splitlines())]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def explorer(make_run, tmp_path):  # noqa: F811
    """An explorer over one run of two models, four variants and six rounds."""
    in_time(make_run(root=tmp_path / REPORT, variants=VARIANTS, speed=SPEED, samples=12, prompts=(16, 32)))
    return Explorer(tmp_path)


def decode(explorer, **changes):
    return explorer.default().but(**{"model": "gpt2-25m", "scenario": "16 + 16 tokens"} | changes)


class TestChoosing:
    def test_runs_are_named_by_report_device_and_date_and_the_newest_is_first(self, explorer, make_run, tmp_path):  # noqa: F811
        make_run(root=tmp_path / REPORT, started_at="2026-02-03T04:05:06+00:00", status="measuring", run="x-9f3a")
        first, second = explorer.runs()
        assert first == "mini · cpu-test-1ghz-1c · 2026-02-03 04:05 (smoke, 9f3a, unfinished)"
        assert second.startswith("mini · cpu-test-1ghz-1c · 2026-01-01 00:00")

    def test_a_run_that_cannot_be_read_is_listed_and_says_why(self, explorer, tmp_path):
        (tmp_path / REPORT / "broken").mkdir()
        (tmp_path / REPORT / "broken" / "run.json").write_text("{")
        *_, last = explorer.runs()
        assert last == "broken (cannot be read)"
        assert "has no readable run.json" in Explorer(tmp_path).html(explorer.default(last))
        assert explorer.default().run != last

    def test_everything_that_was_measured_can_be_chosen(self, explorer):
        known = explorer.choices(*explorer.runs())
        assert known["model"] == [ALL, "gpt2-5m", "gpt2-25m"]
        assert known["phase"] == [ALL, "prefill", "decode", "e2e", "load"]
        assert known["scenario"] == [ALL, "16 + 16 tokens", "32 + 16 tokens"]
        assert known["variants"] == list(VARIANTS)
        assert known["baseline"][0] == "eager"

    def test_a_choice_is_exactly_its_rows(self, explorer):
        rows = explorer.select(decode(explorer, variants=("compile",)))
        assert set(rows["model"]) == {"gpt2-25m"} and set(rows["variant"]) == {"compile"}
        assert set(rows["phase"]) == {"decode"} and set(rows["prompt_tokens"]) == {16}
        assert len(rows) == 6 * 12

    def test_a_prefill_belongs_to_every_scenario_of_its_prompt(self, explorer):
        rows = explorer.select(decode(explorer, phase="prefill"))
        assert set(rows["new_tokens"]) == {0} and set(rows["prompt_tokens"]) == {16}

    @pytest.mark.parametrize(("wrong", "said"), [
        ({"model": "gpt2-25"}, "unknown model 'gpt2-25'; did you mean gpt2-25m"),
        ({"phase": "decod"}, "unknown phase 'decod'; did you mean decode"),
        ({"variants": ("compil",)}, "unknown variant 'compil'; did you mean compile"),
        ({"scenario": "1"}, "unknown scenario '1'; known: all, 16"),
        ({"view": "drifts"}, "unknown view 'drifts'; did you mean drift"),
        ({"run": "2020"}, "unknown run '2020'; known: mini"),
    ])  # fmt: skip
    def test_a_name_that_is_not_there_is_one_sentence(self, explorer, wrong, said):
        with pytest.raises(BenchError, match=said):
            explorer.select(explorer.default().but(**wrong))

    def test_rows_are_loaded_once_until_their_files_change(self, explorer, tmp_path):
        (run,) = explorer.runs()
        before = explorer.rows(run)
        assert explorer.rows(run) is before
        samples = explorer.runs()[run] / "samples.jsonl"
        samples.write_text("".join(samples.read_text().splitlines(keepends=True)[:-1]))
        assert len(explorer.rows(run)) == len(before) - 1


class TestPictures:
    def test_a_distribution_has_a_lane_a_variant_and_in_it_a_bar_a_round(self, explorer):
        (ax,) = explorer.figure(decode(explorer)).axes
        assert [label.get_text() for label in ax.get_yticklabels()] == list(VARIANTS)
        assert [len(bars.get_segments()) for bars in ax.collections] == [6] * len(VARIANTS)
        assert [tuple(bars.get_color()[0][:3]) for bars in ax.collections] == [figures.colour(v) for v in VARIANTS]
        assert ax.get_xlabel() == "latency, ms"

    def test_a_lane_shows_its_rounds_apart_and_in_order(self, explorer):
        rows = explorer.select(decode(explorer, variants=("compile",)))
        ax = drawing.distribution(rows)
        (bars,) = ax.collections
        medians = ax.lines[-1]
        assert list(medians.get_xdata()) == pytest.approx(list(rows.groupby("round")["latency_ms"].median()))
        assert (np.diff(medians.get_ydata()) > 0).all()
        assert [segment[0][1] for segment in bars.get_segments()] == list(medians.get_ydata())

    def test_a_drift_is_in_the_order_of_time_with_a_dashed_line_a_round(self, explorer):
        (ax,) = explorer.figure(decode(explorer, view="drift")).axes
        dots = [line for line in ax.lines if line.get_label() in VARIANTS]
        assert sorted(place for line in dots for place in line.get_xdata()) == list(range(4 * 6 * 12))
        _, begun = ax.collections
        assert [segment[0][0] for segment in begun.get_segments()] == [48 * number - 0.5 for number in range(1, 6)]
        assert {line.get_label(): to_rgb(line.get_markeredgecolor()) for line in dots} == {
            variant: figures.colour(variant) for variant in VARIANTS
        }
        assert ax.get_ylabel() == "latency, ms"

    def test_a_drift_over_the_run_is_seen(self, explorer):
        rows = explorer.select(decode(explorer, view="drift", variants=("eager",))).copy()
        rows["latency_ms"] *= 1 + 0.1 * rows["round"]
        ax = drawing.drift(rows)
        heights = [segment[0][1] for segment in ax.collections[0].get_segments()]
        assert heights == sorted(heights) and heights[-1] > 1.3 * heights[0]

    def test_of_many_samples_every_so_manieth_is_drawn_and_the_caption_says_so(self, explorer, monkeypatch):
        monkeypatch.setattr(drawing, "POINTS", 100)
        chosen = decode(explorer, view="drift")
        (ax,) = explorer.figure(chosen).axes
        assert sum(len(line.get_xdata()) for line in ax.lines if line.get_label() in VARIANTS) == 4 * 6 * 4
        assert "one dot stands for 3 samples" in explorer.view(chosen).caption

    def test_several_cells_are_several_panels_and_those_left_out_are_counted(self, explorer):
        chosen = decode(explorer, phase=ALL, model=ALL, scenario=ALL)
        assert len(explorer.figure(chosen).axes) == chosen.panels == 2
        assert "2 of 12 cells are drawn" in explorer.view(chosen).caption
        assert len(explorer.figure(chosen.but(panels=20)).axes) == 12

    def test_words_are_made_from_the_rows(self, explorer):
        view = explorer.view(decode(explorer, variants=("compile-static",)))
        median = view.table["latency_ms"].median()
        assert view.caption.startswith("72 samples of 6 rounds on cpu-test-1ghz-1c.")
        assert f"decode of gpt2-25m: compile-static {median:.1f} ms" in view.alt

    def test_cells_that_are_not_ok_are_named(self, make_run, tmp_path):  # noqa: F811
        def spoil(made):
            if made.variant == "eager" and made.phase == "decode" and made.round == 2:
                made.facts["status"] = "contaminated"

        make_run(spoil, root=tmp_path / REPORT, models=("gpt2-25m",))
        assert "not ok: eager contaminated 1." in Explorer(tmp_path).html(Explorer(tmp_path).default())


class TestEffects:
    def test_outcomes_are_those_of_the_whole_run_whatever_is_selected(self, explorer):
        everything = contrasts.contrast(explorer.rows(*explorer.runs()))
        chosen = decode(explorer, view="effects", variants=("compile",))
        (mine,) = explorer.table(chosen).to_dict("records")
        cell = everything.query("model == 'gpt2-25m' and phase == 'decode' and variant == 'compile'")
        (same,) = cell[cell["prompt_tokens"] == 16].to_dict("records")
        assert mine == same
        assert mine["family"] == 24
        assert "corrected over all 24 of the run" in explorer.view(chosen).caption

    def test_the_picture_names_what_differs(self, explorer):
        (ax,) = explorer.figure(decode(explorer, view="effects", scenario=ALL)).axes
        labels = [label.get_text() for label in ax.get_yticklabels()]
        assert "decode · gpt2-25m · compile-static · 32 prompt" in labels
        assert "latency / that of eager" in ax.get_xlabel()

    def test_of_many_contrasts_the_first_are_drawn_and_all_are_in_the_table(self, explorer):
        chosen = decode(explorer, view="effects", scenario=ALL, phase=ALL, model=ALL)
        (ax,) = explorer.figure(chosen).axes
        assert (len(ax.get_yticks()), len(explorer.table(chosen))) == (20, 36)
        assert "20 are drawn; choose a model" in explorer.view(chosen).caption

    def test_another_baseline_without_a_control_gives_no_outcome_and_says_why(self, explorer):
        chosen = decode(explorer, view="effects", baseline="compile")
        assert set(explorer.table(chosen)["outcome"]) == {"ambiguous"}
        assert "compile was not measured under a second label" in explorer.view(chosen).caption

    @pytest.mark.parametrize("changes", [{"phase": "load"}, {"variants": ("eager",)}])
    def test_a_selection_without_a_contrast_is_one_sentence(self, explorer, changes):
        html = explorer.html(decode(explorer, view="effects", scenario=ALL).but(**changes))
        assert html.startswith("<p>no contrast with eager in this selection;")

    def test_a_run_of_the_baseline_alone_has_no_contrast(self, make_run, tmp_path):  # noqa: F811
        make_run(root=tmp_path / REPORT, variants=("eager",))
        explorer = Explorer(tmp_path)
        assert "no contrast with eager" in explorer.html(explorer.default().but(view="effects"))


class TestRowsAndFiles:
    def test_the_first_rows_are_shown_with_the_count_of_all(self, explorer):
        html = explorer.html(decode(explorer, view="rows", first=7))
        assert "7 of 288 rows, in the order in which they were written." in html
        assert html.count("<tr>") == 1 + 7
        assert "left out" not in html

    def test_a_view_is_exported_as_picture_and_table_and_says_where(self, explorer, tmp_path):
        chosen = decode(explorer, view="drift")
        paths = explorer.export(chosen)
        assert [path.suffix for path in paths] == [".csv", ".svg", ".png"]
        assert {path.parent.as_posix() for path in paths} == {".bench/exports"}
        written = {path: (tmp_path / path).read_bytes() for path in paths}
        pd.testing.assert_frame_equal(
            pd.read_csv(tmp_path / paths[0])[["round", "latency_ms"]],
            explorer.table(chosen)[["round", "latency_ms"]].reset_index(drop=True),
        )
        assert written[paths[1]].startswith(b"<?xml") and written[paths[2]].startswith(b"\x89PNG")
        assert Explorer(tmp_path).export(chosen) == paths
        assert {path: (tmp_path / path).read_bytes() for path in paths} == written

    def test_two_choices_are_two_files_and_raw_rows_have_no_picture(self, explorer):
        assert explorer.export(decode(explorer)) != explorer.export(decode(explorer, variants=("eager",)))
        assert [path.suffix for path in explorer.export(decode(explorer, view="rows"))] == [".csv"]


class TestNothingToShow:
    def test_without_a_run_one_sentence_says_what_to_do(self, tmp_path, capsys):
        explorer = Explorer(tmp_path)
        explorer.show()
        assert capsys.readouterr().out == "There is no run here yet: `make run` measures the first one.\n"
        assert "make run" in explorer.html(explorer.selection)
        assert explorer.select().empty

    def test_a_combination_that_was_not_measured_is_one_sentence(self, make_run, tmp_path):  # noqa: F811
        def only_eager_prefills(made):
            made.skipped = made.phase == "prefill" and made.variant != "eager"

        make_run(only_eager_prefills, root=tmp_path / REPORT)
        explorer = Explorer(tmp_path)
        html = explorer.html(explorer.default().but(phase="prefill", variants=("compile-static",)))
        assert html == ("<p>no rows: this run has not measured that combination; choose another variant or phase</p>")

    def test_failed_cells_are_one_sentence_and_their_rows_say_why(self, make_run, tmp_path):  # noqa: F811
        make_run(lambda made: made.fail("timeout", "no answer"), root=tmp_path / REPORT)
        explorer = Explorer(tmp_path)
        chosen = explorer.default()
        assert explorer.html(chosen).startswith("<p>no latency in this selection")
        assert "no answer" in explorer.html(chosen.but(view="rows"))
        assert explorer.html(chosen.but(view="effects")).startswith("<p>")

    def test_a_run_of_which_nothing_has_finished_is_one_sentence(self, explorer, make_run, tmp_path):  # noqa: F811
        run = make_run(root=tmp_path / REPORT, started_at="2026-02-03T04:05:06+00:00", status="measuring")
        (run.folder / "processes.jsonl").write_text("")
        fresh = Explorer(tmp_path)
        assert "has no finished process yet" in fresh.html(fresh.selection)
        assert fresh.html(fresh.selection) in widgets.Controls(fresh).shown.value


class TestControls:
    def test_every_control_changes_what_is_shown(self, explorer):
        controls = widgets.Controls(explorer)
        seen = {controls.shown.value}
        for change in (
            lambda: setattr(controls.fields["model"], "value", "gpt2-25m"),
            lambda: setattr(controls.fields["phase"], "value", "e2e"),
            lambda: setattr(controls.fields["scenario"], "value", "32 + 16 tokens"),
            lambda: setattr(controls.fields["variants"], "value", ("eager", "compile")),
            lambda: setattr(controls.view, "value", "drift"),
            lambda: setattr(controls.view, "value", "effects"),
            lambda: setattr(controls.fields["baseline"], "value", "compile"),
            lambda: setattr(controls.view, "value", "rows"),
            lambda: setattr(controls.first, "value", 3),
        ):
            change()
            assert controls.shown.value not in seen
            assert explorer.html(explorer.selection) in controls.shown.value
            seen.add(controls.shown.value)
        assert len(explorer.select()) == 2 * 6 * 12

    def test_another_run_offers_what_it_has_and_keeps_the_view(self, explorer, make_run, tmp_path):  # noqa: F811
        make_run(root=tmp_path / REPORT, models=("tiny-gpt2",), variants=("eager", "eager-again"))
        controls = widgets.Controls(explorer)
        controls.view.value = "effects"
        controls.run.value = next(name for name in explorer.runs() if "n-2" in name)
        assert controls.fields["model"].options == (ALL, "tiny-gpt2")
        assert explorer.selection.view == "effects"
        assert "1 of the contrasts with eager" in controls.shown.value

    def test_the_button_says_where_it_wrote(self, explorer, tmp_path):
        controls = widgets.Controls(explorer)
        controls.button.click()
        written = sorted((tmp_path / ".bench" / "exports").iterdir())
        assert len(written) == 3
        assert all(f"<code>.bench/exports/{path.name}</code>" in controls.said.value for path in written)

    def test_nobody_moves_a_control_where_there_is_no_kernel(self):
        assert not has_front_end()


@pytest.fixture
def own_heap():
    """What other tests left in this process is not searched again by the garbage collector: a kernel has none of it."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("own_heap")
def test_a_control_is_answered_within_300_ms_with_50_000_rows(make_run, tmp_path):  # noqa: F811
    models = ("gpt2-5m", "gpt2-25m", "tiny-gpt2")
    in_time(
        make_run(root=tmp_path / REPORT, models=models, variants=(*VARIANTS, "eager-static"), rounds=11, samples=100)
    )
    explorer = Explorer(tmp_path)
    (run,) = explorer.runs()
    assert len(explorer.rows(run)) >= 49_500
    start = explorer.default()
    explorer.html(start.but(view="effects"))  # the statistics are imported, and the contrasts of this run made
    for changes in (
        {},
        {"model": "tiny-gpt2"},
        {"phase": "e2e", "variants": ("eager", "compile")},
        {"model": ALL, "phase": ALL},
    ):
        for view in VIEWS:
            assert processor_seconds(explorer, start.but(view=view, **changes)) < 0.3, (view, changes)
    others = [start.but(view="effects", baseline=name) for name in ("compile", "compile-static", "eager-static")]
    assert processor_seconds(explorer, *others) < 0.3  # contrasts that were not made before


def processor_seconds(explorer, *chosen) -> float:
    """The least of three: what this process needs, whatever else the machine does."""
    spent = []
    for one in chosen if len(chosen) > 1 else 3 * chosen:
        begin = time.process_time()
        explorer.html(one)
        spent.append(time.process_time() - begin)
    return min(spent)
