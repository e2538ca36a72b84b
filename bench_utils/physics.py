"""What no measurement can be faster than: bytes that must be read, and the bandwidth this device was seen to have."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from .catalog import Model

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# A working set below this many times the last cache may be read from it, faster than memory allows.
RESIDENT = 2.0
PROBE_BYTES = 256 * 2**20


def bytes_read(model: Model, dtype: str, phase: str, prompt_tokens: int, new_tokens: int, batch_size: int = 1) -> int:
    """Least bytes that one call must read: weights once a forward, and the cache once a decode step.

    The blocks and the tied head are read; of the embedding tables only gathered rows, which are not counted.
    """
    weights = model.block_parameters + model.vocabulary * model.width
    steps = {"prefill": 1, "decode": new_tokens, "e2e": 1 + new_tokens}[phase]
    per_position = 2 * model.layers * model.width * batch_size
    positions = 0 if phase == "prefill" else sum(prompt_tokens + i for i in range(new_tokens))
    return BYTES[dtype] * (steps * weights + positions * per_position)


def floor_ms(read: int, bandwidth_gbs: float) -> float:
    """Milliseconds that reading so many bytes takes at best; bandwidth in 10^9 bytes a second."""
    return read / bandwidth_gbs / 1e6


def resident(model: Model, dtype: str, cache_bytes: int | None) -> bool:
    """Whether the weights may be read from the last cache: then memory is no bound."""
    weights = BYTES[dtype] * (model.block_parameters + model.vocabulary * model.width)
    return cache_bytes is not None and weights < RESIDENT * cache_bytes


def last_cache_bytes() -> int | None:
    """Size of the processor's last cache level (Linux); None where unknown."""
    sizes = []
    with contextlib.suppress(OSError):
        for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
            number, unit = re.fullmatch(r"(\d+)([KM]?)", path.read_text().strip()).groups()
            sizes.append(int(number) * {"K": 2**10, "M": 2**20, "": 1}[unit])
    return max(sizes, default=None)


def measured_bandwidth(device: str, repeats: int = 8) -> float:
    """Read bandwidth of the device in 10^9 bytes a second: the fastest of a few sums over 256 MiB."""
    import torch

    from .timing import Call, Clock

    values = torch.ones(PROBE_BYTES // 4, device=device)
    call, clock = Call(lambda _: None, lambda _: values.sum()), Clock(device)
    fastest = min(clock.time(call, i).latency_ms for i in range(repeats))
    return round(PROBE_BYTES / fastest / 1e6, 2)
