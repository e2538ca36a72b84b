"""Where a checkout keeps its things: the root, a report's plan, and what belongs to this checkout alone."""

from __future__ import annotations

import re
from pathlib import Path

from .errors import BenchError, unknown

STATE = ".bench"
PUBLISHED = "published"  # stands where a device does, for reports about published tables
COMPARE = "compare"  # the folder of comparison pages, beside those of the devices
_SLUG = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.))*(?<!\.)")


def slug(kind: str, name: object) -> str:
    """A name that is safe as a folder or file; BenchError for any other."""
    if not isinstance(name, str) or len(name) > 120 or not _SLUG.fullmatch(name):
        raise BenchError(f"the {kind} {str(name)[:60]!r} becomes a folder: use letters, digits, '.', '_' and '-' only")
    return name


def short_name(stem: str) -> str:
    """What a plan's file may be called for short: ``TR126`` of ``TR126_compile_phases``."""
    return stem.partition("_")[0]


def all_reports(root: Path) -> list[str]:
    """Names of every report that has a plan."""
    return [path.stem for path in sorted((root / "notebooks").glob("*.toml"))]


def find_plan(root: Path, report: str) -> Path:
    """The plan of a report in ``root/notebooks``, by its whole name or its short one; BenchError for a name that none
    has, with the nearest, and for a short one that several have."""
    plans = {path.stem: path for path in sorted((root / "notebooks").glob("*.toml"))}
    if report in plans:
        return plans[report]
    found = [path for stem, path in plans.items() if report == short_name(stem)]
    if len(found) > 1:
        raise BenchError(f"report {report!r} is {' and '.join(path.stem for path in found)}; name one in full")
    if not found:
        raise unknown("report", report, [short_name(stem) if stem.startswith("TR") else stem for stem in plans])
    return found[0]


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
