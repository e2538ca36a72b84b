"""A model card's technical section, in the hub's Markdown: sizes from the configuration, the rest from records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pandas as pd

from .. import catalog
from ..catalog import VARIANTS, Model
from ..errors import BenchError
from ..formatting import count, significant, with_interval
from ..gates import DISTURBED
from ..records import TIMED
from .evidence import Committed, Evidence
from .shapes import UNITS, cache, embeddings, weights

_DTYPES = ("float32", "float16", "q8_0")
_LEVEL = "###"
_HEADS = ("device", "variant", "dtype", "phase", "prompt + new tokens", "batch", "latency, ms", "ms a token", "rounds")


def technical_section(name: str, evidence: Evidence) -> str:
    """Markdown of the section: architecture, memory, latency by device with intervals, compatibility, provenance.

    Raises BenchError for a model whose shape the catalog does not know.
    """
    model = catalog.model(name)
    if not model.layers:
        raise BenchError(
            f"model {name!r}: its shape is unknown until it is loaded; name one of the catalog or a folder"
        )
    runs = [run for run in evidence.runs if name in set(run.receipts["model"])]
    parts = [
        "## Technical Specifications", _architecture(model), _memory(model), _latency(name, runs),
        _compatibility(name, runs), _provenance(runs),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _architecture(model: Model) -> str:
    rows = [
        ("Layers", count(model.layers)), ("Width", count(model.width)), ("Attention heads", count(model.heads)),
        ("Size of a head", count(model.width // model.heads)), ("Feed-forward width", count(model.inner)),
        ("Vocabulary", count(model.vocabulary)), ("Context, tokens", count(model.context)),
        ("Parameters, head tied", count(model.parameters)), ("of these in the blocks", count(model.block_parameters)),
        ("of these in the embeddings", count(embeddings(model))),
    ]  # fmt: skip
    return f"{_LEVEL} Model Architecture\n\n{_table(('', 'value'), rows)}"


def _memory(model: Model) -> str:
    rows = []
    for dtype in _DTYPES:
        size = weights(model, dtype)
        held = (significant(size / UNITS[unit], 4) for unit in ("MB", "MiB"))
        rows.append((dtype, *held, significant(cache(model, model.context, dtype) / UNITS["MiB"], 4)))
    heads = ("dtype", "weights, MB (10^6)", "weights, MiB (2^20)", "cache of a full context, MiB")
    said = "Computed from the configuration; framework and driver come on top."
    return f"{_LEVEL} Memory\n\n{said}\n\n{_table(heads, rows)}"


def _latency(name: str, runs: list[Committed]) -> str:
    """The newest run that has a cell speaks for it."""
    cells: dict[tuple[str, ...], tuple[str, ...]] = {}
    for run in runs:
        for key, times in _timed(name, run):
            cells.setdefault(key, times)
    if not cells:
        return f"{_LEVEL} Latency\n\nNo complete run on record has timed this model."
    said = "Median over the rounds, with its 95 % interval over processes; every round is a process of its own."
    if served := sorted({variant for _, variant, *_ in cells if variant in VARIANTS and VARIANTS[variant].served}):
        said += (
            f" Servers ({', '.join(served)}) are timed by their client, over HTTP: not to be ranked with the others."
        )
    return f"{_LEVEL} Latency\n\n{said}\n\n{_table(_HEADS, ((*key, *times) for key, times in cells.items()))}"


def _timed(name: str, run: Committed) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """What a cell is, and its times."""
    cells = run.cells[(run.cells["model"] == name) & ~_control(run.cells)]
    for cell in cells.itertuples():
        times = (cell.median_ms, cell.low_ms, cell.high_ms)
        each = with_interval(*(t / cell.new_tokens for t in times)) if cell.phase == "decode" else ""
        size = f"{cell.prompt_tokens} + {cell.new_tokens}"
        key = (run.manifest.device, cell.variant, cell.dtype, cell.phase, size, str(cell.batch_size))
        yield key, (with_interval(*times), each, str(cell.rounds))


def _control(cells: pd.DataFrame) -> pd.Series:
    """Rows of a second label for the same code: a yardstick, not another way to run the model."""
    return cells["variant"].str.endswith("-again")


def _compatibility(name: str, runs: list[Committed]) -> str:
    tables = [run.receipts for run in runs]
    found = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    if found.empty:
        return f"{_LEVEL} Compatibility\n\nNo complete run on record has tried this model."
    found = found[(found["model"] == name) & found["phase"].isin(TIMED) & ~_control(found)]
    rows = [_ending(key, cells) for key, cells in found.groupby(["device", "variant", "dtype"])]
    return f"{_LEVEL} Compatibility\n\n{_table(('device', 'variant', 'dtype', 'result', 'cells', 'why not'), rows)}"


def _ending(key: tuple, cells: pd.DataFrame) -> tuple[str, ...]:
    status = cells["status"].where(~cells["status"].isin(DISTURBED), "ok")
    worst = next((s for s in status if s != "ok"), "ok")
    reasons = "; ".join(dict.fromkeys(str(reason) for reason in cells.loc[status != "ok", "reason"].dropna()))
    ran = f"{int((status == 'ok').sum())} of {len(cells)}"
    return (*key, "runs" if worst == "ok" else worst, ran, reasons)


def _provenance(runs: list[Committed]) -> str:
    rows = []
    for run in runs:
        known, m = run.manifest.identity, run.manifest
        stack = ", ".join(f"{part} {known[part]}" for part in ("torch", "transformers") if known.get(part))
        hardware = str(known.get("gpu") or known.get("cpu") or "")
        rows.append((m.report, m.run, m.device, hardware, stack, m.weights, m.started_at[:10]))
    heads = ("report", "run", "device", "hardware", "stack", "weights", "date")
    body = _table(heads, rows) if rows else "None."
    note = "\n\nRuns of `architecture` weights are seeded: latencies hold, whatever depends on the text does not."
    return f"{_LEVEL} Records\n\n{body}{note if any(r[5] == 'architecture' for r in rows) else ''}"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [tuple(heads), *map(tuple, rows)]
    texts = [f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines]
    return "\n".join([texts[0], f"|{'---|' * len(lines[0])}", *texts[1:]])


def _cell(text: str) -> str:
    """A cell of a Markdown table: one line, and nothing that a renderer takes for markup."""
    plain = " ".join(str(text).split())
    return "".join(f"\\{c}" if c in "\\|`*_<>[]" else c for c in plain)
