"""What a notebook shows: each call emits one output that JupyterLab draws and a page is made from.

The output's `bench` metadata holds the data; pages are written from it, never from the HTML. Importing this
module imports neither matplotlib nor IPython.
"""

import base64
import re
from collections.abc import Iterable, Mapping

from ..formatting import UNKNOWN
from .lab import styled
from .markup import (
    claims_html,
    details_html,
    facts_html,
    figure_html,
    paragraph_html,
    table_html,
    text_html,
)
from .prose import bind, sentence
from .tabular import Table, plain_table, table_of
from .text import plain
from .verdicts import claim_record, claim_text

NAME = re.compile(r"[a-z0-9_-]+")
FIGURE_ROWS = 500  # of the data table under a figure
TEXT_LIMIT = 10_000  # characters of untrusted text


def headline(template: str, **values: object) -> None:
    """Show the report's answer in one line, its numbers bound to `values`.

    Raises ValueError when the template itself holds a digit, or names a value that was not given.
    """
    _show_sentence("headline", template, values)


def say(template: str, **values: object) -> None:
    """Show a paragraph, its numbers bound to `values`; the rules are those of `headline`."""
    _show_sentence("prose", template, values)


def show_figure(figure_or_axes: object, name: str, caption: str, alt: str, data: object | None = None) -> None:
    """Show a matplotlib figure with caption, alternative text and, below it, the table of its `data`.

    `name` is the file's name, of small letters, digits, `_` and `-`. Raises ValueError for another name and
    for an empty caption or alt text.
    """
    from .drawing import draw

    _named(name)
    caption, alt = _required("caption", caption), _required("alt", alt)
    table = None if data is None else table_of(data, limit=FIGURE_ROWS)
    drawn = draw(figure_or_axes)
    png = base64.b64encode(drawn.png).decode("ascii")
    below = details_html("Data", table_html(table, limit=60), "data") if table else ""
    page = figure_html(f"data:image/png;base64,{png}", alt, caption, below=below, width=drawn.width)
    bundle = {"text/plain": f"{caption}\n{alt}", "text/html": page, "image/png": png}
    if drawn.svg is not None:
        bundle["image/svg+xml"] = drawn.svg
    bench = {"kind": "figure", "name": name, "caption": caption, "alt": alt}
    _emit(bundle, bench | {"width": drawn.width, "height": drawn.height} | _table_record(table))


def show_table(
    frame: object, caption: str, name: str, columns: Iterable[str] | Mapping[str, str] | None = None
) -> None:
    """Show a frame, or a list of records, as a table; its rows also go into the page's data file.

    `columns` chooses and orders the columns, and as a mapping gives their headings.
    """
    _named(name)
    caption = _required("caption", caption)
    table = table_of(frame, columns)
    bundle = {"text/plain": f"{caption}\n{plain_table(table)}", "text/html": table_html(table, caption)}
    _emit(bundle, {"kind": "table", "name": name, "caption": caption} | _table_record(table))


def show_claims(verdicts: Iterable[object]) -> None:
    """Show claims with their verdicts, given as mappings or objects.

    Their fields are `id, text, verdict, reason, value, interval, n, unit`; a verdict is supported, refuted,
    inconclusive, not testable here or not measured.
    """
    claims = [claim_record(verdict) for verdict in verdicts]
    bundle = {"text/plain": "\n".join(map(claim_text, claims)), "text/html": claims_html(claims)}
    _emit(bundle, {"kind": "claims", "claims": claims})


def show_facts(title: str, facts: Mapping[str, object], name: str) -> None:
    """Show facts in their order as a box: where a number comes from, or which parameters were in force.

    The facts named "provenance" stand beside the claims on the page's first screen.
    """
    _named(name)
    pairs = [[plain(key, None), UNKNOWN if value is None else plain(value, 400)] for key, value in facts.items()]
    text = "\n".join([_required("title", title), *(f"{key}: {value}" for key, value in pairs)])
    bundle = {"text/plain": text, "text/html": facts_html(title, pairs)}
    _emit(bundle, {"kind": "facts", "name": name, "title": plain(title, None), "facts": pairs})


def show_code_text(text: str, caption: str, name: str) -> None:
    """Show untrusted text, such as what a model wrote: control characters removed, cut, never interpreted."""
    _named(name)
    cleaned, caption = plain(text, TEXT_LIMIT), _required("caption", caption)
    bundle = {"text/plain": cleaned, "text/html": text_html(cleaned, caption)}
    _emit(bundle, {"kind": "text", "name": name, "caption": caption, "text": cleaned})


def _show_sentence(kind: str, template: str, values: Mapping[str, object]) -> None:
    parts = bind(template, values)
    bundle = {"text/plain": sentence(parts), "text/html": paragraph_html(parts, kind)}
    _emit(bundle, {"kind": kind, "parts": [list(part) for part in parts]})


def _table_record(table: Table | None) -> dict[str, object]:
    if table is None:
        return {}
    return {"columns": [list(column) for column in table.columns], "rows": table.rows, "total": table.total}


def _named(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(f"the name {name!r} becomes a file: use small letters, digits, '_' and '-' only")


def _required(what: str, text: str) -> str:
    cleaned = plain(text, None).strip()
    if not cleaned:
        raise ValueError(f"the {what} is empty: say what there is to see")
    return cleaned


def _emit(bundle: dict[str, str], bench: dict[str, object]) -> None:
    from IPython import get_ipython
    from IPython.display import display

    if get_ipython() is None:
        print(bundle["text/plain"])
    else:
        shown = bundle | {"text/html": styled(bundle["text/html"])}
        display(shown, raw=True, metadata={"bench": bench})
