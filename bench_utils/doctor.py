"""What this machine can measure: a line a check, each with its reason and its remedy, in a few seconds."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import re
import shutil
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Literal

import psutil

from . import backends, catalog, energy
from .board import board
from .environment import (
    Device,
    Neighbours,
    devices,
    identity,
    nvml_names,
    physical_cores,
    resolve_device,
    single_thread_score,
    versions,
)
from .errors import BenchError
from .formatting import UNKNOWN, significant
from .loading import resolve_weights
from .privacy import clean
from .processes import exclusive
from .project import root_or_here
from .receipts import exclusivity
from .window import clock_mhz

NEIGHBOUR_SECONDS = 0.5
LEAST_DISK_GIB = 1.0
LEAST_PYTHON = (3, 11)
ABSENT = "not installed"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Check:
    """One line: what was looked at, whether it is as it should be, and what was found or what to do.

    While one that is ``needed`` is not ``ok``, ``make run`` cannot do its work: ``to measure``, or ``to render`` what
    was measured. What is said can be shown to anybody.
    """

    topic: str
    name: str
    ok: bool
    said: str
    needed: Literal["", "to measure", "to render"] = ""


def examine(device: str = "auto") -> list[Check]:
    """Look at software, machine, tools, and at every variant on a device; BenchError when the device is not there.

    Nothing is measured or installed; the hub is asked once, for three seconds at most. Without torch and transformers
    there is nothing but the software to look at.
    """
    software = list(_software())
    if _missing(software, "to measure"):
        return software
    target = resolve_device(device)
    found = [*software, *_machine(target), *_tools(), *_variants(target)]
    return [replace(check, said=clean(check.said)) for check in found]


def exit_code(checks: list[Check]) -> int:
    """0 when nothing that ``make run`` needs is missing, else 1."""
    return int(any(check.needed and not check.ok for check in checks))


def render(checks: list[Check]) -> str:
    """The checks as aligned text, ``ok`` or ``--`` before each, and a last line that says whether all is there."""
    width = max(len(check.name) for check in checks)
    lines = []
    for topic, group in groupby(checks, lambda check: check.topic):
        lines += ["", topic]
        lines += [f"  {'ok' if c.ok else '--'}  {c.name:{width}}  {c.said}".rstrip() for c in group]
    return "\n".join([*lines[1:], "", _summary(checks)])


def _summary(checks: list[Check]) -> str:
    measuring, rendering = _missing(checks, "to measure"), _missing(checks, "to render")
    if measuring:
        return f"not ready: {', '.join(measuring + rendering)}"
    return (
        f"ready to measure; make run also needs: {', '.join(rendering)}"
        if rendering
        else "ready: make run has what it needs"
    )


def _missing(checks: list[Check], needed: str) -> list[str]:
    return [check.name for check in checks if check.needed == needed and not check.ok]


def _software() -> Iterator[Check]:
    topic, found = "software", versions()
    python = tuple(map(int, platform.python_version_tuple()[:2]))
    yield Check(topic, "Python", python >= LEAST_PYTHON, platform.python_version(), needed="to measure")
    missing = _missing_packages()
    said = f"missing: {', '.join(missing)}; make setup" if missing else "all that the project asks for"
    yield Check(topic, "packages", not missing, said, needed="to render")
    torch = f"{found['torch']}, {_build()}" if found["torch"] else ABSENT
    yield Check(topic, "torch", bool(found["torch"]), torch, needed="to measure")
    transformers = found["transformers"] or ABSENT
    yield Check(topic, "transformers", transformers != ABSENT, transformers, needed="to measure")
    triton = found["triton"] or f"{ABSENT}; compiling for a GPU needs it, and it comes with torch for CUDA"
    yield Check(topic, "triton", bool(found["triton"]), triton)


def _missing_packages() -> list[str]:
    """Packages of the project's own list, extras apart, that are not installed; a checkout lists them too."""
    try:
        lines = importlib.metadata.requires("bench-utils") or []
    except importlib.metadata.PackageNotFoundError:
        lines = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]["dependencies"]
    wanted = [re.match(r"[\w.-]+", line)[0] for line in lines if "extra ==" not in line]
    return [name for name in wanted if not _installed(name)]


