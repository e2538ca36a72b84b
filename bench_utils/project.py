"""Where a checkout keeps its things: the root, a report's plan, and what belongs to this checkout alone."""

from __future__ import annotations

from pathlib import Path

from .errors import BenchError, unknown

STATE = ".bench"


def all_reports(root: Path) -> list[str]:
    """Names of every report that has a plan."""
    return [path.stem for path in sorted((root / "notebooks").glob("*.toml"))]


def find_plan(root: Path, report: str) -> Path:
    """The plan of a report in ``root/notebooks``; BenchError with the nearest names."""
    plans = {path.stem: path for path in sorted((root / "notebooks").glob("*.toml"))}
    for stem, path in plans.items():
        if report in (stem, stem.partition("_")[0]):
            return path
    raise unknown("report", report, [stem.partition("_")[0] if stem.startswith("TR") else stem for stem in plans])


def root_of(start: Path | None = None) -> Path:
    """The nearest parent of ``start`` (the working directory) that holds ``notebooks/`` and ``pyproject.toml``."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "notebooks").is_dir() and (folder / "pyproject.toml").is_file():
            return folder
    raise BenchError("no project here: run inside a checkout, the folder that holds notebooks/ and pyproject.toml")


def root_or_here() -> Path:
    """The root of the checkout around the working directory; outside of one, the working directory itself."""
    try:
        return root_of()
    except BenchError:
        return Path.cwd()
