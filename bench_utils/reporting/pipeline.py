"""From a study's run to its page: execute the notebook over the run, publish, index."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat

from ..environment import machine_id
from ..project import STATE, find_plan
from ..runs import runs
from ..study import Study
from .execute import execute
from .publish import publish
from .site import build_index


@dataclass(frozen=True)
class Rendered:
    """A page and how its notebook ended."""

    html: Path
    status: str
    exit_code: int


def render(study: Study) -> Rendered:
    """Execute the report's notebook over a run that is measured already, and publish what it shows."""
    root, manifest = study.root, study.manifest
    notebook = find_plan(root, study.report).with_suffix(".ipynb")
    output = study.state / "executed" / study.device.slug / f"{study.report}.ipynb"
    output.parent.mkdir(parents=True, exist_ok=True)
    parameters = {"device": manifest.device_name, "preset": manifest.preset, "run": manifest.run}
    execution = execute(notebook, parameters, output, cwd=notebook.parent)
    facts = {
        "run": manifest.run,
        "plan_digest": manifest.plan_digest,
        "identity": manifest.identity,
        "date": manifest.started_at[:10],
    }
    page = publish(nbformat.read(output, 4), root=root, report=study.report, device=study.device.slug, facts=facts)
    return Rendered(page.html, execution.status, execution.exit_code)


def index(root: Path) -> Path:
    """The index of everything that is published under a root."""
    return build_index(root)


def pages(root: Path, reports: set[str]) -> Iterator[Study]:
    """For each report and device the run that its page shows: the newest complete one, this machine's own first."""
    mine = machine_id(root / STATE)
    best: dict[tuple[str, str], tuple] = {}
    for _, manifest in runs(root):
        if manifest.status != "complete" or (reports and manifest.report not in reports):
            continue
        key, rank = (manifest.report, manifest.device), (manifest.machine == mine, manifest.started_at, manifest.run)
        best[key] = max(best.get(key, rank), rank)
    for (report, _), (_, _, run) in sorted(best.items()):
        yield Study(report, run=run, root=root)
