"""A report's parameters, checked before a kernel starts: a name that is not declared never becomes code."""

import ast
import keyword
import math
from collections.abc import Mapping

from nbformat import NotebookNode

from ..errors import unknown
from .errors import ReportingError

TAG = "parameters"


def declared_parameters(nb: NotebookNode) -> list[str]:
    """Return the names that the notebook's cell tagged "parameters" assigns, in order.

    Raises ReportingError when the cell is not plain Python.
    """
    cell = next((cell for cell in nb.cells if TAG in cell.metadata.get("tags", [])), None)
    if cell is None:
        return []
    try:
        body = ast.parse(cell.source).body
    except SyntaxError as error:
        where = f"line {error.lineno}: {error.msg}"
        raise ReportingError(f"the parameters cell is not plain Python: {where}") from None
    targets = [target for statement in body for target in _targets(statement)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def check_parameters(nb: NotebookNode, parameters: Mapping[str, object]) -> None:
    """Raise ReportingError for a parameter that the notebook does not declare or that is no plain value."""
    known = declared_parameters(nb)
    for name, value in parameters.items():
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
            raise ReportingError(f"{str(name)[:60]!r} is no parameter name: use letters, digits and '_'")
        if name not in known:
            raise ReportingError(str(unknown("parameter", name, known)))
        if not _is_plain(value):
            raise ReportingError(
                f"parameter {name!r} is of type {type(value).__name__}: use text, a finite number, true, "
                "false, null, or lists and mappings of these"
            )


def _targets(statement: ast.stmt) -> list[ast.expr]:
    if isinstance(statement, ast.Assign):
        return statement.targets
    return [statement.target] if isinstance(statement, ast.AnnAssign) else []


def _is_plain(value: object) -> bool:
    if value is None or type(value) in (bool, int, str):
        return True
    if type(value) is float:
        return math.isfinite(value)
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if not isinstance(value, dict):
        return False
    return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
