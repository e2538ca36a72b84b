"""Published numbers recomputed: complete, right against independent computations, and able to fail."""

import ast
import csv
import itertools
import math
import shutil

import numpy as np
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.stats.weightstats import ttost_ind

from bench_utils import audit
from bench_utils.audit import arithmetic, inference
from bench_utils.audit.agreement import LAST_DIGIT, method_of
from bench_utils.audit.case import Case, spread
from bench_utils.audit.printed import Printed, cut_off, parse
from bench_utils.audit.sources import read
from tests.conftest import REPOSITORY

REFERENCE = REPOSITORY / "bench_utils/reference"
FOUND = audit.recompute().set_index("claim_id")
SOURCES = read()
ROWS = SOURCES.latency


def number(row, column):
    return float(ROWS[row][column])


def triple(row):
    return tuple(number(row, column) for column in ("mean_ms", "std_ms", "n"))


def sample(row):
    """Values with exactly the printed count, mean and standard deviation."""
    mean, std, n = triple(row)
    values = np.linspace(-1, 1, int(n))
    return mean + std * (values - values.mean()) / values.std(ddof=1)


# ---------------------------------------------------------------- complete


def test_every_claim_is_there_once_in_the_order_of_the_table():
    with (REFERENCE / "published_claims.csv").open(encoding="utf-8", newline="") as lines:
        assert list(FOUND.index) == [row["claim_id"] for row in csv.DictReader(lines)]


def test_every_claim_has_a_verdict_and_a_reason_of_its_own():
    assert set(FOUND["verdict"]) == set(audit.VERDICTS)
    assert (FOUND["reason"].str.len() > 5).all()
    open_ones = FOUND["verdict"] == audit.NOT_RECOMPUTABLE
    assert (FOUND["recomputed"].isna() == open_ones).all()
    assert FOUND.loc[~open_ones, "method"].str.len().min() > 3
    assert (FOUND.loc[~open_ones, "inputs"] + FOUND["claim"]).str.len().min() > 3
    assert FOUND.loc[open_ones, "reason"].nunique() > 30


def test_most_claims_can_be_recomputed():
    counts = FOUND["verdict"].value_counts()
    assert counts[audit.REPRODUCES] + counts[audit.DIFFERS] > 250
    assert (audit.verdict_counts(FOUND.reset_index()).sum() == counts.reindex(list(audit.VERDICTS))).all()


# ---------------------------------------------------------------- the links are data


def test_every_link_names_rows_claims_and_a_method_that_exist():
    for claim, link in SOURCES.links.items():
        assert set((link["rows_a"] + " " + link["rows_b"]).split()) <= ROWS.keys(), claim
        others = {name.removeprefix("-") for name in link["claims"].split()}
        assert others <= SOURCES.claims.keys() - {claim}, claim
        assert bool(link["kind"]) or (link["note"] and not link["rows_a"]), claim
        if link["kind"]:
            assert method_of(link["kind"]).__doc__


def test_links_stay_within_the_report_and_on_the_model_of_the_claim():
    for claim, link in SOURCES.links.items():
        text = SOURCES.claims[claim]
        rows = [ROWS[row] for row in (link["rows_a"] + " " + link["rows_b"]).split()]
        assert {row["report"] for row in rows} <= {text["report"]}, claim
        models = [m for m in SOURCES.models if m in text["claim"].replace(",", " ").split()]
        if len(models) == 1 and link["kind"] != "share_pct":
            assert {row["model"] for row in rows} <= set(models), claim
        scenarios = [s for s in SOURCES.prompts if s in text["claim"]]
        assert {row["scenario"] for row in rows} <= set(scenarios) or not scenarios, claim


def test_links_of_the_later_reports_keep_device_and_cache():
    for claim, link in SOURCES.links.items():
        text = SOURCES.claims[claim]
        gpus = {ROWS[row]["gpu"].split()[0] for row in (link["rows_a"] + " " + link["rows_b"]).split()}
        if claim.startswith("TR147") and gpus and len({"Ada", "A100"} & set(text["claim"].split())) == 1:
            assert all(gpu.startswith("A100") == ("A100" in text["claim"]) for gpu in gpus), claim


@pytest.mark.parametrize("name", ["nonsense", "_t_from_d", "holm", "Case"])
def test_a_method_that_is_not_one_is_refused(name):
    with pytest.raises(ValueError, match="does not exist"):
        method_of(name)


# ---------------------------------------------------------------- right, by other means


