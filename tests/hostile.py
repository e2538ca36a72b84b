"""What a stranger's notebook may hold to run, load or hide something: each case by name, as a notebook.

Code in a payload calls `alert`, which a browser reports; addresses lead to `evil.example`.
"""

from __future__ import annotations

import base64
import re
import struct
import zlib
from html.parser import HTMLParser
from urllib.parse import unquote

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, new_raw_cell

SCRIPT = "<script>alert(1)</script>"
EVIL = "evil.example"

HTML = {
    "script": SCRIPT,
    "script-from-elsewhere": "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
    "script-in-pieces": "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "handler": "<img src=x onerror=alert(1)>",
    "handler-of-a-fold": "<details ontoggle=alert(1) open><summary>x</summary></details>",
    "handler-behind-a-comment": "<!--<img src='--><img src=x onerror=alert(1)//'>",
    "handler-behind-noscript": "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "handler-out-of-a-title": "<a title='\" href=\"data:' href=x>y</a> ' onmouseover=alert(1) x='>",
    "handler-out-of-an-alt": '<img alt="> <img src=x onerror=alert(1) ">',
    "image-from-elsewhere": "<img src='https://evil.example/pixel.png' alt=x>",
    "image-over-http": "<img src='http://evil.example/pixel.png' srcset='http://evil.example/2.png 2x' alt=x>",
    "image-that-is-a-drawing": "<img src='data:image/svg+xml;base64,PHN2Zz4=' alt=x>",
    "inline-drawing": "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "formula-with-a-link": "<math><mi xlink:href='javascript:alert(1)'>x</mi></math>",
    "frame": "<iframe src='javascript:alert(1)'></iframe>",
    "frame-with-a-document": "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "object": "<object data='data:text/html,<script>alert(1)</script>'></object><embed src=x>",
    "link-to-code": "<a href='javascript:alert(1)'>x</a>",
    "link-to-code-like-a-port": "<a href='javascript:80'>x</a>",
    "link-to-code-with-a-reference": "<a href='javascript&#58;80'>x</a>",
    "link-to-a-file": "<a href='file:1'>x</a>",
    "link-to-code-broken-in-two": "<a href=' java\nscript:alert(1)'>x</a>",
    "link-to-code-as-entities": "<a href='&#106;avascript&colon;alert(1)'>x</a>",
    "link-to-code-behind-a-control": "<a href='\x01javascript:alert(1)'>x</a>",
    "link-to-a-document": "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "link-to-a-document-as-entities": "<a href='dat&#97;&Tab;:text/html,<script>alert(1)</script>'>x</a>",
    "style": "<style>@import 'https://evil.example/x.css'; body{display:none}</style>",
    "style-of-an-element": "<p style='position:fixed;inset:0;background:url(https://evil.example)'>x</p>",
    "style-sheet": "<link rel=stylesheet href=https://evil.example/x.css>",
    "refresh": "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "base": "<base href='https://evil.example/'>",
    "form": "<form action='https://evil.example'><input name=x autofocus onfocus=alert(1)><button>go</button></form>",
    "place-of-the-template": "<div id='main' class='claims'>x</div>",
    "end-of-the-page": "</main></div></body></html><script>alert(1)</script>",
    "end-of-style-comment-and-data": "</style></title>--> ]]> <script>alert(1)</script>",
    "media": "<video src=https://evil.example/v.mp4 autoplay></video><audio src=//evil.example/a autoplay></audio>",
    "template": "<template><script>alert(1)</script></template><portal src=https://evil.example></portal>",
}

