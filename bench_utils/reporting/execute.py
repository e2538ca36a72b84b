"""Execute a report's notebook once, with papermill, and say how it ended."""

import logging
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode
from nbformat.reader import NotJSONError

from .errors import ReportingError
from .files import WRITABLE, write_atomic
from .parameters import check_parameters
from .status import COMPLETE, DIED, FAILED, TIMEOUT, is_marker, outcome

KERNELSPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}
# 138 is what papermill's command line returns for a dead kernel, 124 what `timeout` returns.
EXIT_CODES = {COMPLETE: 0, FAILED: 1, DIED: 138, TIMEOUT: 124}

_log = logging.getLogger(__name__)


class Execution(NamedTuple):
    """How an execution ended.

    `status` is complete, failed, died or timeout; `failed_cell` counts code cells of the executed notebook
    from 1, the injected parameters included, and is None when all ran; `exit_code` is 0 only when complete.
    """

    status: str
    failed_cell: int | None
    cells_total: int
    message: str
    exit_code: int


def execute(
    notebook: Path,
    parameters: Mapping[str, object],
    output: Path,
    *,
    cwd: Path,
    timeout_s: float | None = None,
) -> Execution:
    """Execute a notebook in a kernel of its own, working in `cwd`, and write it to `output`.

    `timeout_s` limits each cell. The output is written in one piece, also when a cell fails, the kernel dies
    or the wait is interrupted. Raises ReportingError, before a kernel starts, for a notebook that cannot be
    read, parameters that it does not declare, and an output or working folder that is not usable; and when
    no kernel starts or the disk is full.
    """
    source = _read(notebook)
    check_parameters(source, parameters)
    _check_folders(output, cwd)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-execute-") as scratch:
            copy, executed = Path(scratch, "notebook.ipynb"), Path(scratch, "executed.ipynb")
            nbformat.write(source, copy)
            try:
                _run(copy, executed, dict(parameters), cwd, timeout_s)
            finally:
                result = _collect(executed, notebook, output, cwd)
    except OSError as error:
        remedy = "free space in the temporary folder, or set TMPDIR"
        raise ReportingError(f"cannot execute {notebook.name}: {error.strerror or error}; {remedy}") from error
    if result is None:
        raise ReportingError(f"{notebook.name} left no executed notebook behind")
    return result


def _run(copy: Path, executed: Path, parameters: dict, cwd: Path, timeout_s: float | None) -> None:
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from papermill.exceptions import PapermillExecutionError

    from .engine import ENGINE

    try:
        papermill.execute_notebook(
            str(copy),
            str(executed),
            parameters=parameters,
            engine_name=ENGINE,
            kernel_name=KERNELSPEC["name"],
            language=KERNELSPEC["language"],
            progress_bar=False,
            execution_timeout=None if timeout_s is None else max(1, math.ceil(timeout_s)),
            resources={"metadata": {"path": str(cwd)}},
        )
    except PapermillExecutionError as error:
        _log.info("stopped: %s", error.ename)  # the executed notebook says the rest
    except NoSuchKernel as error:
        raise ReportingError("there is no Python kernel here: install ipykernel") from error
    except RuntimeError as error:
        raise ReportingError(f"the kernel did not start: {error}") from error


def _read(notebook: Path) -> NotebookNode:
    try:
        nb = nbformat.read(notebook, as_version=4)
        nbformat.validate(nb)
    except FileNotFoundError:
        raise ReportingError(f"no notebook {notebook.name} in {notebook.parent.name or '.'}") from None
    except (OSError, AttributeError, KeyError, TypeError, ValueError, nbformat.ValidationError) as error:
        raise ReportingError(f"{notebook.name} is not a notebook: {str(error)[:200]}") from error
    nb.metadata = nbformat.from_dict({"kernelspec": KERNELSPEC, "language_info": {"name": "python"}})
    return nb


def _check_folders(output: Path, cwd: Path) -> None:
    if not cwd.is_dir():
        raise ReportingError(f"the working folder {cwd.name!r} is not there")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise ReportingError(f"cannot write into {output.parent.name!r}: {error.strerror}; {WRITABLE}") from error


def _collect(executed: Path, notebook: Path, output: Path, cwd: Path) -> Execution | None:
    """Move what was executed into place, without papermill's own cells, times and absolute paths."""
    try:
        nb = nbformat.read(executed, as_version=4)
    except (FileNotFoundError, NotJSONError):  # never begun, or cut by a full disk
        return None
    nb.cells = [cell for cell in nb.cells if not is_marker(cell)]
    ended = outcome(nb)
    parameters = nb.metadata.get("papermill", {}).get("parameters", {})
    nb.metadata = nbformat.from_dict(
        {
            "kernelspec": KERNELSPEC,
            "language_info": {"name": "python"},
            "papermill": {
                "input_path": _relative(notebook, cwd),
                "output_path": _relative(output, cwd),
                "parameters": parameters,
            },
            "bench": {"outcome": ended._asdict()},
        }
    )
    for cell in nb.cells:
        status = cell.metadata.pop("papermill", {}).get("status")
        if status:
            cell.metadata["papermill"] = {"status": status}
    write_atomic(output, nbformat.writes(nb) + "\n")
    return Execution(*ended, EXIT_CODES[ended.status])


def _relative(path: Path, cwd: Path) -> str:
    return Path(os.path.relpath(path.resolve(), cwd.resolve())).as_posix()
