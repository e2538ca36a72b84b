"""Platforms side by side: outcomes of published and measured contrasts, and which pairs may be compared."""

import json
import math
import shutil
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from bench_utils import contrasts, portability
from bench_utils import plan as plans
from bench_utils.errors import BenchError
from bench_utils.portability import bearing, figures, outcomes, pairs, wording
from bench_utils.portability.estimates import NO_INTERVAL, Estimate, from_effect, from_summaries
from bench_utils.portability.evidence import Evidence
from bench_utils.portability.platforms import MEASURED, PUBLISHED
from bench_utils.portability.printed import CONTRAST, SETTING
from bench_utils.statistics import Summary
from tests.conftest import REPOSITORY
from tests.faults import conftest as planting

make_run = planting.make_run
NOWHERE = REPOSITORY / "tests"  # a root without results
EVIDENCE = portability.gather(NOWHERE)
CELLS, TABLE, PAIRS = EVIDENCE.cells, EVIDENCE.outcomes, EVIDENCE.pairs
PLAIN = {
    "platform": "A", "kind": PUBLISHED, "chapter": "TR147 SS1", "source": "L1", "model": "m", "dtype": "float32",
    "phase": "prefill", "prompts": "all five sets", "new_tokens": "0", "timer": "wall+sync", "gpu": "GPU A",
    "torch": "2.8", "triton": "3.3.1", "code": "transformers", "libraries": "x", "config": "auto", "cache": "dynamic",
    "mode": "default", "eager_ms": 10.0, "compiled_ms": 5.0, "ratio": 0.5, "low": math.nan, "high": math.nan, "n": 100,
    "p": math.nan, "effect_size": math.nan, "interval": NO_INTERVAL, "share": 0.0, "failed": 0.0, "tried": 100.0,
    "floor": outcomes.NOISE, "evidence": "", "flags": "",
}  # fmt: skip


def contrast(**changed):
    assert set(changed) <= set(PLAIN) == set(CONTRAST)
    return PLAIN | changed


def judged(*rows):
    """Planted contrasts with their outcomes, as published ones get them."""
    return outcomes._judged(pd.DataFrame(list(rows), columns=CONTRAST))


def outcome(**changed):
    found = judged(contrast(**changed)).iloc[0]
    return found["outcome"], found["reason"]


OTHER = {"platform": "B", "chapter": "TR147 SS2", "gpu": "GPU B"}


def pair(across=("gpu",), **changed):
    (found,) = portability.compare(judged(contrast(), contrast(**OTHER | changed)), across).itertuples()
    return found


# ---------------------------------------------------------------- outcomes


@pytest.mark.parametrize("ratio", [0.97, 1.0, 1.03])
def test_an_arm_within_noise_of_eager_without_evidence_is_a_suspected_fallback_and_not_neutral(ratio):
    word, reason = outcome(ratio=ratio)
    assert word == "suspected fallback"
    assert f"{100 * (ratio - 1):+.1f} % of eager" in reason and "nothing shows" in reason


def test_a_flag_that_suspects_eager_outweighs_a_ratio_beyond_noise():
    assert outcome(ratio=1.4)[0] == "slower"
    assert outcome(ratio=1.4, flags="eager_fallback_suspected")[0] == "suspected fallback"


def test_an_interval_that_reaches_into_the_noise_decides_and_not_its_middle():
    assert outcome(ratio=0.9, low=0.88, high=0.92)[0] == "faster"
    assert outcome(ratio=0.9, low=0.80, high=0.97)[0] == "suspected fallback"


def test_a_mean_without_a_spread_says_that_it_has_no_interval():
    assert outcome(ratio=0.5) == ("faster", "aggregate: no interval")
    assert outcome(ratio=0.5, low=0.48, high=0.52) == ("faster", "")


def test_a_crash_is_an_outcome_with_the_share_of_attempts_and_its_interval():
    found = judged(contrast(ratio=math.nan, share=0.8, failed=240.0, tried=300.0)).iloc[0]
    assert (found["outcome"], found["reason"]) == ("crashed", "240 of 300 attempts and the rest are survivors")
    assert found["share_low"] == pytest.approx(0.7511, abs=1e-4) and found["share_high"] == pytest.approx(
        0.8413, abs=1e-4
    )


