"""Reports that stop: page, data, exit code and executed notebook tell the same story, and nothing is half written.

A full disk is a limit on the size of the files that a process writes, which holds for every user and in every
container. Permissions would not stop an administrator, so what cannot be written lies below a file, or in `/sys`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest
from nbformat.v4 import new_markdown_cell

from bench_utils.reporting.errors import ReportingError
from bench_utils.reporting.execute import Execution, execute
from bench_utils.reporting.publish import publish
from bench_utils.reporting.site import build_index
from tests.conftest import REPOSITORY, make_project
from tests.hostile import code, report

ASKED = [{"id": "C1", "text": "It is faster."}]
FACTS = {"run": "r1", "plan_digest": "8f3a", "identity": {"torch": "2.13.0"}, "date": "2026-01-02", "claims": ASKED}
CLAIMS = """from bench_utils.reporting import display as bu
bu.show_claims([{"id": "C1", "text": "It is faster.", "verdict": "supported", "value": 2.0, "n": 6}])"""
# Half a second for what was printed to be on its way.
KILLED = "import os, signal, time\ntime.sleep(0.5)\nos.kill(os.getpid(), signal.SIGKILL)"
FULL = (
    "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (10_000, -1))\nopen('rows', 'w').write('x' * 100_000)"
)


class Stop(NamedTuple):
    """A way to stop, and what has to be said about it."""

    source: str
    status: str
    exit_code: int
    error: str
    timeout_s: float | None = None


STOPS = {
    "exception": Stop("raise ValueError('no such model')", "failed", 1, "ValueError"),
    "kernel-killed": Stop(KILLED, "died", 138, "DeadKernelError"),
    "kernel-crashed": Stop("import ctypes\nctypes.string_at(0)", "died", 138, "DeadKernelError"),
    "timeout": Stop("import time\ntime.sleep(60)", "timeout", 124, "CellTimeoutError", timeout_s=1),
    "disk-full": Stop(FULL, "failed", 1, "OSError"),
    "left-early": Stop("import sys\nsys.exit(0)", "failed", 1, ""),
}


def stopping(source: str) -> nbformat.NotebookNode:
    """Return a report that shows something, stops, and would have judged its claims after that."""
    said = "import time\nprint('running', flush=True)\ntime.sleep(0.5)"  # a socket needs a moment to send it
    stop = code(f"{said}\n{source}")
    return report(code("print('before')"), stop, code(CLAIMS), code("print('after')"), new_markdown_cell("## Limits"))


class Story(NamedTuple):
    """Everything that tells how a report ended."""

    done: Execution
    notebook: nbformat.NotebookNode
    page: str
    data: dict
    index: str


def told(stop: Stop, root: Path) -> Story:
    """Execute and publish; return what each place says."""
    nbformat.write(stopping(stop.source), root / "in.ipynb")
    done = execute(root / "in.ipynb", {}, root / "out.ipynb", cwd=root, timeout_s=stop.timeout_s)
    nb = nbformat.read(root / "out.ipynb", as_version=4)
    written = publish(nb, root=root, report="R", device="d", facts=FACTS)
    page = " ".join(written.html.read_text(encoding="utf-8").split())
    return Story(done, nb, page, json.loads(written.json.read_text()), build_index(root).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", STOPS)
def test_every_place_tells_the_same_story(name: str, tmp_path: Path) -> None:
    stop = STOPS[name]
    done, nb, page, data, index = told(stop, tmp_path)
    assert (done.status, done.failed_cell, done.cells_total, done.exit_code) == (stop.status, 2, 4, stop.exit_code)
    assert nb.metadata.bench.outcome == {key: value for key, value in done._asdict().items() if key != "exit_code"}
    cells = [cell for cell in nb.cells if cell.cell_type == "code"]
    assert [cell.metadata.papermill.status for cell in cells] == ["completed", "failed", "not-run", "not-run"]
    assert cells[1].outputs[0].text == "running\n" and cells[1].outputs[-1].get("ename", "") == stop.error
    assert [cell.outputs for cell in cells[2:]] == [[], []]
    assert "stopped in cell 2 of 4; later cells were not run" in page and "before" in page
    assert f"<strong>{stop.error}</strong>" in page or not stop.error
    assert 'class="badge unmeasured"' in page and 'class="badge supported"' not in page
    assert data["status"] == stop.status
    assert [(c["id"], c["verdict"]) for c in data["claims"]] == [("C1", "not measured")]
    assert "the notebook stopped before its claims were judged" in page
    assert "stopped early" in index


def test_the_command_line_ends_with_the_same_code(tmp_path: Path) -> None:
    root = make_project(tmp_path / "project", {})
    for name in ("audit_published.toml", "audit_published.ipynb"):
        shutil.copy(REPOSITORY / "notebooks" / name, root / "notebooks")
    nb = nbformat.read(root / "notebooks" / "audit_published.ipynb", as_version=4)
    nb.cells[4].source = KILLED  # where the claims would be shown
    nbformat.write(nb, root / "notebooks" / "audit_published.ipynb")
    command = [sys.executable, "-m", "bench_utils", "run", "audit_published"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 138, done.stderr
    assert "died" in done.stdout and "reports/published/audit_published.html" in done.stdout
    page = " ".join((root / "reports" / "published" / "audit_published.html").read_text(encoding="utf-8").split())
    assert "stopped in cell 4 of" in page and "not measured" in page
    assert json.loads((root / "reports" / "published" / "audit_published.json").read_text())["status"] == "died"


LIMITED = """
import pathlib, resource, sys
import nbformat
from bench_utils.errors import BenchError
from bench_utils.reporting.execute import execute
from bench_utils.reporting.publish import publish
root, task = pathlib.Path(sys.argv[1]), sys.argv[2]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), -1))
try:
    if task == "execute":
        execute(root / "in.ipynb", {}, root / "out.ipynb", cwd=root)
    else:
        nb = nbformat.read(root / "in.ipynb", as_version=4)
        publish(nb, root=root, report="R", device="d", facts={"run": "another"})
