"""The command line: ``bench-utils run | measure | render | site``; ``python -m bench_utils`` is the same."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from . import plan as plans
from .environment import distinct_devices, resolve_device
from .errors import BenchError
from .project import find_plan, root_of
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
    from .reporting import pipeline

    studies = _studies(reports, device, preset, run)
    failed = 0
    for study in studies:
        _measure(study)
        published = pipeline.render(study)
        typer.echo(f"{study.report} on {study.device.slug}: {published.status}, {_relative(study, published.html)}")
        failed = failed or published.exit_code
    typer.echo(f"index: {_relative(studies[0], pipeline.index(studies[0].root))}")
    raise typer.Exit(failed)


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
    wanted = {plans.read(find_plan(root, r)).report for r in reports or ()}
    failed = 0
    for study in pipeline.pages(root, wanted):
        published = pipeline.render(study)
        typer.echo(f"{study.report} on {study.device.slug}: {published.status}, {_relative(study, published.html)}")
        failed = failed or published.exit_code
    typer.echo(f"index: {pipeline.index(root).relative_to(root)}")
    raise typer.Exit(failed)


@app.command()
def site() -> None:
    """Write the index of all pages."""
    from .reporting import pipeline

    root = root_of()
    typer.echo(f"index: {pipeline.index(root).relative_to(root)}")


def _studies(reports: list[str], device: str, preset: str, run: str) -> list[Study]:
    """Every study asked for, all checked before the first is measured."""
    names = [d.name for d in distinct_devices()] if device == "all" else [resolve_device(device).name]
    return [Study(report, name, preset, run) for report in reports for name in names]


def _measure(study: Study) -> None:
    found = "complete" if study.complete else "continued" if study.manifest else "new"
    if not study.complete:
        minutes = f"{study.limits.expected_minutes():.0f} minutes expected"
        typer.echo(f"{study.report} on {study.device.slug}, preset {study.preset}: {minutes}")
    study.measure()
    others = sum(1 for _, m in runs(study.root, study.report) if m.device == study.device.slug) - 1
    typer.echo(f"{study.report}: run {study.manifest.run} ({found}; {others} other runs of {study.device.slug})")


def _relative(study: Study, path) -> str:
    return str(path.relative_to(study.root))


def main() -> None:
    """Entry point: a BenchError is one sentence and exit code 2."""
    try:
        app()
    except BenchError as error:
        print(f"bench-utils: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
