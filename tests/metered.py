"""A machine whose energy is known: its time passes only by idling and by calls, and its counters follow its power.

NVML is faked at the functions of pynvml and nowhere else, because no machine of the tests need have a GPU; RAPL's
counters are files, and so are those here.
"""

import os
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from bench_utils import energy

RANGE = 65_532_610_987


class Alone:
    """No neighbour, whatever else this machine does."""

    others = 0.0

    def __init__(self, helpers=()):
        self.helpers = helpers

    def share(self):
        return self.others


class World:
    """Stands in for the module ``time``: 20 W at rest, 100 W while calls run."""

    idle_w, busy_w = 20.0, 100.0

    def __init__(self):
        self.now, self.joules, self.updates = 0.0, 0.0, []

    def pass_time(self, seconds, watts):
        self.now += seconds
        self.joules += seconds * watts
        for update in self.updates:
            update(self.joules)

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.pass_time(seconds, self.idle_w)

    def calls(self, seconds, tokens):
        """A function for ``measure``: calls of so many seconds and tokens each."""

        def run_for(more):
            made = 0
            while more():
                self.pass_time(seconds, self.busy_w)
                made += 1
            return made * tokens

        return run_for


def zone(root: Path, folder: str, name: str, microjoules: int = 0) -> Path:
    """A counter as the kernel shows it."""
    made = root / folder
    made.mkdir(parents=True)
    (made / "name").write_text(name + "\n")
    (made / "energy_uj").write_text(f"{microjoules}\n")
    (made / "max_energy_range_uj").write_text(f"{RANGE}\n")
    return made


class Board:
    """What pynvml says of one GPU that this process alone uses."""

    def __init__(self, world: World):
        self.millijoules, self.processes, self.split = 7_000_000, [os.getpid()], False
        world.updates.append(lambda joules: setattr(self, "millijoules", 7_000_000 + round(joules * 1e3)))

    def running(self, handle):
        return [SimpleNamespace(pid=pid) for pid in self.processes]


@pytest.fixture
def world(monkeypatch):
    made = World()
    monkeypatch.setattr(energy, "time", made)
    monkeypatch.setattr(energy, "Neighbours", Alone)
    return made


@pytest.fixture
def rapl(tmp_path, world):
    """One package whose counter is shortly before its end."""
    begin = RANGE - 30_000_000
    package = zone(tmp_path, "intel-rapl:0", "package-0", begin)
    world.updates.append(lambda j: (package / "energy_uj").write_text(str((begin + round(j * 1e6)) % RANGE)))
    return energy.Rapl(tmp_path)


@pytest.fixture
def board(world, monkeypatch):
    made = Board(world)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: f"board {index}")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", lambda handle: made.millijoules)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetComputeRunningProcesses", made.running)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetGraphicsRunningProcesses", lambda handle: [])
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMigMode", lambda handle: (int(made.split), 0))
    return made
