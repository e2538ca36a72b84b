"""What the audit concludes: corrections, like-for-like rankings, drift of controls, statements, figures."""

import ast

import matplotlib.pyplot as plt
import pytest

from bench_utils import audit
from bench_utils.audit import figures, physics, wording
from bench_utils.audit.control import LIMIT_D, LIMIT_PCT
from bench_utils.audit.evidence import said
from bench_utils.audit.sources import read
from bench_utils.reporting.prose import unbound_digits
from bench_utils.reporting.verdicts import claim_record
from tests.conftest import REPOSITORY

FOUND = audit.recompute()
CORRECTIONS = audit.headline_corrections()
RANKING = audit.like_for_like()
DRIFT = audit.invariant_arm_drift()


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def correction(words):
    (row,) = CORRECTIONS[CORRECTIONS["statement"].str.contains(words, regex=False)].to_dict("records")
    return row


# ---------------------------------------------------------------- corrections


def test_the_first_correction_is_the_win_that_is_noise():
    first = CORRECTIONS.iloc[0]
    assert first["statement"] == "The compile label wins on the mean"
    assert "p = 0.33" in first["recomputed"]
    assert "+1.54 ms" in first["consequence"]


@pytest.mark.parametrize(
    ("words", "published", "recomputed"),
    [
        ("One-way analysis", "45.86", "157.8"),
        ("Interaction", "453.1", "505.8"),
        ("Effect sizes: GPU", "1.48, 1.6, 0.14", "0.938, 0.854, 0.0833"),
        ("Compile label on the CPU", "0.826", "0.228"),
        ("Pooled standard deviation", "1131.5", "727"),
        ("Ollama decodes", "7.1 x", "9.27 x"),
        ("lead the backends", "8.20 ms", "10.4 ms, Ollama 9.84 ms"),
        ("Memory bandwidth", "256 GB/s", "348 GB/s"),
        ("five prompts", "400 tokens", "51 tokens"),
        ("Rows of the rerun", "4522", "3,891"),
        ("End-to-end contains", "2,086.5 ms", "2 of 12"),
        ("CUDA graphs", "-99.8 %", "a token"),
        ("equivalent within the margin", "4 of 6", "no cell"),
        ("control of the Triton", "20.5 ms", "|d| = 1.44"),
        ("pooled lengths", "-0.022", "754 ms"),
        ("p values of default decode", "0.04-0.28", "0.764"),
        ("Welch's", "6 p values", "6 fit Student's, 1 Welch's"),
        ("Holm's", "96 tests", "60 printed"),
        ("Price of an hour", "0.035", "1.006"),
    ],
)
def test_known_corrections_are_computed(words, published, recomputed):
    row = correction(words)
    assert published in row["published"]
    assert recomputed in row["recomputed"]
    assert len(row["consequence"]) > 40


def test_corrections_name_claims_that_exist_and_hold_no_hole():
    text = " ".join(CORRECTIONS.astype(str).to_numpy().ravel())
    assert "unknown" not in text
    assert "nan" not in text.split()
    named = " ".join(CORRECTIONS["claims"]).split()
    assert set(named) <= set(FOUND["claim_id"])
    assert len(CORRECTIONS) > 20


