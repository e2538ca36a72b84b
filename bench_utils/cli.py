"""The command line: ``bench-utils run | measure | render | compare | site | verify | selftest``, also as
``python -m bench_utils``."""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import plan as plans
from .environment import distinct_devices, resolve_device
from .errors import BenchError
from .project import all_reports, find_plan, root_of
from .records import PROCESSES
from .runs import progress_of, runs
from .study import Study

if TYPE_CHECKING:
    from .reporting.pipeline import Rendered

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
    """Measure what is missing, execute the notebooks, render figures, pages and the index.

    What stops while it is measured gets a page that says so, unless there is one of a complete run.
    """
    root = root_of()
    measured, tables = _split(root, reports)
    codes = [_run(study)[0] for study in _studies(measured, device, preset, run)]
    _finish(root, codes + [_tables(root, report) for report in tables])


@app.command()
def measure(
    reports: Reports,
    device: DeviceOption = "auto",
    preset: PresetOption = "quick",
    run: RunOption = "latest",
    minutes: Annotated[float | None, typer.Option("--minutes", min=0.1, help="Stop in time; again to go on.")] = None,
) -> None:
    """Measure only: needs torch and transformers, no Jupyter. Reports are measured in the order given.

    With --minutes nothing begins that would end later; the same command again goes on where this one stopped.
    """
    end = time.monotonic() + 60 * minutes if minutes else math.inf
    for study in _studies(reports, device, preset, run):
        _measure(study, None if minutes is None else max(0.01, (end - time.monotonic()) / 60))
        if not study.complete:
            break


@app.command()
def render(reports: Annotated[list[str] | None, typer.Argument(metavar="[REPORT...]")] = None) -> None:
    """Render the pages of complete runs again, measuring nothing."""
    from .reporting import pipeline

    root = root_of()
    measured, tables = _split(root, reports or all_reports(root))
    codes = [_page(study)[0] for study in pipeline.pages(root, set(measured))]
    _finish(root, codes + [_tables(root, report) for report in tables])


@app.command()
def selftest(device: DeviceOption = "auto", run: RunOption = "new") -> None:
    """The tool measures itself: known work, planted failures, and a page of it.

    Exit 1 when an expectation is refuted; one that this machine is too noisy to decide is said, and is no failure.
    """
    root = root_of()
    _finish(root, [_judged(study) for study in _studies(["selftest"], device, "quick", run)])


@app.command()
def compare(
    report: Annotated[str, typer.Argument(help="A report by name, such as TR126.")],
    devices: Annotated[list[str] | None, typer.Argument(metavar="[DEVICE...]", help="All of them if none.")] = None,
) -> None:
    """Write the page that sets a report's devices side by side."""
    from .reporting.compare import build

    root = root_of()
    name = plans.read(find_plan(root, report)).report
    page = build(root, name, devices or None)
    if page is None:
        raise BenchError(f"{name} has complete runs on fewer than two devices; measure it on another one first")
    typer.echo(f"{name}: {page.relative_to(root)}")


@app.command()
def card(
    model: Annotated[str, typer.Argument(help="A model of the catalog, such as gpt2-50m.")],
    into: Annotated[Path | None, typer.Option("--into", help="Write the section into this file.")] = None,
) -> None:
    """Write the technical section of a model card, from committed runs alone."""
    from .cards import gather
    from .cards.written import technical_section

    text = technical_section(model, gather(root=root_of()))
    if into is None:
        typer.echo(text, nl=False)
    else:
        into.write_text(text, encoding="utf-8")
        typer.echo(f"card: {into.name}")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="The folder of a run, under results/.")],
    file: Annotated[Path, typer.Argument(help="An archive to send (.zip), or a table of samples (.csv, .parquet).")],
) -> None:
    """Write a run into one file."""
    from .exchange import export as write

    typer.echo(f"{run.name}: {write(run, file).name}")


@app.command(name="import")
def import_(file: Annotated[Path, typer.Argument(help="An archive that bench-utils export wrote.")]) -> None:
    """Put the run of an archive under results/, digests verified; its page comes with the next render."""
    from .exchange import import_run

    root = root_of()
    typer.echo(f"run: {import_run(root, file).relative_to(root)}")


