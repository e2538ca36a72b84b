"""Claims of model cards: every one decided, right against independent computations, and able to change its mind."""

import csv
import json
import math
import re
import shutil
from dataclasses import replace

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from bench_utils import cards, catalog, scaling
from bench_utils.cards import figures, measured, named, outside, shapes, speed, wording, written
from bench_utils.cards.evidence import Evidence
from bench_utils.cards.stated import FAMILY, Stated
from bench_utils.errors import BenchError
from bench_utils.reporting.verdicts import claim_record
from tests.conftest import MINI_PLAN, REPOSITORY
from tests.unit.small_project import DEVICE, small_project, write_run

REFERENCE = REPOSITORY / "bench_utils/reference"
NOWHERE = REPOSITORY / "tests"  # a root without results
EVIDENCE = cards.gather(root=NOWHERE)
FOUND = {verdict.id: verdict for verdict in cards.verdicts(EVIDENCE)}
TABLE = cards.by_card(list(FOUND.values()), EVIDENCE)
PLANTED = Stated("P01", "gpt2-50m", "000", "Number of parameters", "parameters", "51476000", "count", "arithmetic")


def judged(stated, evidence=EVIDENCE):
    """The verdict on one planted claim, beside those that the cards really make."""
    others = {c.claim_id: vars(c) for c in evidence.claims if c.claim_id != stated.claim_id}
    planted = replace(evidence.sources, cards={stated.claim_id: vars(stated), **others})
    return cards.verdicts(Evidence(planted, evidence.runs))[0]


