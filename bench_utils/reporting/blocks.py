"""One output, one cell's code: the HTML of each piece of a page's body."""

import re
from collections.abc import Mapping
from typing import Any

from . import markup
from .pictures import SVG_LIMIT, clean_png, decoded, png_uri, safe_svg, svg_uri
from .sanitize import clean_html, markdown_html
from .tabular import Column, Table
from .text import DEFAULT_LIMIT, escaped, plain
from .verdicts import claim_record

FIGURE_DATA_ROWS = 60  # drawn under a figure; the page's data file holds more
CODE_LIMIT = 4_000  # characters of a cell; highlighting makes them thirteen times as many bytes
_DROPPED = ("application/javascript", "application/vnd.jupyter.widget-view+json")
_TAG = re.compile(r"<[^>]*>")


class Numbers:
    """Counts figures and tables in reading order."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def next(self, word: str) -> str:
        """Return "Figure 1", "Figure 2" and so on."""
        self._last[word] = self._last.get(word, 0) + 1
        return f"{word} {self._last[word]}"


def bench_of(output: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data that the display helpers left with an output; empty for any other output."""
    bench = output.get("metadata", {}).get("bench")
    return bench if isinstance(bench, dict) else {}


def output_html(output: Mapping[str, Any], numbers: Numbers) -> str:
    """Return an output as HTML; empty where nothing of it may be shown."""
    kind = output["output_type"]
    if kind == "stream":
        return _stream(output)
    if kind == "error":
        return _error(output)
    bench = bench_of(output)
    writer = _WRITERS.get(str(bench.get("kind")))
    if writer is not None:
        try:
            return writer(bench, output.get("data", {}), numbers)
        except (ArithmeticError, KeyError, TypeError, ValueError):
            return _pre(output.get("data", {}).get("text/plain", ""))
    return _other(output.get("data", {}))


def code_html(sources: list[str]) -> str:
    """Return code to open on demand, highlighted without a script."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    formatter = HtmlFormatter(nowrap=True)
    texts = (highlight(plain(source, CODE_LIMIT), PythonLexer(), formatter).rstrip() for source in sources)
    pres = "".join(f'<pre tabindex="0"><code>{text}</code></pre>' for text in texts)
    return markup.details_html("Code", pres, "code")


def figure_source(data: Mapping[str, Any]) -> str | None:
    """Return an output's picture as a data URI: the SVG where it is safe and small, else the PNG."""
    svg, png = svg_of(data), png_of(data)
    if svg is not None:
        return svg_uri(svg)
    return png_uri(png) if png else None


def svg_of(data: Mapping[str, Any]) -> str | None:
    """Return an output's SVG where it is safe and small enough for a page, else None."""
    svg = data.get("image/svg+xml")
    return safe_svg(svg) if isinstance(svg, str) and len(svg) <= SVG_LIMIT else None


def png_of(data: Mapping[str, Any]) -> bytes | None:
    """Return an output's PNG without hidden texts, else None."""
    png = data.get("image/png")
    return clean_png(decoded(png) or b"") if isinstance(png, str) else None


def claims_of(bench: Mapping[str, Any]) -> list[dict[str, object]]:
    """Return the claims of an output; those that are none are left out."""
    found = []
    claims = bench.get("claims")
    for claim in claims if isinstance(claims, list) else []:
        try:
            found.append(claim_record(claim))
        except ValueError:
            continue
    return found


def table_of_bench(bench: Mapping[str, Any]) -> Table | None:
    """Return the rows that came with a figure or table; None where there are none."""
    if "columns" not in bench:
        return None
    columns = [Column(str(key), str(label), bool(numeric)) for key, label, numeric in bench["columns"]]
    rows = [dict(row) for row in bench["rows"]]
    return Table(columns, rows, max(int(bench.get("total", 0)), len(rows)))


def _figure(bench: Mapping[str, Any], data: Mapping[str, Any], numbers: Numbers) -> str:
    source = figure_source(data)
    if source is None:
        return _pre(f"{bench['caption']}\n{bench['alt']}")
    label, table = numbers.next("Figure"), table_of_bench(bench)
    below = ""
    if table is not None:
        inner = markup.table_html(table, label=f"Data of {label}", limit=FIGURE_DATA_ROWS)
        below = markup.details_html(f"Data of {label}", inner, "data")
    width = int(bench.get("width", 0))
    return markup.figure_html(source, bench["alt"], bench["caption"], label=label, below=below, width=width)


def _table(bench: Mapping[str, Any], _data: Mapping[str, Any], numbers: Numbers) -> str:
    table = table_of_bench(bench)
    if table is None:
        raise ValueError("a table without columns")
    return markup.table_html(table, bench["caption"], numbers.next("Table"))


def _text(bench: Mapping[str, Any], _data: Mapping[str, Any], _numbers: Numbers) -> str:
    return markup.text_html(plain(bench["text"]), bench["caption"])


_WRITERS = {
    "headline": lambda bench, _data, _numbers: markup.paragraph_html(bench["parts"], "headline"),
    "prose": lambda bench, _data, _numbers: markup.paragraph_html(bench["parts"], "prose"),
    "claims": lambda bench, _data, _numbers: markup.claims_html(claims_of(bench)),
    "facts": lambda bench, _data, _numbers: markup.facts_html(bench["title"], bench["facts"]),
    "figure": _figure,
    "table": _table,
    "text": _text,
}


def _other(data: Mapping[str, Any]) -> str:
    """Return what other code displayed: a picture, clean HTML or Markdown, or its plain text."""
    if any(kind in data for kind in _DROPPED):
        return ""
    source = figure_source(data)
    if source is not None:
        return markup.figure_html(source, "figure without description")
    for kind, render in (("text/html", clean_html), ("text/markdown", markdown_html)):
        html = render(data[kind]) if isinstance(data.get(kind), str) else ""
        if _TAG.sub("", html).strip() or "<img" in html:
            return f'<div class="output">{html}</div>'
    return _pre(data.get("text/plain", ""))


def _stream(output: Mapping[str, Any]) -> str:
    if output["name"] != "stderr":
        return _pre(output["text"])
    text = _pre(output["text"])
    return markup.details_html("Messages", text, "messages") if text else ""


def _error(output: Mapping[str, Any]) -> str:
    name, value = plain(output.get("ename", "")), plain(output.get("evalue", ""), 2000)
    trace = _pre("\n".join(output.get("traceback", [])))
    below = markup.details_html("Traceback", trace, "messages") if trace else ""
    return f'<div class="error"><p><strong>{escaped(name)}</strong>: {escaped(value)}</p>{below}</div>'


def _pre(text: object) -> str:
    cleaned = plain(text, DEFAULT_LIMIT).strip("\n")
    return f'<pre class="stream" tabindex="0">{escaped(cleaned)}</pre>' if cleaned.strip() else ""
