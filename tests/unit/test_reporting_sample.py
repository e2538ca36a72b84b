"""A small report, executed for real: what the other tests of this room look at."""

import functools
import tempfile
from pathlib import Path

import nbformat

from bench_utils.reporting.execute import Execution, execute
from bench_utils.reporting.exporter import render

CONTEXT = {
    "report": "TR126_compile_phases",
    "device": "cpu-xeon-2.5ghz-2c",
    "run": "20260102-a1b2c3",
    "index_href": "../index.html",
    "downloads": [("this page as data", "TR126_compile_phases.json")],
}

TITLE = """# Compiled inference, phase by phase

Is `torch.compile` worth it for GPT-2 sized models, and in which phase does it pay? The comparison is made in
rounds, each variant in a process of its own."""

SETUP = """import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from bench_utils.reporting import display as bu

phases = ["prefill", "decode", "e2e"]
eager = np.array([19.51, 4.83, 96.2])
speedup = {"compile": np.array([1.34, 0.98, 1.05]), "compile-static": np.array([1.36, 1.83, 1.71])}
rows = pd.DataFrame([
    {"variant": v, "phase": p, "median_ms": e / s, "speedup": s, "low": s * 0.97, "high": s * 1.03, "rounds": 6}
    for v, ss in speedup.items() for p, e, s in zip(phases, eager, ss)
])"""

ANSWER = """best = rows[(rows.variant == "compile-static") & (rows.phase == "decode")].iloc[0]
bu.headline("With a static cache, compiled decode of {model} is {speedup} times as fast as eager; with a growing cache "
            "it is not faster at all.", model="gpt2-25m", speedup=(best.speedup, best.low, best.high))"""

CLAIMS = """bu.show_claims([
    {"id": "C1", "text": "Compiling speeds up decode of gpt2-25m with a static cache.", "verdict": "supported",
     "reason": "The whole interval lies above the threshold, Holm-corrected over the plan's family.",
     "value": 1.831, "interval": (1.776, 1.886), "n": 6, "unit": "times"},
    {"id": "C2", "text": "Compiling speeds up decode with a growing cache, as published.", "verdict": "refuted",
     "reason": "Only the first steps run compiled; then Dynamo's recompile limit is reached.",
     "value": 0.981, "interval": (0.952, 1.012), "n": 6, "unit": "times"},
    {"id": "C3", "text": "Padding prompts costs less than recompiling them.", "verdict": "inconclusive",
     "reason": "The interval holds both outcomes; more rounds would decide.", "value": 4.2,
     "interval": (-3.1, 11.4), "n": 6, "unit": "%"},
    {"id": "C4", "text": "CUDA graphs remove the launch overhead of decode.", "verdict": "not testable here",
     "reason": "This machine has no GPU.", "value": None, "interval": None, "n": None, "unit": None},
])"""

PROVENANCE = """bu.show_facts("Provenance", {
    "Device": "Intel Xeon 2.5 GHz, 2 cores", "Stack": "Python 3.11.7, torch 2.13.0.1, transformers 5.23.0",
    "Weights": "architecture only, seeded", "Protocol": "6 rounds, a process per variant",
    "Neighbours": "1.2 % of the machine", "Measured": "2026-01-02, 4 min 50 s", "Plan": "8f3ab2c41d9e",
}, name="provenance")"""

PARAMETERS = """bu.show_facts("Parameters", {"device": device, "preset": preset, "run": run}, name="parameters")"""

FIGURE = """fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
for i, (variant, part) in enumerate(rows.groupby("variant")):
    x = np.arange(len(part)) + i * 0.14 - 0.07
    bars = [part.speedup - part.low, part.high - part.speedup]
    ax.errorbar(x, part.speedup, yerr=bars, fmt="o", capsize=3, label=variant)
ax.axhline(1, color="0.4", lw=1)
ax.set(yscale="log", xticks=range(3), xticklabels=phases, ylabel="speed-up over eager")
ax.set_yticks([1, 1.25, 1.5, 1.75, 2], ["1", "1.25", "1.5", "1.75", "2"], minor=False)
ax.set_yticks([], minor=True)
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
caption = f"Speed-up over eager by phase, gpt2-25m on this machine; only {best.variant} gains in decode."
alt = f"Speed-up over eager: {best.variant} reaches {best.speedup:.2f} in decode, compile stays near one."
bu.show_figure(ax, "speedup", caption, alt, data=rows)"""

FIGURE_TWO = """rng = np.random.default_rng(7)
fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
for variant, level in {"eager": 4.83, "compile-static": 2.64}.items():
    ax.plot(level * rng.lognormal(0, 0.02, 200), lw=0.8, label=variant)
ax.set(xlabel="sample", ylabel="latency (ms)", ylim=(0, None))
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
bu.show_figure(fig, "order", "Latency of decode in the order in which samples were taken: no drift, no warm-up left.",
               "Two flat bands of samples: compile-static lies below eager throughout.")"""

