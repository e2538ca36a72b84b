"""Which GPU a number means: the driver counts boards by their bus, CUDA counts those that it is told to show.

NVML is faked at the functions of pynvml and nowhere else, because no machine of the tests need have a GPU.
"""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pynvml
import pytest
import torch

from bench_utils import board, child, energy, environment, frames, records, worker
from bench_utils.cells import Group
from bench_utils.errors import BenchError
from bench_utils.schedule import ProcessPlan, Round
from bench_utils.timing import Budget
from tests.faults.conftest import DEFAULTS

NAMES = [
    "NVIDIA GeForce GT 1030",
    "NVIDIA A100-SXM4-40GB",
]  # in the order of the bus; CUDA's own begins with the fastest
IDS = ["GPU-1f0e5a5c-0000", "GPU-1f7d23b8-0000"]
CLOCKS, MILLIJOULES = [1468, 1410], [1_000, 2_000_000]
INSTANCE = "MIG-5c7e1d0a-0000"  # a part of the second board
SMALL, LARGE, PART = "nvidia-geforce-gt-1030", "nvidia-a100-sxm4-40gb", "nvidia-a100-sxm4-40gb-mig-1g.5gb"


def by_index(index):
    if index >= len(NAMES):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
    return index


def by_id(name):
    if name != INSTANCE:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
    return INSTANCE


