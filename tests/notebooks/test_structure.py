"""A notebook is parametrized, with short cells, no outputs, no functions, no digit typed in prose."""

import ast

import nbformat
import pytest

from bench_utils.reporting.prose import unbound_digits
from tests.conftest import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
REPORTS = [path for path in NOTEBOOKS if path.with_suffix(".toml").exists()]


def cells(path, kind):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
class TestEveryNotebook:
    def test_is_valid_and_runs_on_the_kernel_of_its_environment(self, path):
        nb = nbformat.read(path, as_version=4)
        nbformat.validate(nb)
        assert nb.metadata.kernelspec == {"name": "python3", "display_name": "Python 3", "language": "python"}

    def test_is_committed_without_outputs_and_with_plain_cell_ids(self, path):
        nb = nbformat.read(path, as_version=4)
        assert [cell.id for cell in nb.cells] == [f"c{i:02d}" for i in range(1, len(nb.cells) + 1)]
        assert all(not c.outputs and c.execution_count is None for c in cells(path, "code"))

    def test_begins_with_its_title(self, path):
        assert nbformat.read(path, as_version=4).cells[0].source.startswith("# ")

    def test_cells_are_short_and_define_nothing(self, path):
        for cell in cells(path, "code"):
            assert len(cell.source.splitlines()) <= 12
            assert not any(
                isinstance(n, ast.FunctionDef | ast.ClassDef | ast.Lambda) for n in ast.walk(ast.parse(cell.source))
            )

    def test_has_one_parameters_cell_of_plain_annotated_literals(self, path):
        tagged = [c for c in cells(path, "code") if "parameters" in c.metadata.get("tags", [])]
        assert len(tagged) == 1
        statements = ast.parse(tagged[0].source).body
        assert {s.target.id for s in statements} == (
            {"device", "preset", "run"} if path in REPORTS else {"interactive"}
        )
        assert all(isinstance(s, ast.AnnAssign) and isinstance(s.value, ast.Constant) for s in statements)
        assert all(line.count("=") == 1 and "#" in line for line in tagged[0].source.splitlines()[1:])

    def test_prose_holds_no_digit_that_is_not_bound_to_data(self, path):
        for cell in cells(path, "markdown"):
            assert not unbound_digits(cell.source)


def test_every_notebook_but_the_one_for_exploring_is_a_report():
    assert [path.stem for path in NOTEBOOKS if path not in REPORTS] == ["explore"]
