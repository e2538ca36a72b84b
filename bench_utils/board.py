"""A GPU as its driver sees it: clocks, temperature, power, why it is held back, and who else is on it (NVML).

Read before and after the timed calls of a cell, never between them: asking the driver takes its locks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from .processes import family

# Bits of NVML's reasons (nvml.h, nvmlClocksEventReason*) that mean a board slower than it could be; idling, clocks
# that were set by hand and the cap on power, at which every busy board runs, are not among them.
HELD_BACK = {0x08: "hardware slowdown", 0x20: "heat (software)", 0x40: "heat (hardware)", 0x80: "power brake"}
POWER_CAP = 0x04


class Board:
    """One GPU. What the driver does not show is None, and never a number that stands for it."""

    def __init__(self, device: str) -> None:
        import pynvml

        pynvml.nvmlInit()
        self._nvml = pynvml
        self._handle = pynvml.nvmlDeviceGetHandleByIndex(int(device.partition(":")[2] or 0))

    def read(self, helpers: Sequence[int] = ()) -> dict:
        """MHz, degrees Celsius, watts, reasons in words, and how many processes of others are on the board."""
        nvml, handle = self._nvml, self._handle
        reasons = self._ask(nvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
        return {
            "sm_mhz": self._ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
            "memory_mhz": self._ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_MEM),
            "celsius": self._ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            "watts": _thousandth(self._ask(nvml.nvmlDeviceGetPowerUsage, handle)),
            "held_back": None if reasons is None else [word for bit, word in HELD_BACK.items() if reasons & bit],
            "power_capped": None if reasons is None else bool(reasons & POWER_CAP),
            "others": self._others(helpers),
        }

    def _ask(self, question: Callable, *arguments) -> int | None:
        try:
            return question(*arguments)
        except self._nvml.NVMLError:
            return None

    def _others(self, helpers: Sequence[int]) -> int | None:
        """Processes on the board that are not ours; None where the driver hides even this one, as in a container."""
        listed = self._ask(self._nvml.nvmlDeviceGetComputeRunningProcesses, self._handle)
        found = {process.pid for process in listed or ()}
        ours = family([os.getpid(), *helpers])
        return len(found - ours) if found & ours else None


def _thousandth(value: int | None) -> float | None:
    return None if value is None else value / 1e3


def board(device: str) -> Board | None:
    """The board of a device such as ``cuda:0``; None for a processor, and where the driver does not answer."""
    if not device.startswith("cuda"):
        return None
    import pynvml

    try:
        return Board(device)
    except pynvml.NVMLError:
        return None
