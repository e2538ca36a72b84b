"""From a study's run to its page: execute the notebook over the run, publish, compare, index."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat

from .. import published
from ..environment import machine_id
from ..project import COMPARE, PUBLISHED, STATE, find_plan
from ..quality import Scoring, study_of
from ..runs import runs
from ..study import Study
from .execute import execute
from .publish import publish
from .site import build_index, read_data, record_links, shown_runs


@dataclass(frozen=True)
class Rendered:
    """A page and how its notebook ended."""

    html: Path
    status: str
    exit_code: int


def render(study: Study) -> Rendered:
    """Execute the report's notebook over what is measured, and publish what it shows.

    The page of a run that stopped says after how many cells, and its claims are not measured.
    """
    manifest = study.manifest
    parameters = {"device": manifest.device_name, "preset": manifest.preset, "run": manifest.run}
    links = record_links(study.root, study.device.slug, study.report, manifest.run)
    facts = {
        "run": manifest.run,
        "plan_digest": manifest.plan_digest,
        "identity": manifest.identity,
        "date": manifest.started_at[:10],
        "downloads": [(name, f"../{address}") for name, address in links],
        "claims": [{"id": claim.id, "text": claim.text} for claim in study.claims],
    }
    if not study.complete:
        facts["progress"] = study.progress()
    return _page(study.root, study.report, study.device.slug, parameters, facts)


def may_show(study: Study) -> bool:
    """Whether a page of the study's run may be written: one of a run that stopped replaces none of a complete run."""
    there = study.root / "reports" / study.device.slug / f"{study.report}.json"
    return study.complete or not there.is_file() or "progress" in read_data(there)


def render_published(root: Path, report: str) -> Rendered:
    """Execute and publish a report that measures nothing: its device is the published tables."""
    tables = published.digest()
    facts = {"run": f"tables-{tables}", "plan_digest": tables, "identity": {}}
    return _page(root, report, PUBLISHED, {}, facts)


def _page(root: Path, report: str, device: str, parameters: dict, facts: dict) -> Rendered:
    notebook = find_plan(root, report).with_suffix(".ipynb")
    output = root / STATE / "executed" / device / f"{report}.ipynb"
    output.parent.mkdir(parents=True, exist_ok=True)
    execution = execute(notebook, parameters, output, cwd=notebook.parent)
    page = publish(nbformat.read(output, 4), root=root, report=report, device=device, facts=facts)
    status = execution.status
    if progress := facts.get("progress"):
        status = f"stopped after {progress.measured} of {progress.planned} cells measured"
    return Rendered(page.html, status, execution.exit_code)


def claims(page: Rendered) -> list[dict]:
    """The claims of a page, with their verdicts, from its data file."""
    return json.loads(page.html.with_suffix(".json").read_text(encoding="utf-8"))["claims"]


def index(root: Path) -> Path:
    """Write the comparison of every report that several devices have, and the index of everything; return the index."""
    devices = Counter(report for report, _ in shown_runs(root))
    compared = {path.stem for path in (root / "reports" / COMPARE).glob("*.html")}  # rewritten, or removed
    if several := compared | {report for report, number in devices.items() if number > 1}:
        from .compare import build

        for report in sorted(several):
            build(root, report)
    return build_index(root)


def pages(root: Path, reports: set[str]) -> Iterator[Study | Scoring]:
    """For each report and device the run that its page shows: the newest complete one, this machine's own first.

    Where none is complete, the run that stopped whose page there is.
    """
    mine = machine_id(root / STATE)
    best: dict[tuple[str, str], tuple] = {}
    there = shown_runs(root)
    for _, manifest in runs(root):
        key = (manifest.report, manifest.device)
        complete = manifest.status == "complete"
        if manifest.report in reports and (complete or there.get(key) == manifest.run):
            rank = (complete, manifest.machine == mine, manifest.started_at, manifest.run)
            best[key] = max(best.get(key, rank), rank)
    for (report, _), (*_, run) in sorted(best.items()):
        yield study_of(report, run=run, root=root)
