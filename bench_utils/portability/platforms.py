"""Platforms: devices with their software stacks, published or measured. TR147 calls one a regime."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from .. import comparison, frames, published
from ..contrasts import CELL
from ..records import Manifest

PUBLISHED, MEASURED = "published aggregate", "measured"
REPORTS = ("TR126", "TR147")
ENGINES = ("transformers-gpu", "gpt-fast")  # backends whose two arms differ in compiling alone
PHASES = {"kv_decode": "decode", "e2e_kv": "e2e"}
DTYPES = {"fp32": "float32", "fp16": "float16"}
ABSENT = "not installed"
UNSTATED = "(not stated in table)"  # how a table of the reference marks a cache that it had to infer
_VERSION = re.compile(r"\d+(?:\.\d+)+")
_COLUMNS = ["platform", "kind", "source", "gpu", "torch", "triton", "code", "unknown", "flags"]


def published_cells() -> pd.DataFrame:
    """Rows of the compile reports about single models, a ``platform`` to each; milliseconds, "" where unstated.

    ``ms`` is the mean, or the time of a token where a throughput alone is printed. ``code`` is the engine, with its
    commit where a report names one.
    """
    cells = published.latency()
    cells = cells[cells["report"].isin(REPORTS) & cells["backend"].str.startswith(ENGINES)]
    cells = cells[~cells["model"].str.contains(r"pooled| \+ ")].reset_index(drop=True)
    words = ["gpu", "torch", "triton", "cache", "compile_config", "quality_flag", "note", "new_tokens", "scenario"]
    cells[words] = cells[words].fillna("").astype(str)
    fast = cells["backend"].str.startswith("gpt-fast")
    cells["code"] = cells["backend"].where(fast, "transformers")
    cells["ms"] = cells["mean_ms"].where(cells["mean_ms"].notna(), 1e3 / cells["throughput_tok_s"])
    cells["phase"], cells["dtype"] = cells["phase"].replace(PHASES), cells["dtype"].replace(DTYPES)
    cells["chapter"] = [chapter(*pair) for pair in zip(cells["report"], cells["section"], strict=True)]
    cells["platform"] = [_named(row) for row in cells.itertuples()]
    return cells


def chapter(report: str, section: str) -> str:
    """The part of a report that tells one experiment: "TR147 SS8" of SS8.1 and SS8.3."""
    first = section.partition(" (")[0]
    return f"{report} {first.rpartition('.')[0] or first}"


def _short(version: str) -> str | None:
    """A version without the name of its build; None where it is unstated."""
    found = _VERSION.match(version)
    return found[0] if found else None


def _named(row) -> str:
    parts = [row.gpu.partition(" (")[0]]
    parts += [f"torch {_short(row.torch)}"] if row.torch and row.code == "transformers" else []
    parts += [f"Triton {row.triton}"] if row.triton else []
    parts += [row.code] if row.code != "transformers" else []
    return ", ".join(parts if len(parts) > 1 else [*parts, "stack unstated"])


@dataclass(frozen=True)
class MeasuredOn:
    """The newest complete run of one report on one device with one stack."""

    root: Path
    folder: Path
    manifest: Manifest

    @property
    def stack(self) -> str | None:
        """The name that the stack was measured under; None where it has none."""
        return self.manifest.stack

    @property
    def name(self) -> str:
        """Device, stack and report: what a platform is called."""
        torch = f"torch {self.manifest.identity.get('torch', 'unknown')}"
        return ", ".join([self.manifest.device, torch, *filter(None, [self.stack]), self.manifest.report])

    @cached_property
    def rows(self) -> pd.DataFrame:
        return frames.load(self.folder)

    @cached_property
    def effects(self) -> pd.DataFrame:
        """Contrasts of the run, the control left out."""
        return comparison.effects(self.root, self.folder)

    @cached_property
    def calls(self) -> dict[tuple, tuple[float, float]]:
        """Compiled and expected calls over all timed samples of each cell and variant, exhibits among them."""
        samples = self.rows[(self.rows["role"] == "sample") & (self.rows["expected_calls"] > 0)]
        grouped = samples.groupby([*CELL, "variant"])[["compiled_calls", "expected_calls"]].sum()
        return {key: tuple(row) for key, row in zip(grouped.index, grouped.to_numpy(), strict=True)}


def measured_platforms(root: Path) -> list[MeasuredOn]:
    """The newest complete run of each compile report, device and stack."""
    newest = {
        (report, manifest.device, manifest.stack or ""): MeasuredOn(root, folder, manifest)
        for report in REPORTS
        for folder, manifest in comparison.complete(root, report)
    }
    return [newest[key] for key in sorted(newest)]


def platform_table(cells: pd.DataFrame, measured: list[MeasuredOn]) -> pd.DataFrame:
    """A row a platform, published ones first: its factors, where it comes from, what is ``unknown`` about it and the
    quality ``flags`` of its rows."""
    rows = [_published_row(name, mine) for name, mine in cells.groupby("platform", sort=False)]
    rows += [_measured_row(run) for run in measured]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _published_row(name: str, cells: pd.DataFrame) -> dict:
    first = cells.iloc[0]
    flags = sorted({flag for text in cells["quality_flag"] for flag in text.split(";") if flag})
    return {
        "platform": name, "kind": PUBLISHED, "source": ", ".join(dict.fromkeys(cells["chapter"])),
        "gpu": first["gpu"].partition(" (")[0], "torch": _short(first["torch"]), "triton": first["triton"] or None,
        "code": first["code"], "unknown": "; ".join(_unknown(cells)) or "nothing that a table of it names",
        "flags": ", ".join(flags).replace("_", " ") or "none",
    }  # fmt: skip


def _unknown(cells: pd.DataFrame) -> list[str]:
    """What the tables of a platform leave open."""
    first = cells.iloc[0]
    open_ = [
        f"{word} is not stated" for word, value in (("torch", first["torch"]), ("Triton", first["triton"])) if not value
    ]
    doubt = first["gpu"].partition(" (")[2].rstrip(")")
    open_ += [f"GPU memory: {doubt}"] if doubt else []
    blank = int(((cells["cache"] == "") | cells["cache"].str.contains(UNSTATED, regex=False)).sum())
    open_ += [f"cache in {blank} of {len(cells)} rows"] if blank else []
    compiled = cells[cells["compile_mode"] != "eager"]
    bare = int((compiled["compile_config"] == "").sum())
    return open_ + ([f"dynamic flag in {bare} of {len(compiled)} compiled rows"] if bare else [])


def _measured_row(run: MeasuredOn) -> dict:
    identity = run.manifest.identity
    return {
        "platform": run.name, "kind": MEASURED, "source": f"{run.manifest.report}, run {run.manifest.run}",
        "gpu": factors_of(run)["gpu"], "torch": _short(identity.get("torch") or ""),
        "triton": identity.get("triton") or ABSENT,
        "code": "transformers", "unknown": "nothing", "flags": "none",
    }  # fmt: skip


def factors_of(run: MeasuredOn) -> dict[str, str]:
    """The factors of a measured platform; a processor stands where there is no GPU."""
    identity = run.manifest.identity
    return {
        "gpu": identity.get("gpu") or run.manifest.device,
        "torch": identity.get("torch") or "",
        "triton": identity.get("triton") or ABSENT,
        "code": "transformers",
        "libraries": f"python {identity.get('python')}, transformers {identity.get('transformers')}",
    }