@app.command()
def doctor(device: DeviceOption = "auto", as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Say what this machine can measure, and what each missing variant needs."""
    from . import doctor as examining

    checks = examining.examine(device)
    typer.echo(json.dumps([asdict(c) for c in checks], indent=1) if as_json else examining.render(checks))
    raise typer.Exit(examining.exit_code(checks))


@app.command()
def site(
    into: Annotated[Path | None, typer.Option("--into", help="Copy the site into this folder, to be served.")] = None,
) -> None:
    """Write comparison pages and the index; copy them, and what they lead to, into a folder."""
    from .reporting.bundle import bundle

    root = root_of()
    _finish(root, [])
    if into is not None:
        typer.echo(f"site: {bundle(root, into).parent}")


@app.command()
def verify() -> None:
    """Render everything published again, twice and apart, and compare it byte by byte; exit 1 when a file differs."""
    from .reporting import verify as verifying

    files, complaints = verifying.verify(root_of())
    for complaint in complaints:
        typer.echo(complaint)
    if complaints:
        raise typer.Exit(1)
    typer.echo(f"{files} files are what their records give")


def _split(root: Path, reports: list[str]) -> tuple[list[str], list[str]]:
    """Reports that measure, and reports about published tables; BenchError for one that is unknown."""
    found = [plans.read(find_plan(root, report)) for report in reports]
    return [p.report for p in found if p.presets], [p.report for p in found if not p.presets]


def _studies(reports: list[str], device: str, preset: str, run: str) -> list[Study]:
    """Every study asked for, all checked before the first is measured."""
    names = [d.name for d in distinct_devices()] if device == "all" else [resolve_device(device).name]
    return [Study(report, name, preset, run) for report in reports for name in names]


def _measure(study: Study, minutes: float | None = None) -> None:
    """Measure what is missing, within some minutes if they are given, and say which run it is."""
    found = "complete" if study.complete else "continued" if study.manifest else "new"
    if not study.complete:
        expected = f"{study.limits.expected_minutes():.0f} minutes expected"
        typer.echo(f"{study.report} on {study.device.slug}, preset {study.preset}: {expected}")
    study.measure(minutes)
    if not study.complete:
        done = progress_of(study.folder, study.limits)
        found = f"{found}; {done.measured} of {done.planned} cells, the same command goes on"
    others = sum(1 for _, m in runs(study.root, study.report) if m.device == study.device.slug) - 1
    typer.echo(f"{study.report}: run {study.manifest.run} ({found}; {others} other runs of {study.device.slug})")


def _run(study: Study) -> tuple[int, Rendered | None]:
    """Measure and render a study: the exit code of what failed first, and its page, None where there is none."""
    before = _written(study)
    try:
        _measure(study)
    except BenchError as error:
        _complain(error)
        return 2, _page(study)[1] if _written(study) != before else None
    return _page(study)


def _written(study: Study) -> int | None:
    """Bytes in the journal of a study's run; None before there is a run."""
    if study.folder is None:
        return None
    journal = study.folder / PROCESSES
    return journal.stat().st_size if journal.exists() else 0


def _page(study: Study) -> tuple[int, Rendered | None]:
    """Render a study: exit code and page, which is None where one of a complete run stays."""
    from .reporting import pipeline

    if not pipeline.may_show(study):
        kept = f"reports/{study.device.slug}/{study.report}.html"
        typer.echo(f"{study.report}: run {study.manifest.run} stopped, so {kept} stays that of a complete run")
        return 0, None
    page = pipeline.render(study)
    return _say(study.root, study.report, study.device.slug, page), page


def _tables(root: Path, report: str) -> int:
    """Render a report about published tables."""
    from .reporting import pipeline

    return _say(root, report, pipeline.PUBLISHED, pipeline.render_published(root, report))


def _judged(study: Study) -> int:
    """Run the tool's own report and say each verdict; 1 when one is refuted or missing."""
    from .reporting import pipeline

    code, page = _run(study)
    verdicts = pipeline.claims(page) if page else []
    for claim in verdicts:
        typer.echo(f"{claim['verdict']:>13}  {claim['text']}  ({claim['reason']})")
    return code or int(any(claim["verdict"] in ("refuted", "not measured") for claim in verdicts))


def _say(root: Path, report: str, device: str, page: Rendered) -> int:
    """Where a page is and how its notebook ended."""
    typer.echo(f"{report} on {device}: {page.status}, {page.html.relative_to(root)}")
    return page.exit_code


def _finish(root: Path, codes: list[int]) -> None:
    """Write comparison pages and the index; exit with the first failure's code."""
    from .reporting import pipeline

    if (root / "reports").is_dir() or not any(codes):
        typer.echo(f"index: {pipeline.index(root).relative_to(root)}")
    if failed := next(filter(None, codes), 0):
        raise typer.Exit(failed)


def _complain(error: BenchError) -> None:
    print(f"bench-utils: {error}", file=sys.stderr)


def main() -> None:
    """Entry point: a BenchError is one sentence and exit code 2."""
    try:
        app()
    except BenchError as error:
        _complain(error)
        sys.exit(2)


if __name__ == "__main__":
    main()
