"""Execution tells the truth: about success, failure, death, time and what was never run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import papermill
import pytest
from test_reporting_sample import cell, notebook, run_notebook, text

from bench_utils.reporting.errors import ReportingError
from bench_utils.reporting.execute import execute
from bench_utils.reporting.exporter import render
from bench_utils.reporting.parameters import declared_parameters
from bench_utils.reporting.status import outcome

PARAMETERS = 'device: str = "auto"  # auto, cpu\ntoken = "a=b"\ncount: int = 3'


def broken(source: str) -> nbformat.NotebookNode:
    """Return a report whose second code cell runs `source`."""
    return notebook(
        text("# A report"),
        cell("print('before')"),
        cell(f"print('running', flush=True)\n{source}"),
        cell("print('after')"),
    )


def page_of(nb: nbformat.NotebookNode) -> str:
    return " ".join(render(nb).split())


def statuses(nb: nbformat.NotebookNode) -> list[str]:
    return [one.metadata["papermill"]["status"] for one in nb.cells]


def check_stopped(nb: nbformat.NotebookNode) -> None:
    """The notebook and its page agree that the second code cell failed and the third was not run."""
    assert statuses(nb)[2:] == ["failed", "not-run"]
    assert nb.cells[2].outputs[0].text == "running\n"
    assert nb.cells[3].outputs == []
    page = page_of(nb)
    assert "stopped in cell 2 of 3; later cells were not run" in page
    assert "not measured" in page


def test_an_exception_stops_the_report(tmp_path: Path) -> None:
    done, nb = run_notebook(broken("raise ValueError('no such <b>model</b>')"), tmp_path)
    assert (done.status, done.failed_cell, done.cells_total, done.exit_code) == ("failed", 2, 3, 1)
    assert done.message == "ValueError: no such <b>model</b>"
    check_stopped(nb)
    assert "<b>model" not in render(nb)


def test_a_killed_kernel_is_a_dead_kernel(tmp_path: Path) -> None:
    done, nb = run_notebook(
        broken("import os, signal, time; time.sleep(0.5); os.kill(os.getpid(), signal.SIGKILL)"), tmp_path
    )
    assert (done.status, done.failed_cell, done.exit_code) == ("died", 2, 138)
    assert nb.cells[2].outputs[-1].ename == "DeadKernelError"
    check_stopped(nb)


def test_a_cell_that_runs_too_long_is_stopped(tmp_path: Path) -> None:
    done, nb = run_notebook(broken("import time; time.sleep(60)"), tmp_path, timeout_s=1)
    assert (done.status, done.failed_cell, done.exit_code) == ("timeout", 2, 124)
    check_stopped(nb)


def test_leaving_early_is_not_success(tmp_path: Path) -> None:
    done, nb = run_notebook(broken("import sys; sys.exit(0)"), tmp_path)
    assert (done.status, done.failed_cell) == ("failed", 2)
    assert statuses(nb)[3] == "not-run"


def test_the_kernel_is_told_that_it_executes_and_where(tmp_path: Path) -> None:
    names = ("BENCH_EXECUTED", "TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS", "TRANSFORMERS_VERBOSITY", "MPLBACKEND")
    source = f"import os\nprint({{k: os.environ[k] for k in {names}}})\nprint(os.path.samefile('.', folder))"
    nb = notebook(cell("folder = ''", "parameters"), cell(source))
    before = dict(os.environ)
    done, executed = run_notebook(nb, tmp_path, {"folder": str(tmp_path)})
    printed = executed.cells[2].outputs[0].text
    assert done.exit_code == 0
    assert "'BENCH_EXECUTED': '1'" in printed and "matplotlib_inline" in printed and "True" in printed
    assert dict(os.environ) == before


def test_the_executed_notebook_has_no_times_and_no_absolute_paths(tmp_path: Path) -> None:
    _, nb = run_notebook(notebook(text("# T"), cell("1 + 1")), tmp_path)
    assert nb.metadata["papermill"] == {
        "input_path": "in.ipynb",
        "output_path": "out.ipynb",
        "parameters": {},
    }
    written = (tmp_path / "out.ipynb").read_text()
    assert str(tmp_path) not in written and "start_time" not in written and "iopub" not in written


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"devise": "cpu"}, "did you mean device"),
        ({"b; import os; os.abort() #": 1}, "no parameter name"),
        ({"class": 1}, "no parameter name"),
        ({"count": float("nan")}, "finite number"),
        ({"count": object()}, "type object"),
        ({"count": {1: 2}}, "type dict"),
    ],
)
def test_parameters_are_checked_before_a_kernel_starts(
    parameters: dict, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(papermill, "execute_notebook", lambda *a, **k: pytest.fail("a kernel was started"))
    with pytest.raises(ReportingError, match=message):
        run_notebook(notebook(cell(PARAMETERS, "parameters")), tmp_path, parameters)


def test_every_kind_of_assignment_declares_a_parameter() -> None:
    assert declared_parameters(notebook(cell(PARAMETERS, "parameters"))) == ["device", "token", "count"]
    assert declared_parameters(notebook(cell(PARAMETERS))) == []
    with pytest.raises(ReportingError, match="not plain Python: line 1"):
        declared_parameters(notebook(cell("%magic", "parameters")))


def test_what_cannot_be_read_or_written_is_said_first(tmp_path: Path) -> None:
    (tmp_path / "bad.ipynb").write_text("{")
    with pytest.raises(ReportingError, match="no notebook absent.ipynb"):
        execute(tmp_path / "absent.ipynb", {}, tmp_path / "o.ipynb", cwd=tmp_path)
    with pytest.raises(ReportingError, match="bad.ipynb is not a notebook"):
        execute(tmp_path / "bad.ipynb", {}, tmp_path / "o.ipynb", cwd=tmp_path)
    nbformat.write(notebook(cell("1")), tmp_path / "good.ipynb")
    with pytest.raises(ReportingError, match="working folder 'gone'"):
        execute(tmp_path / "good.ipynb", {}, tmp_path / "o.ipynb", cwd=tmp_path / "gone")
    with pytest.raises(ReportingError, match="cannot write into 'bad.ipynb'"):
        execute(tmp_path / "good.ipynb", {}, tmp_path / "bad.ipynb" / "o.ipynb", cwd=tmp_path)


def test_outcome_of_a_kernel_that_never_started() -> None:
    nb = notebook(cell("1"), cell("2"))
    for one in nb.cells:
        one.metadata["papermill"] = {"status": "not-run"}
    assert outcome(nb)[:3] == ("failed", 1, 2)


def _cmdline(pid: int) -> str:
    """Return what a process runs; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