def edited(tmp_path, claim_id, **columns):
    """The verdicts over a copy of the tables with one row of the cards changed."""
    folder = tmp_path / "tables"
    shutil.copytree(REFERENCE, folder)
    with (folder / "cards.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    next(row for row in rows if row["claim_id"] == claim_id).update(columns)
    with (folder / "cards.csv").open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return {v.id: v for v in cards.verdicts(cards.gather(folder, NOWHERE))}


# ---------------------------------------------------------------- complete


def test_every_claim_has_a_verdict_in_the_order_of_the_table():
    with (REFERENCE / "cards.csv").open(encoding="utf-8", newline="") as lines:
        ids = [row["claim_id"] for row in csv.DictReader(lines)]
    assert list(FOUND) == ids == [f"C{n:02}" for n in range(1, 61)]
    assert {v.verdict for v in FOUND.values()} == set(cards.verdict_counts(TABLE).columns)
    assert cards.verdict_counts(TABLE).to_numpy().sum() == len(ids)


def test_every_verdict_carries_its_computation_or_what_would_decide_it():
    for verdict in FOUND.values():
        if verdict.verdict == "not testable here":
            assert "would decide it" in verdict.reason, verdict.id
        else:
            assert re.search(r"\d", verdict.reason), verdict.id
            assert verdict.value is not None, verdict.id
        assert claim_record(verdict)["id"] == verdict.id


def test_only_what_needs_a_machine_a_checkpoint_or_a_text_is_left_open():
    open_ = {v.id for v in FOUND.values() if v.verdict == "not testable here"}
    needs = {claim.claim_id: claim.needs for claim in EVIDENCE.claims}
    assert {needs[i] for i in open_} <= {"measurement", "reference", "hub", "corpus", "external"}
    assert not [i for i, need in needs.items() if need == "arithmetic" and i in open_]


# ---------------------------------------------------------------- right, by other means


def by_hand(layers, width, vocabulary=50257, context=1024):
    """Parameters of a GPT-2, matrix by matrix."""
    attention = width * 3 * width + 3 * width + width * width + width
    feed_forward = width * 4 * width + 4 * width + 4 * width * width + width
    return (vocabulary + context) * width + layers * (attention + feed_forward + 4 * width) + 2 * width


@pytest.mark.parametrize(
    ("claim", "shape", "verdict"),
    [
        ("C01", (2, 2), "refuted"),
        ("C07", (8, 512), "refuted"),
        ("C10", (3, 384), "supported"),
        ("C11", (8, 768), "refuted"),
        ("C25", (12, 768), "supported"),
        ("C40", (12, 768, 50304), "supported"),
        ("C54", (12, 768), "supported"),
    ],
)
def test_parameters_are_those_of_the_matrices(claim, shape, verdict):
    assert FOUND[claim].value * 1e6 == by_hand(*shape)
    assert f"{by_hand(*shape):,} parameters" in FOUND[claim].reason
    assert FOUND[claim].verdict == verdict


def test_sizes_are_given_in_both_units_and_neither_is_the_one_printed():
    weights = 4 * by_hand(8, 512)
    assert FOUND["C09"].verdict == "refuted"
    assert f"{weights / 1e6:.1f} MB" in FOUND["C09"].reason
    assert f"{weights / 2**20:.1f} MiB" in FOUND["C09"].reason


def test_the_tiny_file_is_weights_and_masks_and_its_unit_is_the_other_one():
    masked = 4 * by_hand(2, 2) + 2 * 1024 * 1024
    assert round(masked / 2**20, 1) == 2.4 != round(masked / 1e6, 1)
    assert FOUND["C03"].verdict == "refuted"
    assert "holds in MiB" in FOUND["C03"].reason


def test_the_file_of_gpt2_is_larger_than_its_weights_by_its_masks():
    assert FOUND["C29"].verdict == "refuted"
    assert f"{(4 * by_hand(12, 768) + 12 * 4 * 1024**2) / 1e6:.1f} MB" in FOUND["C29"].reason


@pytest.mark.parametrize(("claim", "gigabytes"), [("C27", 4 * by_hand(12, 768) / 1e9), ("C28", 0.2866)])
def test_memory_of_weights_and_cache_is_a_fraction_of_what_is_stated(claim, gigabytes):
    assert FOUND[claim].value == pytest.approx(gigabytes, rel=1e-3)
    assert FOUND[claim].verdict == "refuted"


def test_three_models_are_no_two_by_three_design_and_depth_never_varies_alone():
    assert (FOUND["C12"].verdict, FOUND["C12"].value) == ("refuted", 3)
    assert (FOUND["C13"].verdict, FOUND["C13"].value) == ("refuted", 0)
    assert "gpt2-50m and gpt2-100m" in FOUND["C13"].reason
    assert "gpt2-100m 2 of size 384" in FOUND["C14"].reason


def test_hours_losses_dates_and_vocabularies_follow_from_the_sentence():
    assert (FOUND["C41"].value, FOUND["C41"].verdict) == (104, "supported")
    assert (FOUND["C55"].value, FOUND["C55"].verdict) == (pytest.approx(math.exp(3.3079)), "supported")
    assert (FOUND["C56"].value, FOUND["C56"].verdict) == (pytest.approx(5000 * 13 / 3600), "supported")
    assert (FOUND["C53"].value, FOUND["C53"].verdict) == (-1, "refuted")
    assert (FOUND["C48"].value, FOUND["C48"].verdict) == (50304 - 50257, "refuted")


def test_carbon_implies_a_power_and_its_equivalents_follow_from_it():
    assert FOUND["C42"].verdict == "inconclusive"
    assert FOUND["C42"].value == pytest.approx(104 * 0.45 * 0.432)
    assert f"{13.48 / 104 / 0.432 * 1000:.0f} W a GPU" in FOUND["C42"].reason
    assert FOUND["C43"].value == pytest.approx(13.48 / (0.398 / 1.609344))
    assert FOUND["C44"].value == pytest.approx(13.48 * 1000 / (9.05e-4 * 1e6 * 2.204623), rel=1e-6)
    assert [FOUND[c].verdict for c in ("C43", "C44", "C45", "C46")] == ["supported"] * 4
    assert "within the rounding of its inputs" in FOUND["C44"].reason


def test_hours_that_cannot_hold_the_tokens_refute_them():
    tokens = next(c for c in EVIDENCE.claims if c.claim_id == "C47")
    assert FOUND["C47"].verdict == "inconclusive"
    assert FOUND["C47"].value == pytest.approx(10 / 2.48)
    assert judged(replace(tokens, value="400e9")).verdict == "refuted"


def test_a_perplexity_of_another_data_set_is_recognised():
    assert FOUND["C38"].verdict == "refuted"
    assert "on LAMBADA" in FOUND["C38"].reason
    paper = next(c for c in EVIDENCE.claims if c.claim_id == "C38")
    assert judged(replace(paper, value="29")).verdict == "supported"


def test_reports_are_asked_for_their_own_rows():
    assert (FOUND["C22"].verdict, FOUND["C22"].value) == ("supported", 7)
    assert (FOUND["C23"].verdict, FOUND["C23"].value) == ("supported", 4)
    assert (FOUND["C24"].verdict, FOUND["C24"].value) == ("refuted", 0)
    assert FOUND["C24"].reason.endswith("TR118, TR121, TR126, TR147") or "TR126" in FOUND["C24"].reason
    rows = cards.models_by_report(EVIDENCE).set_index("model")
    assert rows.loc["gpt2-50m", "TR117"] == 0 < rows.loc["gpt2-50m", "TR126"]
    assert rows.loc["tiny-gpt2", "TR117"] > 0
    assert rows.loc[["slimgpt", "gpt-124m"]].to_numpy().sum() == 0


# ---------------------------------------------------------------- able to fail


@pytest.mark.parametrize(
    ("planted", "verdict"),
    [
        (PLANTED, "supported"),
        (replace(PLANTED, value="51475968"), "supported"),
        (replace(PLANTED, value="51500000"), "supported"),  # rounded
        (replace(PLANTED, value="51400000"), "refuted"),  # cut off, not rounded
        (replace(PLANTED, value="51000000"), "supported"),
        (replace(PLANTED, claim="Number of parameters with n_layer 9", value="51475968"), "refuted"),
    ],
)
def test_a_count_holds_when_it_rounds_to_the_digits_printed(planted, verdict):
    assert judged(planted).verdict == verdict


SIZE = replace(PLANTED, claim="FP32 model size", metric="file_size", value="205.9", unit="MB")


@pytest.mark.parametrize(
    ("planted", "verdict", "said"),
    [
        (SIZE, "supported", "205.9 MB (196.4 MiB)"),
        (replace(SIZE, value="196.4"), "refuted", "holds in MiB"),
        (replace(SIZE, value="196.4", unit="MiB"), "supported", "196.4 MiB (205.9 MB)"),
        (replace(SIZE, value="205.9", unit="MiB"), "refuted", "holds in MB"),
        (replace(SIZE, value="214.3"), "refuted", ""),
        (replace(SIZE, value="214.3", claim="FP32 model size on disk"), "supported", "causal masks"),
    ],
)
def test_a_unit_is_part_of_a_number(planted, verdict, said):
    found = judged(planted)
    assert (found.verdict, said in found.reason) == (verdict, True)


@pytest.mark.parametrize(
    ("claim", "column", "text", "verdict"),
    [
        ("C01", "value", "100000", "supported"),
        ("C02", "value", "2/2/3", "refuted"),
        ("C04", "value", "2048", "refuted"),
        ("C07", "value", "51000000", "supported"),
        ("C08", "value", "512/4/8/2048", "refuted"),
        ("C09", "unit", "MiB", "refuted"),
        ("C12", "value", "3", "refuted"),
        ("C13", "value", "no", "supported"),
        ("C14", "value", "12", "refuted"),
        ("C22", "value", "5", "refuted"),
        ("C23", "value", "2", "refuted"),
        ("C24", "value", "no", "supported"),
        ("C27", "value", "0.5", "supported"),
        ("C38", "value", "29.4", "supported"),
        ("C41", "value", "105", "refuted"),
        ("C42", "value", "20.2", "supported"),
        ("C42", "value", "100", "refuted"),
        ("C43", "value", "80", "refuted"),
        ("C44", "value", "6.74", "inconclusive"),
        ("C45", "value", "0.5", "refuted"),
        ("C46", "value", "2.6e9", "inconclusive"),
        ("C48", "value", "no", "supported"),
        ("C53", "claim", "Trained in January 2024 and cited as 2024", "supported"),
        ("C54", "value", "163000000", "refuted"),
        ("C55", "value", "27.4", "refuted"),
        ("C56", "value", "19", "refuted"),
        ("C57", "value", "17-23", "supported"),
    ],
)
def test_a_changed_row_changes_its_verdict_and_what_follows_from_it(tmp_path, claim, column, text, verdict):
    changed = edited(tmp_path, claim, **{column: text})
    assert changed[claim].verdict == verdict
    follow = {"C43", "C44", "C45"} if claim == "C42" else set()  # equivalents of the carbon that the card states
    assert {i for i in FOUND if changed[i].verdict != FOUND[i].verdict} <= {claim} | follow


def test_an_unchanged_copy_gives_the_same_verdicts(tmp_path):
    assert edited(tmp_path, "C01", value="4600000") == FOUND


def test_a_quantity_without_a_rule_and_a_word_in_place_of_a_number_are_errors(tmp_path):
    with pytest.raises(BenchError, match="unknown metric of P01"):
        judged(replace(PLANTED, metric="parameter"))
    with pytest.raises(BenchError, match="P01 states 'many' where a number is needed"):
        judged(replace(PLANTED, metric="context", value="many"))
    with pytest.raises(BenchError, match="P01 needs 'luck'"):
        judged(replace(PLANTED, metric="loss", needs="luck"))


# ---------------------------------------------------------------- committed runs


def recorded(**columns):
    """Evidence whose receipts are these rows."""
    base = {
        "phase": "decode",
        "status": "ok",
        "reason": None,
        "report": "mini",
        "device": DEVICE,
        "weights": "architecture",
    }
    rows = [base | dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    evidence = Evidence(EVIDENCE.sources)
    evidence.__dict__["receipts"] = pd.DataFrame(rows)
    return evidence


def verdict_of(claim_id, evidence):
    return next(v for v in cards.verdicts(evidence) if v.id == claim_id)


@pytest.mark.parametrize(
    ("variant", "status", "claim", "verdict"),
    [
        ("eager", "ok", "C18", "supported"),
        ("eager", "contaminated", "C18", "supported"),
        ("eager", "harness_bug", "C18", "not testable here"),
        ("eager", "segfault", "C18", "refuted"),
        ("compile-static", "ok", "C19", "supported"),
        ("compile-static", "recompile_storm", "C19", "refuted"),
        ("vllm", "unavailable", "C20", "not testable here"),
        ("vllm", "server_died", "C20", "refuted"),
        ("ollama", "ok", "C21", "refuted"),
        ("ollama", "server_error", "C21", "supported"),
        ("llama.cpp", "ok", "C21", "inconclusive"),
        ("llama.cpp", "segfault", "C21", "not testable here"),
    ],
)
def test_an_engine_is_judged_by_how_its_cells_ended(variant, status, claim, verdict):
    found = verdict_of(claim, recorded(model=["gpt2-25m"], variant=[variant], status=[status]))
    assert found.verdict == verdict
    if verdict in ("supported", "refuted"):
        assert "without a record: gpt2-50m, gpt2-100m" in found.reason


def test_one_model_that_fails_refutes_a_claim_about_the_family():
    evidence = recorded(model=["gpt2-25m", "gpt2-100m"], variant=["vllm", "vllm"], status=["ok", "server_died"])
    assert verdict_of("C20", evidence).verdict == "refuted"


def test_a_model_that_an_engine_refuses_where_it_runs_another_refutes_it():
    names, status = ["gpt2-25m", "gpt2-100m"], ["ok", "unavailable"]
    evidence = recorded(model=names, variant=["vllm"] * 2, status=status, reason=[None, "no kernel for such heads"])
    found = verdict_of("C20", evidence)
    assert (found.verdict, found.value) == ("refuted", 1)
    assert "0 of 1 cells ran, unavailable: no kernel for such heads" in found.reason


def test_an_option_that_fails_does_not_refute_an_engine_that_has_another():
    names = ["compile-static", "compile-dynamic-false"]
    evidence = recorded(model=["gpt2-25m"] * 2, variant=names, status=["ok", "recompile_storm"])
    found = verdict_of("C19", evidence)
    assert (found.verdict, "recompile_storm" in found.reason) == ("supported", True)


@pytest.mark.parametrize(("status", "verdict"), [("ok", "supported"), ("token_mismatch", "refuted")])
def test_parity_is_read_from_the_receipts(status, verdict):
    receipt = {"parity": {"status": status, "evidence": "96 of 96 tokens"}}
    evidence = recorded(model=["tiny-gpt2"], variant=["eager"], receipt=[receipt])
    assert verdict_of("C06", evidence).verdict == verdict


def test_without_runs_what_needs_them_says_what_would_decide_it():
    for claim in ("C06", "C15", "C16", "C17", "C18", "C19", "C20", "C31", "C32", "C33", "C34", "C35", "C36"):
        assert FOUND[claim].verdict == "not testable here", claim


def test_complete_runs_of_a_checkout_are_found_and_stopped_ones_are_not(tmp_path):
    root = small_project(tmp_path)
    write_run(root)
    write_run(root, "20260102-000000-smoke-bbbb", processes=1)
    evidence = cards.gather(root=root)
    assert [run.manifest.run for run in evidence.runs] == ["20260101-000000-smoke-aaaa"]
    assert set(evidence.receipts["model"]) == {"tiny-gpt2"}
    assert "20260101-000000-smoke-aaaa" in wording.provenance(TABLE, evidence)["Runs read"]


PLAN = MINI_PLAN.replace("rounds = 2", "rounds = 6")


def planted(root, models, device=DEVICE, run="20260101-000000-smoke-aaaa", ms=None, tokens=None, dtypes="float32"):
    """A checkout with one more complete run of six rounds: `ms` and `tokens` of a process by the words in its name."""
    named = ", ".join(f'"{model}"' for model in models)
    both = ", ".join(f'"{dtype}"' for dtype in dtypes.split())
    plan = PLAN.replace('models = ["tiny-gpt2"]', f"models = [{named}]\ndtypes = [{both}]")
    if not (root / "pyproject.toml").exists():
        small_project(root)
    (root / "notebooks/mini.toml").write_text(plan)
    folder = write_run(root, run, device=device)
    for file in ("processes.jsonl", "samples.jsonl"):
        rows = [json.loads(line) for line in (folder / file).read_text().splitlines()]
        for n, row in enumerate(rows):
            words = f"-{row['process']}-"
            if "latency_ms" in row:
                row["latency_ms"] = next(v for word, v in ms.items() if f"-{word}-" in words) * (1 + n % 7 / 1e4)
                row["latency_ms"] *= 2 if row["cell"].startswith("e2e") else 1  # as its phases add up
            elif row["kind"] == "cell":
                row["receipt"] = {"tokens": [[tokens(words)]], "threads": 2}
        (folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return cards.gather(root=root)


@pytest.mark.parametrize(("factor", "verdict"), [(3.6, "supported"), (3.0, "inconclusive"), (0.5, "inconclusive")])
def test_a_ratio_of_two_models_is_that_of_a_run(tmp_path, factor, verdict):
    ms = {"gpt2-5m": 10 * factor, "gpt2-25m": 10.0}
    found = verdict_of("C16", planted(tmp_path, ["gpt2-5m", "gpt2-25m"], ms=ms, tokens=len))
    assert (found.verdict, found.n) == (verdict, 6)
    assert found.value == pytest.approx(factor, rel=1e-3)
    assert found.interval[0] <= found.value <= found.interval[1]
    assert "not slower there" in found.reason if factor < 1 else "not slower" not in found.reason


def test_outputs_repeat_when_two_processes_of_one_code_give_the_same_tokens(tmp_path):
    same = planted(tmp_path / "a", ["gpt2-25m"], ms={"gpt2-25m": 10.0}, tokens=lambda name: name.count("gpt2"))
    found = verdict_of("C17", same)
    assert (found.verdict, found.value, found.n) == ("supported", 0, 18)
    other = planted(tmp_path / "b", ["gpt2-25m"], ms={"gpt2-25m": 10.0}, tokens=lambda name: "again" in name)
    assert verdict_of("C17", other).verdict == "refuted"


GRID = [f"gpt2-{layers}x{width}" for layers in (2, 4, 8) for width in (64, 256)]


@pytest.mark.parametrize(
    ("a_layer", "a_mb", "device", "verdict"),
    [
        (1.0, 1e-4, "nvidia-test", "supported"),
        (0.01, 1.0, "nvidia-test", "refuted"),
        (1.0, 1e-4, DEVICE, "not testable here"),
    ],
)
def test_depth_is_judged_by_the_report_about_it_on_a_gpu(tmp_path, a_layer, a_mb, device, verdict):
    sizes = {name: scaling.sizes(name, "float32") for name in GRID}
    ms = {name: 0.1 + a_layer * s["layers"] + a_mb * (s["block_mb"] + s["head_mb"]) for name, s in sizes.items()}
    planted(tmp_path, GRID, device, ms=ms, tokens=len)
    shutil.copy(REPOSITORY / "notebooks/depth_vs_width.toml", tmp_path / "notebooks")
    (tmp_path / "results" / device / "mini").rename(tmp_path / "results" / device / "depth_vs_width")
    (manifest,) = tmp_path.glob("results/*/*/*/run.json")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"report": "depth_vs_width"}))
    found = verdict_of("C15", cards.gather(root=tmp_path))
    assert found.verdict == verdict
    assert f"depth_vs_width on {device}, depth-decides-decode: " in found.reason