def templates(path):
    """Constant strings that the module passes to `said`, and sentences it gives as they are."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("said", "Correction", "Statement"):
            for argument in node.args:
                parts = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
                yield from (p.value for p in parts if isinstance(p, ast.Constant) and " " in str(p.value))


@pytest.mark.parametrize("name", ["corrections_comparisons", "corrections_numbers", "statements"])
def test_no_digit_is_typed_in_a_sentence(name):
    found = list(templates(REPOSITORY / f"bench_utils/audit/{name}.py"))
    assert len(found) > 10
    for text in found:
        if not text.startswith(("TR1", "CARD")):
            fields_left_out = text.split("{")[0] + " ".join(part.partition("}")[2] for part in text.split("{")[1:])
            assert not unbound_digits(fields_left_out), text


def test_numbers_are_said_as_a_reader_wants_them():
    assert said("{a} of {b}, {c} and {d:+.1f}", a=3, b=1234.0, c=0.33094, d=7.449) == "3 of 1,234, 0.331 and +7.4"


# ---------------------------------------------------------------- like for like


def arms(name):
    return RANKING[RANKING["comparison"] == name].set_index("arm")


def test_the_prefill_winner_changes_on_the_common_models():
    table = arms("Backends, prefill")
    assert table["published_rank"].idxmin() == "transformers-gpu-compile"
    assert table["common_rank"].idxmin() == "ollama"
    assert table.loc["ollama", "common_ms"] == pytest.approx((7.44 + 9.35 + 12.72) / 3)
    assert table.loc["transformers-gpu-compile", "common_ms"] == pytest.approx((3.68 + 9.54 + 17.98) / 3)


def test_the_decode_ratio_grows_on_the_common_models():
    table = arms("Backends, decode")
    for column, ratio in (("published_ms", 7.06), ("common_ms", 9.27)):
        assert table.loc["transformers-gpu", column] / table.loc["ollama", column] == pytest.approx(ratio, abs=0.01)


def test_compile_configurations_are_ranked_on_models_of_the_same_precision():
    table = arms("Compile configurations, prefill")
    assert list(table["models"]) == [7, 6, 6]
    assert table["common_rank"].idxmin() == "padded"
    assert "gpt2-100m fp32" in table["common"].iloc[0]
    assert "gpt2-100m fp16" not in table["common"].iloc[0]


def test_without_a_common_model_there_is_no_ranking():
    table = arms("Backends, service call")
    assert len(table) == 5
    assert table["common_ms"].isna().all()
    assert table["common_rank"].isna().all()
    assert "no model is common" in wording.ranking_in_words(RANKING)


# ---------------------------------------------------------------- controls


def test_eager_moved_between_versions_of_triton():
    (row,) = DRIFT[DRIFT["varied"] == "Triton 3.4.0, Static cache"].to_dict("records")
    assert row["drift_pct"] == pytest.approx(100 * (21.982 / 20.458 - 1))
    assert (row["effect_size"], row["source"], row["moved"]) == (1.444, "TR147-097", True)


def test_ollama_moved_although_only_torch_was_changed():
    mine = DRIFT[(DRIFT["control"] == "ollama") & (DRIFT["phase"] == "kv_decode")]
    assert mine["drift_pct"].tolist() == pytest.approx([100 * (454.7 / 286.1 - 1)])
    assert mine["drift_pct"].iloc[0] == pytest.approx(59, abs=0.5)


def test_moved_means_beyond_one_of_the_limits():
    beyond = (DRIFT["drift_pct"].abs() >= LIMIT_PCT) | (DRIFT["effect_size"] >= LIMIT_D)
    assert (DRIFT["moved"] == beyond).all()
    assert 0 < DRIFT["moved"].sum() < len(DRIFT)
    assert not DRIFT.duplicated(["group", "model", "phase", "varied"]).any()


def test_every_triton_cell_finds_the_effect_size_that_its_report_prints():
    mine = DRIFT[DRIFT["report"] == "TR147"]
    assert mine["source"].tolist() == [f"TR147-{n:03}" for n in (91, 92, 103, 104, 97, 98)]


# ---------------------------------------------------------------- physics


def test_the_spread_of_pooled_decode_is_that_of_the_lengths():
    spread = physics.decode_spread()
    assert len(spread) == 6
    assert (spread["std_ms"] / spread["lengths_ms"]).between(0.95, 1.05).all()
    assert spread["se_over_margin"].min() > 3.5


def test_survivors_are_compared_a_token():
    table = physics.survivors()
    assert len(table) == 6
    assert table["crash_rate"].tolist() == pytest.approx([0.8] * 6)
    assert (table["pooled_pct"] < table["per_token_pct"]).all()


def test_a_part_is_longer_than_its_whole_twice():
    broken = physics.additivity()
    assert list(broken.loc[~broken["additive"], "decode_ms"]) == [2058.5, 2086.5]


def test_the_printed_energy_is_that_of_an_idle_card():
    assert physics.power_implied()["watts"].between(10, 25).all()


# ---------------------------------------------------------------- statements and words


def test_statements_are_claims_that_a_page_can_show():
    found = {s.id: s for s in audit.statements()}
    assert len(found) == len(audit.statements())
    assert {name: s.verdict for name, s in found.items()} == {
        "tr117-mean": "inconclusive",
        "tr126-prefill": "supported",
        "tr126-decode": "inconclusive",
        "tr126-backends": "refuted",
        "tr126-ollama": "inconclusive",
        "tr147-equivalence": "refuted",
        "tr147-control": "refuted",
        "tr126-roofline": "refuted",
        "tr117-anova": "refuted",
        "tr121-scaling": "supported",
        "tr118-crossover": "supported",
    }
    for statement in found.values():
        record = claim_record(statement)
        assert record["reason"]
        assert record["n"] > 0
        assert isinstance(record["value"], float)


def test_the_tally_in_words_adds_up():
    words = wording.verdicts_in_words(FOUND)
    counts = FOUND["verdict"].value_counts()
    assert f"{counts[audit.REPRODUCES]} reproduce" in words
    assert f"Of {len(FOUND)} published numbers" in words


def test_provenance_names_every_table_with_its_digest():
    facts = wording.provenance(FOUND)
    assert "published_claims.csv, sha256 " in facts["Claims"]
    assert all(len(digest) == 12 for _, digest in audit.digests().values())
    assert len(audit.digests()) == len(vars(read()))


def test_tables_of_a_verdict_are_complete():
    for verdict in audit.VERDICTS:
        assert len(wording.in_full(FOUND, verdict)) == (FOUND["verdict"] == verdict).sum()


def test_figures_draw_what_their_tables_hold():
    counts = audit.verdict_counts(FOUND)
    bars = figures.verdicts_by_report(counts)
    assert sum(patch.get_width() for patch in bars.patches) == len(FOUND)
    panels = figures.like_for_like(RANKING)
    drawn = [ax.get_title(loc="left") for ax in panels.flat if ax.lines]
    assert drawn == list(dict.fromkeys(RANKING.dropna(subset=["common_ms"])["comparison"]))
    dots = figures.control_drift(DRIFT)
    assert sum(len(line.get_xdata()) for line in dots.lines if line.get_marker() == "o") == len(DRIFT)
    assert len(figures.how_far_off(FOUND).get_yticks()) > 15
