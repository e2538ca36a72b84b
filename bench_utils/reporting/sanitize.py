"""HTML and Markdown from a notebook, reduced to an allow-list: nothing that runs, loads or styles."""

import itertools
import re
from collections.abc import Iterator
from html import unescape

import bleach
import mistune
from bleach.html5lib_shim import Filter

from .pictures import clean_images

_TAGS = frozenset({
    "h1", "h2", "h3", "h4", "h5", "h6", "p", "div", "hr", "br", "blockquote", "pre", "figure", "figcaption",
    "ul", "ol", "li", "dl", "dt", "dd", "details", "summary", "a", "img",
    "table", "caption", "colgroup", "col", "thead", "tbody", "tfoot", "tr", "th", "td",
    "b", "strong", "i", "em", "u", "s", "del", "ins", "mark", "small", "sub", "sup", "span", "abbr",
    "cite", "code", "data", "dfn", "kbd", "q", "samp", "var",
})  # fmt: skip
_ATTRIBUTES = {
    "a": lambda _tag, name, value: name == "title" or (name == "href" and _leads_on(value)),
    "abbr": ["title"],
    "col": ["span"],
    "colgroup": ["span"],
    "data": ["value"],
    "img": lambda _tag, name, value: name == "alt" or (name == "src" and bool(_IMAGE.fullmatch(value.strip()))),
    "ol": ["start"],
    "td": ["colspan", "rowspan"],
    "th": ["colspan", "rowspan", "scope"],
}
_PROTOCOLS = frozenset({"http", "https", "mailto", "data"})

# PNG alone can be cleaned of hidden texts; an SVG is drawn through our own check.
_IMAGE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=\s]*")
# bleach keeps the text inside a tag that it drops; inside these it is code, not text.
_SILENT = re.compile(
    r"<(script|style|template|iframe|object|noscript|xmp|title|svg|math|select|textarea)\b.*?(?:</\1\s*>|\Z)",
    re.IGNORECASE | re.DOTALL,
)
# What is longer or deeper was made to keep the parser busy, whose time grows with the square of the depth.
_LONGEST = 100_000  # characters
_DEEPEST = 300  # elements in each other
_NESTING = re.compile(r"<(/?)(?!(?:br|col|hr|img|input|link|meta|wbr)\b)[a-z]", re.IGNORECASE)
_SCHEME = re.compile(r"([^/?#]*?):")
_BLANKS = re.compile(r"[\x00-\x20\x7f-\xa0]+")
_SRC, _ALT, _SCOPE = (None, "src"), (None, "alt"), (None, "scope")
_REGION = {"class": "scroll", "role": "region", "tabindex": "0", "aria-label": "table"}


class _Finish(Filter):
    """After bleach, still as tokens: text can never become markup by being cut out of it.

    Images become clean PNGs with a description, heads of tables name their columns, and wide tables get a region
    of their own to scroll in.
    """

    def __iter__(self) -> Iterator[dict]:
        tables, head = 0, False
        for token in super().__iter__():
            name, opens = token.get("name"), token["type"] == "StartTag"
            if name == "img" and not _finished_image(token["data"]):
                continue
            if name == "table":
                tables += 1 if opens else -1
                yield from [_region("StartTag"), token] if opens and tables == 1 else [token]
                yield from [] if opens or tables else [_region("EndTag")]
                continue
            head = opens if name == "thead" else head
            if name == "th" and opens and head:
                token["data"].setdefault(_SCOPE, "col")
            yield token


_cleaner = bleach.Cleaner(
    tags=_TAGS, attributes=_ATTRIBUTES, protocols=_PROTOCOLS, strip=True, strip_comments=True, filters=[_Finish]
)
_markdown = mistune.create_markdown(escape=False, plugins=["strikethrough", "table"])


def clean_html(source: str) -> str:
    """Return HTML reduced to text-level, list, table and figure tags, without identifiers, classes or styles.

    Images stay only as embedded PNGs, links only where they lead to the web or to a place beside the page. Wide
    tables get a region of their own to scroll in. Empty for what is too long or too deep to be a report's.
    """
    audible = _SILENT.sub("", source)
    return _cleaner.clean(audible) if len(audible) <= _LONGEST and _depth(audible) <= _DEEPEST else ""


def markdown_html(source: str) -> str:
    """Return Markdown as clean HTML; raw HTML inside it obeys the same allow-list."""
    return clean_html(str(_markdown(source)))


def _depth(source: str) -> int:
    """Return how deep elements are nested, counting those that are never closed."""
    steps = (-1 if match[1] else 1 for match in _NESTING.finditer(source))
    return max(itertools.accumulate(steps), default=0)


def _leads_on(address: str) -> bool:
    """Whether an address leads to the web, to a mailbox or to a place beside the page; bleach takes the digits after
    `javascript:` for a port."""
    scheme = _SCHEME.match(_BLANKS.sub("", unescape(address)))
    return scheme is None or scheme[1].lower() in ("http", "https", "mailto")


def _finished_image(attributes: dict) -> bool:
    """Clean an image in place; False where nothing is left to show."""
    source = clean_images(attributes.get(_SRC, "").strip())
    attributes[_SRC] = source
    attributes.setdefault(_ALT, "image without description")
    return source.startswith("data:image/png")


def _region(kind: str) -> dict:
    data = {(None, name): value for name, value in _REGION.items()} if kind == "StartTag" else {}
    return {"type": kind, "name": "div", "namespace": "http://www.w3.org/1999/xhtml", "data": data}
