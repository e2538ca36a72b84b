"""HTML writers for what a report shows; everything they are given is text and is escaped here.

The page's style sheet knows their classes.
"""

from collections.abc import Iterable, Mapping, Sequence

from ..formatting import UNKNOWN, count
from .prose import Part
from .tabular import Column, Table, cell_text
from .text import escaped
from .verdicts import LOOKS, measured_text, sample_text

UNTESTABLE = 3  # claims that a device cannot decide, shown among the others
LONG_VALUE = 48  # characters; a longer value is a sentence and is not set apart from its neighbours


def bound_html(text: object) -> str:
    """Return a value that comes from data, marked as such."""
    if len(str(text)) > LONG_VALUE:
        return f'<span class="bound">{escaped(text)}</span>'
    return f'<data class="bound" value="{escaped(text)}">{escaped(text)}</data>'


def parts_html(parts: Iterable[Part | Sequence[object]]) -> str:
    """Return a sentence, its bound values marked."""
    return "".join(bound_html(text) if bound else escaped(text) for text, bound in parts)


def paragraph_html(parts: Iterable[Part | Sequence[object]], css: str) -> str:
    """Return a sentence as a paragraph of the class `css`."""
    return f'<p class="{css}">{parts_html(parts)}</p>'


def badge_html(verdict: str, text: str = "") -> str:
    """Return a verdict as symbol, word and colour; `text` replaces the word, as in "3 supported"."""
    look = LOOKS[verdict]
    symbol = f'<span aria-hidden="true">{look.symbol}</span>'
    return f'<span class="badge {look.css}">{symbol} {escaped(text or verdict)}</span>'


def claims_html(claims: Iterable[Mapping[str, object]]) -> str:
    """Return claims as a list: verdict, sentence, what was measured, and the reason.

    More than UNTESTABLE claims that are not testable here stand behind the others and open on demand.
    """
    claims = list(claims)
    apart = [claim for claim in claims if claim["verdict"] == "not testable here"]
    if not UNTESTABLE < len(apart) < len(claims):
        return _claims(claims)
    decided = [claim for claim in claims if claim not in apart]
    return _claims(decided) + details_html(f"{count(len(apart))} more, not testable here", _claims(apart), "untestable")


def facts_html(title: str, facts: Iterable[tuple[str, str]]) -> str:
    """Return facts as a titled list of terms and values."""
    rows = "".join(f"<div><dt>{escaped(key)}</dt><dd>{escaped(value) or UNKNOWN}</dd></div>" for key, value in facts)
    return f'<div class="facts"><p class="title">{escaped(title)}</p><dl>{rows}</dl></div>'


def text_html(text: str, caption: str = "") -> str:
    """Return untrusted text, as it is, in a box; the text is cut and cleaned by the caller."""
    label = f"<figcaption>{escaped(caption)}</figcaption>" if caption else ""
    return f'<figure class="listing">{label}<pre tabindex="0">{escaped(text)}</pre></figure>'


def table_html(table: Table, caption: str = "", label: str = "", limit: int = 200) -> str:
    """Return a table of at most `limit` rows, in a region of its own that scrolls when it is too wide.

    `label` stands before the caption ("Table 1"); together they name the region.
    """
    nothing = f'<tr><td class="missing" colspan="{max(1, len(table.columns))}">no rows</td></tr>'
    rows = "".join(_row(table.columns, row) for row in table.rows[:limit]) or nothing
    left_out = table.total - min(limit, len(table.rows))
    note = f'<p class="note">{count(left_out)} more rows are left out here.</p>' if left_out > 0 else ""
    title = ". ".join(filter(None, (label, caption))) or "table"
    region = (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escaped(title)}">'
        f"<table><thead><tr>{''.join(_head(column, table.rows[:limit]) for column in table.columns)}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>{note}"
    )
    return f'<figure class="table">{_caption(label, caption)}{region}</figure>' if caption else region


def figure_html(source: str, alt: str, caption: str = "", *, label: str = "", below: str = "", width: int = 0) -> str:
    """Return a figure: the image at `source` (a data URI), its caption, and HTML `below` it."""
    size = f' width="{width:d}"' if width else ""
    words = _caption(label, caption) if caption else ""
    image = f'<div class="card"><img src="{source}" alt="{escaped(alt)}"{size}></div>'
    return f'<figure class="plot">{image}{words}{below}</figure>'


def details_html(summary: str, inner: str, css: str) -> str:
    """Return HTML that opens on demand."""
    return f'<details class="{css}"><summary>{escaped(summary)}</summary>{inner}</details>'


def _claims(claims: Iterable[Mapping[str, object]]) -> str:
    return f'<ul class="claims">{"".join(map(_claim, claims))}</ul>'


def _claim(claim: Mapping[str, object]) -> str:
    reason, value, sample = claim.get("reason"), measured_text(claim), sample_text(claim)
    name = f'<span class="id">{escaped(claim["id"])}</span>'
    sentence = f'<p class="sentence">{name} {escaped(claim["text"])}</p>'
    size = f' <span class="sample">{escaped(sample)}</span>' if sample else ""
    measured = f'<p class="measured">{bound_html(value)}{size}</p>' if value else ""
    because = f'<p class="reason">{escaped(reason)}</p>' if reason else ""
    return f'<li>{badge_html(str(claim["verdict"]))}<div class="what">{sentence}{measured}{because}</div></li>'


def _caption(label: str, caption: str) -> str:
    strong = f"<strong>{escaped(label)}.</strong> " if label else ""
    return f"<figcaption>{strong}{escaped(caption)}</figcaption>"


def _head(column: Column, rows: Sequence[Mapping[str, object]]) -> str:
    """The head of a column; one of sentences is kept wide enough to be read."""
    long = any(len(cell_text(row.get(column.key))) > LONG_VALUE for row in rows)
    css = ' class="number"' if column.numeric else ' class="long"' if long else ""
    return f'<th scope="col"{css}>{escaped(column.label)}</th>'


def _row(columns: Sequence[Column], row: Mapping[str, object]) -> str:
    return f"<tr>{''.join(_cell(column, row, i == 0) for i, column in enumerate(columns))}</tr>"


def _cell(column: Column, row: Mapping[str, object], first: bool) -> str:
    value = row.get(column.key)
    text = escaped(cell_text(value))
    if first and not column.numeric:
        return f'<th scope="row">{text}</th>'
    names = " ".join(name for name, on in (("number", column.numeric), ("missing", value is None)) if on)
    return f'<td class="{names}">{text}</td>' if names else f"<td>{text}</td>"