@pytest.mark.parametrize(
    ("claim", "a", "b"),
    [
        ("TR117-010", "L0004", "L0003"),
        ("TR126-009", "L0054", "L0055"),
        ("TR126-076", "L0128", "L0126"),
        ("TR126-079", "L0127", "L0128"),
        ("TR126-081", "L0127", "L0126"),
        ("TR126-082", "L0156", "L0157"),
        ("TR126-083", "L0176", "L0177"),
    ],
)
def test_p_values_are_those_of_scipy(claim, a, b):
    expected = stats.ttest_ind_from_stats(*triple(a), *triple(b), equal_var=True).pvalue
    assert math.log10(FOUND.loc[claim, "recomputed"]) == pytest.approx(math.log10(expected), abs=1e-9)
    assert FOUND.loc[claim, "verdict"] == (audit.DIFFERS if claim == "TR117-010" else audit.REPRODUCES)


@pytest.mark.parametrize(
    ("claim", "a", "b", "verdict"),
    [
        ("TR117-012", "L0001", "L0002", audit.DIFFERS),
        ("TR117-013", "L0002", "L0004", audit.DIFFERS),
        ("TR117-014", "L0001", "L0005", audit.DIFFERS),
        ("TR117-015", "L0003", "L0004", audit.REPRODUCES),
        ("TR126-008", "L0054", "L0055", audit.REPRODUCES),
        ("TR126-089", "L0156", "L0157", audit.REPRODUCES),
    ],
)
def test_effect_sizes_are_those_of_samples_with_these_moments(claim, a, b, verdict):
    x, y = sample(a), sample(b)
    pooled = math.sqrt((x.var(ddof=1) * (x.size - 1) + y.var(ddof=1) * (y.size - 1)) / (x.size + y.size - 2))
    assert FOUND.loc[claim, "recomputed"] == pytest.approx((y.mean() - x.mean()) / pooled)
    assert FOUND.loc[claim, "verdict"] == verdict


def test_analysis_of_variance_is_that_of_samples_with_these_moments():
    expected = stats.f_oneway(*(sample(f"L{i:04}") for i in range(1, 6))).statistic
    assert FOUND.loc["TR117-011", "recomputed"] == pytest.approx(expected)
    assert FOUND.loc["TR117-011", "verdict"] == audit.DIFFERS


def test_interaction_is_that_of_a_model_fitted_to_the_cells_that_exist():
    data = {"y": [], "backend": [], "model": []}
    for i in range(129, 141):
        values = sample(f"L{i:04}")
        data["y"] += [*values]
        data["backend"] += [ROWS[f"L{i:04}"]["backend"]] * values.size
        data["model"] += [ROWS[f"L{i:04}"]["model"]] * values.size
    additive = smf.ols("y ~ C(backend) + C(model)", data).fit()
    within = sum((sample(f"L{i:04}").var(ddof=1) * 134) for i in range(129, 141))
    f = ((additive.ssr - within) / 5) / (within / 1608)
    assert FOUND.loc["TR126-130", "recomputed"] == pytest.approx(f, rel=1e-6)
    assert FOUND.loc["TR126-132", "recomputed"] == pytest.approx(within)
    assert FOUND.loc["TR126-133", "recomputed"] == pytest.approx(additive.centered_tss)
    assert list(FOUND.loc[["TR126-130", "TR126-132"], "verdict"]) == [audit.DIFFERS, audit.REPRODUCES]


@pytest.mark.parametrize(("claim", "rows"), [("TR126-121", (126, 127, 128)), ("TR126-123", (156, 157))])
def test_what_is_printed_as_pooled_is_the_standard_deviation_of_all_values(claim, rows):
    samples = [sample(f"L{i:04}") for i in rows]
    within = math.sqrt(np.mean([s.var(ddof=1) for s in samples]))
    assert FOUND.loc[claim, "recomputed"] == pytest.approx(within)
    assert np.concatenate(samples).std(ddof=1) == pytest.approx(float(FOUND.loc[claim, "published"]), abs=0.1)
    assert FOUND.loc[claim, "verdict"] == audit.DIFFERS


@pytest.mark.parametrize(("claim", "margin"), [("TR126-086", 1.0), ("TR126-087", 0.5)])
def test_equivalence_is_that_of_statsmodels(claim, margin):
    p = ttost_ind(sample("L0135"), sample("L0134"), -margin, margin, usevar="unequal")[0]
    assert FOUND.loc[claim, "recomputed"] == pytest.approx(p, rel=1e-6)
    assert FOUND.loc[claim, "verdict"] == audit.REPRODUCES


