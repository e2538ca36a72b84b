"""Pictures from a stranger's notebook: small, free of anything that runs or loads, and of hidden text."""

import base64
import binascii
import re
from collections.abc import Iterator
from urllib.parse import quote
from xml.etree import ElementTree

SVG_LIMIT = 200_000  # bytes; above it a page shows the PNG

_PROLOGUE = re.compile(r"<\?xml.*?\?>|<!DOCTYPE[^>\[]*>|<!--.*?-->|<metadata>.*?</metadata>", re.DOTALL)
_GAPS = re.compile(r"\s+")
# What of matplotlib's own SVG can be shorter: names, decimals (of what is no scale), spaces, styles, groups of one, and
# neighbours that are clipped alike.
_REFERENCE = re.compile(r'(?<=href="#)[^"]+|(?<=url\(#)[^)]+')
_ID = re.compile(r' id="([^"]+)"')
_FINE = re.compile(r"(?:scale|matrix)\([^)]*\)|-?\d+\.\d{3,}")
_PLACED = re.compile(r'(<use href="#\w+") transform="translate\((\S+) (\S+)\)"/>')
_WRAPPED = re.compile(r"<g>(<g [^<>]*>(?:<use [^<>]*/>)*</g>|<(?:path|use) [^<>]*/>)</g>")
_CLIPPED = re.compile(r'(<g (clip-path="[^"]*")>(?:<use [^<>]*/>)+)</g><g \2>(?=<use )')
_COLOUR = re.compile(r"#([0-9a-f])\1([0-9a-f])\2([0-9a-f])\3\b")
_STYLE = re.compile(r' style="([^"]*)"')
_PATH_VALUE = re.compile(r'(?<= d=")[^"]*')
_FORBIDDEN_MARKUP = re.compile(r"<!ENTITY|<!DOCTYPE|<\?", re.IGNORECASE)
_ELEMENTS = frozenset(
    {
        *("svg", "g", "defs", "use", "symbol", "marker", "title", "desc", "style", "text", "tspan", "image"),
        *("path", "rect", "circle", "ellipse", "line", "polyline", "polygon"),
        *("clipPath", "mask", "pattern", "linearGradient", "radialGradient", "stop"),
    }
)
# Anything that fetches: a page, and the file opened by itself, load nothing.
_FETCH = re.compile(r"url\(\s*['\"]?\s*(?!#)|@import|image-set|expression\(|javascript:|//|\\", re.IGNORECASE)
_LOCAL = re.compile(r"#|data:image/png;base64,")
_IN_URI = " !$'()*+,-./:;=?@_~"  # of an SVG, what an address in double quotes can hold as it is
_EMBEDDED = re.compile(r"data:image/[\w.+-]+[;,][^\"'<>)]*", re.IGNORECASE)

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"pHYs", b"IDAT", b"IEND"})


def slim_svg(svg: str) -> str:
    """Return an SVG without prologue, comments, metadata and indentation; what it draws stays the same."""
    return _GAPS.sub(" ", _PROLOGUE.sub("", svg)).replace("> <", "><").strip()


def compact_svg(svg: str) -> str:
    """Return matplotlib's SVG in two thirds of its bytes; coordinates keep a hundredth of a point.

    Names are numbered in the order of their use, so they depend on nothing but the drawing.
    """
    names = {name: f"i{number:x}" for number, name in enumerate(dict.fromkeys(_REFERENCE.findall(svg)))}
    svg = svg.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "").replace("xlink:href=", "href=")
    svg = _REFERENCE.sub(lambda match: names.get(match[0], match[0]), svg)
    svg = _ID.sub(lambda match: f' id="{names[match[1]]}"' if match[1] in names else "", svg)
    svg = _WRAPPED.sub(r"\1", _FINE.sub(_rounded, svg))
    svg = _PLACED.sub(r'\1 x="\2" y="\3"/>', svg).replace(' y="0"/>', "/>")
    while (merged := _CLIPPED.sub(r"\1", svg)) != svg:  # each pass joins pairs of neighbours
        svg = merged
    styles = {style: f"s{number:x}" for number, style in enumerate(dict.fromkeys(_STYLE.findall(svg)))}
    rules = "".join(f".{name}{{{_tight(style)}}}" for style, name in styles.items())
    svg = _STYLE.sub(lambda match: f' class="{styles[match[1]]}"', svg).replace("</style>", f"{rules}</style>", 1)
    svg = _PATH_VALUE.sub(lambda match: re.sub(r" ?([A-Za-z]) ?", r"\1", match[0]), svg)
    return svg if "'" in svg else svg.replace('"', "'")  # which an address in double quotes holds as they are


