"""Runs beside each other, two of one device or one of each device: verdicts, effects, and what differs beyond noise.

Everything is computed from rows of complete runs. Latencies of two runs are never divided by each other: what is
compared is the ratio to the baseline that each run took within its own rounds.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from . import contrasts, frames, statistics
from . import plan as plans
from .claims import judge
from .errors import BenchError, unknown
from .formatting import UNKNOWN, with_interval
from .gates import FAILED, invariant_arm, run_gates
from .project import find_plan
from .records import TIMED, Manifest, Process, complete_attempts, read_manifest, read_processes
from .runs import timed
from .shifts import differences, shared

VERDICT = ["id", "text", "verdict", "value", "low", "high", "reason", "unit"]
# Parts of a run's identity that a latency may depend on, and the word where there is none.
FACTORS = {
    "gpu": ("GPU", "none"),
    "driver": ("GPU driver", "none"),
    "cpu": ("CPU", UNKNOWN),
    "cores": ("Physical cores", UNKNOWN),
    "python": ("Python", UNKNOWN),
    "torch": ("torch", UNKNOWN),
    "triton": ("triton", "not installed"),
    "transformers": ("transformers", UNKNOWN),
    "commit": ("Code commit", "outside version control"),
    "stack": ("Stack", "the project's own"),
    "weights": ("Weights", UNKNOWN),
    "preset": ("Preset", UNKNOWN),
    "plan_digest": ("Plan digest", UNKNOWN),
}
HOST_SCORE = "Host score, thousand loops a second"
# How contrasts that did not change are counted.
_UNCHANGED = {"same": "the same", "ambiguous": "too uncertain to tell", "invalid": "not comparable"}

Run = tuple[Path, Manifest]


@dataclass(frozen=True)
class Comparison:
    """One report on several devices.

    ``identity``: a row a factor (``identities``). ``claims``: a row a claim and ``device``, VERDICT. ``contrasts``: of
    those that every device has, a row a contrast and ``device``, as ``contrast`` gives them, with the ``request`` in
    words. ``differences``: a row a contrast and pair of devices. ``left_out``: a row a contrast that some device lacks.
    """

    report: str
    title: str
    baseline: str
    runs: dict[str, Manifest]
    identity: pd.DataFrame
    claims: pd.DataFrame
    contrasts: pd.DataFrame
    differences: pd.DataFrame
    left_out: pd.DataFrame


def complete(root: Path, report: str, device: str | None = None) -> list[Run]:
    """Folder and manifest of every complete run of a report, on one device or on all, the newest last."""
    found = [run for run in timed(root, report) if run[1].status == "complete" and device in (None, run[1].device)]
    return sorted(found, key=lambda run: (run[1].started_at, run[1].run))


def newest(root: Path, report: str) -> dict[str, Run]:
    """The newest complete run of a report on each device that has one, whichever machine it came from."""
    return dict(sorted({manifest.device: (folder, manifest) for folder, manifest in complete(root, report)}.items()))


def verdicts(root: Path, run_folder: Path) -> pd.DataFrame:
    """The report's claims, as its plan states them now, judged over a complete run: a row a claim, VERDICT."""
    return _judged(root.resolve(), run_folder.resolve()).copy()


def effects(root: Path, run_folder: Path) -> pd.DataFrame:
    """The contrasts of a complete run, as ``contrast`` gives them; the control, their yardstick, is left out."""
    return _contrasted(root.resolve(), run_folder.resolve()).copy()


@functools.cache  # rows of a complete run do not change
def _rows(folder: Path) -> pd.DataFrame:
    return frames.load(folder)