MARKDOWN = {
    "link-to-code": "[x](javascript:alert(1))",
    "link-to-code-in-capitals": "[x](JaVaScRiPt:alert(1))",
    "link-to-code-as-entities": "[x](&#106;avascript&colon;alert&#40;1&#41;)",
    "link-to-code-with-a-tab": "[x](<java\tscript:alert(1)>)",
    "link-to-a-document": "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "link-to-vbscript": "[x](vbscript:x)",
    "link-to-a-file": "[x](file:///etc/passwd)",
    "image-from-elsewhere": "![x](http://evil.example/pixel.png)",
    "image-of-code": "![x](javascript:alert(1))",
    "image-that-breaks-out": '![x" onerror="alert(1)](x)',
    "automatic-link": "<javascript:alert(1)>",
    "link-by-reference": "[x]: javascript:alert(1)\n\n[x]",
    "code-span": f"`{SCRIPT}`",
    "fenced-code": f"```html\n</code></pre>{SCRIPT}\n```",
    "fence-with-a-language": f'```"><img/src=x/onerror=alert(1)>\n{SCRIPT}\n```',
    "table": f"| a |\n|---|\n| {SCRIPT} |",
}

_NAMESPACES = "xmlns='http://www.w3.org/2000/svg' xmlns:xlink='http://www.w3.org/1999/xlink'"
SVG = {
    "script": f"<svg {_NAMESPACES}><script>alert(1)</script></svg>",
    "script-in-pieces": f"<svg {_NAMESPACES}><scr<metadata></metadata>ipt>alert(1)</scr<!-- -->ipt></svg>",
    "handler": f"<svg {_NAMESPACES} onload='alert(1)'/>",
    "foreign-element": f"<svg {_NAMESPACES}><foreignObject><p>x</p></foreignObject></svg>",
    "link-to-code": f"<svg {_NAMESPACES}><a xlink:href='javascript:alert(1)'><rect/></a></svg>",
    "image-from-elsewhere": f"<svg {_NAMESPACES}><image href='https://evil.example/x.png'/></svg>",
    "drawing-in-a-drawing": f"<svg {_NAMESPACES}><image href='data:image/svg+xml,x'/></svg>",
    "part-from-elsewhere": f"<svg {_NAMESPACES}><use href='https://evil.example/x.svg#a'/></svg>",
    "part-by-another-base": f"<svg {_NAMESPACES} xml:base='https://evil.example/'><use href='#a'/></svg>",
    "fill-from-elsewhere": f"<svg {_NAMESPACES}><rect style='fill:url(https://evil.example)'/></svg>",
    "image-set": f"<svg {_NAMESPACES}><rect style='background:image-set(\"https://evil.example\" 1x)'/></svg>",
    "style-sheet": f"<svg {_NAMESPACES}><style>@import 'https://evil.example';</style></svg>",
    "style-sheet-in-pieces": f"<svg {_NAMESPACES}><style>a<g/>@import 'https://evil.example';</style></svg>",
    "copies-of-copies": f"<svg {_NAMESPACES}><g id='a'><rect/></g><g id='b'><use href='#a'/></g><use href='#b'/></svg>",
    "animation": f"<svg {_NAMESPACES}><animate attributeName='href' values='javascript:alert(1)'/></svg>",
    "entity": f"<!DOCTYPE svg [<!ENTITY a 'b'>]><svg {_NAMESPACES}><text>&a;</text></svg>",
    "entities-that-explode": "<!DOCTYPE svg [<!ENTITY a 'bbbb'><!ENTITY c '&a;&a;&a;'>]><svg>&c;</svg>",
    "processing-instruction": f"<?xml-stylesheet href='https://evil.example/x.css'?><svg {_NAMESPACES}><rect/></svg>",
    "page": "<html><script>alert(1)</script></html>",
    "no-drawing": "not a drawing",
}