@pytest.mark.parametrize(("factor", "verdict"), [(12.0, "supported"), (5.0, "refuted")])
def test_a_cpu_and_a_gpu_are_compared_on_one_request(tmp_path, factor, verdict):
    gpu = {"device": "nvidia-test", "run": "20260102-000000-smoke-bbbb"}
    alone = planted(tmp_path, ["gpt2"], ms={"gpt2": 10 * factor}, tokens=len)
    assert verdict_of("C32", alone).verdict == "not testable here"
    assert DEVICE not in verdict_of("C30", alone).reason
    assert f"mini on {DEVICE}" in verdict_of("C31", alone).reason
    found = verdict_of("C32", planted(tmp_path, ["gpt2"], ms={"gpt2": 10.0}, tokens=len, **gpu))
    assert (found.verdict, found.value) == (verdict, pytest.approx(factor, rel=1e-3))


@pytest.mark.parametrize(("factor", "verdict"), [(2.1, "supported"), (1.02, "refuted")])
def test_half_precision_is_judged_on_a_gpu_alone(tmp_path, factor, verdict):
    ms, both = {"float32": 10 * factor, "float16": 10.0}, "float32 float16"
    on_cpu = planted(tmp_path / "cpu", ["gpt2"], ms=ms, tokens=len, dtypes=both)
    assert verdict_of("C33", on_cpu).verdict == "not testable here"
    found = verdict_of("C33", planted(tmp_path / "gpu", ["gpt2"], "nvidia-test", ms=ms, tokens=len, dtypes=both))
    assert (found.verdict, found.value) == (verdict, pytest.approx(factor, rel=1e-3))


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [((1.9, 2.0, 2.1), "supported"), ((2.4, 2.6, 2.8), "inconclusive"), ((2.8, 3.0, 3.2), "refuted")],
)
def test_an_interval_that_excludes_the_number_printed_refutes_it(interval, verdict):
    low, value, high = interval
    stated = replace(PLANTED, metric="speedup", value="2", unit="x")
    assert speed._judged(stated, "", "times", value, low, high, 6).verdict == verdict


