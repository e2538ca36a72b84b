"""Everything published, rendered again from its records twice and apart, and compared byte by byte with what is there.

Run as a program it is one of the two: ``python -m bench_utils.reporting.verify ROOT PLACE`` renders what ROOT
publishes into PLACE and prints a line for each report that cannot be.
"""

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from ..errors import BenchError
from ..plan import read
from ..project import PUBLISHED, all_reports, find_plan
from ..runs import runs
from .site import shown_runs

# What must not matter, as different as it gets: order of hashes, time zone, language, and what the processor can do.
SETTINGS = (
    {"PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo", "LC_ALL": "C"},
    {
        "PYTHONHASHSEED": "2",
        "TZ": "America/Lima",
        "LC_ALL": "de_DE.UTF-8",
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
        "OPENBLAS_CORETYPE": "Nehalem",
    },
)


class Verified(NamedTuple):
    """How many files were compared, and a line for each that does not hold."""

    files: int
    complaints: list[str]


def verify(root: Path) -> Verified:
    """Render every published page, its figures and the index in a scratch folder, twice, and compare digests.

    Each page is rendered from the run that it says it shows, so the answer is the same on every machine; nothing
    below `root` is written. Raises BenchError for plans and records that cannot be read, and when a render does not
    come to its end.
    """
    targets(root)  # what cannot be read is said here, once
    with tempfile.TemporaryDirectory(prefix="bench-verify-") as scratch:
        places = [_place(root, Path(scratch, name)) for name in ("one", "two/deeper")]
        elsewhere = [places[0], Path(scratch)]
        renders = [_start(root, *given) for given in zip(places, elsewhere, SETTINGS, strict=True)]
        complaints = [line for render in renders for line in _ended(render)]
        here, one, two = map(digests, (root, *places))
    complaints = list(dict.fromkeys(complaints)) + differences(here, one, two)
    return Verified(len(here), complaints + (unlocked(root) if complaints else []))


def targets(root: Path) -> list[tuple[str, str, str]]:
    """Report, device and run of every page that should be: the run that a page shows, the newest complete one where
    there is no page, and every report about published tables."""
    plans = [read(find_plan(root, report)) for report in all_reports(root)]
    measured = {plan.report for plan in plans if plan.per_device}
    found, known = {(plan.report, PUBLISHED): "" for plan in plans if not plan.per_device}, set()
    for _, m in sorted(runs(root), key=lambda one: (one[1].started_at, one[1].run)):
        known.add((m.report, m.device, m.run))
        if m.status == "complete" and m.report in measured:
            found[m.report, m.device] = m.run
    found |= {key: run for key, run in shown_runs(root).items() if key[0] in measured and (*key, run) in known}
    return sorted((report, device, run) for (report, device), run in found.items())


def digests(root: Path) -> dict[str, str]:
    """SHA-256 of every file below `reports/` and `figures/`, by its path."""
    files = [path for folder in ("reports", "figures") for path in (root / folder).rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def differences(here: dict[str, str], one: dict[str, str], two: dict[str, str]) -> list[str]:
    """A line a path whose digest is not the same in what is published and in both renders of it."""
    complaints = []
    for path in sorted({*here, *one, *two}):
        if one.get(path) != two.get(path):
            complaints.append(f"{path} differs between two renders of the same records")
        elif path not in one:
            complaints.append(f"{path} comes from no record")
        elif path not in here:
            complaints.append(f"{path} is missing")
        elif here[path] != one[path]:
            complaints.append(f"{path} differs from what its records give")
    return complaints


def unlocked(root: Path) -> list[str]:
    """A line when installed packages are not those of the lock, which alone promises the same bytes."""
    lock = root / "requirements.lock"
    pinned = dict(line.split("==") for line in lock.read_text().split()) if lock.is_file() else {}
    others = []
    for name, version in pinned.items():
        try:
            installed = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
        others += [f"{name} {installed} for {version}"] if installed != version else []
    return [f"installed are other packages than requirements.lock has: {', '.join(others)}"] if others else []


def _place(root: Path, place: Path) -> Path:
    """A project with the same notebooks and records, and nothing rendered yet."""
    place.mkdir(parents=True)
    shutil.copytree(root / "notebooks", place / "notebooks", ignore=shutil.ignore_patterns(".*"))
    (place / "pyproject.toml").touch()
    (place / "results").symlink_to((root / "results").resolve(), target_is_directory=True)
    return place


def _start(root: Path, place: Path, cwd: Path, setting: dict[str, str]) -> subprocess.Popen:
    command = [sys.executable, "-m", __name__, str(root.resolve()), str(place)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8"}
    return subprocess.Popen(command, cwd=cwd, env=os.environ | setting, **options)


def _ended(render: subprocess.Popen) -> list[str]:
    said, errors = render.communicate()
    if render.returncode:
        last = errors.strip().splitlines()[-1:] or ["it said nothing"]
        raise BenchError(f"a render ended with code {render.returncode} ({last[0][:300]}); try bench-utils render")
    return said.splitlines()


def _render(root: Path, place: Path) -> None:
    """Render everything that a root publishes into another place."""
    from ..quality import study_of
    from . import pipeline

    for report, device, run in targets(root):
        try:
            if device == PUBLISHED:
                pipeline.render_published(place, report)
            else:
                pipeline.render(study_of(report, run=run, root=place))
        except BenchError as error:
            print(f"reports/{device}/{report}.html cannot be rendered: {error}")
    pipeline.index(place)


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    _render(*map(Path, sys.argv[1:3]))
