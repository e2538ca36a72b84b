"""The command line: ``bench-utils COMMAND``, also as ``python -m bench_utils``."""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from . import jobs
from . import plan as plans
from .errors import BenchError, writing
from .project import all_reports, find_plan, root_of

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Honest inference benchmarks of small language models."
)

Reports = Annotated[list[str], typer.Argument(help="Reports by name, such as TR126.", metavar="REPORT...")]
DeviceOption = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda:0, or all: every distinct device in turn.")
]
OneDevice = Annotated[str, typer.Option("--device", help="auto, cpu, or cuda:0.")]
PresetOption = Annotated[str, typer.Option("--preset", help="How much is measured: a preset of the plan.")]
StackOption = Annotated[list[str] | None, typer.Option("--stack", help="Measure in stacks/NAME.txt; give two or more.")]
RunOption = Annotated[str, typer.Option("--run", help="latest (continue or reuse), new, or a run id: that run again.")]
GoOnOption = Annotated[str, typer.Option("--run", help="latest (continue), new, or a run id: that run goes on.")]


@app.command()
def run(
    reports: Reports,
    device: DeviceOption = "auto",
    preset: PresetOption = "quick",
    run: RunOption = "latest",
    stack: StackOption = None,
) -> None:
    """Measure what is missing, execute the notebooks, render figures, pages and the index.

    What stops while it is measured gets a page that says so, unless there is one of a complete run. A report about all
    runs there are is rendered from them, and measured first only where stacks are given.
    """
    root = root_of()
    measured, tables = jobs.split(root, reports)
    if stack:
        jobs.measure_stacks(root, reports, device, preset, run, stack)
    codes = [jobs.run_study(study)[0] for study in jobs.studies_of(measured, device, preset, run)]
    jobs.finish(root, codes + [jobs.render_tables(root, report) for report in tables])


@app.command()
def measure(
    reports: Reports,
    device: DeviceOption = "auto",
    preset: PresetOption = "quick",
    run: GoOnOption = "latest",
    stack: StackOption = None,
    minutes: Annotated[float | None, typer.Option("--minutes", min=0.1, help="Begin nothing that ends later.")] = None,
) -> None:
    """Measure only, without Jupyter (docs/elsewhere.md lists the packages). Reports are measured in the order given.

    With --minutes nothing begins that would end later; the same command again goes on where this one stopped, and
    with the id of a run so does another machine, where everything but the machine is equal.
    """
    if stack:
        jobs.measure_stacks(root_of(), reports, device, preset, run, stack, minutes)
        return
    end = time.monotonic() + 60 * minutes if minutes else math.inf
    for study in jobs.studies_of(reports, device, preset, run, go_on=True):
        jobs.measure_study(study, None if minutes is None else max(0.01, (end - time.monotonic()) / 60))
        if not study.complete:
            break


@app.command()
def render(
    reports: Annotated[list[str] | None, typer.Argument(metavar="[REPORT...]", help="All of them if none.")] = None,
) -> None:
    """Render the pages of complete runs again, measuring nothing."""
    from .reporting import pipeline

    root = root_of()
    measured, tables = jobs.split(root, reports or all_reports(root))
    codes = [jobs.render_study(study)[0] for study in pipeline.pages(root, set(measured))]
    jobs.finish(root, codes + [jobs.render_tables(root, report) for report in tables])


@app.command()
def selftest(device: DeviceOption = "auto", run: RunOption = "new") -> None:
    """The tool measures itself: known work, planted failures, and a page of it.

    Exit 1 when an expectation is refuted; one that this machine is too noisy to decide is said, and is no failure.
    """
    root = root_of()
    jobs.finish(root, [jobs.judged(study) for study in jobs.studies_of(["selftest"], device, "quick", run)])


@app.command()
def compare(
    report: Annotated[str, typer.Argument(help="A report by name, such as TR126.")],
    devices: Annotated[
        list[str] | None, typer.Argument(metavar="[SLUG...]", help="Devices as under results/; all if none.")
    ] = None,
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
        with writing(into):
            into.write_text(text, encoding="utf-8")
        typer.echo(f"card: {into.name}")


@app.command()
def quality(
    model: Annotated[str, typer.Argument(help="A folder of a checkpoint, a hub id, or a model of the catalog.")],
    text: Annotated[list[Path] | None, typer.Option("--text", help="A text file; paragraphs are documents.")] = None,
    task: Annotated[list[str] | None, typer.Option("--task", help="A task of lm_eval, or a file of one.")] = None,
    variant: Annotated[str, typer.Option("--variant", help="eager or llama.cpp.")] = "eager",
    dtype: Annotated[list[str] | None, typer.Option("--dtype", help="float32, int8, q8_0, …; several compare.")] = None,
    context: Annotated[
        int | None, typer.Option("--context", help="Tokens of a window; by default the model's.")
    ] = None,
    stride: Annotated[int | None, typer.Option("--stride", help="New tokens a window scores; by default half.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="The most documents of a text or task.")] = None,
    device: OneDevice = "auto",
) -> None:
    """Score a checkpoint on a text or a task: loss, perplexity, bits a byte, with intervals; exit 1 without any."""
    from .quality import score
    from .quality.wording import printed

    sizes = {"context": context, "stride": stride, "limit": limit}
    found = score(model, text or (), task or (), variant=variant, dtypes=dtype or ("float32",), device=device, **sizes)
    typer.echo(printed(found))
    raise typer.Exit(int(found.scores.empty))


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
def doctor(
    device: OneDevice = "auto", as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
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
    jobs.finish(root, [])
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


def main() -> None:
    """Entry point: a BenchError is one sentence and exit code 2."""
    try:
        app()
    except BenchError as error:
        jobs.complain(error)
        sys.exit(2)


if __name__ == "__main__":
    main()