def test_no_decode_cell_is_equivalent_by_its_printed_interval():
    claims = [f"TR147-{n:03}" for n in range(54, 60)]
    mean, other = number("L0262", "mean_ms"), number("L0263", "mean_ms")
    errors = [
        (number(r, "ci_high_ms") - number(r, "ci_low_ms")) / 2 / stats.norm.ppf(0.975) for r in ("L0262", "L0263")
    ]
    p = stats.norm.sf((0.03 * mean - (other - mean)) / math.hypot(*errors))
    assert FOUND.loc["TR147-054", "recomputed"] == pytest.approx(p, abs=1e-3)
    assert (FOUND.loc[claims, "verdict"] == audit.DIFFERS).all()
    assert (FOUND.loc[claims, "recomputed"] > 0.4).all()


def test_scaling_laws_are_those_of_scipy():
    pairs = [(f"L{i:04}", f"L{i + 1:04}") for i in range(399, 417, 2)]
    size = [math.log(float(SOURCES.models[ROWS[a]["model"]]["computed_params"])) for a, _ in pairs]
    ratio = [math.log(number(a, "throughput_tok_s") / number(b, "throughput_tok_s")) for a, b in pairs]
    line = stats.linregress(size, ratio)
    assert FOUND.loc["TR118-001", "recomputed"] == pytest.approx(line.slope)
    assert FOUND.loc["TR118-002", "recomputed"] == pytest.approx(math.exp(-line.intercept / line.slope) / 1e6)
    rows = [f"L{i:04}" for i in range(365, 384, 3)]
    layers = [float(SOURCES.models[ROWS[r]["model"]]["n_layer"]) for r in rows]
    rho = stats.spearmanr(layers, [number(r, "median_ms") for r in rows]).statistic
    assert FOUND.loc["TR121-014", "recomputed"] == pytest.approx(rho)
    assert (FOUND.loc[["TR118-001", "TR118-002", "TR121-014"], "verdict"] == audit.REPRODUCES).all()


def test_an_effect_of_the_detectable_size_is_found_with_power_of_eight_tenths():
    n, d = 1620, FOUND.loc["TR126-063", "recomputed"]
    power = stats.nct.sf(stats.t.ppf(0.975, 2 * n - 2), 2 * n - 2, d * math.sqrt(n / 2))
    assert power == pytest.approx(0.8, abs=1e-3)
    assert FOUND.loc["TR126-063", "verdict"] == audit.REPRODUCES


def test_weights_cannot_be_read_in_the_published_time_at_the_stated_bandwidth():
    read_bytes = 2 * float(SOURCES.models["qwen2.5-3b"]["computed_params"])
    needed = max(read_bytes / number(row, "mean_ms") / 1e6 for row in ("L0079", "L0138", "L0125"))
    assert FOUND.loc["TR126-143", "recomputed"] == pytest.approx(needed)
    assert FOUND.loc["TR126-143", "verdict"] == audit.DIFFERS


def test_a_mean_without_its_largest_values_cannot_fall_that_far():
    n, mean, largest = number("L0055", "n"), number("L0055", "mean_ms"), number("L0057", "max_ms")
    assert (n * (mean - 0.005) - 5 * (largest + 0.005)) / (n - 5) > float(FOUND.loc["TR126-071", "published"]) + 0.005
    assert FOUND.loc["TR126-071", "verdict"] == audit.DIFFERS


def test_rows_of_a_design_are_counted_from_its_cells():
    assert FOUND.loc["TR117-001", "recomputed"] == sum(number(f"L{i:04}", "n_attempted") for i in range(1, 8))
    assert FOUND.loc["TR147-004", "recomputed"] == 2 * 2 * 2 * 3 * 60
    assert FOUND.loc["TR126-006", "verdict"] == audit.DIFFERS


def test_costs_are_those_of_hours_and_energy():
    each = [1.006 / (number(f"L{i:04}", "throughput_tok_s") * 3600) * 1e6 for i in range(428, 437, 2)]
    assert FOUND.loc["TR119-001", "recomputed"] == pytest.approx(np.mean(each) + 0.2 * 0.002087)
    assert FOUND.loc["TR117-017", "recomputed"] == pytest.approx(0.035 / (215.2 * 3600) * 1e6)


def test_intervals_of_the_phase_reports_are_of_student():
    for row in ("L0156", "L0157", "L0177"):
        half = (number(row, "ci_high_ms") - number(row, "ci_low_ms")) / 2
        error = number(row, "std_ms") / math.sqrt(number(row, "n"))
        t = stats.t.ppf(0.975, number(row, "n") - 1)
        assert abs(half - t * error) < 0.055 < 1.5 * abs(half - 1.96 * error) + 0.055


# ---------------------------------------------------------------- rounding


@pytest.mark.parametrize(
    ("text", "value", "half"),
    [
        ("-40.0", -40.0, 0.05),
        ("8.87e-61", 8.87e-61, 5e-64),
        ("29900", 29900.0, 0.5),
        ("0.04-0.28", 0.16, 0.125),
        ("~0", 0.0, 0.05),
    ],
)
def test_printed_numbers_hide_half_a_unit_of_their_last_digit(text, value, half):
    assert parse(text) == pytest.approx((value, half))