@functools.cache
def _judged(root: Path, folder: Path) -> pd.DataFrame:
    manifest = read_manifest(folder)
    plan, limits = plans.read(find_plan(root, manifest.report)), plans.Preset.model_validate(manifest.plan)
    receipts = frames.receipts(folder)
    gates = run_gates(_rows(folder), receipts, limits, plan.baseline)
    found = judge(plan.claims, _rows(folder), plan.baseline, plan.control, gates, receipts)
    bounds = [verdict.interval or (math.nan, math.nan) for verdict in found]
    rows = [vars(verdict) | {"low": low, "high": high} for verdict, (low, high) in zip(found, bounds, strict=True)]
    return pd.DataFrame(rows, columns=VERDICT).astype({"value": "float64"})


@functools.cache
def _contrasted(root: Path, folder: Path) -> pd.DataFrame:
    plan = plans.read(find_plan(root, read_manifest(folder).report))
    table = contrasts.contrast(_rows(folder), plan.baseline, plan.control)
    return table[table["variant"] != plan.control].reset_index(drop=True)


def host_score(run_folder: Path) -> statistics.MedianInterval | None:
    """Typical single-thread score of the host over the processes that count; None where it was not recorded."""
    rows = list(read_processes(run_folder))
    last = complete_attempts(rows)
    counted = [r for r in rows if isinstance(r, Process) and r.attempt == last.get(frames.base(r.process))]
    scores = [row.host_score for row in counted if row.host_score]
    return statistics.median_over_processes(scores, range(len(scores))) if scores else None


def across(root: Path, report: str, devices: Iterable[str] | None = None) -> Comparison:
    """The newest complete run of a report on each of these devices, or on every device that has one, side by side.

    Raises BenchError for an unknown report or device, and with fewer than two devices.
    """
    plan = plans.read(find_plan(root, report))
    known = newest(root, plan.report)
    found = {device: known[device] for device in _chosen(plan.report, list(known), devices)}
    common, left_out = shared({device: effects(root, folder) for device, (folder, _) in found.items()})
    judged = [verdicts(root, folder).assign(device=device) for device, (folder, _) in found.items()]
    return Comparison(
        report=plan.report,
        title=plan.title,
        baseline=plan.baseline,
        runs={device: manifest for device, (_, manifest) in found.items()},
        identity=identities(found),
        claims=pd.concat(judged, ignore_index=True),
        contrasts=common.rename(columns={"run": "device"}),
        differences=differences(common),
        left_out=left_out,
    )


def _chosen(report: str, known: list[str], devices: Iterable[str] | None) -> list[str]:
    names = known if devices is None else list(dict.fromkeys(devices))
    for name in names:
        if name not in known and known:
            raise unknown(f"device of {report}:", name, known)
    if min(len(names), len(known)) < 2:
        there = ", ".join(known) or "none"
        raise BenchError(f"comparing {report} needs two devices with a complete run of it; there are: {there}")
    return names


def identities(found: dict[str, Run]) -> pd.DataFrame:
    """What runs were made with: a row a ``factor``, a column a run, and whether it ``differs``.

    Host scores differ when the intervals of two of them lie apart.
    """
    facts = {name: manifest.identity | manifest.model_dump() for name, (_, manifest) in found.items()}
    table = []
    for key, (factor, absent) in FACTORS.items():
        values = {name: str(known[key]) if known.get(key) else absent for name, known in facts.items()}
        table.append({"factor": factor} | values | {"differs": len(set(values.values())) > 1})
    scores = {name: host_score(folder) for name, (folder, _) in found.items()}
    values = {name: with_interval(s.median, s.low, s.high) if s else UNKNOWN for name, s in scores.items()}
    known = [score for score in scores.values() if score]
    apart = bool(known) and max(s.low for s in known) > min(s.high for s in known)
    table.insert([*FACTORS].index("cores") + 1, {"factor": HOST_SCORE} | values | {"differs": apart})
    return pd.DataFrame(table)


