"""What no measurement can be faster than: bytes that must be read, and the bandwidth this device was seen to have."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

from .catalog import Model

# q8_0 stores blocks of 32 weights as 34 bytes.
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "q8_0": 34 / 32}
# A working set below this many times the last cache may be read from it, faster than memory allows.
RESIDENT = 2.0
PROBE_BYTES = 256 * 2**20
# On a GPU a last cache of 60 MB, and a launch, are a few hundredths of reading so much.
CUDA_PROBE_BYTES = 2 * 2**30


def bytes_read(model: Model, dtype: str, phase: str, prompt_tokens: int, new_tokens: int, batch_size: int = 1) -> float:
    """Least bytes that one call must read: weights once a forward, and the cache once a decode step.

    The blocks and the tied head are read; of the embedding tables only gathered rows, which are not counted.
    """
    weights = model.block_parameters + model.vocabulary * model.width
    steps = {"prefill": 1, "decode": new_tokens, "e2e": 1 + new_tokens}[phase]
    per_position = 2 * model.layers * model.width * batch_size
    positions = 0 if phase == "prefill" else sum(prompt_tokens + i for i in range(new_tokens))
    return BYTES[dtype] * (steps * weights + positions * per_position)


def operations(model: Model) -> float:
    """Multiplications and additions of one decode step of one sequence: two for every weight that is read."""
    return 2.0 * (model.block_parameters + model.vocabulary * model.width)


def floor_ms(read: float, bandwidth_gbs: float) -> float:
    """Milliseconds that reading so many bytes takes at best; bandwidth in 10^9 bytes a second."""
    return read / bandwidth_gbs / 1e6


def resident(model: Model, dtype: str, cache_bytes: int | None) -> bool:
    """Whether the weights may be read from the last cache: then memory is no bound. Of an unknown cache they may."""
    weights = BYTES[dtype] * (model.block_parameters + model.vocabulary * model.width)
    return cache_bytes is None or weights < RESIDENT * cache_bytes


def last_cache_bytes(device: str) -> int | None:
    """Size of a device's last cache level: the processor's (Linux) or the GPU's L2; None where unknown."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_properties(device).L2_cache_size
    sizes = []
    with contextlib.suppress(OSError):
        for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
            number, unit = re.fullmatch(r"(\d+)([KM]?)", path.read_text().strip()).groups()
            sizes.append(int(number) * {"K": 2**10, "M": 2**20, "": 1}[unit])
    return max(sizes, default=None)


def measured_bandwidth(device: str, repeats: int = 8) -> float:
    """Read bandwidth of the device in 10^9 bytes a second: the fastest of a few sums over 256 MiB, on a GPU 2 GiB, or
    a quarter of its free memory if that is less."""
    import torch

    size = PROBE_BYTES
    if device.startswith("cuda"):
        size = min(CUDA_PROBE_BYTES, torch.cuda.mem_get_info(device)[0] // 16 * 4)
    values = torch.ones(size // 4, device=device)
    return round(values.nbytes / _fastest(device, values.sum, repeats) / 1e6, 2)


def measured_gflops(device: str, dtype: str, size: int = 1024, repeats: int = 5) -> float:
    """Rate of matrix products of ``size`` in 10^9 operations a second: the fastest of a few."""
    import torch

    size = 8 * size if device.startswith("cuda") else size
    values = torch.randn(size, size, device=device, dtype=getattr(torch, dtype))
    return round(2 * size**3 / _fastest(device, lambda: values @ values, repeats) / 1e6, 1)


def _fastest(device: str, work: Callable[[], object], repeats: int) -> float:
    """Milliseconds of the fastest call: between events on a GPU, whose queue the wall clock sees from outside."""
    from .timing import Call, Clock

    call, clock = Call(lambda _: None, lambda _: work()), Clock(device)
    timed = [clock.time(call, i) for i in range(repeats)]
    return min(one.latency_ms if one.event_ms is None else one.event_ms for one in timed)
