"""Texts to score: documents with digests, read from a file."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import NamedTuple

from ..errors import BenchError

TEXT, LINES = ".txt", ".jsonl"


class Document(NamedTuple):
    """A unit of a text, scored by itself: intervals are over documents."""

    text: str

    @property
    def bytes(self) -> int:
        """Its length in UTF-8, by which vocabularies compare."""
        return len(self.text.encode())

    @property
    def digest(self) -> str:
        """What two runs know it by."""
        return digest(self.text)


def digest(text: str) -> str:
    """SHA-256 of a text in UTF-8, shortened to 16 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_text(path: Path) -> list[Document]:
    """The documents of a text file: paragraphs, parted by empty lines, or the ``text`` of each line of a ``.jsonl``.

    Raises BenchError for a file that is not there, is not UTF-8, or holds no text.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BenchError(
            f"text {path.name!r} cannot be read ({error.strerror}); give the path of a text file"
        ) from None
    except UnicodeDecodeError:
        raise BenchError(
            f"text {path.name!r} is not UTF-8; convert it first, so that bytes are counted right"
        ) from None
    documents = _lines(path.name, content) if path.suffix == LINES else paragraphs(content)
    if not documents:
        raise BenchError(f"text {path.name!r} is empty: there is nothing to score; give a file with words in it")
    return documents


def paragraphs(text: str) -> list[Document]:
    """The paragraphs of a text, parted by empty lines, as documents."""
    return [Document(part.strip("\n")) for part in re.split(r"\n[ \t]*\n", text) if part.strip()]


def _lines(name: str, content: str) -> list[Document]:
    try:
        texts = [json.loads(line)["text"] for line in content.split("\n") if line.strip()]
        return [Document(text) for text in texts if text.strip()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BenchError(f"text {name!r}: each line of a .jsonl must be an object whose 'text' is a text") from None


def file_digest(path: Path) -> str:
    """SHA-256 of a file, shortened to 16 hex digits; BenchError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise BenchError(f"{path.name!r} cannot be read ({error.strerror}); correct the path") from None
