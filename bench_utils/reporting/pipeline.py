"""From a study's run to its page: execute the notebook over the run, publish, index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat

from .. import published
from ..environment import machine_id
from ..project import STATE, find_plan
from ..runs import runs
from ..study import Study
from .execute import execute
from .publish import publish
from .site import build_index

PUBLISHED = "published"  # stands where a device does, for reports about published tables


@dataclass(frozen=True)
class Rendered:
    """A page and how its notebook ended."""

    html: Path
    status: str
    exit_code: int


def render(study: Study) -> Rendered:
    """Execute the report's notebook over a run that is measured already, and publish what it shows."""
    manifest = study.manifest
    parameters = {"device": manifest.device_name, "preset": manifest.preset, "run": manifest.run}
    facts = {
        "run": manifest.run,
        "plan_digest": manifest.plan_digest,
        "identity": manifest.identity,
        "date": manifest.started_at[:10],
    }
    return _page(study.root, study.report, study.device.slug, parameters, facts)


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
    return Rendered(page.html, execution.status, execution.exit_code)


def claims(page: Rendered) -> list[dict]:
    """The claims of a page, with their verdicts, from its data file."""
    return json.loads(page.html.with_suffix(".json").read_text())["claims"]


def index(root: Path) -> Path:
    """The index of everything that is published under a root."""
    return build_index(root)


def pages(root: Path, reports: set[str]) -> Iterator[Study]:
    """For each report and device the run that its page shows: the newest complete one, this machine's own first."""
    mine = machine_id(root / STATE)
    best: dict[tuple[str, str], tuple] = {}
    for _, manifest in runs(root):
        if manifest.status != "complete" or manifest.report not in reports:
            continue
        key, rank = (manifest.report, manifest.device), (manifest.machine == mine, manifest.started_at, manifest.run)
        best[key] = max(best.get(key, rank), rank)
    for (report, _), (_, _, run) in sorted(best.items()):
        yield Study(report, run=run, root=root)