EXECUTE = """
import pathlib, sys
from bench_utils.reporting.execute import execute
folder = pathlib.Path(sys.argv[1])
execute(folder / "in.ipynb", {}, folder / "out.ipynb", cwd=folder)
"""


SLEEP = "import os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(60)"


@pytest.mark.skipif(sys.platform != "linux", reason="looks processes up in /proc")
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_however_the_parent_ends_no_kernel_is_left(ending: signal.Signals, tmp_path: Path) -> None:
    nbformat.write(notebook(cell(SLEEP), cell("1")), tmp_path / "in.ipynb")
    parent = subprocess.Popen(
        [sys.executable, "-c", EXECUTE, str(tmp_path)],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stderr=subprocess.DEVNULL,
        preexec_fn=_heed_interrupts,
    )
    try:
        kernel = _wait_for_pid(tmp_path / "pid")
        assert "ipykernel" in _cmdline(kernel)
    finally:
        parent.send_signal(ending)
        parent.wait()
    deadline = time.monotonic() + 15
    while _cmdline(kernel) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _cmdline(kernel)
    if ending == signal.SIGINT:
        interrupted = nbformat.read(tmp_path / "out.ipynb", as_version=4)
        assert statuses(interrupted) == ["failed", "not-run"]
        assert outcome(interrupted).message.startswith("KeyboardInterrupt")


def _heed_interrupts() -> None:
    """A job in a shell's background inherits that interrupts are ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _wait_for_pid(path: Path) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.05)
    pytest.fail("the kernel never ran the cell")