def test_a_crash_rate_without_attempts_has_no_interval():
    found = judged(contrast(ratio=math.nan, share=1.0, failed=math.nan, tried=math.nan)).iloc[0]
    assert found["outcome"] == "crashed" and "not stated" in found["reason"] and math.isnan(found["share_low"])


def test_fewer_crashes_leave_survivors_and_suspect_rows_are_invalid():
    assert outcome(share=0.1, failed=10.0)[0] == "survivors only"
    assert outcome(flags="survivor_only")[0] == "survivors only"
    assert outcome(flags="compile_time_suspected_in_region", ratio=5.8)[0] == "invalid"
    assert outcome(ratio=math.nan) == ("invalid", "no latency of both arms is printed")


@pytest.mark.parametrize(("effect_size", "word"), [(-3.0, "faster"), (3.0, "slower"), (-0.1, "suspected fallback")])
def test_where_no_ratio_is_printed_the_sign_of_the_effect_size_decides(effect_size, word):
    assert outcome(ratio=math.nan, effect_size=effect_size)[0] == word


def test_noise_grows_with_an_eager_arm_that_moved_between_the_stacks_of_its_table():
    static = TABLE[TABLE["source"].isin([f"TR147-0{n}" for n in range(85, 91)])]
    eager = CELLS[CELLS["section"] == "SS8.3"]["ms"]
    noise = math.sqrt(2) * math.log(eager.max() / eager.min())
    assert len(static) == 6 and static["floor"].to_numpy() == pytest.approx(noise)
    assert (TABLE[TABLE["source"] == "L0315"]["floor"] == outcomes.NOISE).all()


# ---------------------------------------------------------------- intervals


def test_an_interval_from_printed_spreads_covers_what_a_simulation_gives():
    import numpy as np

    rng = np.random.default_rng(0)
    eager, compiled = rng.normal(10, 1, (4000, 50)), rng.normal(5, 0.8, (4000, 50))
    drawn = compiled.mean(axis=1) / eager.mean(axis=1)
    found = from_summaries(Summary(50, 10.0, 1.0), Summary(50, 5.0, 0.8))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (found.low, found.high) == (pytest.approx(low, rel=0.01), pytest.approx(high, rel=0.01))
    assert found.effect_size < 0 and found.p < 1e-12


def test_an_effect_size_gives_back_the_interval_of_the_spread_that_it_was_made_from():
    eager, compiled = Summary(300, 20.0, 2.0), Summary(300, 12.0, 2.0)
    known = from_summaries(eager, compiled)
    found = from_effect(0.6, f"{-known.effect_size:.3f}", 300)
    assert (found.low, found.high) == (pytest.approx(known.low, rel=1e-3), pytest.approx(known.high, rel=1e-3))
    assert math.isnan(from_effect(math.nan, "0.006", 300).low)


def test_without_a_spread_there_is_no_interval():
    assert from_summaries(None, Summary(300, 12.0, 2.0)) == Estimate()


# ---------------------------------------------------------------- pairs


def test_two_platforms_with_one_outcome_and_size_agree():
    found = pair(ratio=0.51)
    assert (found.result, found.reason) == ("same outcome", "by means alone")
    assert found.shift == pytest.approx(1.02)


def test_an_effect_of_another_size_is_shifted_and_its_interval_decides_where_there_is_one():
    assert pair(ratio=0.7).result == "shifted"
    wide = [contrast(low=0.3, high=0.8), contrast(**OTHER, ratio=0.7, low=0.4, high=0.9)]
    assert portability.compare(judged(*wide), ("gpu",))["result"].item() == "same outcome"
    narrow = [contrast(low=0.49, high=0.51), contrast(**OTHER, ratio=0.7, low=0.69, high=0.71)]
    found = portability.compare(judged(*narrow), ("gpu",)).iloc[0]
    assert (found["result"], found["reason"]) == ("shifted", "by the interval")
    assert found["low"] < 1.4 < found["high"]


@pytest.mark.parametrize(
    ("ratio", "result", "reason"),
    [
        (0.98, "not comparable", "faster, then same: no shift beyond noise"),
        (1.02, "shifted", "faster, then same"),
    ],
)
def test_outcomes_on_both_sides_of_a_threshold_are_shifted_only_where_the_ratio_moved(ratio, result, reason):
    near = contrast(ratio=0.972, low=0.967, high=0.977, floor=0.02)
    other = contrast(**OTHER, ratio=ratio, low=ratio - 0.005, high=ratio + 0.005, floor=0.02)
    table = judged(near, other).assign(outcome=["faster", "same"])
    found = portability.compare(table, ("gpu",)).iloc[0]
    assert (found["result"], found["reason"]) == (result, reason)
    assert found["shift"] == pytest.approx(ratio / 0.972)


