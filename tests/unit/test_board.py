"""What the driver says of a GPU, and what of it spoils a cell.

NVML is faked at the functions of pynvml and nowhere else, because no machine of the tests need have a GPU.
"""

import os
from types import SimpleNamespace

import pynvml
import pytest

from bench_utils import board, receipts, window


def refuse(*_):
    raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


@pytest.fixture
def driver(monkeypatch):
    """A busy GPU that this process alone uses; ``answers`` may be changed by a test."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    answers = {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByIndex": lambda index: f"board {index}",
        "nvmlDeviceGetClockInfo": lambda handle, kind: {pynvml.NVML_CLOCK_SM: 1980, pynvml.NVML_CLOCK_MEM: 3201}[kind],
        "nvmlDeviceGetTemperature": lambda handle, kind: 61,
        "nvmlDeviceGetPowerUsage": lambda handle: 312_500,
        "nvmlDeviceGetCurrentClocksEventReasons": lambda handle: board.POWER_CAP,
        "nvmlDeviceGetComputeRunningProcesses": lambda handle: [SimpleNamespace(pid=os.getpid())],
    }
    for name in answers:
        monkeypatch.setattr(pynvml, name, lambda *given, name=name: answers[name](*given))
    return answers


def test_a_look_holds_what_the_driver_shows(driver):
    assert board.board("cuda:0").read() == {
        "sm_mhz": 1980, "memory_mhz": 3201, "celsius": 61, "watts": 312.5, "held_back": [], "power_capped": True,
        "others": 0,
    }  # fmt: skip


def test_what_the_driver_does_not_show_is_unknown_and_spoils_nothing(driver):
    for name in set(driver) - {"nvmlInit", "nvmlDeviceGetHandleByIndex"}:
        driver[name] = refuse
    look = board.board("cuda:0").read()
    assert set(look.values()) == {None}
    assert receipts.board(look) == ("ok", None)


@pytest.mark.parametrize("bit", board.HELD_BACK)
def test_a_board_that_is_held_back_is_throttled(driver, bit):
    driver["nvmlDeviceGetCurrentClocksEventReasons"] = lambda handle: bit | board.POWER_CAP
    status, reason = receipts.board(board.board("cuda:0").read())
    assert status == "throttled"
    assert board.HELD_BACK[bit] in reason


@pytest.mark.parametrize("bit", [0, 1, 2, board.POWER_CAP, 16])
def test_idling_a_clock_set_by_hand_and_the_power_cap_are_not(driver, bit):
    driver["nvmlDeviceGetCurrentClocksEventReasons"] = lambda handle: bit
    assert receipts.board(board.board("cuda:0").read())[0] == "ok"


def test_a_process_of_somebody_else_contaminates(driver):
    driver["nvmlDeviceGetComputeRunningProcesses"] = lambda _: [SimpleNamespace(pid=p) for p in (os.getpid(), 1, 2)]
    status, reason = receipts.board(board.board("cuda:0").read())
    assert status == "contaminated"
    assert "others on the GPU: 2" in reason


def test_a_container_that_hides_processes_says_nothing_of_others(driver):
    driver["nvmlDeviceGetComputeRunningProcesses"] = lambda _: [SimpleNamespace(pid=1)]
    assert board.board("cuda:0").read()["others"] is None


def test_a_processor_and_a_driver_that_does_not_answer_have_no_board(driver):
    assert board.board("cpu") is None
    driver["nvmlInit"] = refuse
    assert board.board("cuda:0") is None
    assert window.clock_mhz("cuda:0", None) is None


def test_a_window_holds_both_looks_and_the_clock_after_it(driver):
    opened = window.Window("cuda:0", [])
    driver["nvmlDeviceGetCurrentClocksEventReasons"] = lambda handle: 0x40
    found = opened.close()
    assert found["clock_mhz"] == 1980
    assert found["board"]["before"]["held_back"] == []
    assert found["board"]["after"]["held_back"] == ["heat (hardware)"]
    assert ("throttled", "the GPU was held back by heat (hardware); cool it and measure again") in window.verdicts(
        found | {"others_cores": 0.0}, [1980.0]
    )
