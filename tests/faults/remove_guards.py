"""Take out each guard in turn, and see that the test of its failure then fails.

python -m tests.faults.remove_guards [B23 ...]

A test that still passes cannot fail, and one that breaks in another way than its assertion says nothing: both are
printed, and the exit code is 1.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.faults.catalogue import FAILURES, LET_PASS, Planted, collect

HERE = Path(__file__).parent


def proves(outcome: str) -> bool:
    """Whether a test that ended so, without its guard, shows that it can fail."""
    return outcome == "failed"


@contextlib.contextmanager
def removed(without: Mapping[str, object]) -> Iterator[None]:
    """Put each stand-in where the package holds what it stands for."""
    with contextlib.ExitStack() as stack:
        for name, stand_in in without.items():
            owner, attribute = _find(name)
            original = owner.__dict__[attribute] if isinstance(owner, type) else getattr(owner, attribute)
            if stand_in is LET_PASS:
                stack.enter_context(_loosened(original))
                continue
            stack.enter_context(patch.object(owner, attribute, stand_in))
            for module in _holders(original, attribute):
                stack.enter_context(patch.object(module, attribute, stand_in))
        yield


def _find(name: str) -> tuple[object, str]:
    """The module or class that holds a dotted name, and the name in it."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        with contextlib.suppress(ModuleNotFoundError):
            owner = importlib.import_module(".".join(parts[:cut]))
            for part in parts[cut:-1]:
                owner = getattr(owner, part)
            return owner, parts[-1]
    raise LookupError(f"no module holds {name}")


def _holders(original: object, attribute: str) -> list:
    """Other modules of the package that imported it by name."""
    modules = [module for name, module in sys.modules.items() if name.startswith("bench_utils")]
    return [module for module in modules if module.__dict__.get(attribute) is original]


@contextlib.contextmanager
def _loosened(model: type) -> Iterator[None]:
    """Let a schema and all that inherit from it take unknown fields."""
    family = [model, *_descendants(model)]
    before = {one: one.model_config for one in family}
    try:
        for one in family:
            one.model_config = {**before[one], "extra": "ignore"}
            one.model_rebuild(force=True)
        yield
    finally:
        for one in family:
            one.model_config = before[one]
            one.model_rebuild(force=True)


def _descendants(model: type) -> list[type]:
    return [found for one in model.__subclasses__() for found in (one, *_descendants(one))]


class WithoutGuards:
    """A pytest plugin: runs each marked test without its guards, and remembers how it ended."""

    def __init__(self, wanted: set[str]) -> None:
        self.wanted = wanted
        self.ended: list[tuple[Planted, str, str]] = []

    def pytest_collection_modifyitems(self, items: list) -> None:
        items[:] = [item for item in items if self._wants(getattr(item.function, "planted", None))]

    def _wants(self, planted: Planted | None) -> bool:
        return planted is not None and bool(planted.without) and not planted.missing and self.wanted & {*planted.ids}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        with removed(item.function.planted.without):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        if call.when == "call" or report.failed:
            self.ended.append((item.function.planted, *_outcome(call)))
        return report


def _outcome(call) -> tuple[str, str]:
    if call.excinfo is None:
        return "passed", ""
    honest = call.when == "call" and call.excinfo.errisinstance((AssertionError, pytest.fail.Exception))
    return ("failed" if honest else "broke"), f"{call.excinfo.typename}: {call.excinfo.value}".splitlines()[0][:100]


def run(wanted: set[str]) -> list[tuple[Planted, str, str]]:
    """How each test of these failures ended without its guards: ``failed`` as it should, ``passed``, or ``broke``."""
    plugin = WithoutGuards(wanted)
    files = sorted(map(str, HERE.glob("test_b_*.py")))
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
        code = pytest.main([*files, "-s", "-q", "-p", "no:cacheprovider"], plugins=[plugin])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise SystemExit(said.getvalue())
    return plugin.ended


def main(arguments: list[str]) -> int:
    """Print a line an id; the exit code."""
    wanted = set(arguments or FAILURES)
    ended, tests, bad = run(wanted), collect(), 0
    for name in (i for i in FAILURES if i in wanted):
        mine = [(planted, outcome, said) for planted, outcome, said in ended if name in planted.ids]
        wrong = [(planted, outcome, said) for planted, outcome, said in mine if not proves(outcome)]
        bad += len(wrong)
        for planted, outcome, said in wrong:
            print(f"{name}  NOT SHOWN  {planted.name} {outcome} without its guard {said}")
        if mine and not wrong:
            where = ", ".join(dict.fromkeys(w.removeprefix("bench_utils.") for p, *_ in mine for w in p.without))
            print(f"{name}  shown      {len(mine)} failed without {where}: {mine[0][2]}")
        if not mine:
            print(f"{name}  no guard   {'missing' if tests[name] else 'waits for ' + str(FAILURES[name].waits)}")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