@pytest.mark.parametrize(
    ("changed", "result"),
    [
        ({"ratio": 1.5}, "reversed"),
        ({"ratio": math.nan, "share": 1.0, "failed": 100.0}, "reversed"),
    ],
)
def test_a_result_that_turns_round_or_crashes_elsewhere_is_reversed(changed, result):
    assert pair(**changed).result == result


def test_crashes_on_both_sides_agree():
    crash = {"ratio": math.nan, "share": 1.0, "failed": 100.0}
    (found,) = portability.compare(judged(contrast(**crash), contrast(**OTHER | crash)), ("gpu",)).itertuples()
    assert (found.result, found.reason) == ("same outcome", "both crash")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"torch": ""}, "not stated by both: torch"),
        ({"torch": "2.9", "triton": "3.6.0"}, "they differ in torch, Triton as well"),
        ({"cache": ""}, None),
        ({"dtype": "float16"}, "other dtypes"),
        ({"prompts": "single_short"}, "other prompts"),
        ({"timer": "HTTP"}, "other timers"),
        ({"ratio": 1.01}, "suspected fallback on B"),
        ({"share": 0.2, "failed": 20.0}, "survivors only on B"),
    ],
)
def test_what_is_missing_or_differs_beside_the_question_is_not_compared_and_said(changed, reason):
    found = portability.compare(judged(contrast(), contrast(**OTHER | changed)), ("gpu",))
    if reason is None:  # another cache is another contrast
        assert found.empty
    else:
        assert (found["result"].item(), found["reason"].item()) == ("not comparable", reason)
        assert math.isnan(found["shift"].item())


def test_what_one_experiment_leaves_unstated_is_the_same_throughout_it_but_not_on_another_gpu():
    rows = judged(contrast(torch=""), contrast(torch="", platform="B", triton="3.6.0", ratio=0.51))
    assert portability.compare(rows, ("triton",))["result"].item() == "same outcome"
    rows = judged(contrast(torch=""), contrast(**OTHER, torch="") | {"chapter": "TR147 SS1"})
    assert portability.compare(rows, ("gpu",))["reason"].item() == "not stated by both: torch"


def test_another_mode_is_compared_on_one_platform_alone():
    rows = judged(contrast(), contrast(mode="reduce-overhead"), contrast(**OTHER, mode="reduce-overhead"))
    found = portability.compare(rows, ("mode",))
    assert len(found) == 1 and (found["platform_a"] == found["platform_b"]).all()


def test_a_factor_that_no_platform_has_is_refused_with_those_there_are():
    with pytest.raises(BenchError, match="unknown factor: 'gpus'.*gpu"):
        portability.compare(TABLE, ("gpus",))
    with pytest.raises(BenchError, match="name one or more"):
        portability.compare(TABLE, ())


def test_every_pair_counts_once_in_the_matrix():
    grid = portability.matrix(PAIRS, list(EVIDENCE.platforms["platform"]))
    assert grid["shared"].sum() == len(PAIRS)
    assert grid["kept"].sum() == portability.kept(PAIRS).sum() <= grid["compared"].sum()


# ---------------------------------------------------------------- the published tables


def test_every_compiled_row_of_a_single_model_and_no_other_is_a_contrast():
    rows = CELLS[CELLS["compile_mode"] != "eager"]["row_id"]
    named = TABLE[TABLE["source"].str.startswith("L")]["source"]
    assert sorted(named) == sorted(rows)
    claimed = TABLE[~TABLE["source"].str.startswith("L")]["source"]
    assert sorted(claimed) == sorted([f"TR147-0{n}" for n in (62, 66, 70, 74)] + [f"TR147-0{n}" for n in range(85, 91)])
    assert not TABLE["model"].str.contains("pooled").any()


def test_ratios_are_those_that_the_report_prints_as_percentages():
    printed = {"L0260": -55.48, "L0261": -76.31, "L0284": -59.67, "L0297": -54.37, "L0312": -62.82}
    for row, delta in printed.items():
        found = TABLE[TABLE["source"] == row].iloc[0]
        assert 100 * (found["ratio"] - 1) == pytest.approx(delta, abs=0.06)


