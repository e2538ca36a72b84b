"""Rows of a table as plain data: from a frame or a list of records to JSON-able rows with typed columns."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..formatting import UNKNOWN, count, significant
from .text import plain

# A number as prose prints it: optionally with its interval and a unit.
_NUMERIC_TEXT = re.compile(r"[-+]?\d[\d,.]*(?: \([^)]*\))?(?: \S{1,10})?")


class Column(NamedTuple):
    """A column: its key in the rows, what the head says, and whether it is aligned as numbers."""

    key: str
    label: str
    numeric: bool


class Table(NamedTuple):
    """Columns in order, rows as JSON-able records, and how many rows there were before the cut."""

    columns: list[Column]
    rows: list[dict[str, object]]
    total: int


def table_of(
    frame: object,
    columns: Iterable[str] | Mapping[str, str] | None = None,
    limit: int = 5000,
) -> Table:
    """Return a pandas DataFrame, or an iterable of dicts, as a table of at most `limit` rows.

    `columns` chooses and orders columns; as a mapping it also gives the head's words. A named index becomes
    columns. Raises ValueError for a column that is not there.
    """
    keys, records = _records(frame)
    labels = _labels(keys, columns)
    rows = [{key: jsonable(record.get(key)) for key in labels} for record in records[:limit]]
    heads = [Column(key, label, _is_numeric(rows, key)) for key, label in labels.items()]
    return Table(heads, rows, len(records))


def jsonable(value: object) -> object:
    """Return a cell as JSON can hold it: NaN, NaT and infinities become None, NumPy scalars plain numbers."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return plain(value, None)
    if hasattr(value, "item") and not hasattr(value, "__len__"):
        return jsonable(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    return value.isoformat() if hasattr(value, "isoformat") else plain(value, None)


def cell_text(value: object) -> str:
    """Return a cell as a reader sees it."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        return significant(value)
    if isinstance(value, list):
        return ", ".join(map(cell_text, value))
    return str(value)


def plain_table(table: Table, limit: int = 20) -> str:
    """Return the first rows as aligned text, for terminals."""
    lines = [[column.label for column in table.columns]]
    lines += [[cell_text(row.get(column.key)) for column in table.columns] for row in table.rows[:limit]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.columns))]
    texts = [
        "  ".join(
            cell.rjust(width) if column.numeric else cell.ljust(width)
            for cell, width, column in zip(line, widths, table.columns, strict=True)
        ).rstrip()
        for line in lines
    ]
    if table.total > limit:
        texts.append(f"… {table.total - limit:,} more rows")
    return "\n".join(texts)


def _records(frame: object) -> tuple[list[str], list[dict[str, object]]]:
    if hasattr(frame, "to_dict") and hasattr(frame, "columns"):
        if any(name is not None for name in frame.index.names):
            frame = frame.reset_index()
        names = [_name(column) for column in frame.columns]
        return names, [dict(zip(names, row, strict=True)) for row in frame.itertuples(index=False, name=None)]
    records = [{str(key): value for key, value in record.items()} for record in frame]
    return list(dict.fromkeys(key for record in records for key in record)), records


def _name(column: object) -> str:
    return " ".join(str(part) for part in column if str(part)) if isinstance(column, tuple) else str(column)


def _labels(keys: list[str], columns: Iterable[str] | Mapping[str, str] | None) -> dict[str, str]:
    if len(set(keys)) != len(keys):
        raise ValueError("two columns have the same name")
    if columns is None:
        return {key: plain(key.replace("_", " "), None) for key in keys}
    named = isinstance(columns, Mapping)
    chosen = dict(columns) if named else {key: key.replace("_", " ") for key in columns}
    missing = [key for key in chosen if key not in keys]
    if missing:
        raise ValueError(f"no column {missing[0]!r}; there are: {', '.join(keys)}")
    return {key: plain(label, None) for key, label in chosen.items()}


def _is_numeric(rows: list[dict[str, object]], key: str) -> bool:
    values = [row[key] for row in rows if row[key] is not None]
    return bool(values) and all(_looks_numeric(value) for value in values)


def _looks_numeric(value: object) -> bool:
    if isinstance(value, str):
        return value == UNKNOWN or bool(_NUMERIC_TEXT.fullmatch(value))
    return isinstance(value, (int, float)) and not isinstance(value, bool)
