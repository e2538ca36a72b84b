"""The notebooks without our command line: papermill with either engine, nbconvert with either template."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest

from tests.conftest import REPOSITORY, make_project
from tests.hostile import audited

NOTEBOOKS = sorted(path.stem for path in (REPOSITORY / "notebooks").glob("*.ipynb"))
RUNS = {path.parent.parent.name: path.parent.name for path in (REPOSITORY / "results").glob("*/*/*/run.json")}
ENGINES = ("nbclient", "bench")  # papermill's own, and ours


def measured(notebook: str) -> bool:
    """Whether a notebook needs a run, so that without a committed one it would measure."""
    plan = REPOSITORY / "notebooks" / f"{notebook}.toml"
    return plan.exists() and "[presets" in plan.read_text(encoding="utf-8")


def runs(root: Path) -> set[str]:
    return {path.parent.name for path in (root / "results").glob("*/*/*/run.json")}


def run_of(notebook: str) -> str | None:
    return RUNS.get(notebook) or RUNS.get(notebook.partition("_")[0])


EXECUTED = [name for name in NOTEBOOKS if run_of(name) or not measured(name)]
JOBS = [(name, "nbclient") for name in EXECUTED] + [("selftest", "bench")]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_project(tmp_path_factory.mktemp("tools"), {})
    for folder in ("notebooks", "results"):
        shutil.copytree(REPOSITORY / folder, made / folder, dirs_exist_ok=True)
    return made


def call(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", *arguments], cwd=root, capture_output=True, text=True, timeout=180)


@pytest.fixture(scope="module")
def executed(root: Path) -> dict[tuple[str, str], subprocess.CompletedProcess]:
    """Every notebook executed by papermill's command line, over committed runs."""

    def execute(job: tuple[str, str]) -> subprocess.CompletedProcess:
        name, engine = job
        run = ["-p", "run", run_of(name)] if run_of(name) else []
        paths = [f"notebooks/{name}.ipynb", f"{name}-{engine}.ipynb"]
        return call(root, "papermill", *paths, *run, "--cwd", "notebooks", "--engine", engine, "--no-progress-bar")

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(JOBS, pool.map(execute, JOBS), strict=True))


@pytest.fixture(scope="module")
def pages(root: Path, executed: dict) -> Path:
    """What was executed, as pages by `jupyter nbconvert --to bench-report`."""
    names = [f"{name}-{engine}.ipynb" for name, engine in executed]
    done = call(root, "nbconvert", "--to", "bench-report", "--output-dir", "pages", *names)
    assert done.returncode == 0, done.stderr
    return root / "pages"


@pytest.mark.parametrize(("name", "engine"), JOBS)
def test_papermill_executes_it_and_measures_nothing(name: str, engine: str, executed: dict, root: Path) -> None:
    done = executed[name, engine]
    assert done.returncode == 0, done.stderr[-2000:]
    nb = nbformat.read(root / f"{name}-{engine}.ipynb", as_version=4)
    outputs = [output for cell in nb.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error"]
    assert any("bench" in output.get("metadata", {}) for output in outputs)
    assert runs(root) == runs(REPOSITORY)


@pytest.mark.parametrize(("name", "engine"), JOBS)
def test_nbconvert_makes_our_page_of_it(name: str, engine: str, pages: Path) -> None:
    page = (pages / f"{name}-{engine}.html").read_text(encoding="utf-8")
    audited(page)
    assert page.count('<figure class="plot">') >= 1
    assert 'class="headline"' in page or name == "explore"
    assert 'class="claims"' in page or name in ("explore", "quality")  # what these show was claimed nowhere


def test_both_engines_give_the_same_page(pages: Path) -> None:
    one, other = (pages / f"selftest-{engine}.html" for engine in ENGINES)
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("kind", ["html", "bench-report"])
def test_nbconvert_takes_every_notebook_as_it_is_committed(kind: str, root: Path) -> None:
    paths = [f"notebooks/{name}.ipynb" for name in NOTEBOOKS]
    done = call(root, "nbconvert", "--to", kind, "--output-dir", kind, *paths)
    assert done.returncode == 0, done.stderr
    for name in NOTEBOOKS:
        page = (root / kind / f"{name}.html").read_text(encoding="utf-8")
        title = nbformat.read(root / "notebooks" / f"{name}.ipynb", as_version=4).cells[0].source.splitlines()[0][2:]
        assert title in page
        if kind == "bench-report":
            audited(page)


def test_a_notebook_is_small_enough_for_a_repository_page_to_draw() -> None:
    """GitHub and editors draw what is committed: text alone, of a known language, without an output."""
    for name in NOTEBOOKS:
        path = REPOSITORY / "notebooks" / f"{name}.ipynb"
        nb = nbformat.read(path, as_version=4)
        assert path.stat().st_size < 100_000
        assert (nb.nbformat, nb.metadata.kernelspec.language) == (4, "python")
        assert set(nb.metadata) <= {"kernelspec", "language_info"}
        assert not any(cell.get("attachments") for cell in nb.cells)
