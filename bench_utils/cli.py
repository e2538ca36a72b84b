"""The command line: ``bench-utils run | measure | render | site``; ``python -m bench_utils`` is the same."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from . import plan as plans
from .environment import distinct_devices, resolve_device
from .errors import BenchError
from .project import all_reports, find_plan, root_of
from .runs import runs
from .study import Study

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Honest inference benchmarks of small language models."
)

Reports = Annotated[list[str], typer.Argument(help="Reports by name, such as TR126.", metavar="REPORT...")]
DeviceOption = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda:0, or all: every distinct device in turn.")
]
PresetOption = Annotated[str, typer.Option("--preset", help="How much is measured: a preset of the plan.")]
RunOption = Annotated[str, typer.Option("--run", help="latest (continue or reuse), new, or a run id.")]


@app.command()
def run(
    reports: Reports, device: DeviceOption = "auto", preset: PresetOption = "quick", run: RunOption = "latest"
) -> None:
    """Measure what is missing, execute the notebooks, render figures, pages and the index."""
    root = root_of()
    measured, tables = _split(root, reports)
    _render(root, map(_measure, _studies(measured, device, preset, run)), tables)


@app.command()
def measure(
    reports: Reports, device: DeviceOption = "auto", preset: PresetOption = "quick", run: RunOption = "latest"
) -> None:
    """Measure only: needs torch and transformers, no Jupyter."""
    for study in _studies(reports, device, preset, run):
        _measure(study)


@app.command()
def render(reports: Annotated[list[str] | None, typer.Argument(metavar="[REPORT...]")] = None) -> None:
    """Render the pages of complete runs again, measuring nothing."""
    from .reporting import pipeline

    root = root_of()
    measured, tables = _split(root, reports or all_reports(root))
    _render(root, pipeline.pages(root, set(measured)), tables)


@app.command()
def selftest(device: DeviceOption = "auto", run: RunOption = "new") -> None:
    """The tool measures itself: known work, planted failures, and a page of it.

    Exit 1 when an expectation is refuted; one that this machine is too noisy to decide is said, and is no failure.
    """
    from .reporting import pipeline

    for study in _studies(["selftest"], device, "quick", run):
        _measure(study)
        published = pipeline.render(study)
        verdicts = pipeline.claims(published)
        for claim in verdicts:
            typer.echo(f"{claim['verdict']:>13}  {claim['text']}  ({claim['reason']})")
        _say(study.root, study.report, study.device.slug, published)
        if published.exit_code or any(claim["verdict"] in ("refuted", "not measured") for claim in verdicts):
            raise typer.Exit(1)


@app.command()
def site() -> None:
    """Write the index of all pages."""
    from .reporting import pipeline

    root = root_of()
    typer.echo(f"index: {pipeline.index(root).relative_to(root)}")


def _render(root: Path, studies: Iterable[Study], tables: list[str]) -> None:
    """Pages of measured studies, then of published tables, then the index; exit with the first failure's code."""
    from .reporting import pipeline

    codes = [_say(root, study.report, study.device.slug, pipeline.render(study)) for study in studies]
    codes += [_say(root, r, pipeline.PUBLISHED, pipeline.render_published(root, r)) for r in tables]
    typer.echo(f"index: {pipeline.index(root).relative_to(root)}")
    raise typer.Exit(next(filter(None, codes), 0))


def _split(root: Path, reports: list[str]) -> tuple[list[str], list[str]]:
    """Reports that measure, and reports about published tables; BenchError for one that is unknown."""
    found = [plans.read(find_plan(root, report)) for report in reports]
    return [p.report for p in found if p.presets], [p.report for p in found if not p.presets]


def _say(root: Path, report: str, device: str, page) -> int:
    """Where a page is and how its notebook ended."""
    typer.echo(f"{report} on {device}: {page.status}, {page.html.relative_to(root)}")
    return page.exit_code


def _studies(reports: list[str], device: str, preset: str, run: str) -> list[Study]:
    """Every study asked for, all checked before the first is measured."""
    names = [d.name for d in distinct_devices()] if device == "all" else [resolve_device(device).name]
    return [Study(report, name, preset, run) for report in reports for name in names]


def _measure(study: Study) -> Study:
    """Measure what is missing, and say which run it is."""
    found = "complete" if study.complete else "continued" if study.manifest else "new"
    if not study.complete:
        minutes = f"{study.limits.expected_minutes():.0f} minutes expected"
        typer.echo(f"{study.report} on {study.device.slug}, preset {study.preset}: {minutes}")
    study.measure()
    others = sum(1 for _, m in runs(study.root, study.report) if m.device == study.device.slug) - 1
    typer.echo(f"{study.report}: run {study.manifest.run} ({found}; {others} other runs of {study.device.slug})")
    return study


def main() -> None:
    """Entry point: a BenchError is one sentence and exit code 2."""
    try:
        app()
    except BenchError as error:
        print(f"bench-utils: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
