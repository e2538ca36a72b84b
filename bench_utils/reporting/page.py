"""A canonical notebook as a page: its first screen, its contents, and its body in order."""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nbformat import NotebookNode

from . import markup
from .blocks import Numbers, bench_of, claims_of, code_html, output_html
from .sanitize import markdown_html
from .text import escaped, plain

PROVENANCE = "provenance"  # the facts of this name stand on the first screen

_HEADING = re.compile(r"<h([1-6])>(.*?)</h\1>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_RESERVED = ("claims", "contents", "main", "provenance", "top")  # identifiers of the template

_NO_CLAIMS = (
    f'<p class="nothing">{markup.badge_html("not measured")} The notebook stopped before its claims were judged.</p>'
)


@dataclass(frozen=True)
class Entry:
    """A line of the table of contents."""

    anchor: str
    text: str
    level: int


@dataclass
class Page:
    """What the template draws; every `*_html` is finished, clean HTML."""

    title: str = ""
    lead_html: str = ""
    headline_html: str = ""
    claims_html: str = ""
    provenance_html: str = ""
    notice: str = ""
    contents: list[Entry] = field(default_factory=list)
    blocks_html: list[str] = field(default_factory=list)
    context: dict[str, Any] = field(default_factory=dict)


def build_page(nb: NotebookNode, context: Mapping[str, Any] | None = None) -> Page:
    """Return the page of a canonical notebook.

    `context` may hold `report`, `device`, `run`, `index_href`, `downloads` (pairs of label and relative address)
    and, where measuring stopped, `progress` (cells measured, and planned). The title is the notebook's first
    heading. The first headline, the first claims and the facts named "provenance" move to the first screen;
    everything else keeps its place.
    """
    builder = _Builder(_context(context or {}))
    for cell in nb.cells:
        builder.add(cell)
    return builder.finish(nb.metadata.get("bench", {}).get("outcome", {}))


def page_facts(nb: NotebookNode) -> dict[str, Any]:
    """Return what a page says, as data: title, headline text, and every claim."""
    page = build_page(nb)
    claims = [claim for bench, _ in shown(nb, "claims") for claim in claims_of(bench)]
    return {"title": page.title, "headline": _text_of(page.headline_html), "claims": claims}


def shown(nb: NotebookNode, kind: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return data and MIME bundle of every output of a kind that the page shows, in order."""
    cells = [cell for cell in nb.cells if not (_tagged(cell, "remove-cell") or _tagged(cell, "remove-output"))]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return [(bench_of(output), output.get("data", {})) for output in outputs if bench_of(output).get("kind") == kind]


class _Builder:
    """Takes cells in order and sorts what they hold into a page."""

    def __init__(self, context: dict[str, Any]) -> None:
        self._page = Page(context=context)
        self._numbers = Numbers()
        self._anchors = set(_RESERVED)
        self._code: list[str] = []

    def add(self, cell: NotebookNode) -> None:
        if _tagged(cell, "remove-cell"):
            return
        if cell.cell_type == "markdown":
            self._add_markdown(cell.source)
        elif cell.cell_type == "code":
            self._add_code(cell)

    def finish(self, outcome: Mapping[str, Any]) -> Page:
        self._flush_code()
        page = self._page
        page.title = page.title or page.context["report"] or "Report"
        failed, progress = outcome.get("status", "complete") != "complete", page.context["progress"]
        if failed or progress:
            page.notice = _notice(outcome if failed else {}, progress)
            page.claims_html = page.claims_html or _NO_CLAIMS
        return page

    def _add_markdown(self, source: str) -> None:
        body = markdown_html(source)
        first = not self._page.title
        body = _HEADING.sub(self._heading, body).strip()
        if not body:
            return
        if first and self._page.title and not self._page.lead_html and "<h" not in body:
            self._page.lead_html = body
            return
        self._flush_code()
        self._page.blocks_html.append(f'<div class="text">{body}</div>')

    def _heading(self, match: re.Match[str]) -> str:
        text = _text_of(match[2])
        if not self._page.title:
            self._page.title = text
            return ""
        if not text:
            return ""
        level = max(2, int(match[1]))
        anchor = self._anchor(text)
        if level <= 3:
            self._page.contents.append(Entry(anchor, text, level))
        return f'<h{level} id="{escaped(anchor)}">{match[2]}</h{level}>'

    def _anchor(self, text: str) -> str:
        stem = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "section"
        anchor, number = stem, 2
        while anchor in self._anchors:
            anchor, number = f"{stem}-{number}", number + 1
        self._anchors.add(anchor)
        return anchor

    def _add_code(self, cell: NotebookNode) -> None:
        if cell.source.strip() and not _tagged(cell, "remove-input"):
            self._code.append(cell.source)
        outputs = [] if _tagged(cell, "remove-output") else cell.outputs
        found = [self._place(output) for output in outputs]
        visible = [text for text in found if text]
        if visible:
            self._page.blocks_html += visible
            self._flush_code()

    def _place(self, output: Mapping[str, Any]) -> str:
        """Return an output's HTML for the body; empty when it went to the first screen."""
        bench = bench_of(output)
        slot = _slot(bench)
        if slot is None or getattr(self._page, slot):
            return output_html(output, self._numbers)
        setattr(self._page, slot, output_html(output, self._numbers))
        return ""

    def _flush_code(self) -> None:
        if self._code:
            self._page.blocks_html.append(code_html(self._code))
            self._code = []


def _slot(bench: Mapping[str, Any]) -> str | None:
    if bench.get("kind") == "facts":
        return "provenance_html" if bench.get("name") == PROVENANCE else None
    return {"headline": "headline_html", "claims": "claims_html"}.get(str(bench.get("kind")))


def _notice(outcome: Mapping[str, Any], progress: tuple[int, int] | None) -> str:
    """Where the notebook stopped, how far its run had come, or both."""
    where = [f"in cell {outcome.get('failed_cell') or 0} of {outcome.get('cells_total') or 0}"] if outcome else []
    where += [f"after {progress[0]} of {progress[1]} cells measured"] if progress else []
    rest = "later cells were not run" if outcome else "its claims are not decided"
    reason = f" ({outcome['message']})" if outcome.get("message") else ""
    return plain(f"This report stopped {', '.join(where)}; {rest}{reason}.", 400)


def _context(given: Mapping[str, Any]) -> dict[str, Any]:
    context = {key: plain(given.get(key) or "", 200) for key in ("report", "device", "run", "index_href")}
    downloads = [(plain(label, 100), plain(href, 500)) for label, href in given.get("downloads") or []]
    context["downloads"] = [(label, href) for label, href in downloads if _is_relative(href)]
    context["progress"] = tuple(map(int, given["progress"])) if given.get("progress") else None
    if not _is_relative(context["index_href"]):
        context["index_href"] = ""
    return context


def _is_relative(href: str) -> bool:
    """Links of a page lead to files beside it: no scheme, no other host, no place on this machine's disk."""
    return bool(href) and not re.match(r"\s*(?:[a-z][a-z0-9+.-]*:|[/\\])", href, re.IGNORECASE)


def _tagged(cell: NotebookNode, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])


def _text_of(markup_text: str) -> str:
    return " ".join(html.unescape(_TAG.sub("", markup_text)).split())