# ---------------------------------------------------------------- shown


def test_sizes_agree_with_the_published_configurations():
    table = cards.sizes(EVIDENCE).set_index("model")
    assert list(table.index) == [m for m in catalog.MODELS if m in {c.model for c in EVIDENCE.claims}]
    for name, row in table.iterrows():
        known = EVIDENCE.described(catalog.model(name))
        assert row["parameters"] == int(known["computed_params"])
        assert row["without"] == int(known["computed_nonembedding_params"])
    assert table.loc["gpt2", "cache_kib"] == 2 * 12 * 768 * 4 / 1024
    assert shapes.untied(catalog.model("gpt2")) - by_hand(12, 768) == 50257 * 768


def test_every_constant_names_its_source_its_date_and_a_claim_that_uses_it():
    table = cards.constants(EVIDENCE)
    assert len(table) == len(named.ALL) == len(outside._USES)
    assert (table[["value", "source", "date", "claims"]].map(len) > 2).all(axis=None)


def test_the_figure_counts_what_the_table_does():
    counts = cards.verdict_counts(TABLE)
    ax = figures.verdicts_by_card(counts)
    assert sum(bar.get_width() for bar in ax.patches) == counts.to_numpy().sum() == len(FOUND)
    assert [label.get_text() for label in ax.get_yticklabels()] == list(counts.index)
    assert f"000 {FAMILY}" in counts.index
    plt.close("all")


