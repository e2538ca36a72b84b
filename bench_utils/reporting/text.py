"""Untrusted text made harmless: no control characters, no terminal codes, no endless length."""

import html
import re

DEFAULT_LIMIT = 20_000  # characters; a page stays readable and small
_NOTE_ROOM = 60  # characters kept free for the note, so that cutting again changes nothing

_ANSI = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # operating system commands: titles, links
    r"|[\x1b\x9b]\[?[0-?]*[ -/]*[@-~]"  # control sequences: colours, cursor
    r"|\x1b."
)
_OVERWRITTEN = re.compile(r"^.*\r(?=[^\n])", re.MULTILINE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# Marks that reorder or hide text: what is read must be what is there.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)


def plain(text: object, limit: int | None = DEFAULT_LIMIT) -> str:
    """Return text without terminal codes, control and invisible characters, cut after `limit` characters.

    Carriage returns act as in a terminal: of a progress line only the last state stays.
    """
    result = str(text).encode("utf-8", "replace").decode("utf-8")
    result = _ANSI.sub("", result).replace("\r\n", "\n")
    result = _OVERWRITTEN.sub("", result)
    result = _INVISIBLE.sub("", _CONTROL.sub("", result))
    return shortened(result, limit)


def shortened(text: str, limit: int | None) -> str:
    """Return text of at most `limit` characters, ending in a note when some are left out."""
    if limit is None or len(text) <= limit:
        return text
    kept = max(0, limit - _NOTE_ROOM)
    return f"{text[:kept]}\n[{len(text) - kept:,} more characters left out]"


def escaped(text: object) -> str:
    """Return text as HTML: control characters removed, endless length cut, markup and quotes escaped."""
    return html.escape(plain(text), quote=True)