def test_no_gpu_stands_alone_in_the_published_tables_and_triton_does_for_crashes_only():
    table = portability.by_question(TABLE).set_index("question")
    alone = table.loc["another GPU and nothing else"]
    assert alone["pairs"] == alone["not comparable"] > 0 and "torch" in alone["refused"]
    assert table.loc["another Triton and nothing else", "reversed"] == 0


def test_measured_and_published_are_told_apart_and_a_published_only_root_has_no_measured():
    assert set(EVIDENCE.platforms["kind"]) == {PUBLISHED}
    table = EVIDENCE.platforms.set_index("platform")
    assert "contradicts itself" in table.loc["A100-SXM4, stack unstated", "unknown"]
    assert "eager control drift" in table.loc["RTX 6000 Ada, Triton 3.4.0", "flags"]
    assert EVIDENCE.engaged.empty and EVIDENCE.judged.empty and EVIDENCE.index.empty


def test_claims_are_judged_on_each_platform_and_a_suspected_fallback_supports_none():
    found = portability.on_platforms(TABLE).set_index(["id", "platform"])
    assert found.loc[("prefill-graphs", "RTX 6000 Ada, Triton 3.3.1"), "verdict"] == "supported"
    assert found.loc[("prefill-graphs", "RTX 6000 Ada, Triton 3.4.0"), "verdict"] == "inconclusive"
    assert found.loc[("decode-default", "RTX 6000 Ada, Triton 3.3.1"), "verdict"] == "inconclusive"
    between = portability.between_platforms(PAIRS)
    assert set(between["id"]) <= {sentence.id for sentence in bearing.SENTENCES}
    counted = between[between["id"].str.startswith("prefill")][list(pairs.RESULTS)]
    assert counted.to_numpy().sum() == (PAIRS["phase"] == "prefill").sum()


# ---------------------------------------------------------------- measured beside them


def committed(tmp_path):
    """A root with the committed run of TR126 alone."""
    (run,) = sorted((REPOSITORY / "results").glob("cpu-*/TR126"))[-1:]
    shutil.copytree(run, tmp_path / "results" / run.parent.name / "TR126")
    (tmp_path / "notebooks").mkdir()
    shutil.copy(REPOSITORY / "notebooks/TR126_compile_phases.toml", tmp_path / "notebooks")
    return portability.gather(tmp_path)


def test_a_committed_run_stands_beside_the_published_tables_with_its_calls(tmp_path):
    found = committed(tmp_path)
    mine = found.outcomes[found.outcomes["kind"] == MEASURED]
    assert len(mine) and set(mine["source"]) <= {"compile", "compile-static"}
    assert mine["evidence"].str.endswith("calls ran compiled code").all()
    assert mine["low"].notna().all() and not (mine["outcome"] == "suspected fallback").any()
    assert len(found.outcomes) == len(TABLE) + len(mine)
    shares = found.engaged.set_index(["model", "variant", "phase"])["share"]
    assert shares["gpt2-25m", "compile-dynamic-false", "decode"] < 1
    gates = portability.checklist(found.cells, found.outcomes, found.pairs, found.measured)
    rows = gates[(gates["kind"] == MEASURED) & (gates["gate"] == "Row-level evidence")]
    assert rows["result"].tolist() == ["passed"]
    assert set(SETTING) <= set(mine) and (mine["libraries"] != "").all()


def test_a_measured_arm_near_eager_without_compiled_calls_is_suspected_as_well():
    class Effect:
        outcome, reason = "same", ""

    assert outcomes._of_measured(Effect, (0.0, 0.0), [])[0] == "suspected fallback"
    assert outcomes._of_measured(Effect, (40.0, 64.0), [])[0] == "suspected fallback"
    assert outcomes._of_measured(Effect, (64.0, 64.0), [])[0] == "same"
    assert outcomes._of_measured(Effect, (64.0, 64.0), ["a gate"])[0] == "invalid"


def test_a_cell_that_died_with_samples_on_disk_is_a_failed_attempt(make_run):
    def plant(made):
        if (made.variant, made.phase) == ("compile-static", "decode") and made.round in (2, 5):
            made.facts["status"] = "segfault"
        if (made.variant, made.phase) == ("compile-static", "prefill") and made.round == 3:
            made.fail("not_compiled")

    rows = make_run(plant, models=["gpt2-5m"]).rows()
    effects = contrasts.contrast(rows).query("variant == 'compile-static'").itertuples()
    found = {effect.phase: outcomes._attempts(SimpleNamespace(rows=rows), effect) for effect in effects}
    assert found == {"decode": (2, 6), "prefill": (1, 6), "e2e": (0, 6)}


