"""HTML and Markdown from a notebook, reduced to an allow-list: nothing that runs, loads or styles."""

import re

import bleach
import mistune

_TAGS = frozenset(
    {
        *(
            "h1",
            "h2",
            "h3",
            "h4",
            "h5",
            "h6",
            "p",
            "div",
            "hr",
            "br",
            "blockquote",
            "pre",
            "figure",
            "figcaption",
        ),
        *("ul", "ol", "li", "dl", "dt", "dd", "details", "summary", "a", "img"),
        *("table", "caption", "colgroup", "col", "thead", "tbody", "tfoot", "tr", "th", "td"),
        *("b", "strong", "i", "em", "u", "s", "del", "ins", "mark", "small", "sub", "sup", "span", "abbr"),
        *("cite", "code", "data", "dfn", "kbd", "q", "samp", "var"),
    }
)
_ATTRIBUTES = {
    "a": ["href", "title"],
    "abbr": ["title"],
    "col": ["span"],
    "colgroup": ["span"],
    "data": ["value"],
    "img": lambda _tag, name, value: name == "alt" or (name == "src" and bool(_IMAGE.fullmatch(value))),
    "ol": ["start"],
    "td": ["colspan", "rowspan"],
    "th": ["colspan", "rowspan", "scope"],
}
_PROTOCOLS = frozenset({"http", "https", "mailto", "data"})

# Raster images only: an SVG is drawn through our own check.
_IMAGE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]*")
# bleach keeps the text inside a tag that it drops; inside these it is code, not text.
_SILENT = re.compile(
    r"<(script|style|template|iframe|object|noscript|xmp|title|svg|math|select|textarea)\b.*?(?:</\1\s*>|\Z)",
    re.IGNORECASE | re.DOTALL,
)
_DATA_LINK = re.compile(r'(<a\b[^>]*?) href="\s*data:[^"]*"', re.IGNORECASE)
_BARE_IMAGE = re.compile(r"<img(?![^>]*\bsrc=)[^>]*>", re.IGNORECASE)
_NO_ALT = re.compile(r"<img(?![^>]*\balt=)", re.IGNORECASE)
_TABLE = re.compile(r"<table\b.*?</table>", re.DOTALL)

_cleaner = bleach.Cleaner(tags=_TAGS, attributes=_ATTRIBUTES, protocols=_PROTOCOLS, strip=True, strip_comments=True)
_markdown = mistune.create_markdown(escape=False, plugins=["strikethrough", "table"])


def clean_html(source: str) -> str:
    """Return HTML reduced to text-level, list, table and figure tags, without identifiers, classes or styles.

    Images stay only as embedded raster images, links only where they lead to the web or to a place beside
    the page. Wide tables get a region of their own to scroll in.
    """
    cleaned = _cleaner.clean(_SILENT.sub("", source))
    cleaned = _BARE_IMAGE.sub("", _DATA_LINK.sub(r"\1", cleaned))
    cleaned = _NO_ALT.sub('<img alt="image without description"', cleaned)
    return _TABLE.sub(_scrolling, cleaned)


def markdown_html(source: str) -> str:
    """Return Markdown as clean HTML; raw HTML inside it obeys the same allow-list."""
    return clean_html(str(_markdown(source)))


def _scrolling(match: re.Match[str]) -> str:
    head, end, rest = match[0].partition("</thead>")
    table = head.replace("<th>", '<th scope="col">') + end + rest if end else match[0]
    return f'<div class="scroll" role="region" tabindex="0" aria-label="table">{table}</div>'
