"""The house stays as it is drawn: imports run one way, rooms stay small, opening the door is quick."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "bench_utils"
MODULES = sorted(PACKAGE.rglob("*.py"))
# From the ground up: a room may know its own floor and those below it.
FLOORS = [
    {"errors", "formatting", "privacy", "processes", "project", "receipts", "statistics"},
    {
        "artifacts", "board", "catalog", "energy", "environment", "hub", "operators", "prices", "progress",
        "published", "records", "stacks", "timing", "vetting", "window",
    },
    {"cells", "equivalence", "frames", "loading", "physics", "plan"},
    {
        "audit", "backends", "compiling", "contrasts", "figures", "gates", "outputs", "exchange", "scaling", "schedule",
        "selftest", "shifts", "wording",
    },
    {"cards", "claims", "comparison", "confounds", "cost", "drift", "ledger", "parity", "rankings", "regimes", "runs"},
    {"portability"},
    {"child", "rounds"},
    {"quality", "study"},
    {"worker"},
    {"doctor", "facts"},
    {"reporting"},
    {"explore", "measuring"},
    {"jobs"},
    {"__init__", "__main__", "cli"},
]  # fmt: skip
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Rooms of this package that a module imports."""
    depth = len(path.relative_to(PACKAGE).parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            found |= {node.module.partition(".")[0]} if node.module else {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bench_utils."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module == "bench_utils":
            found |= {a.name for a in node.names}
    return found & FLOOR.keys() - {room(path)}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    assert room(path) in FLOOR, "a new room: put it on its floor"
    above = {other for other in imported(path) if FLOOR[other] > FLOOR[room(path)]}
    assert not above


def test_the_parent_never_imports_the_worker_nor_the_worker_pandas():
    assert not {"worker", "child"} & imported(PACKAGE / "study.py")
    code = "import sys, bench_utils.worker; sys.exit('pandas' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_rooms_stay_small(path):
    assert len(path.read_text().splitlines()) <= 300


def test_importing_the_package_is_quick_and_brings_no_heavy_library():
    code = (
        "import sys, bench_utils; print(*[m for m in ('torch', 'matplotlib', 'pandas', 'scipy') if m in sys.modules])"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # bytecode is written
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    bare = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    interpreter = time.perf_counter() - bare
    assert done.stdout.strip() == ""
    assert bare - start - interpreter < 0.2


def test_every_public_name_is_there():
    import bench_utils

    for name in bench_utils.__all__:
        assert getattr(bench_utils, name) is not None
    with pytest.raises(AttributeError, match="bench_utils has no 'nonsense'"):
        _ = bench_utils.nonsense