def _tight(style: str) -> str:
    return _COLOUR.sub(r"#\1\2\3", style.replace(": ", ":").replace("; ", ";"))


def safe_svg(svg: str) -> str | None:
    """Return the slim SVG; None where it holds a script, an event handler, a foreign element or a fetch, or copies
    copies of itself."""
    small = clean_images(slim_svg(svg))
    if _FORBIDDEN_MARKUP.search(small):
        return None
    try:
        root = ElementTree.fromstring(small)
    except ElementTree.ParseError:
        return None
    safe = _local(root.tag) == "svg" and all(map(_is_safe, root.iter())) and not _multiplies(root)
    return small if safe else None


def clean_png(png: bytes) -> bytes | None:
    """Return a PNG with its picture only, texts and times dropped; None for what is no PNG."""
    if not png.startswith(_PNG_START):
        return None
    return _PNG_START + b"".join(chunk for kind, chunk in _chunks(png) if kind in _PNG_KEPT)


def clean_images(markup: str) -> str:
    """Return HTML or SVG whose embedded images are clean PNGs; other kinds, which may hide texts, become `data:,`."""
    return _EMBEDDED.sub(_clean_image, markup)


def decoded(text: str) -> bytes | None:
    """Return the bytes of a base64 text; None where it is none."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None


def svg_uri(svg: str) -> str:
    """Return an SVG as the address that embeds it: a sixth smaller than base64, and open to the privacy gate."""
    return f"data:image/svg+xml,{quote(svg, safe=_IN_URI)}"


def png_uri(png: bytes) -> str:
    """Return a PNG as the address that embeds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _clean_image(match: re.Match[str]) -> str:
    head, _, text = match[0].partition(",")
    png = clean_png(decoded(text) or b"") if head.lower() == "data:image/png;base64" else None
    return png_uri(png) if png else "data:,"


def _rounded(match: re.Match[str]) -> str:
    return match[0] if match[0].endswith(")") else f"{float(match[0]):.2f}".rstrip("0").rstrip(".")


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and bytes (length, type, data, checksum) of each chunk up to the picture's end."""
    position, kind = len(_PNG_START), b""
    while position + 12 <= len(png) and kind != b"IEND":
        end = position + 12 + int.from_bytes(png[position : position + 4], "big")
        kind = png[position + 4 : position + 8]
        yield kind, png[position:end]
        position = end


def _multiplies(root: ElementTree.Element) -> bool:
    """Whether something that is used uses something: a few such levels are more shapes than a browser can draw."""
    uses = [element for element in root.iter() if _local(str(element.tag)) == "use"]
    names = {value[1:] for use in uses for name, value in use.attrib.items() if _local(name) == "href"}
    used = [element for element in root.iter() if element.get("id") in names]
    return any(_local(str(inner.tag)) == "use" for element in used for inner in element.iter())


def _is_safe(element: ElementTree.Element) -> bool:
    if not isinstance(element.tag, str) or _local(element.tag) not in _ELEMENTS:
        return False
    if _local(element.tag) == "style" and _FETCH.search("".join(element.itertext())):
        return False
    return all(_is_safe_attribute(_local(name), value) for name, value in element.attrib.items())


def _is_safe_attribute(name: str, value: str) -> bool:
    if name.lower().startswith("on"):
        return False
    if name.lower() in ("href", "src"):
        return bool(_LOCAL.match(value.strip()))
    return not _FETCH.search(value)


def _local(name: str) -> str:
    return name.rpartition("}")[2]
