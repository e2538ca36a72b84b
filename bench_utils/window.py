"""What else happened on the machine while a cell was measured, and whether it spoils the cell."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import psutil

from . import receipts
from .board import board
from .environment import Neighbours, physical_cores


class Window:
    """Opened before the timed calls of a cell and closed after them.

    ``helpers`` are processes that work for the measurement, such as a server's.
    """

    def __init__(self, device: str, helpers: Sequence[int]) -> None:
        self._device, self._helpers, self._board = device, helpers, board(device)
        self._before = self._board and self._board.read(helpers)
        self._neighbours, self._switches = Neighbours(helpers), _involuntary_switches()

    def close(self) -> dict:
        """Facts for the receipt; a GPU's are those before and after."""
        found = {
            "others_cores": self._neighbours.share(),
            "involuntary_switches": _involuntary_switches() - self._switches,
        }
        if after := self._board and self._board.read(self._helpers):
            found |= {"board": {"before": self._before, "after": after}}
        mhz = clock_mhz(self._device, after)
        return found | ({} if mhz is None else {"clock_mhz": mhz})


def verdicts(found: dict, clocks: list[float]) -> list[tuple[str, str | None]]:
    """Whether what happened spoils the cell; ``clocks`` are those of the process so far, this window's last."""
    seen = found.get("board", {})
    looks = [seen[name] for name in ("before", "after") if name in seen]
    alone = receipts.exclusivity(found["others_cores"], physical_cores())
    return [alone, *map(receipts.board, looks), receipts.clocks(clocks)]


def clock_mhz(device: str, look: dict | None) -> float | None:
    """MHz of a GPU from a look at its board, or of the fastest core of a processor; None where it is not shown."""
    if device.startswith("cuda"):
        return look and look["sm_mhz"]
    with contextlib.suppress(OSError, NotImplementedError):
        return max((round(core.current, 1) for core in psutil.cpu_freq(percpu=True)), default=None)
    return None


def _involuntary_switches() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
