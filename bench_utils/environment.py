"""Identity of this machine: devices and their slugs, software versions, the host's speed, and who else is running."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from .board import gpu, nvml_names
from .errors import BenchError, unknown

# Makes the machine's hash this project's own: it cannot be looked up elsewhere.
SALT = "bench_utils/machine/1"
PACKAGES = ("torch", "triton", "transformers", "numpy", "safetensors", "bench-utils")


@dataclass(frozen=True)
class Device:
    """Something to measure on: the name torch gives it, and its slug in paths and pages."""

    name: str
    slug: str

    @property
    def kind(self) -> str:
        """``cpu`` or ``cuda``."""
        return self.name.partition(":")[0]


def slugify(text: str) -> str:
    """Lower-case words joined by hyphens; dots survive."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


@functools.cache
def cpu_name() -> str:
    """The processor's marketing name, or the architecture where the system hides it."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()


def cpu_slug(name: str, ghz: float | None, cores: int) -> str:
    """``cpu-xeon-2.5ghz-2c``: family, nominal frequency, physical cores."""
    family = re.sub(r"\(R\)|\(TM\)|\bCPU\b|\bProcessor\b|\bAMD\b|\bIntel\b|\d+-Core|@.*", " ", name, flags=re.I)
    parts = ["cpu", slugify(family), f"{ghz:.1f}ghz" if ghz else "", f"{cores}c"]
    return "-".join(p for p in parts if p)


def nominal_ghz() -> float | None:
    """Nominal frequency: from the name, else half the BogoMIPS (the time-stamp counter on x86), else unknown."""
    if m := re.search(r"@\s*([\d.]+)\s*GHz", cpu_name(), re.I):
        return float(m[1])
    with contextlib.suppress(OSError):
        if m := re.search(r"bogomips\s*:\s*([\d.]+)", Path("/proc/cpuinfo").read_text(), re.I):
            return float(m[1]) / 2000 if platform.machine() in ("x86_64", "AMD64") else None
    return None


def physical_cores() -> int:
    """Physical cores this process may use."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(psutil.cpu_count(logical=False) or 1, allowed)


def devices() -> list[Device]:
    """Every device of this machine, the best first; GPUs only where torch can use them."""
    host = Device("cpu", cpu_slug(cpu_name(), nominal_ghz(), physical_cores()))
    gpus = nvml_names() if not importlib.metadata.version("torch").endswith("+cpu") else []
    return [Device(f"cuda:{i}", slugify(name)) for i, name in enumerate(gpus)] + [host]


def resolve_device(name: str) -> Device:
    """The device called ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; BenchError when it is not there."""
    present = devices()
    if name == "auto":
        return present[0]
    wanted = "cuda:0" if name == "cuda" else name
    if not re.fullmatch(r"cpu|cuda:\d+", wanted):
        raise unknown("device", name, ["auto", *(d.name for d in present)])
    for device in present:
        if device.name == wanted:
            return device
    raise BenchError(f"device {name!r} is not on this machine; present: {', '.join(d.name for d in present)}")


def distinct_devices() -> list[Device]:
    """One device of each slug: two equal GPUs need one page."""
    return list({d.slug: d for d in reversed(devices())}.values())[::-1]


def machine_id(state: Path) -> str:
    """A hash that tells two hosts of one slug apart, and one checkout's copies on cloned disks.

    ``state`` is the checkout's own folder for what must not be committed; a random token kept there
    tells apart machines that share an image and therefore a machine id.
    """
    token = state / "machine"
    if not token.exists():
        state.mkdir(parents=True, exist_ok=True)
        token.write_text(secrets.token_hex(16))
    host = Path("/etc/machine-id")
    seed = SALT + (host.read_text() if host.exists() else platform.node()) + token.read_text()
    return hashlib.sha256(seed.encode()).hexdigest()[:12]


def single_thread_score(seconds: float = 0.02) -> float:
    """Thousand iterations a second of an empty Python loop: launch-bound results follow it."""
    done, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for _ in range(1000):
            pass
        done += 1
    return round(done / elapsed, 1)


def versions() -> dict[str, str | None]:
    """Installed versions of the packages that decide a number; None where not installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def loaded_versions() -> dict[str, str]:
    """Versions of those packages that this very process has imported."""
    found = {name: getattr(sys.modules.get(name), "__version__", None) for name in PACKAGES}
    return {name: str(version) for name, version in found.items() if version}


def changed_packages(identity: dict, now: dict[str, str | None] | None = None) -> list[str]:
    """Packages whose version ``now``, that installed here if not given, is not that of an identity:
    ``torch 2.13.0 -> 2.14.0``."""
    now = versions() if now is None else now
    return [
        f"{name} {identity[name]} -> {now[name]}" for name in now if name in identity and identity[name] != now[name]
    ]


def code_commit(root: Path) -> str | None:
    """Commit of the checkout, ``+`` appended when the package differs from it; None outside git."""
    git = ["git", "-C", str(root)]
    try:
        commit = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "bench_utils"], capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")


def identity(device: Device, root: Path, installed: dict[str, str | None] | None = None) -> dict:
    """What a result may depend on besides the plan; stored with every run.

    ``installed``: versions of packages (``versions``), where they are not those here.
    """
    facts = {
        "device": device.slug,
        "cpu": cpu_name(),
        "cores": physical_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "boost": _read("/sys/devices/system/cpu/cpufreq/boost"),
        "commit": code_commit(root),
        **(versions() if installed is None else installed),
    }
    if device.kind == "cuda":
        facts |= _gpu_facts(int(device.name.partition(":")[2]))
    return facts


def identity_digest(facts: dict) -> str:
    """Short hash of an identity."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def _read(path: str) -> str | None:
    with contextlib.suppress(OSError):
        return Path(path).read_text().strip()
    return None


def _gpu_facts(number: int) -> dict:
    import pynvml

    handle = gpu(number)
    cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
    return {
        "gpu": str(pynvml.nvmlDeviceGetName(handle)),
        "gpu_memory_gib": round(pynvml.nvmlDeviceGetMemoryInfo(handle).total / 2**30),
        "driver": str(pynvml.nvmlSystemGetDriverVersion()),
        "driver_cuda": f"{cuda // 1000}.{cuda % 1000 // 10}",
    }


class Neighbours:
    """How much the rest of the machine ran while a cell was measured.

    ``share()`` is the processor time of everybody else, in cores, since the object was made (Linux; None elsewhere).
    ``helpers`` are processes that work for the measurement: their time, and that of their children, is its own.
    """

    def __init__(self, helpers: Sequence[int] = ()) -> None:
        self._helpers = list(helpers)
        self._start = self._now()

    def _now(self) -> tuple[float, float, float]:
        try:
            fields = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        except OSError:
            return (time.perf_counter(), 0.0, float("nan"))
        user, nice, system, _idle, _iowait, irq, softirq, steal = fields
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        own = sum(os.times()[:4]) + sum(map(_processor_seconds, self._helpers))
        return (time.perf_counter(), busy - own, busy)

    def share(self) -> float | None:
        """Cores used by others, on average since the start."""
        (t0, others0, _), (t1, others1, known) = self._start, self._now()
        return round(max(0.0, (others1 - others0) / (t1 - t0)), 4) if known == known else None


def _processor_seconds(pid: int) -> float:
    """Processor time of a process and its children so far; those that ended count through their parent."""
    found = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                found += sum(one.cpu_times()[:4])
    return found
