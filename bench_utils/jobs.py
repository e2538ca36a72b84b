"""What the commands do: studies found, measured, rendered, and said."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from . import plan as plans
from . import stacks
from .environment import distinct_devices, resolve_device
from .errors import BenchError
from .project import PUBLISHED, STATE, find_plan
from .quality import Scoring, study_of
from .records import PROCESSES
from .runs import runs
from .study import Study, grouped, measure_together

if TYPE_CHECKING:
    from .reporting.pipeline import Rendered


def split(root: Path, reports: list[str]) -> tuple[list[str], list[str]]:
    """Reports with a page for each device, and those with one about all; BenchError for one that is unknown."""
    found = [plans.read(find_plan(root, report)) for report in reports]
    return [p.report for p in found if p.per_device], [p.report for p in found if not p.per_device]


def studies_of(reports: list[str], device: str, preset: str, run: str, go_on: bool = False) -> list[Study | Scoring]:
    """Every study asked for, all checked before the first is measured; ``go_on`` with the run of an id."""
    names = [d.name for d in distinct_devices()] if device == "all" else [resolve_device(device).name]
    if go_on and run not in ("latest", "new"):
        return [Study(report, name, preset, run, go_on=True) for report in reports for name in names]
    return [study_of(report, name, preset, run) for report in reports for name in names]


def measure_stacks(
    root: Path, reports: list[str], device: str, preset: str, run: str, names: list[str], minutes: float | None = None
) -> None:
    """Measure reports in several stacks, a round of each in turn; all is checked before the first is measured."""
    if len(set(names)) < 2:
        raise BenchError("--stack: give two stacks or more; what one stack takes says nothing about another")
    for report in (plans.read(find_plan(root, report)) for report in reports):
        if not report.across:
            raise BenchError(f"--stack: the page of {report.report} is about one stack; give TR147")
    ready = [stacks.prepare(root, root / STATE, name, typer.echo) for name in dict.fromkeys(names)]
    for report in reports:
        studies = grouped(report, ready, device=device, preset=preset, run=run, root=root)
        measure_together(studies, minutes)
        for study in studies:
            state = "complete" if study.complete else "the same command goes on"
            typer.echo(f"{study.report} in {study.stack.name}: run {study.manifest.run} ({state})")


def measure_study(study: Study, minutes: float | None = None) -> None:
    """Measure what is missing, within some minutes if they are given, and say which run it is."""
    found = "complete" if study.complete else "continued" if study.manifest else "new"
    if not study.complete:
        expected = f"{study.limits.expected_minutes():.0f} minutes expected"
        typer.echo(f"{study.report} on {study.device.slug}, preset {study.preset}: {expected}")
    study.measure(minutes)
    if not study.complete:
        done = study.progress()
        found = f"{found}; {done.measured} of {done.planned} cells, the same command goes on"
    others = sum(1 for _, m in runs(study.root, study.report) if m.device == study.device.slug) - 1
    typer.echo(f"{study.report}: run {study.manifest.run} ({found}; {others} other runs of {study.device.slug})")


def run_study(study: Study) -> tuple[int, Rendered | None]:
    """Measure and render a study: the exit code of what failed first, and its page, None where there is none."""
    before = _written(study)
    try:
        measure_study(study)
    except BenchError as error:
        complain(error)
        return 2, render_study(study)[1] if _written(study) != before else None
    return render_study(study)


def _written(study: Study) -> int | None:
    """Bytes in the journal of a study's run; None before there is a run."""
    if study.folder is None:
        return None
    journal = study.folder / PROCESSES
    return journal.stat().st_size if journal.exists() else 0


def render_study(study: Study) -> tuple[int, Rendered | None]:
    """Render a study: exit code and page, which is None where one of a complete run stays."""
    from .reporting import pipeline

    if not pipeline.may_show(study):
        kept = f"reports/{study.device.slug}/{study.report}.html"
        typer.echo(f"{study.report}: run {study.manifest.run} stopped, so {kept} stays that of a complete run")
        return 0, None
    page = pipeline.render(study)
    return _say(study.root, study.report, study.device.slug, page), page


def render_tables(root: Path, report: str) -> int:
    """Render a report about published tables."""
    from .reporting import pipeline

    return _say(root, report, PUBLISHED, pipeline.render_published(root, report))


def judged(study: Study) -> int:
    """Run the tool's own report and say each verdict; 1 when one is refuted or missing."""
    from .reporting import pipeline

    code, page = run_study(study)
    verdicts = pipeline.claims(page) if page else []
    for claim in verdicts:
        typer.echo(f"{claim['verdict']:>13}  {claim['text']}  ({claim['reason']})")
    return code or int(any(claim["verdict"] in ("refuted", "not measured") for claim in verdicts))


def _say(root: Path, report: str, device: str, page: Rendered) -> int:
    """Where a page is and how its notebook ended."""
    typer.echo(f"{report} on {device}: {page.status}, {page.html.relative_to(root)}")
    return page.exit_code


def finish(root: Path, codes: list[int]) -> None:
    """Write comparison pages and the index; exit with the first failure's code."""
    from .reporting import pipeline

    if (root / "reports").is_dir() or not any(codes):
        typer.echo(f"index: {pipeline.index(root).relative_to(root)}")
    if failed := next(filter(None, codes), 0):
        raise typer.Exit(failed)


def complain(error: BenchError) -> None:
    """One sentence on the error stream."""
    print(f"bench-utils: {error}", file=sys.stderr)