@pytest.mark.parametrize("text", ["", "abc", "1.2.3", "12 ms"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(ValueError, match="no printed number"):
        parse(text)


def test_a_number_cut_off_is_told_from_a_number_rounded():
    assert cut_off(13.598, Printed(13.5, 0.05))
    assert cut_off(-13.598, Printed(-13.5, 0.05))
    assert not cut_off(13.598, Printed(13.6, 0.05))
    assert FOUND.loc["TR117-024", "reason"].startswith(LAST_DIGIT)


@pytest.mark.parametrize("claim", ["TR126-007", "TR126-008", "TR126-086", "TR117-006", "TR119-012"])
def test_the_range_of_a_recomputation_is_that_of_all_corners(claim):
    method = method_of(SOURCES.links[claim]["kind"])
    case = Case(SOURCES, claim)
    method(case)
    keys = [key for key, width in case.seen.items() if width > 0]
    corners = [
        method(Case(SOURCES, claim, dict(zip(keys, moves, strict=True))))
        for moves in itertools.product((-1.0, 1.0), repeat=len(keys))
    ]
    found = spread(method, SOURCES, claim)
    assert (found.low, found.high) == pytest.approx((min(corners), max(corners)))
    assert found.low < found.value < found.high


def test_p_values_are_compared_in_decades():
    logarithmic = FOUND["scale"] == "log10"
    assert (FOUND.loc[logarithmic, "metric"] == "p_value").all()
    assert logarithmic.sum() > 15
    assert FOUND.loc["TR126-082", "tolerance"] < 0.1  # of two hundred


# ---------------------------------------------------------------- able to fail


def edited(tmp_path, table, key, column, text):
    """A copy of the tables with one printed number changed."""
    folder = tmp_path / "tables"
    shutil.copytree(REFERENCE, folder)
    path = folder / f"{table}.csv"
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    (row,) = [row for row in rows if key in (row.get("claim_id"), row.get("row_id"))]
    row[column] = text
    with path.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return audit.recompute(folder).set_index("claim_id")


def flipped(changed):
    return set(FOUND.index[FOUND["verdict"] != changed["verdict"]])


def test_an_unchanged_copy_gives_the_same_audit(tmp_path):
    assert not flipped(edited(tmp_path, "published_claims", "TR126-007", "value", "-40.0"))


def test_a_claim_that_is_changed_no_longer_reproduces(tmp_path):
    changed = edited(tmp_path, "published_claims", "TR126-007", "value", "-40.2")
    assert flipped(changed) == {"TR126-007"}
    assert changed.loc["TR126-007", "verdict"] == audit.DIFFERS


def test_a_claim_that_is_put_right_reproduces(tmp_path):
    changed = edited(tmp_path, "published_claims", "TR117-011", "value", "157.8")
    assert flipped(changed) == {"TR117-011"}


def test_a_row_that_is_changed_takes_its_claims_with_it(tmp_path):
    changed = edited(tmp_path, "published_latency", "L0114", "mean_ms", "2.81")
    assert flipped(changed) == {"TR126-057"}


def test_fewer_digits_in_an_input_allow_more(tmp_path):
    changed = edited(tmp_path, "published_latency", "L0054", "mean_ms", "11.9")
    assert changed.loc["TR126-007", "tolerance"] > 1.5 * FOUND.loc["TR126-007", "tolerance"]


def test_a_claim_without_a_link_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="disagree on"):
        edited(tmp_path, "audit_links", "TR117-001", "claim_id", "TR117-999")


def test_a_claim_that_is_there_twice_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="TR117-002 twice"):
        edited(tmp_path, "published_claims", "TR117-001", "claim_id", "TR117-002")


# ---------------------------------------------------------------- nothing typed


def test_no_published_value_is_typed_in_the_code():
    values = [c["value"].lstrip("-") for c in SOURCES.claims.values()]
    published = {float(value) for value in values if value.replace(".", "").isdigit()}
    for path in (REPOSITORY / "bench_utils/audit").glob("*.py"):
        literals = {n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)}
        typed = {v for v in literals if isinstance(v, (int, float)) and len(f"{v:g}".replace(".", "").strip("0")) > 2}
        assert not typed & published - {3600}, path.name  # seconds an hour


def test_methods_have_a_docstring_of_one_line():
    for module in (arithmetic, inference):
        for name in {link["kind"] for link in SOURCES.links.values()} & set(vars(module)):
            assert "\n" not in getattr(module, name).__doc__
