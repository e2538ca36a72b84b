"""A GPU as its driver sees it: clocks, temperature, power, why it is held back, and who else is on it (NVML).

Read before and after the timed calls of a cell, never between them: asking the driver takes its locks. Here alone a
number of CUDA's becomes a GPU of the driver's.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Callable, Iterable, Sequence

from .processes import family

# Bits of NVML's reasons (nvml.h, nvmlClocksEventReason*) that mean a board slower than it could be; idling, clocks
# that were set by hand and the cap on power, at which every busy board runs, are not among them.
HELD_BACK = {0x08: "hardware slowdown", 0x20: "heat (software)", 0x40: "heat (hardware)", 0x80: "power brake"}
POWER_CAP = 0x04


def gpu(number: int, whole: bool = False):
    """NVML's handle of the GPU that is ``cuda:number`` in a measuring process; NVMLError where there is none.

    NVML numbers boards by their bus, and so does CUDA under CUDA_DEVICE_ORDER=PCI_BUS_ID, which workers set; by itself
    it would begin with the fastest. ``whole``: the board, where CUDA shows an instance of it (MIG).
    """
    import pynvml

    pynvml.nvmlInit()
    found = next(itertools.islice(_visible(), number, None), None)
    if found is None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
    if isinstance(found, int):
        return pynvml.nvmlDeviceGetHandleByIndex(found)
    instance = pynvml.nvmlDeviceGetHandleByUUID(found)
    return pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(instance) if whole else instance


def number_by_bus() -> None:
    """Have CUDA number GPUs as the driver does, unless the user chose; to be called before CUDA is first asked."""
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")


def nvml_names() -> list[str]:
    """Names of the GPUs that CUDA would show, in its order, without touching CUDA; none after one that is not there."""
    import pynvml

    found: list[str] = []
    with contextlib.suppress(pynvml.NVMLError):
        for number in itertools.count():
            found.append(str(pynvml.nvmlDeviceGetName(gpu(number))))
    return found


def _visible() -> Iterable[int | str]:
    """What CUDA_VISIBLE_DEVICES names, in its order: NVML's indices, or the id of an instance; without it all.

    As CUDA reads it, and torch.cuda._parse_visible_devices: what is not understood ends the list, what is named twice
    empties it.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return itertools.count()
    if named.startswith("MIG-"):
        return named.split(",")[:1]  # a process gets one instance at most
    read = _of_id if named.startswith("GPU-") else _of_number
    found = list(itertools.takewhile(lambda index: index is not None, map(read, named.split(","))))
    return found if len(set(found)) == len(found) else []


def _of_number(text: str) -> int | None:
    begin = re.match(r"\s*\+?(\d+)", text)
    return int(begin[1]) if begin else None


def _of_id(begin: str) -> int | None:
    """The index of the one board whose id begins so."""
    import pynvml

    if not begin.startswith("GPU-"):
        return None
    boards = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    found = [i for i, board in enumerate(boards) if str(pynvml.nvmlDeviceGetUUID(board)).startswith(begin)]
    return found[0] if len(found) == 1 else None


class Board:
    """One GPU. What the driver does not show is None, and never a number that stands for it."""

    def __init__(self, device: str) -> None:
        import pynvml

        self._nvml, self._handle = pynvml, gpu(int(device.partition(":")[2] or 0), whole=True)

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