# ---------------------------------------------------------------- shown


def test_figures_draw_published_hollow_and_mark_fallbacks_and_crashes():
    axes = figures.ratios(TABLE)
    faces = {line.get_markerfacecolor() for ax in axes for line in ax.lines if line.get_marker() == "o"}
    assert faces == {"white"}
    marks = [line.get_marker() for line in axes[1].lines]
    decode = TABLE[TABLE["phase"] == "decode"]
    assert marks.count("s") == (decode["outcome"] == "crashed").sum()
    drawn = decode[(decode["outcome"] == "suspected fallback") & decode["ratio"].notna()]
    assert marks.count("x") == len(drawn)
    grid = portability.matrix(PAIRS, list(EVIDENCE.platforms["platform"]))
    ax = figures.pair_matrix(grid)
    assert len(ax.patches) == (grid["shared"] > 0).sum() and len(ax.texts) == (grid["compared"] > 0).sum()
    panels = figures.triton(portability.triton_comparison(TABLE))
    assert [ax.get_title(loc="left") for ax in panels.flat] == [
        "prefill, dynamic",
        "decode, dynamic",
        "prefill, static",
    ]
    plt.close("all")


def test_tables_of_the_page_have_heads_for_columns_that_exist():
    between = portability.between_platforms(PAIRS)
    shown = {
        "platforms": wording.numbered(EVIDENCE.platforms, EVIDENCE.platforms), "between": between,
        "pairs": wording.pairs_shown(PAIRS, EVIDENCE.platforms),
        "refused": wording.refused(between, EVIDENCE.platforms), "questions": portability.by_question(TABLE),
        "index": wording.arms(portability.published_index(TABLE)),
        "engaged": wording.numbered(EVIDENCE.engaged, EVIDENCE.platforms),
        "judged": wording.numbered(EVIDENCE.judged, EVIDENCE.platforms),
        "crashes": wording.crashes(TABLE),
    }  # fmt: skip
    assert shown.keys() | {"control", "together"} == wording.HEADS.keys()
    for name, frame in shown.items():
        assert set(wording.HEADS[name]) <= set(frame.columns), name


def test_what_is_said_counts_what_the_tables_hold():
    assert f"{len(TABLE)} {PUBLISHED}s" in wording.outcomes_in_words(TABLE)
    assert f"{(PAIRS['result'] == 'reversed').sum()} reversed" in wording.pairs_in_words(PAIRS)
    grid = portability.matrix(PAIRS, list(EVIDENCE.platforms["platform"]))
    assert f"Of {len(grid)} pairs of platforms" in wording.matrix_in_words(grid)
    assert "suspected fallbacks, on 3.3.1 and 3.4.0 and 3.6.0" in wording.triton_in_words(
        portability.triton_comparison(TABLE)
    )


def test_the_plan_measures_on_every_stack_what_its_minutes_say():
    plan = plans.read(REPOSITORY / "notebooks/TR147_portability.toml")
    assert plan.report == "TR147" and not plan.per_device
    assert plan.preset("quick").rounds == 6 and plan.preset("quick").expected_minutes() <= 5
    assert {cell.variant for cell in plan.preset("quick").measured} == {"eager", "eager-again", "compile-static"}
    assert {cell.phase for cell in plan.preset("quick").measured} == {"prefill", "decode"}


def test_nothing_here_measures():
    assert not {"time", "torch"} & set(vars(outcomes)) and isinstance(EVIDENCE, Evidence)


# ---------------------------------------------------------------- two stacks of one device