def _installed(package: str) -> bool:
    try:
        return bool(importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return False


def _build() -> str:
    import torch

    return f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built for CPU"


def _machine(target: Device) -> Iterator[Check]:
    topic, known = "machine", identity(target, root_or_here())
    for device in devices():
        yield Check(topic, device.name, True, device.slug + (" (examined)" if device == target else ""))
    if nvml_names() and not any(device.kind == "cuda" for device in devices()):
        yield Check(topic, "GPU", False, "there, but torch is built for CPU; install torch for CUDA (pytorch.org)")
    if driver := known.get("driver"):
        yield Check(topic, "GPU driver", True, f"{driver}, up to CUDA {known['driver_cuda']}")
    threads, score = psutil.cpu_count(), single_thread_score()
    said = f"{known['cpu']}, {known['cores']} cores, {threads} threads, {significant(score)} thousand loops a second"
    yield Check(topic, "processor", True, said)
    yield _clock(topic, target.name, known)
    memory = psutil.virtual_memory()
    yield Check(topic, "memory", True, f"{_gib(memory.available)} of {_gib(memory.total)} GiB free")
    free = shutil.disk_usage(Path.cwd()).free
    yield Check(topic, "disk", free >= LEAST_DISK_GIB * 2**30, f"{_gib(free)} GiB free here", needed="to measure")
    yield _alone(topic)
    yield _lock(topic)
    meter, reason = energy.find(target.name)
    yield Check(topic, "energy meter", meter is not None, meter.name if meter else reason)


def _clock(topic: str, device: str, known: dict) -> Check:
    """Who governs the processor's clock, and what the examined device's clock is now."""
    found = board(device)
    governor, boost, mhz = known["governor"], known["boost"], clock_mhz(device, found and found.read())
    now = f"{device} at {mhz:.0f} MHz now" if mhz else f"the clock of {device} is not shown"
    said = f"governor {governor or UNKNOWN}, boost {boost or UNKNOWN}, {now}"
    steady = governor == "performance"
    remedy = "" if steady or not governor else "; steadier with: cpupower frequency-set -g performance"
    return Check(topic, "clock", steady, said + remedy)


def _alone(topic: str) -> Check:
    neighbours = Neighbours()
    time.sleep(NEIGHBOUR_SECONDS)
    share = neighbours.share()
    spoiled = exclusivity(share, physical_cores())[1]
    said = "unknown: this system does not say" if share is None else f"other processes use {share:.2f} of a core"
    return Check(topic, "neighbours", spoiled is None and share is not None, spoiled or said)


def _lock(topic: str) -> Check:
    try:
        with exclusive():
            return Check(topic, "measurements", True, "none runs on this machine")
    except BenchError as error:
        return Check(topic, "measurements", False, str(error))


def _tools() -> Iterator[Check]:
    topic = "tools"
    reached = resolve_weights("auto", [m for m in catalog.MODELS.values() if m.repository]) == "hub"
    alone = "neither reached nor cached: architectures with seeded weights are measured, and pages say so"
    yield Check(topic, "hub", reached, "reached, or its checkpoints are cached" if reached else alone)
    yield _compiler(topic)
    for name, needed, use in (("papermill", "to render", "executes reports"), ("jupyterlab", "", "make lab")):
        there = importlib.util.find_spec(name) is not None
        yield Check(topic, name, there, use if there else f"{ABSENT}; pip install {name}", needed)
    browser = any(map(shutil.which, CHROMIUM))
    use = "tests of the pages" if browser else "not found; tests of the pages alone need it: apt-get install chromium"
    yield Check(topic, "chromium", browser, use)


def _compiler(topic: str) -> Check:
    """The compiler that Inductor would take: it makes C++ on a CPU, and launchers of kernels on a GPU."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        said = "not found, so nothing compiles; apt-get install g++"
        return Check(topic, "C++ compiler", False, said, needed="to measure")
    return Check(topic, "C++ compiler", True, "torch.compile finds one", needed="to measure")


def _variants(target: Device) -> Iterator[Check]:
    """Every variant on a device but those that the tool tests itself with."""
    for variant in catalog.VARIANTS.values():
        if variant.backend != "planted":
            reason = _unavailable(variant, target.name)
            needed = "to measure" if variant.name == "eager" else ""
            yield Check(f"variants on {target.name}", variant.name, reason is None, reason or variant.help, needed)


def _unavailable(variant: catalog.Variant, device: str) -> str | None:
    """Why a variant cannot run; a package that is broken takes no line from the others."""
    try:
        return backends.unavailable(variant, device)
    except Exception as error:
        return f"{variant.name} cannot be looked at: {type(error).__name__}: {error}"


def _gib(size: int) -> str:
    return f"{size / 2**30:.0f}"
