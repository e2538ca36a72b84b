"""The page: what it says, in which order."""

import copy
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import nbformat
import pytest
from nbformat.v4 import new_output
from test_reporting_sample import CONTEXT, cell, executed_sample, notebook, text

from bench_utils.reporting.canonical import canonical
from bench_utils.reporting.exporter import render
from bench_utils.reporting.sanitize import clean_html, markdown_html
from tests.hostile import DRAWING, audited, shown


def printing(name: str, words: str) -> nbformat.NotebookNode:
    one = cell("print()")
    one.outputs = [new_output("stream", name=name, text=words)]
    return notebook(text("# T"), one)


def body(nb: nbformat.NotebookNode) -> str:
    """Return the audited page's main part."""
    page = render(nb)
    audited(page)
    return page[page.index("<main") : page.index("</main>")]


def test_what_markdown_is_for_survives() -> None:
    html = markdown_html("**b** `c` [l](notes.md) x<sup>2</sup>\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n1. one\n2. two")
    for piece in (
        "<strong>b</strong>",
        "<code>c</code>",
        'href="notes.md"',
        "<sup>2</sup>",
        "<td>1</td>",
        "<ol>",
    ):
        assert piece in html
    assert 'tabindex="0"' in html  # a wide table scrolls in a region of its own


def test_a_frames_own_html_keeps_its_table() -> None:
    html = clean_html(
        "<div><style scoped>.x{}</style><table border=1 class=dataframe><tr><th colspan=2>a</th></tr></table></div>"
    )
    assert '<th colspan="2">a</th>' in html and "scoped" not in html and "border" not in html


@pytest.mark.parametrize(
    "bench",
    [
        {"kind": "figure"},
        {"kind": "headline", "parts": 3},
        {"kind": "headline", "parts": [["one"]]},
        {"kind": "table", "caption": "x", "columns": [[1]], "rows": []},
        {"kind": "table", "caption": "x", "columns": [["a", "a", False]], "rows": [3]},
        {"kind": "facts", "title": "x", "facts": {"a": 1}},
        {"kind": "text", "caption": "x"},
        {"kind": "unknown"},
        {"kind": ["headline"]},
        "headline",
        3,
    ],
)
def test_malformed_data_falls_back_to_text(bench: object) -> None:
    assert "fallback" in render(shown({"text/plain": "fallback"}, bench))


def test_svg_comes_before_png_and_keeps_its_drawing() -> None:
    page = render(shown({"image/svg+xml": f"<?xml version='1.0'?>\n<!-- note -->\n{DRAWING}", "image/png": "x"}))
    assert quote(DRAWING, safe=" !$'()*+,-./:;=?@_~") in page


@pytest.mark.parametrize(
    "kind",
    ["application/javascript", "application/vnd.jupyter.widget-view+json", "application/vnd.plotly.v1+json"],
)
def test_scripts_and_widgets_are_dropped(kind: str) -> None:
    page = render(
        shown({kind: "alert(1)" if kind.endswith("javascript") else {"a": "alert(1)"}, "text/plain": "Widget()"})
    )
    assert "alert(1)" not in page
    assert ("Widget()" in page) == kind.endswith("v1+json")


def test_terminal_codes_and_endless_output_are_cut() -> None:
    page = body(printing("stdout", "\x1b[31mred\x1b[0m 1%\r99%\x00\x07\n" + "x" * 500_000))
    assert "99%" in page and "red" not in page and "\x1b" not in page
    assert len(page) < 40_000 and "more characters left out" in page


def test_a_huge_table_is_cut_and_says_so() -> None:
    rows = [{"a": i} for i in range(1000)]
    bench = {
        "kind": "table",
        "name": "t",
        "caption": "c",
        "columns": [["a", "a", True]],
        "rows": rows,
        "total": 52000,
    }
    page = body(shown({"text/plain": "x"}, bench))
    assert "51,800 more rows are left out here" in page and page.count("<tr>") == 201


def test_contents_lead_to_unique_places() -> None:
    page = render(executed_sample()[1], context=CONTEXT)
    ids = audited(page)
    targets = re.findall(r'<a href="#([^"]+)">', page)
    assert {"results", "results-2", "limits", "main", "top"} <= set(targets) | {"main", "top"}
    assert set(targets) <= set(ids)


