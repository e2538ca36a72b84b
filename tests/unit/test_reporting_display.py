"""What a notebook may show, and what each call leaves for the page."""

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Callable

import pandas as pd
import pytest
from matplotlib import pyplot as plt

from bench_utils.reporting import display
from bench_utils.reporting.prose import printed, unbound_digits

plt.switch_backend("agg")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict, dict]]:
    """Return what is displayed as pairs of MIME bundle and bench metadata."""
    calls: list[tuple[dict, dict]] = []

    def record(bundle: dict, raw: bool, metadata: dict) -> None:
        assert raw
        json.dumps([bundle, metadata], allow_nan=False)  # as the kernel's message will
        calls.append((bundle, metadata["bench"]))

    monkeypatch.setattr("IPython.get_ipython", lambda: object())
    monkeypatch.setattr("IPython.display.display", record)
    return calls


def test_a_sentence_marks_what_is_bound(shown: list) -> None:
    display.headline("GPT-2 at bf16 is {x} times as fast", x=(1.83, 1.79, 1.88))
    bundle, bench = shown[0]
    assert bench["kind"] == "headline"
    assert bench["parts"][1] == ["1.83 (1.79 to 1.88)", True]
    assert 'class="bound"' in bundle["text/html"]
    assert bundle["text/plain"] == "GPT-2 at bf16 is 1.83 (1.79 to 1.88) times as fast"


@pytest.mark.parametrize("call", [display.headline, display.say])
@pytest.mark.parametrize("template", ["about 20 % faster", "torch 2.13 wins", "in m² terms", "GPT-25", "TR1267", "½"])
def test_a_digit_typed_by_hand_is_refused(call: Callable, template: str, shown: list) -> None:
    with pytest.raises(ValueError, match="bind it to a row"):
        call(template)
    assert not shown


def test_names_that_carry_digits_are_allowed() -> None:
    assert not unbound_digits("GPT-2, gpt2-25m and TR117 at fp16, bf16, fp32 or int8, p95.")


@pytest.mark.parametrize("template", ["{a.__class__}", "{a[0]}", "{0}", "{}", "{a!r}", "{a:{b}}", "{a"])
def test_templates_hold_plain_names_only(template: str) -> None:
    with pytest.raises(ValueError):
        display.say(template, a="x", b="y")


def test_a_value_that_was_not_given_is_named() -> None:
    with pytest.raises(ValueError, match="'speed'; given: speedup"):
        display.say("{speed}", speedup=2.0)


def test_formats_and_missing_values(shown: list) -> None:
    display.say("{a:.0%} of {b}, {c:.1f}", a=0.123, b=None, c=math.nan)
    assert shown[0][0]["text/plain"] == "12% of unknown, unknown"


def test_results_with_an_interval_print_it() -> None:
    @dataclasses.dataclass
    class Estimate:
        estimate: float
        interval: tuple[float, float]

    assert printed(Estimate(1.83, (1.79, 1.88))) == "1.83 (1.79 to 1.88)"


def test_a_figure_is_drawn_the_same_twice_and_closed(shown: list) -> None:
    for _ in range(2):
        figure, axes = plt.subplots(figsize=(4, 3))
        axes.plot([1, 2], [3, 4], label="a")
        axes.legend()
        display.show_figure(
            axes, "line", "A line.", "It rises.", data=pd.DataFrame({"x": [1, 2], "y": [3.0, math.nan]})
        )
        assert not plt.fignum_exists(figure.number)
    assert shown[0] == shown[1]
    bundle, bench = shown[0]
    assert set(bundle) == {"text/plain", "text/html", "image/png", "image/svg+xml"}
    assert (bench["width"], bench["height"]) == (384, 288)
    assert bench["rows"] == [{"x": 1, "y": 3.0}, {"x": 2, "y": None}]
    assert "<metadata>" not in bundle["image/svg+xml"]


def test_a_large_drawing_is_a_png_only(shown: list) -> None:
    figure, axes = plt.subplots()
    axes.scatter(range(9000), range(9000))
    display.show_figure(figure, "points", "Many points.", "A diagonal.")
    assert "image/svg+xml" not in shown[0][0]


@pytest.mark.parametrize("name", ["../evil", "a/b", "A", "", "a b", "a.svg", "x\n"])
def test_a_name_cannot_leave_its_folder(name: str) -> None:
    with pytest.raises(ValueError, match="becomes a file"):
        display.show_figure(plt.figure(), name, "caption", "alt")
    with pytest.raises(ValueError, match="becomes a file"):
        display.show_table([{"a": 1}], "caption", name)