_CLAIM = {"id": "C1", "text": "x", "verdict": "supported"}
_ROWS = {"columns": [["m", SCRIPT, False]], "rows": [{"m": f"</td></table>{SCRIPT}"}]}
BENCH = {
    "headline": {"kind": "headline", "parts": [[SCRIPT, False], [SCRIPT, True]]},
    "sentence": {"kind": "prose", "parts": [[SCRIPT, False], ['"><img src=x onerror=alert(1)>', True]]},
    "long-value": {"kind": "prose", "parts": [[SCRIPT * 9, True]]},
    "claim": {
        "kind": "claims",
        "claims": [dict.fromkeys(("id", "text", "reason", "value", "unit"), SCRIPT) | {"verdict": "refuted"}],
    },
    "verdict": {"kind": "claims", "claims": [_CLAIM | {"verdict": f"supported'{SCRIPT}"}]},
    "facts": {"kind": "facts", "name": "provenance", "title": SCRIPT, "facts": [[SCRIPT, SCRIPT]]},
    "table": {"kind": "table", "name": "t", "caption": SCRIPT} | _ROWS,
    "figure": {"kind": "figure", "name": "f", "caption": SCRIPT, "alt": f'"{SCRIPT}'} | _ROWS,
    "alt": {"kind": "figure", "name": "f", "caption": "c", "alt": '" onload="alert(1)" x="'},
    "text": {"kind": "text", "name": "x", "caption": SCRIPT, "text": f"</pre>{SCRIPT}"},
    "column": {
        "kind": "table",
        "name": "t",
        "caption": "c",
        "columns": [[SCRIPT, '"><img src=x onerror=alert(1)>', True]],
        "rows": [],
    },
}

TEXT = {
    "markup": f"</pre></code></main>{SCRIPT}<img src=x onerror=alert(1)>",
    "end-of-script-and-style": f"</script></style></title></textarea>{SCRIPT}",
    "end-of-comment-and-data": f"--> ]]> {SCRIPT} <!-- <![CDATA[",
    "jinja": "{{ 7 * 191 }}{% include 'style.css' %}{{ self.__init__.__globals__ }}",
    "terminal-codes": "\x1b[31mred\x1b[0m\x1b]8;;https://evil.example\x07link\x1b]8;;\x07\x9b2J",
    "control-characters": "a\x00b\x07c\x08d\x7fe\x85f",
    "direction-override": "safe\u202egnp.exe\u2066\u061c",
    "hidden-letters": "a\u200bb\ufeffc\u00add\U000e0041e\ufe0ff",
    "lone-surrogate": "a\ud800b",
}
TEXT_PLACES = ("stdout", "stderr", "plain", "error", "code", "title", "markdown", "alt")

_ALL_MIME = {
    "javascript": {"application/javascript": "alert(1)", "text/plain": "x"},
    "widget": {"application/vnd.jupyter.widget-view+json": {"model_id": "alert(1)"}, "text/plain": "Widget()"},
    "latex": {"text/latex": r"\href{javascript:alert(1)}{x}", "text/plain": "x"},
    "jpeg": {"image/jpeg": "/9j/4AAQ", "text/plain": "x"},
    "broken-png": {"image/png": "!!", "text/plain": "x"},
    "png-that-is-a-page": {"image/png": base64.b64encode(SCRIPT.encode()).decode(), "text/plain": "x"},
    "image-address-that-breaks-out": {"image/png": '" onerror="alert(1)', "text/plain": "x"},
}


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(hidden: str = "") -> bytes:
    """Return a picture of one pixel, with a text hidden in it and another behind its end."""
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
        + _chunk(b"tEXt", b"Author\0" + hidden.encode())
        + _chunk(b"IDAT", zlib.compress(b"\0\0"))
        + _chunk(b"IEND", b"")
        + hidden.encode()
    )


PNG = base64.b64encode(png()).decode()
DRAWING = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'


def report(*cells: nbformat.NotebookNode, title: str = "T") -> nbformat.NotebookNode:
    """Return a notebook with a title, the cells, and canonical ids."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    every = [new_markdown_cell(f"# {title}"), *cells]
    for index, cell in enumerate(every):
        cell["id"] = f"c{index}"
    return new_notebook(cells=every, metadata={"kernelspec": kernel})


def code(source: str = "show()", *outputs: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return an executed code cell."""
    return new_code_cell(source, outputs=list(outputs))


def shown(data: dict, bench: object = None) -> nbformat.NotebookNode:
    """Return a report with one displayed output."""
    metadata = {"bench": bench} if bench else {}
    return report(code("show()", new_output("display_data", data=data, metadata=metadata)))