def changes(root: Path, report: str, device: str) -> list[str]:
    """What changed between the two newest complete runs of a report on a device, a sentence each; none with one run.

    Raises BenchError for an unknown report.
    """
    plan = plans.read(find_plan(root, report))
    found = dict(zip(("before", "now"), complete(root, plan.report, device)[-2:], strict=False))
    if len(found) < 2:
        return []
    common, left_out = shared({name: effects(root, folder) for name, (folder, _) in found.items()})
    judged = [verdicts(root, folder) for folder, _ in found.values()]
    said = _verdicts_in_words(judged[0].merge(judged[1], on=["id", "text"], suffixes=("_a", "_b")))
    said += _drift_in_words(found, plan.baseline, common["floor"].max()) if len(common) else []
    shifted = _differences_in_words(differences(common), plan.baseline, alone=not said)
    return [*_runs_in_words(found, len(left_out)), *said, *shifted]


def _runs_in_words(found: dict[str, Run], left_out: int) -> list[str]:
    """What the runs themselves differ in."""
    (_, before), (_, now) = found.values()
    if before.plan_digest == now.plan_digest:
        said = [f"The plan is that of the run before, {before.run}."]
    else:
        said = [f"The plan is not that of the run before, {before.run}: its digest was {before.plan_digest} and is "
                f"{now.plan_digest}."]  # fmt: skip
    if left_out:
        said.append(f"Contrasts that only one of the two runs has, and that are not compared: {left_out}.")
    if before.machine != now.machine:
        said.append(f"The two runs come from different machines of the name {now.device}.")
    table = identities(found)
    table = table[table["differs"] & (table["factor"] != FACTORS["plan_digest"][0])]
    changed = [f"{row['factor']} ({row['before']}, now {row['now']})" for _, row in table.iterrows()]
    return said + ([f"What they were made with differs in {'; '.join(changed)}."] if changed else [])


def _verdicts_in_words(pairs: pd.DataFrame) -> list[str]:
    changed = pairs[pairs["verdict_a"] != pairs["verdict_b"]]
    return [
        f"The claim {c.id}, “{c.text}”, was {c.verdict_a} ({c.reason_a}) and is now {c.verdict_b} ({c.reason_b})."
        for c in changed.itertuples()
    ]


def _differences_in_words(pairs: pd.DataFrame, baseline: str, alone: bool) -> list[str]:
    """Contrasts that differ, a sentence each, and how the rest came out; ``alone`` when nothing else changed."""
    if pairs.empty:
        return ["The two runs share no contrast, so no effect can be compared."]
    said = [
        f"{p.phase.capitalize()} of {p.model} with {p.variant} ({p.request}) takes "
        f"{with_interval(p.shift, p.low, p.high)} times as long against {baseline} as before: the latency ratio was "
        f"{with_interval(p.ratio_a, p.low_a, p.high_a)} and is {with_interval(p.ratio_b, p.low_b, p.high_b)}."
        for p in pairs[pairs["differs"]].itertuples()
    ]
    rest = pairs.loc[~pairs["differs"], "outcome"].value_counts(sort=False)
    tally = ", ".join(f"{rest[word]} {words}" for word, words in _UNCHANGED.items() if word in rest)
    if not said:
        start = "Nothing" if alone else "No effect"
        return [f"{start} changed beyond noise; of {len(pairs)} contrasts: {tally}."]
    return [*said, f"The rest of {len(pairs)} contrasts: {tally}."] if tally else said


def _drift_in_words(found: dict[str, Run], baseline: str, floor: float) -> list[str]:
    """Said only where the baseline itself took another time: then a changed ratio may be the baseline's doing."""
    rows = [_rows(folder.resolve()) for folder, _ in found.values()]
    timed = [table[table["phase"].isin(TIMED) & ~table["exhibit"].astype(bool)] for table in rows]
    _, result, evidence = invariant_arm(*timed, baseline, max(statistics.SAME_BAND, floor))
    if result != FAILED:
        return []
    return [f"The baseline {baseline} itself took another time than before ({evidence}): milliseconds of the two runs "
            "are not comparable, and a changed ratio may be the baseline's doing."]  # fmt: skip