def test_what_is_out_of_scope_is_named_with_the_claims_that_touch_it():
    said = wording.out_of_scope(EVIDENCE)
    assert "training (C" in said and "LoRA and the Trainer among them (C48)" in said
    assert "TensorFlow Lite (no claim)" in said and "JAX (no claim)" in said
    jax = replace(PLANTED, claim="Runs under JAX")
    assert "JAX (P01)" in wording.out_of_scope(Evidence(replace(EVIDENCE.sources, cards={"P01": vars(jax)})))


def test_tables_of_the_page_have_heads_for_columns_that_exist():
    sizes = cards.sizes(EVIDENCE)
    shown = {"shapes": sizes, "bytes": sizes, "constants": cards.constants(EVIDENCE), "refuted": TABLE, "open": TABLE}
    for name, frame in shown.items():
        assert set(wording.HEADS[name]) <= set(frame.columns)


def test_no_rule_types_a_number_that_a_card_states():
    values = {c.value for c in EVIDENCE.claims if re.fullmatch(r"\d{2,}\.?\d*", c.value)} - {"2.48e9"}
    for path in (REPOSITORY / "bench_utils/cards").glob("*.py"):
        text = re.sub(r'"""(?s:.*?)"""', "", path.read_text(encoding="utf-8"))
        typed = {v for v in values if re.search(rf"(?<![\w.]){re.escape(v)}(?![\w.])", text)}
        assert typed <= {"256", "1024"}, path.name  # cores of a published training, tokens in a KiB