def planted_stacks(root, slower=1.0, drift=1.0):
    """Two runs of TR147 that were measured together: copies of the committed TR126 run, the second under another torch
    with every compiled static call ``slower`` by that factor, and every call of the control by ``drift``."""
    (root / "notebooks").mkdir()
    shutil.copy(REPOSITORY / "notebooks/TR147_portability.toml", root / "notebooks")
    run = min((REPOSITORY / "results").glob("cpu-*/TR126/*"), key=lambda folder: folder.name)
    for stack, factor in (("A", 1.0), ("B", slower)):
        folder = root / "results" / run.parts[-3] / "TR147" / f"{run.name}-{stack}"
        shutil.copytree(run, folder)
        manifest = json.loads((folder / "run.json").read_text())
        manifest |= {"report": "TR147", "run": folder.name, "stack": stack, "group": "together"}
        manifest["identity"] |= {"torch": f"2.1{stack == 'B':d}.0"}
        (folder / "run.json").write_text(json.dumps(manifest))
        samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
        for sample in samples:
            sample["latency_ms"] *= factor if "compile-static" in sample["process"] else 1.0
            sample["latency_ms"] *= drift if stack == "B" and "eager" in sample["process"] else 1.0
        (folder / "samples.jsonl").write_text("".join(f"{json.dumps(sample)}\n" for sample in samples))
    return portability.gather(root)


def test_two_stacks_measured_together_are_platforms_with_pairs_and_an_index(tmp_path):
    found = planted_stacks(tmp_path, slower=1.5)
    assert [run.stack for run in found.measured] == ["A", "B"] and len(set(found.outcomes["platform"])) == 15
    mine = found.pairs[found.pairs["kind_a"] == MEASURED].set_index(["model", "phase", "cache"])
    assert set(mine["differ"]) == {"torch"} and set(mine["unstated"]) == {""}
    static = mine.loc[("tiny-gpt2", "decode", "static")]
    assert (static["result"], static["reason"]) == ("shifted", "by the interval")
    assert static["low"] < 1.5 < static["high"] and static["shift"] == pytest.approx(1.5)
    assert mine.loc[("tiny-gpt2", "decode", "dynamic"), "result"] == "same outcome"
    assert mine.loc[("gpt2-25m", "prefill", "static"), "result"] == "reversed"
    assert mine.loc[("gpt2-25m", "decode", "dynamic"), "reason"].startswith("undecided on")
    assert mine.loc[("gpt2-25m", "decode", "static"), "reason"] == "by the interval, one side undecided"
    index = found.index.set_index(["model", "phase", "mode"])
    assert set(index["verdict"]) == {"holds"} and set(index["stacks"]) == {"A, B"}
    assert index.loc[("tiny-gpt2", "decode", "compile"), "index"] == 0.0
    assert index.loc[("tiny-gpt2", "decode", "compile-static"), "index"] > 2
    assert set(found.judged["platform"]) == {run.name for run in found.measured}
    assert not found.control["drifted"].any() and not found.drifted
    shifts = found.together.set_index(["model", "phase", "variant"])["outcome"]
    assert shifts["tiny-gpt2", "decode", "compile-static"] == "differs"
    assert "A and B were measured together" in wording.groups(found)
    for name, frame in (("control", wording.control(found.control)), ("together", wording.together(found.together))):
        assert set(wording.HEADS[name]) <= set(frame.columns), name


def test_a_control_that_drifted_voids_every_pair_of_its_stacks(tmp_path):
    found = planted_stacks(tmp_path, slower=1.5, drift=1.3)
    assert found.control["drifted"].all()
    mine = found.pairs[found.pairs["kind_a"] == MEASURED]
    assert len(mine) and set(mine["result"]) == {"not comparable"}
    assert mine["reason"].str.contains("the control drifted between them").all()
    assert set(found.together["outcome"]) == {"void"} and set(found.index["verdict"]) == {"void"}
    refused = [
        portability.by_question(found.outcomes, drifted)
        .set_index("question")
        .loc["another stack on the same GPU", "not comparable"]
        for drifted in ((), found.drifted)
    ]
    assert refused[0] < refused[1]


def test_a_drifted_control_voids_no_pair_of_a_run_that_a_newer_one_replaced(tmp_path):
    planted_stacks(tmp_path, drift=1.3)
    (older,) = (tmp_path / "results").glob("*/TR147/*-B")
    newer = older.with_name(f"{older.name}-newer")
    shutil.copytree(older, newer)
    manifest = json.loads((newer / "run.json").read_text())
    manifest |= {"run": newer.name, "group": "alone", "started_at": "2999-01-01T00:00:00+00:00"}
    (newer / "run.json").write_text(json.dumps(manifest))
    found = portability.gather(tmp_path)
    assert found.control["drifted"].all()
    assert newer in {run.folder for run in found.measured}
    assert found.drifted == frozenset()
    assert not found.pairs["reason"].str.contains("control drifted").any()
