"""Stacks: other releases of the packages that decide a number, each in an environment on top of the project's own.

A stack is a file of pins, ``stacks/NAME.txt`` (``transformers==5.17.0``). Its environment holds what is pinned, with
what that needs in other versions than the project has, and sees everything else where the project installed it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from .environment import versions
from .errors import BenchError, unknown
from .processes import last_line

READY = "pins"  # in a finished environment: what it was made from
_ASK = (
    "import importlib.metadata as m, json, sys; from bench_utils.environment import versions; "
    "print(json.dumps([versions(), {n: m.version(n) for n in sys.argv[1:]}]))"
)


@dataclass(frozen=True)
class Stack:
    """An environment to measure in: its name, its interpreter, and the versions it must have."""

    name: str
    python: Path
    pins: tuple[str, ...] = ()

    def versions(self) -> dict[str, str | None]:
        """What is installed in it now, as ``environment.versions``; BenchError when that is not what is pinned."""
        pins = [Requirement(pin) for pin in self.pins]
        done = _run([self.python, "-c", _ASK, *(pin.name for pin in pins)])
        if done.returncode:
            raise BenchError(f"stack {self.name!r} cannot measure: {_error(done.stderr)}; change its pins")
        found, pinned = json.loads(done.stdout)
        for pin in pins:
            if not pin.specifier.contains(pinned[pin.name], prereleases=True):
                raise BenchError(f"stack {self.name!r} pins {pin} and has {pinned[pin.name]}; remove its environment")
        return found


def names(root: Path) -> list[str]:
    """Every stack of a checkout."""
    return [path.stem for path in sorted((root / "stacks").glob("*.txt"))]


def read_pins(root: Path, name: str) -> tuple[str, ...]:
    """The pins of a stack; BenchError for an unknown one, and for a line that is no pin."""
    if name not in names(root):
        raise unknown("stack", name, names(root))
    lines = [line.partition("#")[0].strip() for line in (root / "stacks" / f"{name}.txt").read_text().splitlines()]
    pins = tuple(line for line in lines if line)
    for pin in pins:
        _refuse_loose(name, pin)
    if not pins:
        raise BenchError(f"stack {name!r} pins nothing; write lines such as transformers==5.23.0")
    return pins


def _refuse_loose(name: str, pin: str) -> None:
    try:
        exact = [s.operator for s in Requirement(pin).specifier] == ["=="]
    except InvalidRequirement:
        exact = False
    if not exact:
        raise BenchError(f"stack {name!r}: {pin!r} is no pin; write it as package==version")


def prepare(root: Path, state: Path, name: str, say: Callable[[str], object] = print) -> Stack:
    """A stack ready to measure in; its environment is made where it is missing or was made from something else.

    Raises BenchError for what ``read_pins`` refuses, and when the packages cannot be installed.
    """
    pins = read_pins(root, name)
    folder = state / "stacks" / name
    stack = Stack(name, folder / "bin" / "python", pins)
    if _mark(stack.python) != _made_from(pins):
        say(f"stack {name}: installing {', '.join(pins)}")
        _make(folder, stack)
    stack.versions()
    return stack


def _make(folder: Path, stack: Stack) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    made = _run([sys.executable, "-m", "venv", "--without-pip", folder])
    if not made.returncode:
        _see_project(stack.python)
        made = _run([sys.executable, "-m", "pip", "--python", stack.python, "install", "--quiet", *stack.pins])
    if made.returncode:
        raise BenchError(f"stack {stack.name!r} cannot be installed: {_error(made.stderr)}")
    (folder / READY).write_text(_made_from(stack.pins))


def _see_project(python: Path) -> None:
    """Have an environment find, after its own packages, those of the one that runs now."""
    asked = _run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"])
    line = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (Path(asked.stdout.strip()) / "project.pth").write_text(line)


def _made_from(pins: Sequence[str]) -> str:
    """Hash of pins and of the environment below, whose upgrade makes another stack."""
    return hashlib.sha256(json.dumps([pins, versions(), sys.prefix]).encode()).hexdigest()


def _mark(python: Path) -> str:
    path = python.parent.parent / READY
    return path.read_text() if path.is_file() else ""


def _run(command: Sequence[str | Path]) -> subprocess.CompletedProcess:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


def _error(said: str) -> str:
    """The last line that names an error, or the last one at all."""
    lines = [line for line in said.splitlines() if line.startswith("ERROR") or "Error" in line]
    return last_line("\n".join(lines) or said)