def test_the_module_of_measured_claims_reads_runs_and_times_nothing():
    assert not {"time", "perf_counter", "torch"} & set(vars(measured))


# ---------------------------------------------------------------- written


def test_a_written_section_has_sizes_intervals_and_what_ran_from_records_alone(tmp_path):
    root = small_project(tmp_path)
    write_run(root)
    text = written.technical_section("tiny-gpt2", cards.gather(root=root))
    for heading in ("## Technical Specifications", "### Memory", "### Latency", "### Compatibility", "### Records"):
        assert heading in text
    assert f"| Parameters, head tied | {by_hand(2, 2):,} |" in text
    assert "20260101-000000-smoke-aaaa" in text
    (decode,) = [line for line in text.splitlines() if "| eager | float32 | decode |" in line]
    assert re.search(r"\| [\d.]+ \([\d.]+ to [\d.]+\) \| [\d.]+ \([\d.]+ to [\d.]+\) \| 2 \|$", decode)
    assert written.technical_section("tiny-gpt2", cards.gather(root=root)) == text


def test_a_written_section_without_records_says_so_and_shows_no_latency():
    text = written.technical_section("gpt2-50m", EVIDENCE)
    assert "No complete run on record has timed this model." in text
    assert " ms" not in text.replace("latency, ms", "")


def test_cells_of_a_written_table_are_text():
    assert written._table(("a|b",), [("<b>*x*</b>\nnext",)]).splitlines() == [
        r"| a\|b |",
        "|---|",
        r"| \<b\>\*x\*\</b\> next |",
    ]


@pytest.mark.parametrize("name", ["gpt3", "owner/model"])
def test_a_model_without_a_known_shape_has_no_section(name):
    with pytest.raises(BenchError):
        written.technical_section(name, EVIDENCE)