def test_headings_cannot_take_the_places_of_the_template() -> None:
    ids = audited(render(notebook(text("# T"), text("## Main\n\n## Claims\n\n## !!!"))))
    assert {"main-2", "claims-2", "section"} <= set(ids)


def test_later_titles_are_sections() -> None:
    page = render(notebook(text("# First"), text("# Second")))
    assert page.count("<h1") == 1 and '<h2 id="second">Second</h2>' in page and "<title>First</title>" in page


def test_a_notebook_without_a_title_takes_the_reports_name() -> None:
    assert "<h1>TR1</h1>" in render(notebook(cell("1")), context={"report": "TR1"})


def test_tags_hide_code_output_or_both() -> None:
    cells = [cell(f"code{i}", tag) for i, tag in enumerate(("remove-input", "remove-output", "remove-cell"))]
    for i, one in enumerate(cells):
        one.outputs = [new_output("stream", name="stdout", text=f"out{i}")]
    page = render(notebook(text("# T"), *cells))
    words = ("code0", "out0", "code1", "out1", "code2", "out2")
    assert [word for word in words if word in page] == ["out0", "code1"]


def test_code_is_folded_and_neighbours_share_one_fold() -> None:
    page = render(notebook(text("# T"), cell("a = 1"), cell("b = 2"), text("words"), cell("c = 3")))
    assert page.count('<details class="code">') == 2
    assert page.count("<pre") == 3


@pytest.mark.parametrize(
    "href", ["https://evil.example", "//evil.example", "javascript:alert(1)", "/etc/passwd", r"\\evil\x"]
)
def test_links_of_the_page_stay_beside_it(href: str) -> None:
    page = render(notebook(text("# T")), context={"index_href": href, "downloads": [("x", href), ("ok", "r.json")]})
    assert href not in page and 'href="r.json"' in page


def test_the_page_declares_its_policy_before_anything_else() -> None:
    page = render(executed_sample()[1], context=CONTEXT)
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    head = page[: page.index("<title>")].replace("&#39;", "'")
    assert policy in head and head.index("Security-Policy") < head.index("viewport")
    assert "@import" not in page and "<script" not in page


def test_a_page_with_five_figures_is_small() -> None:
    nb = copy.deepcopy(executed_sample()[1])
    figures = [one for one in nb.cells if "show_figure" in one.source]
    nb.cells += [copy.deepcopy(figures[i % 2]) for i in range(3)]
    for index, one in enumerate(nb.cells):
        one["id"] = f"c{index}"
    page = render(nb, context=CONTEXT)
    assert page.count('<figure class="plot">') == 5
    assert len(page.encode()) < 300_000


def test_memory_addresses_and_cell_files_are_masked() -> None:
    page = body(printing("stderr", "/tmp/ipykernel_123/456.py:3: Warning at 0x7f3a2b1c4d5e"))
    assert "[cell]:3: Warning at 0x…" in page


def test_the_canonical_form_is_stable_and_bare() -> None:
    nb = copy.deepcopy(executed_sample()[1])
    nb.cells[3].metadata |= {"execution": {"iopub.status.busy": "2026"}, "collapsed": True}
    nb.metadata["widgets"] = {"state": {}}
    once = canonical(nb)
    assert canonical(once) == once
    assert [one["id"] for one in once.cells] == [f"c{i}" for i in range(len(once.cells))]
    assert {key for one in once.cells for key in one.metadata} <= {"tags"}
    assert set(once.metadata) == {"kernelspec", "language_info", "bench"}
    assert once.metadata["bench"]["outcome"]["status"] == "complete"


def test_nbconvert_knows_the_exporter(tmp_path: Path) -> None:
    nbformat.write(executed_sample()[1], tmp_path / "sample.ipynb")
    command = [sys.executable, "-m", "nbconvert", "--to", "bench-report", "sample.ipynb"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert '<p class="headline">' in (tmp_path / "sample.html").read_text(encoding="utf-8")
