"""Sentences whose numbers come from data: a template without digits, and the values bound into it."""

import re
import string
from collections.abc import Mapping
from typing import NamedTuple

from ..formatting import UNKNOWN, count, significant, with_interval
from .text import plain

# Names that carry a digit and are no measurement. Everything else comes from a row.
_NAMES = re.compile(
    r"(?<![\w.])(?:"
    r"GPT-?2|(?:distil|tiny-)?gpt2(?:-\d+m)?|GPT[-_]124M|gpt-124m"
    r"|TR\d{3}"
    r"|(?:fp|bf|tf)(?:8|16|32|64)|b?float(?:16|32|64)|u?int(?:4|8|16|32|64)"
    r"|p(?:5|25|50|75|90|95|99)"
    r")(?![\w%]|[.,:/-]\d)"
)
_WORD = re.compile(r"\S+")


class Part(NamedTuple):
    """A piece of a sentence; `bound` says that it was computed from data."""

    text: str
    bound: bool


def unbound_digits(text: str) -> list[str]:
    """Return the words of `text` that hold a digit and are no known name, in order."""
    masked = _NAMES.sub(lambda match: "x" * len(match[0]), text)
    return [
        text[word.start() : word.end()]
        for word in _WORD.finditer(masked)
        if any(character.isnumeric() for character in word[0])
    ]


def bind(template: str, values: Mapping[str, object]) -> list[Part]:
    """Return the parts of a sentence: the template's own words, and its values as a reader wants them.

    Fields are plain names, `{speedup}`, with an optional format, `{share:.0%}`. Raises ValueError when the
    template itself holds a digit, names a value that was not given, or uses anything but a plain name.
    """
    try:
        pieces = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"not a template: {error}: {template!r}") from None
    _refuse_digits("".join(literal for literal, *_ in pieces))
    parts: list[Part] = []
    for literal, field, spec, conversion in pieces:
        if literal:
            parts.append(Part(plain(literal, None), False))
        if field is not None:
            parts.append(Part(_bound(field, spec or "", conversion, values), True))
    return parts


def sentence(parts: list[Part]) -> str:
    """Return the parts as one plain text."""
    return "".join(part.text for part in parts)


def printed(value: object) -> str:
    """Return a value as prose prints it.

    Whole numbers get thousands separators, other numbers three significant digits; a tuple
    `(value, low, high)` or `(value, low, high, unit)` prints with its interval, as does anything with
    `value` (or `estimate`) and `interval` attributes. None and NaN are "unknown".
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return plain(value, None)
    if isinstance(value, (tuple, list)) and len(value) in (3, 4):
        return with_interval(*value)
    interval = getattr(value, "interval", None)
    if interval is not None:
        centre = getattr(value, "value", getattr(value, "estimate", None))
        return with_interval(centre, *tuple(interval)[:2], getattr(value, "unit", "") or "")
    if _is_whole(value):
        return count(value)
    if value is None or hasattr(value, "__float__"):
        return significant(value)
    return plain(value, None)


def _is_whole(value: object) -> bool:
    return hasattr(value, "__index__")


def _refuse_digits(text: str) -> None:
    found = unbound_digits(text)
    if found:
        raise ValueError(f"the digit in {found[0]!r} is typed by hand: bind it to a row, as in '{{name}}'")


def _bound(field: str, spec: str, conversion: str | None, values: Mapping[str, object]) -> str:
    if not field.isidentifier() or conversion or "{" in spec:
        raise ValueError(f"a template holds plain names only, not {{{field}}}")
    if field not in values:
        known = ", ".join(sorted(values)) or "none"
        raise ValueError(f"no value named {field!r}; given: {known}")
    value = values[field]
    if not spec:
        return printed(value)
    if value is None or value != value:  # NaN differs from itself
        return UNKNOWN
    return plain(format(value, spec), None)