except BenchError as error:
    sys.exit(f"BenchError: {error}")
"""


def limited(root: Path, task: str, size: int) -> str:
    """Do a task where no file may grow beyond a size; return its one sentence."""
    command = [sys.executable, "-c", LIMITED, str(root), task, str(size)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 1
    return done.stderr.strip().splitlines()[-1]


def test_a_disk_that_fills_up_while_executing_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    nbformat.write(report(code("print('x' * 200_000)"), code("print('after')")), tmp_path / "in.ipynb")
    said = limited(tmp_path, "execute", 60_000)
    assert said.startswith("BenchError: cannot execute in.ipynb: File too large; free space in the temporary folder")
    assert [path.name for path in tmp_path.iterdir()] == ["in.ipynb"]


def test_a_disk_that_fills_up_while_publishing_leaves_the_old_page(tmp_path: Path) -> None:
    nbformat.write(report(code("print()")), tmp_path / "in.ipynb")
    publish(nbformat.read(tmp_path / "in.ipynb", 4), root=tmp_path, report="R", device="d", facts=FACTS)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    said = limited(tmp_path, "publish", 200)
    assert re.fullmatch(
        r"BenchError: cannot write R\.\w+: File too large; free space, or make the folder writable", said
    )
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("place", ["below-a-file", "system"])
def test_a_folder_that_cannot_be_written_is_named(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    nbformat.write(report(code("print()")), tmp_path / "in.ipynb")
    root = tmp_path / "file" if place == "below-a-file" else Path("/sys")
    with pytest.raises(ReportingError, match=r"cannot write R\.\w+: .*; free space, or make the folder writable"):
        publish(nbformat.read(tmp_path / "in.ipynb", 4), root=root, report="R", device="d", facts=FACTS)
    with pytest.raises(ReportingError, match=rf"cannot write into '{root.name}': .*make the folder writable"):
        execute(tmp_path / "in.ipynb", {}, root / "out.ipynb", cwd=tmp_path)