@pytest.mark.parametrize(("caption", "alt", "missing"), [("", "x", "caption"), ("x", "  ", "alt")])
def test_a_figure_needs_its_words(caption: str, alt: str, missing: str) -> None:
    with pytest.raises(ValueError, match=missing):
        display.show_figure(plt.figure(), "name", caption, alt)


def test_only_figures_are_figures() -> None:
    with pytest.raises(TypeError, match="not str"):
        display.show_figure("figure", "name", "caption", "alt")


def test_a_table_keeps_values_and_prints_digits(shown: list) -> None:
    frame = pd.DataFrame({"m": ["<b>x</b>", None], "ms": [1.23456, float("nan")], "n": [52000, 7], "ok": [True, False]})
    display.show_table(
        frame.set_index(pd.Index([1, 2], name="id")),
        "Caption",
        "t",
        columns={"m": "Model", "ms": "ms", "n": "n", "ok": "ok"},
    )
    bundle, bench = shown[0]
    assert bench["rows"][0] == {"m": "<b>x</b>", "ms": 1.23456, "n": 52000, "ok": True}
    html = bundle["text/html"]
    assert "<b>x</b>" not in html and "&lt;b&gt;x&lt;/b&gt;" in html
    right = ' style="text-align:right"'
    assert f'<td class="number"{right}>1.23</td>' in html and f'<td class="number"{right}>52,000</td>' in html
    assert f'<td class="number missing"{right}>unknown</td>' in html
    assert f'<th scope="col" class="number"{right}>ms</th>' in html


def test_an_empty_table_says_so(shown: list) -> None:
    display.show_table(pd.DataFrame(), "Failures", "failures")
    assert "no rows" in shown[0][0]["text/html"]


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="no column 'speed'; there are: a, b"):
        display.show_table([{"a": 1, "b": 2}], "caption", "t", columns=["speed"])


def test_strange_cells_become_json(shown: list) -> None:
    frame = pd.DataFrame(
        {
            "t": [pd.Timestamp("2026-01-02"), pd.NaT],
            "i": pd.array([1, None], dtype="Int64"),
            "inf": [math.inf, 1.0],
        }
    )
    display.show_table(frame, "caption", "t")
    assert shown[0][1]["rows"] == [
        {"t": "2026-01-02T00:00:00", "i": 1, "inf": None},
        {"t": None, "i": None, "inf": 1.0},
    ]


def test_claims_from_objects_and_mappings(shown: list) -> None:
    @dataclasses.dataclass
    class Verdict:
        id: str = "C1"
        text: str = "It is faster."
        verdict: str = "supported"
        reason: str = ""
        value: float = 1.83
        interval: tuple = (1.79, 1.88)
        n: int = 6
        unit: str = "times"

    display.show_claims([Verdict(), {"id": "C2", "text": "It is not.", "verdict": "not measured"}])
    bundle, bench = shown[0]
    assert [claim["verdict"] for claim in bench["claims"]] == ["supported", "not measured"]
    assert "1.83 (1.79 to 1.88) times" in bundle["text/html"]
    assert "✓</span> supported" in bundle["text/html"]


@pytest.mark.parametrize("claim", [{"verdict": "great"}, {"verdict": "supported", "text": ""}, {"verdict": None}])
def test_a_claim_without_a_known_verdict_is_refused(claim: dict) -> None:
    with pytest.raises(ValueError):
        display.show_claims([{"id": "C1", "text": "x"} | claim])


def test_facts_keep_their_order(shown: list) -> None:
    display.show_facts("Where from", {"z": "1", "a": None, "m": 3}, name="provenance")
    assert shown[0][1]["facts"] == [["z", "1"], ["a", "unknown"], ["m", "3"]]


def test_model_text_is_shown_as_it_is_and_cut(shown: list) -> None:
    display.show_code_text("\x1b[31m<script>alert(1)</script>\x00\u202e" + "x" * 30_000, "What the model wrote", "text")
    bundle, bench = shown[0]
    assert "<script>" not in bundle["text/html"]
    assert bench["text"].startswith("<script>alert(1)</script>x")
    assert bench["text"].endswith("more characters left out]")
    assert len(bench["text"]) < 10_100


def test_outside_a_kernel_the_text_is_printed(capsys: pytest.CaptureFixture) -> None:
    display.say("{a} is measured", a="this")
    assert capsys.readouterr().out == "this is measured\n"


def test_importing_it_is_cheap() -> None:
    heavy = ("matplotlib", "pandas", "IPython", "nbconvert", "papermill", "torch")
    code = f"import sys, bench_utils.reporting.display; print(*(set({heavy}) & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
