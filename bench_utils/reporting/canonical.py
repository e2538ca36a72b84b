"""An executed notebook reduced to what a page is made from: the same records give the same bytes.

Everything that differs between two runs of the same notebook (times, identifiers, memory addresses, temporary
paths) and everything that tells where it ran is removed or replaced.
"""

import copy
import re

from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode, from_dict

from ..privacy import clean
from .status import COMPLETE, is_marker, outcome
from .text import plain

_CELL_FILE = re.compile(r"(?<![\w.+/-])[\w.+/-]*/ipykernel_\d+/\d+\.py")
_MEMORY = re.compile(r"\b0x[0-9a-fA-F]{6,16}\b")
_TEXTUAL = ("text/", "image/svg+xml", "application/json")
_LONGEST = 200_000  # characters of HTML or SVG; what is longer is left out unread


class Canonical(Preprocessor):
    """nbconvert preprocessor: `canonical` on the way to a page."""

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """Return the canonical notebook and the unchanged resources."""
        return canonical(nb), resources


def canonical(nb: NotebookNode) -> NotebookNode:
    """Return a copy with numbered cell ids, only tags and `bench` as metadata, and masked texts.

    How the execution ended is kept as `metadata.bench.outcome`. Applying it twice changes nothing more.
    """
    ended = outcome(nb)._asdict()
    known = nb.metadata.get("bench", {}).get("outcome", {})
    if ended["status"] == COMPLETE and known.get("status", COMPLETE) != COMPLETE:
        ended = known  # what happened shows in no output
    cells = [_cell(cell, index) for index, cell in enumerate(c for c in nb.cells if not is_marker(c))]
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
        "bench": {"outcome": dict(ended) | {"message": mask(ended["message"])}},
    }
    return from_dict({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells})


def mask(text: str) -> str:
    """Return a text without memory addresses, temporary cell files and this machine's own words."""
    return _MEMORY.sub("0x…", clean(_CELL_FILE.sub("[cell]", text)))


def _cell(cell: NotebookNode, index: int) -> dict:
    tags = sorted(cell.metadata.get("tags", []))
    result = {
        "id": f"c{index}",
        "cell_type": cell.cell_type,
        "metadata": {"tags": tags} if tags else {},
        "source": clean(plain(cell.source)),
    }
    if cell.cell_type == "code":
        result |= {"execution_count": None, "outputs": _outputs(cell.get("outputs", []))}
    return result


def _outputs(outputs: list[NotebookNode]) -> list[dict]:
    """Mask every output; texts of one stream become one, standard error after standard output."""
    streams: dict[str, str] = {}
    others: list[dict] = []
    for output in outputs:
        if output.output_type == "stream":
            streams[output.name] = streams.get(output.name, "") + "".join(output.text)
        else:
            others.append(_output(output))
    ordered = sorted(streams.items(), reverse=True)
    return [{"output_type": "stream", "name": name, "text": mask(plain(text))} for name, text in ordered] + others


def _output(output: NotebookNode) -> dict:
    if output.output_type == "error":
        return {
            "output_type": "error",
            "ename": _masked(output.get("ename", "")),
            "evalue": _masked(output.get("evalue", "")),
            "traceback": [_masked("\n".join(output.get("traceback", [])))],
        }
    bench = output.get("metadata", {}).get("bench")
    data = {kind: _joined(kind, value) for kind, value in sorted(output.get("data", {}).items())}
    return {
        "output_type": "display_data",
        "data": {kind: _content(kind, value) for kind, value in data.items() if _is_read(kind, value)},
        "metadata": {"bench": _masked(bench)} if bench else {},
    }


def _joined(kind: str, value: object) -> object:
    return "".join(map(str, value)) if isinstance(value, list) and kind != "application/json" else value


def _is_read(kind: str, value: object) -> bool:
    return kind == "text/plain" or not kind.startswith(_TEXTUAL) or len(value) <= _LONGEST


def _content(kind: str, value: object) -> object:
    if not kind.startswith(_TEXTUAL):
        return copy.deepcopy(value)
    if isinstance(value, str) and kind != "text/plain":
        return mask(plain(value, None))
    return _masked(value)


def _masked(value: object) -> object:
    """Mask every text in it, none of them endless."""
    if isinstance(value, str):
        return mask(plain(value))
    if isinstance(value, dict):
        return {mask(plain(key)): _masked(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_masked(item) for item in value]
    return value
