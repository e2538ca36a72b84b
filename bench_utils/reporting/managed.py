"""The papermill engine itself; import it from `bench_utils.reporting.engine`, which registers it."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator

import nbformat
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.engines import NBClientEngine, NotebookExecutionManager
from traitlets.config import Config

from .parameters import check_parameters
from .status import NOT_RUN

INJECTED = "injected-parameters"
IOPUB_TIMEOUT_S = 60  # nbclient's 4 s fail a healthy kernel on a loaded machine
_SOCKET_PATH = 80  # characters; with the socket's name it stays below the system's 108

# What a kernel that executes a report is told, unlike one that explores: no bars, no chatter, figures inline.
_ENVIRONMENT = {
    "BENCH_EXECUTED": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


class ReportEngine(NBClientEngine):
    """papermill's engine, except that the executed notebook says what happened.

    A dead kernel and a cell's timeout become an error output of the running cell, so that papermill raises
    `PapermillExecutionError` as for any failure; cells after a failure are marked "not-run". The injected
    cell has a fixed id, no times are recorded, and the kernel talks through sockets in a private folder. It does
    not start for parameters that the notebook does not declare: papermill would write their names into code.
    """

    @classmethod
    def execute_managed_notebook(cls, nb_man: NotebookExecutionManager, kernel_name: str, **kw: object) -> None:
        """Execute the notebook in a kernel of its own; see the class."""
        _fix_injected_id(nb_man.nb)
        started: list[int] = []
        options = {
            "coalesce_streams": False,  # nbclient's takes the square of a line's length; pages join streams themselves
            "record_timing": False,
            "iopub_timeout": IOPUB_TIMEOUT_S,
            "on_cell_start": lambda cell, cell_index: started.append(cell_index),
            **kw,
        }
        with _private_connection() as config, _environment():
            options.setdefault("config", config)
            try:
                check_parameters(nb_man.nb, nb_man.nb.metadata.papermill.get("parameters", {}))
                super().execute_managed_notebook(nb_man, kernel_name, **options)
            except (DeadKernelError, CellTimeoutError) as error:
                if not started:
                    raise
                _record(nb_man, started[-1], error)
            except BaseException as error:
                if started:
                    _record(nb_man, started[-1], error)
                raise
            finally:
                _mark_rest(nb_man.nb, failed=not started)


def _fix_injected_id(nb: NotebookNode) -> None:
    for cell in nb.cells:
        if INJECTED in cell.metadata.get("tags", []) and "id" in cell:
            cell["id"] = INJECTED


def _record(nb_man: NotebookExecutionManager, index: int, error: BaseException) -> None:
    """Leave the error in the cell that was running, as an output and as its status."""
    cell = nb_man.nb.cells[index]
    name, words = type(error).__name__, _words(error)
    if cell.cell_type == "code":
        trace = [f"{name}: {words}"]
        said = [output for output in cell.outputs if output.output_type != "error"]  # not by the shutdown
        cell.outputs = [*said, nbformat.v4.new_output("error", ename=name, evalue=words, traceback=trace)]
    nb_man.cell_exception(cell, cell_index=index, exception=error)


def _words(error: BaseException) -> str:
    if isinstance(error, DeadKernelError):
        return "the kernel died while this cell ran"
    if isinstance(error, CellTimeoutError):
        return "the cell ran longer than allowed and was stopped"
    return str(error) or "interrupted"


def _mark_rest(nb: NotebookNode, failed: bool) -> None:
    """Mark cells after a failure: papermill would turn whatever is still pending into completed."""
    for cell in nb.cells:
        if failed:
            cell.metadata.papermill["status"] = NOT_RUN
        failed = failed or cell.metadata.papermill.get("status") == NotebookExecutionManager.FAILED


@contextlib.contextmanager
def _private_connection() -> Iterator[Config]:
    """Yield a configuration with which no other kernel can collide, and no other user connect."""
    if os.name != "posix":
        yield Config()
        return
    folder = tempfile.mkdtemp(prefix="bench-kernel-")
    if len(folder) > _SOCKET_PATH:
        os.rmdir(folder)  # noqa: PTH106
        folder = tempfile.mkdtemp(prefix="bench-kernel-", dir="/tmp")
    try:
        yield Config({"KernelManager": {"transport": "ipc", "connection_file": f"{folder}/k.json"}})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Set the kernel's environment, which it inherits, for as long as it runs."""
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