TABLE = """bu.show_table(rows, "Medians and speed-ups over eager, with paired intervals over rounds.", name="effects",
              columns={"variant": "Variant", "phase": "Phase", "median_ms": "Median (ms)", "speedup": "Speed-up",
                       "low": "Low", "high": "High", "rounds": "Rounds"})"""

PROSE = """bu.say("Decode gains most: {s} times with a static cache, against {p} times in prefill.", s=best.speedup,
       p=float(rows[(rows.variant == "compile-static") & (rows.phase == "prefill")].speedup.iloc[0]))"""

MODEL_TEXT = """bu.show_code_text("Once upon a time\\x1b[31m <script>alert('model')</script> there was a fox.",
                  "What the model wrote, as it is.", name="sample")
print("rows:", len(rows))"""

METHOD = """## Method

Each variant runs in a **process of its own**, in random order; the time is wall clock between two synchronisations.

- a cell warms up until its samples are steady;
- outcomes come from a paired interval over rounds.

| phase | what is timed |
|---|---|
| prefill | one forward of the prompt |
| decode | single-token steps from a prepared cache |"""


def cell(source: str, *tags: str) -> nbformat.NotebookNode:
    """Return a code cell."""
    return nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)})


def text(source: str) -> nbformat.NotebookNode:
    """Return a Markdown cell."""
    return nbformat.v4.new_markdown_cell(source)


def notebook(*cells: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a notebook with canonical ids."""
    for index, one in enumerate(cells):
        one["id"] = f"c{index}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=list(cells), metadata={"kernelspec": kernel})


def sample_notebook() -> nbformat.NotebookNode:
    """Return a report that is written but not executed."""
    return notebook(
        text(TITLE),
        cell(
            'device: str = "auto"  # auto, cpu, cuda:0\npreset: str = "quick"\nrun: str = "latest"',
            "parameters",
        ),
        cell(SETUP, "setup"),
        cell(ANSWER),
        cell(CLAIMS),
        cell(PROVENANCE),
        text("## Parameters"),
        cell(PARAMETERS),
        text(METHOD),
        text("## Results\n\n### Which phase gains"),
        cell(PROSE),
        cell(FIGURE),
        cell(TABLE),
        text("### Is the machine steady"),
        cell(FIGURE_TWO),
        text("## Results\n\nA heading that is there twice still leads to its own place."),
        cell(MODEL_TEXT),
        text("## Limits\n\nNothing here says anything about a GPU."),
    )


def run_notebook(
    nb: nbformat.NotebookNode, folder: Path, parameters: dict | None = None, timeout_s: float | None = None
) -> tuple[Execution, nbformat.NotebookNode]:
    """Execute a notebook in `folder`; return how it ended and the executed notebook."""
    nbformat.write(nb, folder / "in.ipynb")
    done = execute(folder / "in.ipynb", parameters or {}, folder / "out.ipynb", cwd=folder, timeout_s=timeout_s)
    return done, nbformat.read(folder / "out.ipynb", as_version=4)


@functools.cache
def executed_sample() -> tuple[Execution, nbformat.NotebookNode]:
    """Return the sample, executed once for all tests of a process."""
    with tempfile.TemporaryDirectory() as folder:
        return run_notebook(sample_notebook(), Path(folder), {"preset": "smoke"})


def test_the_sample_runs_to_its_end() -> None:
    done, nb = executed_sample()
    assert done == Execution("complete", None, 12, "", 0)
    assert nb.cells[2]["id"] == "injected-parameters"
    assert "smoke" in nb.cells[2].source


def test_the_page_starts_with_title_headline_claims_and_provenance() -> None:
    page = render(executed_sample()[1], context=CONTEXT)
    start = page[: page.index('<nav class="contents"')]
    marks = [
        "<h1>Compiled inference, phase by phase</h1>",
        'class="headline"',
        'class="claims"',
        "Provenance",
    ]
    positions = [start.index(mark) for mark in marks]
    assert positions == sorted(positions)


def test_every_piece_of_the_report_is_on_the_page() -> None:
    page = render(executed_sample()[1], context=CONTEXT)
    assert page.count('<figure class="plot">') == 2
    assert "<strong>Figure 2.</strong>" in page and "<strong>Table 1.</strong>" in page
    for word in ("supported", "refuted", "inconclusive", "not testable here"):
        assert f"</span> {word}</span>" in page
    assert '<data class="bound" value="1.83">1.83</data>' in page
