"""How an execution ended, read from the executed notebook itself."""

from typing import NamedTuple

from nbformat import NotebookNode

from .text import plain

COMPLETE, FAILED, DIED, TIMEOUT = "complete", "failed", "died", "timeout"
ERROR_MARKER = "papermill-error-cell-tag"  # papermill's own cells around a failure
NOT_RUN = "not-run"

_BY_ERROR = {"DeadKernelError": DIED, "CellTimeoutError": TIMEOUT}


class Outcome(NamedTuple):
    """The status, the failed code cell (counted from 1, None if none failed), and how many there are."""

    status: str
    failed_cell: int | None
    cells_total: int
    message: str


def outcome(nb: NotebookNode) -> Outcome:
    """Return how the execution of `nb` ended; an unexecuted notebook counts as complete.

    A cell has failed when it holds an error it was not allowed to raise, or when a later one was not run.
    """
    cells = [cell for cell in nb.cells if cell.cell_type == "code"]
    for number, cell in enumerate(cells, start=1):
        error = _error(cell)
        if error is not None:
            message = f"{error[0]}: {error[1]}"[:500]
            return Outcome(_BY_ERROR.get(error[0], FAILED), number, len(cells), message)
        if _papermill(cell) in ("failed", "running"):
            return Outcome(FAILED, number, len(cells), "the cell stopped without saying why")
        if _papermill(cell) == NOT_RUN:
            return Outcome(FAILED, number, len(cells), "the cell was not run")
    return Outcome(COMPLETE, None, len(cells), "")


def is_marker(cell: NotebookNode) -> bool:
    """Return whether papermill put this cell in to point at a failure."""
    return ERROR_MARKER in cell.metadata.get("tags", [])


def _error(cell: NotebookNode) -> tuple[str, str] | None:
    if "raises-exception" in cell.metadata.get("tags", []):
        return None
    for output in cell.get("outputs", []):
        if output.output_type == "error":
            return plain(output.get("ename", "")) or "Error", plain(output.get("evalue", ""))
    return None


def _papermill(cell: NotebookNode) -> str | None:
    return cell.metadata.get("papermill", {}).get("status")
