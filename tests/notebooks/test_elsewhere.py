"""Measuring on a machine that has PyTorch and no Jupyter: what docs/elsewhere.md lists is enough."""

import os
import re
import subprocess
import sys
import tomllib

import pytest

from bench_utils import plan as plans
from bench_utils import records
from tests.conftest import MINI_PLAN, REPOSITORY, make_project

PAGE = (REPOSITORY / "docs/elsewhere.md").read_text()
LISTED = re.findall(r"[\w-]+", re.search(r"^\| (torch, [^|]*) \|", PAGE, re.M)[1])
# No interpreter of the measurement, its workers included, finds what the page does not list.
BLOCK = """
from importlib.machinery import PathFinder

found = PathFinder.find_spec


def find_spec(cls, name, *places):
    return None if name.partition(".")[0] in {blocked!r} else found(name, *places)


PathFinder.find_spec = classmethod(find_spec)
"""


def unlisted():
    """Import names of the project's own dependencies that the page says are not needed."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    more = [name for group in project["optional-dependencies"].values() for name in group]
    names = {name.replace("-", "_") for name in (*project["dependencies"], *more)}
    return sorted(names - {name.replace("-", "_") for name in LISTED} - {"httpx"})  # httpx comes with huggingface-hub


@pytest.fixture
def here(tmp_path):
    """The environment of a machine that has what the page lists and nothing else of the project's packages."""
    blocked = unlisted()
    assert {"jupyterlab", "nbformat", "papermill", "matplotlib", "seaborn", "lm_eval"} <= set(blocked)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCK.format(blocked=blocked))
    here = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    missing = subprocess.run([sys.executable, "-c", "import matplotlib"], env=here, capture_output=True, text=True)
    assert "No module named 'matplotlib'" in missing.stderr
    return here


def bench_utils(*words, env, cwd):
    return subprocess.run(
        [sys.executable, "-m", "bench_utils", *words], cwd=cwd, env=env, capture_output=True, text=True
    )


def test_what_the_page_lists_is_enough_to_measure(tmp_path, here):
    text = MINI_PLAN.replace("rounds = 2", "rounds = 1").replace('"eager", "eager-again"', '"eager"')
    root = make_project(tmp_path / "project", {"mini.toml": text})
    done = bench_utils("measure", "mini", "--device", "cpu", "--preset", "smoke", env=here, cwd=root)
    assert done.returncode == 0, done.stderr
    (folder,) = [path.parent for path in root.glob("results/*/mini/*/run.json")]
    cells = [row for row in records.read_processes(folder) if isinstance(row, records.Cell)]
    assert {cell.status for cell in cells} <= {"ok", "not_steady", "contaminated"}
    assert len([cell for cell in cells if cell.phase in records.TIMED]) >= 3


def test_the_doctor_says_there_that_it_is_enough(here):
    done = bench_utils("doctor", "--device", "cpu", env=here, cwd=REPOSITORY)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "ready to measure; make run also needs: papermill"
    assert "variants on cpu" in done.stdout


@pytest.mark.parametrize("report", re.search(r"measure ((?:\w+ )+)--preset gpu", PAGE)[1].split())
def test_every_report_of_the_pages_command_has_that_preset(report):
    (path,) = (REPOSITORY / "notebooks").glob(f"{report}*.toml")
    preset = plans.read(path).preset("gpu")
    assert preset.rounds >= 6
    assert preset.expected_minutes() <= 25
    assert {cell.dtype for cell in preset.measured} == {"float16"}
