"""What the audit reads: the published tables as printed text, so that the digits of every number are known."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

Table = dict[str, dict[str, str]]

TABLES = {
    "claims": ("published_claims", "claim_id"),
    "latency": ("published_latency", "row_id"),
    "models": ("models", "id"),
    "prompts": ("published_prompts", "scenario"),
    "cards": ("cards", "claim_id"),
    "links": ("audit_links", "claim_id"),
}


@dataclass(frozen=True)
class Sources:
    """Published tables: id to row, a row from column to the text printed ("" where blank)."""

    claims: Table
    latency: Table
    models: Table
    prompts: Table
    cards: Table
    links: Table


def read(folder: Path | None = None) -> Sources:
    """The published tables and the links between them, from `folder` or from the package.

    Raises ValueError for an id that a table holds twice.
    """
    return Sources(**{table: _table(_path(folder, name), key) for table, (name, key) in TABLES.items()})


def digests(folder: Path | None = None) -> dict[str, tuple[str, str]]:
    """File name and first twelve hexadecimal digits of the SHA-256 of each table."""
    paths = {table: _path(folder, name) for table, (name, _) in TABLES.items()}
    return {table: (path.name, hashlib.sha256(path.read_bytes()).hexdigest()[:12]) for table, path in paths.items()}


def _path(folder: Path | None, name: str) -> Path:
    return Path(str(folder or files("bench_utils") / "reference")) / f"{name}.csv"


def _table(path: Path, key: str) -> Table:
    table: Table = {}
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            if table.setdefault(row[key], row) is not row:
                raise ValueError(f"{path.name} holds {row[key]} twice")
    return table