@pytest.fixture(autouse=True)
def driver(monkeypatch):
    """Two boards, the slower one first on the bus; a handle is a board's index, or the id of an instance."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    answers = {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: len(NAMES),
        "nvmlDeviceGetHandleByIndex": by_index,
        "nvmlDeviceGetHandleByUUID": by_id,
        "nvmlDeviceGetDeviceHandleFromMigDeviceHandle": lambda instance: 1,
        "nvmlDeviceGetName": lambda gpu: f"{NAMES[1]} MIG 1g.5gb" if gpu == INSTANCE else NAMES[gpu],
        "nvmlDeviceGetUUID": lambda gpu: IDS[gpu],
        "nvmlDeviceGetMemoryInfo": lambda gpu: SimpleNamespace(total=2**31 if gpu == 0 else 40 * 2**30),
        "nvmlDeviceGetClockInfo": lambda gpu, kind: CLOCKS[gpu],
        "nvmlDeviceGetTotalEnergyConsumption": lambda gpu: MILLIJOULES[gpu],
        "nvmlSystemGetCudaDriverVersion_v2": lambda: 13010,
        "nvmlSystemGetDriverVersion": lambda: "580.2",
    }
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, answer)
    monkeypatch.setattr(environment.importlib.metadata, "version", lambda package: "2.13.0")  # torch, built for CUDA


def shown():
    return [(device.name, device.slug) for device in environment.devices() if device.kind == "cuda"]


def numbered(slugs):
    return [(f"cuda:{number}", slug) for number, slug in enumerate(slugs)]


@pytest.mark.parametrize(("visible", "slugs"), [
    ("1", [LARGE]),
    ("1,0", [LARGE, SMALL]),
    (" 1gpu, +0", [LARGE, SMALL]),
    ("0,2,1", [SMALL]),  # what comes after one that is not there is hidden
    ("1,-1,0", [LARGE]),
    ("1,1", []),
    ("", []),
    ("none", []),
    (IDS[1], [LARGE]),
    ("GPU-1f7,GPU-1f0", [LARGE, SMALL]),
    ("GPU-1f", []),  # both begin so
    ("GPU-1f7,0", [LARGE]),
    ("GPU-1f7,", [LARGE]),
    (INSTANCE, [PART]),
    (f"{INSTANCE},MIG-another", [PART]),
    ("MIG-another", []),
])  # fmt: skip
def test_devices_are_those_that_cuda_shows_in_its_order(monkeypatch, visible, slugs):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert shown() == numbered(slugs)


def test_without_a_choice_all_boards_are_there_by_their_bus():
    assert shown() == numbered([SMALL, LARGE])


def test_a_number_that_cuda_does_not_show_is_refused(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(BenchError, match="'cuda:1' is not on this machine; present: cuda:0, cpu"):
        environment.resolve_device("cuda:1")


def test_a_driver_that_does_not_answer_leaves_the_processor(monkeypatch):
    def missing():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", missing)
    assert shown() == []


@pytest.mark.parametrize(("visible", "index"), [("1", 1), ("1,0", 1), ("GPU-1f7", 1), (IDS[0], 0), (INSTANCE, 1)])
def test_clocks_and_energy_are_those_of_the_board_that_runs(monkeypatch, tmp_path, visible, index):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    device = environment.resolve_device("cuda:0")
    assert board.board("cuda:0").read()["sm_mhz"] == CLOCKS[index]
    assert energy.find("cuda:0")[0].read() == MILLIJOULES[index] / 1e3
    known = environment.identity(device, tmp_path)
    assert environment.slugify(known["gpu"]) == device.slug
    assert known["gpu_memory_gib"] == (2, 40)[index]


def test_a_number_without_a_gpu_has_neither_board_nor_meter(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert board.board("cuda:1") is None
    assert energy.find("cuda:1") == (None, "the GPU has no energy counter that its driver shows (Not Found)")


@pytest.fixture
def process(tmp_path, monkeypatch):
    """A measuring process of a run that is filed under a device, on a GPU of the name that PyTorch gives."""

    def run(filed, name):
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
        cells = Group(
            models=["no-model"],
            variants=["known-nothing"],
            phases=["decode"],
            scenarios=[{"prompt_tokens": 16, "new_tokens": 16}],
        ).cells(exhibit=False)
        plan = ProcessPlan(
            process="r2", round=2, order=1, model="no-model", variant="known-nothing", dtype="float32", cells=cells
        )
        request = Round(
            folder=str(tmp_path), caches=str(tmp_path), artifacts=str(tmp_path), device="cuda:0", weights="none",
            seed=7, threads=1, budget=Budget(), exhibit_budget=Budget(), cell_timeout=60, processes=[plan],
        )  # fmt: skip
        manifest = DEFAULTS | {"device": filed, "device_name": "cuda:0"}
        records.write_manifest(tmp_path, records.Manifest(run="planted", plan={}, **manifest))
        session = child.Session(request, plan, lambda _: None)
        return session, lambda: session._load(cells[0])

    return run


def test_a_process_on_another_gpu_than_its_run_is_filed_under_ends_with_a_reason(process, tmp_path):
    session, _ = process(SMALL, NAMES[1])
    assert session.run() == 0
    session.journal.close()
    found = frames.receipts(tmp_path)
    assert found["status"].to_list() == ["silent_fallback"]
    assert f"filed under {SMALL}, PyTorch runs on {LARGE}; leave CUDA_DEVICE_ORDER unset" in found["reason"].iloc[0]


def test_a_process_on_the_gpu_of_its_run_goes_on(process, monkeypatch):
    _, load = process(LARGE, NAMES[1])

    def made(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(child.backends, "make", made)
    with pytest.raises(KeyboardInterrupt):
        load()


ROUND = {"folder": "", "caches": "", "artifacts": "", "device": "cpu", "weights": "none", "seed": 0, "threads": 1,
         "budget": {}, "exhibit_budget": {}, "cell_timeout": 1, "processes": []}  # fmt: skip
WORKER = """
import os
from bench_utils import worker

worker.main()
import torch._inductor.config as inductor

print(os.environ["CUDA_DEVICE_ORDER"], inductor.compile_threads)
"""


@pytest.mark.parametrize(("chosen", "order"), [(None, "PCI_BUS_ID"), ("FASTEST_FIRST", "FASTEST_FIRST")])
def test_measuring_processes_number_gpus_as_the_driver_does_unless_the_user_chose(chosen, order):
    given = {name: value for name, value in os.environ.items() if name != "CUDA_DEVICE_ORDER"}
    given |= {"BENCH_PARENT": str(os.getpid()), "BENCH_START_METHOD": "spawn"}
    given |= {"CUDA_DEVICE_ORDER": chosen} if chosen else {}
    done = subprocess.run(
        [sys.executable, "-c", WORKER], input=json.dumps(ROUND) + "\n", env=given, capture_output=True, text=True
    )
    assert done.stdout.split() == [order, "1"], done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="children are forked on Linux alone")
def test_children_that_run_on_an_instance_are_not_forked(monkeypatch):
    assert worker.start_method() == "fork"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", INSTANCE)
    assert worker.start_method() == "spawn"
