"""Pictures from a stranger's notebook: small, free of anything that runs or loads, and of hidden text."""

import re
from collections.abc import Iterator
from xml.etree import ElementTree

SVG_LIMIT = 200_000  # bytes; above it a page shows the PNG

_PROLOGUE = re.compile(r"<\?xml.*?\?>|<!DOCTYPE[^>\[]*>|<!--.*?-->|<metadata>.*?</metadata>", re.DOTALL)
_GAPS = re.compile(r"\s+")
_FORBIDDEN_MARKUP = re.compile(r"<!ENTITY|<!DOCTYPE|<\?", re.IGNORECASE)
_ELEMENTS = frozenset(
    {
        *("svg", "g", "defs", "use", "symbol", "marker", "title", "desc", "style", "text", "tspan", "image"),
        *("path", "rect", "circle", "ellipse", "line", "polyline", "polygon"),
        *("clipPath", "mask", "pattern", "linearGradient", "radialGradient", "stop"),
    }
)
# Anything that fetches: a page, and the file opened by itself, load nothing.
_FETCH = re.compile(r"url\(\s*['\"]?\s*(?!#)|@import|expression\(|javascript:|\\", re.IGNORECASE)
_LOCAL = re.compile(r"\s*(?:#|data:image/(?:png|jpeg);base64,)", re.IGNORECASE)

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"pHYs", b"IDAT", b"IEND"})


def slim_svg(svg: str) -> str:
    """Return an SVG without prologue, comments, metadata and indentation; what it draws stays the same."""
    return _GAPS.sub(" ", _PROLOGUE.sub("", svg)).replace("> <", "><").strip()


def safe_svg(svg: str) -> str | None:
    """Return the slim SVG; None where it holds a script, an event handler, a foreign element or a fetch."""
    small = slim_svg(svg)
    if _FORBIDDEN_MARKUP.search(small):
        return None
    try:
        root = ElementTree.fromstring(small)
    except ElementTree.ParseError:
        return None
    return small if _local(root.tag) == "svg" and all(map(_is_safe, root.iter())) else None


def clean_png(png: bytes) -> bytes | None:
    """Return a PNG with its picture only, texts and times dropped; None for what is no PNG."""
    if not png.startswith(_PNG_START):
        return None
    return _PNG_START + b"".join(chunk for kind, chunk in _chunks(png) if kind in _PNG_KEPT)


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield each chunk's type and bytes: length, type, data, checksum."""
    position = len(_PNG_START)
    while position + 12 <= len(png):
        end = position + 12 + int.from_bytes(png[position : position + 4], "big")
        yield png[position + 4 : position + 8], png[position:end]
        position = end


def _is_safe(element: ElementTree.Element) -> bool:
    if not isinstance(element.tag, str) or _local(element.tag) not in _ELEMENTS:
        return False
    if _local(element.tag) == "style" and _FETCH.search(element.text or ""):
        return False
    return all(_is_safe_attribute(_local(name), value) for name, value in element.attrib.items())


def _is_safe_attribute(name: str, value: str) -> bool:
    if name.lower().startswith("on"):
        return False
    if name.lower() in ("href", "src"):
        return bool(_LOCAL.match(value))
    return not _FETCH.search(value)


def _local(name: str) -> str:
    return name.rpartition("}")[2]
