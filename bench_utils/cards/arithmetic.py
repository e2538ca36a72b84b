"""Claims decided from the configuration alone, or from numbers that the card itself names."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence

from .. import catalog
from ..audit.evidence import said
from ..catalog import Model
from ..claims import Verdict
from ..errors import BenchError
from ..formatting import count
from . import shapes
from .evidence import Evidence
from .stated import MILLION, Stated, either, undecided

_FIELDS = {"n_embd": "width", "n_head": "heads", "n_layer": "layers", "n_inner": "inner", "vocabulary": "vocabulary"}
_NAMED = re.compile(rf"({'|'.join(_FIELDS)}) (\d+)")
_FILE = re.compile(r"(\d+(?:\.\d+)?) MB safetensors \((TR\d+)\)")


def parameters(stated: Stated, evidence: Evidence) -> Verdict:
    """Parameters of the configuration, the tied head counted once."""
    model = stated.shape()
    others = [name for name, value in _NAMED.findall(stated.claim) if getattr(model, _FIELDS[name]) != int(value)]
    if others:
        return either(stated, False, f"the configuration has {_fields(model, others)}: {shapes.counted(model)}")
    holds, value = stated.holds(model.parameters), stated.number.value
    reason = shapes.counted(model)
    if "tied" in stated.claim:
        reason += said("; {n} were the head not tied", n=shapes.untied(model))
    if not holds:
        reason += f"; stated {_off(value / model.parameters)}"
    return either(stated, holds, reason, value=model.parameters / MILLION, unit="million parameters")


def _off(ratio: float) -> str:
    """How far a stated count is from the computed one."""
    if not 2 / 3 < ratio < 1.5:
        return said("are {x} times as many", x=ratio)
    return said("are {x:.1%} {way}", x=abs(ratio - 1), way="more" if ratio > 1 else "fewer")


def _fields(model: Model, names: Sequence[str]) -> str:
    return ", ".join(f"{name} {getattr(model, _FIELDS[name])}" for name in names)


def configuration(stated: Stated, evidence: Evidence) -> Verdict:
    """The shape, number by number, against the published configuration."""
    model, row, names = stated.shape(), evidence.described(stated.shape()), stated.metric.split("/")
    holds = stated.value.split("/") == [row[name] for name in names]
    found = ", ".join(f"{name} {row[name]}" for name in names)
    reason = f"{found} ({row['source']}), heads of size {model.width // model.heads}; {shapes.counted(model)}"
    return either(stated, holds, reason, value="/".join(row[name] for name in names))


def context(stated: Stated, evidence: Evidence) -> Verdict:
    """Rows of the position table."""
    model = stated.shape()
    rows, width = model.context, model.width
    reason = said(
        "the position table has {rows} rows of {width}, {n} parameters", rows=rows, width=width, n=rows * width
    )
    return either(stated, stated.holds(rows), reason, value=f"{count(rows)} tokens")


def file_size(stated: Stated, evidence: Evidence) -> Verdict:
    """Four bytes a parameter; a file on disk may hold the causal masks as well. MB is not MiB."""
    model = stated.shape()
    read = {"the weights alone": shapes.weights(model)}
    if "disk" in stated.claim:
        read["weights and causal masks of one byte"] = shapes.weights(model) + shapes.masks(model)
    reason = "; ".join(f"{name}: {shapes.both(size, stated.unit)}" for name, size in read.items())
    holds = any(stated.holds(size / shapes.UNITS[stated.unit]) for size in read.values())
    other = shapes.twin(stated.unit)
    if not holds and (names := [n for n, size in read.items() if stated.holds(size / shapes.UNITS[other])]):
        reason += f"; the number holds in {other} ({names[0]}), not in {stated.unit}"
    elif not holds:
        reason += f"; neither unit gives {stated.value}"
    size = shapes.weights(model)
    return either(stated, holds, reason, value=size / shapes.UNITS[stated.unit], unit=f"{stated.unit} of weights")


def storage(stated: Stated, evidence: Evidence) -> Verdict:
    """The weights as configured, and the file as a report lists it."""
    model, unit = stated.shape(), shapes.UNITS[stated.unit]
    size = shapes.weights(model)
    listed = _FILE.search(evidence.described(model)["claimed_size"])
    reason = f"the weights alone: {shapes.both(size, stated.unit)}"
    facts = {"value": size / unit, "unit": f"{stated.unit} of weights"}
    if stated.number.high < size / unit:
        return either(stated, False, reason, **facts)
    if not listed:
        return undecided(stated, f"{reason}; the repository's files on the hub would tell the rest", **facts)
    file, masked = float(listed[1]) * shapes.UNITS["MB"], size + shapes.masks(model, 4)
    reason += f"; the file that {listed[2]} lists has {shapes.both(file, stated.unit)}"
    if round(masked / 1e6) == round(file / 1e6):
        reason += (
            f", which is the weights and {model.layers} causal masks of four bytes, {shapes.both(masked, stated.unit)}"
        )
    return either(stated, stated.holds(file / unit), f"{reason}; the tokenizer's files come on top", **facts)


def memory(stated: Stated, evidence: Evidence) -> Verdict:
    """Bytes of the weights in the dtype named, and of the cache of a whole context where generation is named."""
    model, unit = stated.shape(), shapes.UNITS[stated.unit]
    dtype = "float16" if "float16" in stated.claim else "float32"
    size = shapes.weights(model, dtype)
    reason = f"weights in {dtype}: {shapes.both(size, stated.unit)}"
    if "generation" in stated.claim:
        buffer = shapes.cache(model, model.context, dtype)
        size += buffer
        reason += f"; keys and values of {model.context} tokens, the whole context: {shapes.both(buffer, stated.unit)}"
    holds, stated_bytes = stated.holds(size / unit), stated.number.value * unit
    if not holds:
        reason += said("; {x} times as much is stated", x=stated_bytes / size)
    return either(stated, holds, reason, value=size / unit, unit=f"{stated.unit} (framework and driver not counted)")


def factorial(stated: Stated, evidence: Evidence) -> Verdict:
    """Depths times widths, against the cells that a model fills."""
    models = evidence.about(stated)
    depths, widths = sorted({m.layers for m in models}), sorted({m.width for m in models})
    cells, filled = len(depths) * len(widths), len({(m.layers, m.width) for m in models})
    reason = (
        f"depths {_listed(depths)} and widths {_listed(widths)} span {cells} cells, of which {len(models)} models fill "
        f"{filled}: {'a' if filled == cells else 'not a'} factorial"
    )
    return either(stated, filled == cells and stated.holds(filled), reason, value=filled, unit="cells filled")


def depth_alone(stated: Stated, evidence: Evidence) -> Verdict:
    """Pairs of models of one width and two depths."""
    pairs = list(itertools.combinations(evidence.about(stated), 2))
    deeper = [f"{a.name} and {b.name}" for a, b in pairs if a.width == b.width and a.layers != b.layers]
    wider = [f"{a.name} and {b.name}" for a, b in pairs if a.width != b.width and a.layers == b.layers]
    shape = ", ".join(f"{m.name} {m.layers} × {m.width}" for m in evidence.about(stated))
    alone = f"depth varies alone between {_listed(deeper)}" if deeper else "no pair differs in depth alone"
    other = f"; width does between {_listed(wider)}" if wider else ""
    holds = bool(deeper) == (stated.value == "yes")
    return either(
        stated, holds, f"layers × width: {shape}; {alone}{other}", value=len(deeper), unit=f"of {len(pairs)} pairs"
    )


def heads(stated: Stated, evidence: Evidence) -> Verdict:
    """Heads of every model of the family, and the size of a head."""
    models = evidence.about(stated)
    shape = ", ".join(f"{m.name} {m.heads} of size {m.width // m.heads}" for m in models)
    standard = catalog.model("gpt2")
    reason = f"{shape}; {standard.name} has {standard.heads} of size {standard.width // standard.heads}"
    return either(
        stated, all(stated.holds(m.heads) for m in models), reason, value=max(m.heads for m in models), unit="heads"
    )


def embedding_rows(stated: Stated, evidence: Evidence) -> Verdict:
    """Rows of the token table against those of the checkpoint it is said to be tuned from."""
    model = stated.shape()
    base = _named(stated)
    rows = model.vocabulary - base.vocabulary
    reason = said(
        "{n} rows against {base} of {name}: {rows:+d}, {more:+,d} parameters", n=model.vocabulary,
        base=base.vocabulary, name=base.repository, rows=rows, more=model.parameters - base.parameters,
    )  # fmt: skip
    return either(stated, (rows == 0) == (stated.value == "yes"), reason, value=rows, unit="rows more than its base")


def _named(stated: Stated) -> Model:
    """The model of the catalog whose repository the sentence names; BenchError for none."""
    for model in catalog.MODELS.values():
        if model.repository and model.repository in stated.claim:
            return model
    raise BenchError(f"cards.csv: {stated.claim_id} names no repository of the catalog: {stated.claim!r}")


def dates(stated: Stated, evidence: Evidence) -> Verdict:
    """The year of training against the year of the citation."""
    trained, cited = (int(number) for number in stated.two)
    order = "after" if cited < trained else "not after"
    reason = f"trained in {trained}, cited as {cited}: the training comes {order} the year of its citation"
    return either(
        stated, (cited >= trained) == (stated.value == "consistent"), reason, value=cited - trained, unit="years"
    )


def gpu_hours(stated: Stated, evidence: Evidence) -> Verdict:
    """Hours times GPUs."""
    hours, gpus = stated.two
    product = hours * gpus
    reason = said("{hours} h × {gpus} GPUs = {product} h", hours=hours, gpus=gpus, product=product)
    return either(stated, stated.holds(product), reason, value=product, unit="GPU-hours")


def training_time(stated: Stated, evidence: Evidence) -> Verdict:
    """Iterations times seconds."""
    iterations, seconds = stated.two
    hours = iterations * seconds / 3600
    reason = said("{n} × {s} s = {total} s = {h:.2f} h", n=iterations, s=seconds, total=iterations * seconds, h=hours)
    return either(stated, stated.holds(hours), reason, value=hours, unit="h")


def perplexity(stated: Stated, evidence: Evidence) -> Verdict:
    """exp of the loss that the sentence names."""
    loss = stated.numbered(r"loss (\d+\.\d+)")
    reason = said("exp({loss:g}) = {value:.2f}", loss=loss, value=math.exp(loss))
    return either(stated, stated.holds(math.exp(loss)), reason, value=math.exp(loss), unit="perplexity")


def _listed(names: Sequence[object]) -> str:
    *first, last = map(str, names)
    return f"{', '.join(first)} and {last}" if first else last
