"""One report on several devices as a page: verdicts and effects side by side, and what differs beyond noise."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from .. import comparison, shifts
from .. import plan as plans
from ..comparison import HOST_SCORE, Comparison
from ..formatting import with_interval
from ..privacy import require_clean
from ..project import COMPARE, find_plan
from .files import below, write_atomic
from .markup import badge_html, bound_html, facts_html, figure_html, paragraph_html, table_html
from .pictures import png_uri, svg_uri
from .prose import bind
from .tabular import jsonable, table_of
from .text import escaped
from .verdicts import measured_text

OUTCOMES = ("differs", "ambiguous", "invalid", "same")  # of pairs of devices, what matters most first


def build(root: Path, report: str, devices: Iterable[str] | None = None) -> Path | None:
    """Write `reports/compare/<report>.html` below `root`, and return its path.

    Compared are the newest complete runs of `devices`, or of every device that has one; with fewer than two of those
    there is no page, and None is returned. The same records give the same bytes. Raises BenchError for an unknown
    report or device, and when fewer than two are named; PrivacyError, before anything is written, when something
    private is left.
    """
    report = plans.read(find_plan(root, report)).report
    target = below(root, "reports", COMPARE, f"{report}.html")
    named = None if devices is None else list(devices)
    if named is None and len(comparison.newest(root, report)) < 2:
        target.unlink(missing_ok=True)
        return None
    page = _rendered(root, comparison.across(root, report, named))
    require_clean(page, f"{COMPARE}/{target.name}")
    write_atomic(target, page)
    return target


def _rendered(root: Path, found: Comparison) -> str:
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    from .exporter import TEMPLATES

    environment = Environment(loader=FileSystemLoader(str(TEMPLATES)), autoescape=True)
    environment.filters["html"] = Markup
    blocks = {
        "headline": _headline(found),
        "runs": facts_html("Runs compared", _runs(found)),
        "effects": _figure(found) + _effects(found) if len(found.contrasts) else _said("These runs share no contrast."),
        "stack": _stack(found),
        "left_out": _left_out(found),
    }
    page = environment.get_template("compare.html.j2").render(
        report=found.report,
        heading=found.title,
        devices=[(device, _page_of(root, device, found.report)) for device in found.runs],
        claims=[_claim(rows) for _, rows in found.claims.groupby("id", sort=False)],
        method=shifts.METHOD,
        blocks={name: Markup(block) for name, block in blocks.items()},
    )
    return page.rstrip() + "\n"


def _said(template: str, values: Mapping[str, object] | None = None, css: str = "prose") -> str:
    return paragraph_html(bind(template, values or {}), css)


def _page_of(root: Path, device: str, report: str) -> str:
    """Address of the device's own page, relative to this one; empty where there is none."""
    return quote(f"../{device}/{report}.html") if (root / "reports" / device / f"{report}.html").is_file() else ""


def _headline(found: Comparison) -> str:
    alike = found.claims.groupby("id")["verdict"].nunique() == 1
    said = (
        "Of {claims} claims {alike} have the same verdict on {devices}; of {contrasts} contrasts that all of them "
        "measured, {differing} differ beyond noise."
    )
    values = {"claims": len(alike), "alike": int(alike.sum()), "devices": _listed(found.runs)}
    counts = {"contrasts": len(_keys(found.contrasts)), "differing": len(_differing(found))}
    return _said(said, values | counts, "headline")


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _runs(found: Comparison) -> list[tuple[str, str]]:
    return [(device, f"{run.run}, preset {run.preset}, machine {run.machine}") for device, run in found.runs.items()]


def _claim(rows: pd.DataFrame) -> dict:
    """A claim with a cell a device: its verdict, what was measured, and why."""
    return {"id": rows["id"].iloc[0], "text": rows["text"].iloc[0], "cells": list(map(_cell, rows.to_dict("records")))}


def _cell(row: dict) -> str:
    interval = (row["low"], row["high"]) if row["low"] == row["low"] else None
    measured = measured_text({"value": jsonable(row["value"]), "interval": interval})
    lines = [badge_html(row["verdict"]), *([bound_html(measured)] if measured else [])]
    why = "; ".join(filter(None, (row["unit"] if measured else "", row["reason"])))
    return "<br>".join([*lines, f'<span class="note">{escaped(why)}</span>'])


def _key(row) -> tuple:
    return tuple(getattr(row, name) for name in shifts.CONTRAST)


def _keys(rows: pd.DataFrame) -> list[tuple]:
    """The contrasts of a frame, each once, in order."""
    return list(dict.fromkeys(map(_key, rows.itertuples())))


def _differing(found: Comparison) -> list[tuple]:
    return _keys(found.differences[found.differences["differs"].astype(bool)])