def placed(words: str, place: str) -> nbformat.NotebookNode:
    """Return a report with a text in one of `TEXT_PLACES`."""
    if place in ("stdout", "stderr"):
        return report(code("print()", new_output("stream", name=place, text=words)))
    if place == "error":
        return report(code("fail()", new_output("error", ename=words, evalue=words, traceback=[words])))
    if place == "alt":
        bench = {"kind": "figure", "name": "f", "caption": words, "alt": words}
        return shown({"image/png": PNG, "text/plain": words}, bench)
    if place == "plain":
        return shown({"text/plain": words})
    return {
        "code": report(code(words)),
        "title": report(title=words),
        "markdown": report(new_markdown_cell(words)),
    }[place]


def _html(source: str) -> nbformat.NotebookNode:
    """Return a report with HTML in an output, in Markdown, in a heading and in a raw cell."""
    output = new_output("display_data", data={"text/html": f"<p>before</p>{source}", "text/plain": "plain"})
    cells = [new_markdown_cell(f"words\n\n{source}"), new_markdown_cell(f"## {source}"), new_raw_cell(source)]
    return report(code("show()", output), *cells)


def cases() -> dict[str, nbformat.NotebookNode]:
    """Return every case that could run, load or hide something, by name."""
    found = {f"html-{name}": _html(source) for name, source in HTML.items()}
    found |= {f"markdown-{name}": report(new_markdown_cell(source)) for name, source in MARKDOWN.items()}
    found |= {
        f"svg-{name}": shown({"image/svg+xml": svg, "image/png": PNG, "text/plain": "x"}) for name, svg in SVG.items()
    }
    bundle = {"text/html": SCRIPT, "image/svg+xml": DRAWING, "text/plain": "plain"}
    found |= {f"bench-{name}": shown(bundle, bench) for name, bench in BENCH.items()}
    found |= {f"{place}-markup": placed(TEXT["markup"], place) for place in TEXT_PLACES}
    found |= {f"stdout-{name}": placed(words, "stdout") for name, words in TEXT.items() if name != "markup"}
    return found | {f"output-{name}": shown(data) for name, data in _ALL_MIME.items()}


class _Auditor(HTMLParser):
    """Collects what could run or load."""

    _RUNNING = re.compile("audio|base|embed|form|frame|iframe|input|link|math|object|portal|script|svg|template|video")
    _LOADING = ("action", "background", "formaction", "poster", "ping", "srcdoc", "srcset", "style", "xlink:href")

    _IMAGES = ("data:image/png;base64,", "data:image/svg+xml,", "../figures/")

    def __init__(self) -> None:
        super().__init__()
        self.bad: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.bad += [tag] if self._RUNNING.fullmatch(tag) else []
        for name, value in attrs:
            self._judge(tag, name, value or "")

    def _judge(self, tag: str, name: str, value: str) -> None:
        scheme = re.match(r"[\s\x00-\x20]*([a-z][a-z0-9+.-]*):", value, re.IGNORECASE)
        if name.startswith("on") or name in self._LOADING:
            self.bad.append(f"{tag} {name}")
        if name == "src" and not value.startswith(self._IMAGES):
            self.bad.append(f"{tag} src={value}")
        if name == "href" and scheme and scheme[1].lower() not in ("http", "https", "mailto"):
            self.bad.append(f"{tag} href={value}")
        if name == "id":
            self.ids.append(value)


def audited(page: str) -> list[str]:
    """Return the identifiers of a page, after nothing that runs or loads was found in it or its images."""
    auditor = _Auditor()
    auditor.feed(page)
    assert auditor.bad == []
    assert len(auditor.ids) == len(set(auditor.ids))
    assert SCRIPT not in page
    assert not any(word in drawing for drawing in drawings(page) for word in (EVIL, "<script", "alert("))
    return auditor.ids


def drawings(page: str) -> list[str]:
    """Return every image that is embedded in a page, as text."""
    pngs = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    svgs = re.findall(r'src="data:image/svg\+xml,([^"]+)"', page)
    return [base64.b64decode(png).decode("latin-1") for png in pngs] + [unquote(svg) for svg in svgs]