def panels(found: Comparison):
    """A panel a device, all on one scale, with the contrasts that differ in bold; returns the axes."""
    from matplotlib import pyplot

    from .. import figures

    keys, differing = _keys(found.contrasts), _differing(found)
    size = (3 + 3.2 * len(found.runs), 1.3 + 0.27 * len(keys))
    with figures.style():
        _, axes = pyplot.subplots(1, len(found.runs), sharey=True, figsize=size)
        for ax, (device, table) in zip(axes, found.contrasts.groupby("device", sort=False), strict=True):
            figures.effects(table, ax)
            ax.set(title=device, xlabel=f"latency / that of {found.baseline}")
        lows, highs = zip(*(ax.get_xlim() for ax in axes), strict=True)
        widest = max(axes, key=lambda ax: ax.get_xlim()[1] / ax.get_xlim()[0])
        for ax in axes:
            ax.set(xticks=widest.get_xticks(), xlim=(min(lows), max(highs)))
        for label, key in zip(axes[0].get_yticklabels(), keys, strict=True):
            label.set_fontweight("bold" if key in differing else "normal")
    return axes


def _figure(found: Comparison) -> str:
    from .drawing import draw

    drawn = draw(panels(found))
    caption = (
        "Latency ratios with their intervals; left of one is faster. Grey is how far identical code differs on that "
        "device, hollow marks do not count, and contrasts in bold differ between devices beyond noise."
    )
    source = svg_uri(drawn.svg) if drawn.svg else png_uri(drawn.png)
    return figure_html(source, _alternative(found), caption, width=drawn.width)


def _alternative(found: Comparison) -> str:
    pairs = found.differences[found.differences["differs"].astype(bool)].drop_duplicates(shifts.CONTRAST)
    bold = "; ".join(_label(pair) for pair in pairs.itertuples()) or "none"
    return f"Ratios of {len(_keys(found.contrasts))} contrasts on {_listed(found.runs)}; beyond noise differ: {bold}."


def _label(row) -> str:
    return f"{row.phase} · {row.model} · {row.variant}"


def _effects(found: Comparison) -> str:
    """A row a contrast: its outcome and ratio on each device, and how these compare."""
    rows = {}
    for row in found.contrasts.itertuples():
        said = row.reason or f"{row.outcome}, {with_interval(row.ratio, row.low, row.high)}"
        rows.setdefault(_key(row), {"contrast": _label(row), "request": row.request})[row.device] = said
    first, second, *more = found.runs
    heading = "between devices" if more else f"{second} / {first}"
    for key, pairs in found.differences.groupby(shifts.CONTRAST, sort=False):
        rows[key][heading] = _between(pairs)
    caption = "Outcomes with their latency ratios, and how many times the ratio of one device is that of another"
    return table_html(table_of(rows.values()), caption, limit=len(rows))


def _between(pairs: pd.DataFrame) -> str:
    """Of several pairs of devices those that differ, each with its shift; else the one word for all of them."""
    word = min(pairs["outcome"], key=OUTCOMES.index)
    shown = pairs[pairs["outcome"] == word]
    if word == "invalid" or (word != "differs" and len(pairs) > 1):
        return word
    names = [f"{pair.b} / {pair.a}: " if len(pairs) > 1 else "" for pair in shown.itertuples()]
    numbers = [with_interval(pair.shift, pair.low, pair.high) for pair in shown.itertuples()]
    return f"{word}, {'; '.join(map(''.join, zip(names, numbers, strict=True)))}"


def _stack(found: Comparison) -> str:
    """What the runs were made with, and what of it may explain a difference."""
    table = found.identity.assign(differs=found.identity["differs"].map({True: "differs", False: "the same"}))
    html = table_html(table_of(table), "What the runs were made with")
    differing = [f for f in found.identity.loc[found.identity["differs"], "factor"] if f != HOST_SCORE]
    if differing:
        html += _said(
            "A difference between these runs may come from any of: {factors}.", {"factors": ", ".join(differing)}
        )
    scores = found.identity.set_index("factor").loc[HOST_SCORE]
    said = "One thread of the host scores {scores}; results bound by launching kernels follow it, whatever the device."
    return html + _said(said, {"scores": "; ".join(f"{scores[device]} on {device}" for device in found.runs)})


def _left_out(found: Comparison) -> str:
    if found.left_out.empty:
        return _said("Nothing: every contrast was measured on every device, with the same sizes and dtype.")
    table = found.left_out.assign(contrast=[_label(row) for row in found.left_out.itertuples()])
    columns = ["contrast", "request", "measured_on", "missing_on"]
    caption = "Contrasts that some device lacks, or measured with other sizes"
    return table_html(table_of(table, columns), caption, limit=len(table))
