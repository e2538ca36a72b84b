"""Where the time and the memory of one call go, from calls that are never timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from .timing import Call

PROFILED = ("transformers", "cuda_graph")  # engines that run PyTorch in the measuring process
# Operators that look at a tensor in another way and compute nothing.
VIEWS = {
    "aten::alias", "aten::as_strided", "aten::chunk", "aten::detach", "aten::empty", "aten::expand", "aten::lift_fresh",
    "aten::narrow", "aten::permute", "aten::reshape", "aten::select", "aten::slice", "aten::split", "aten::squeeze",
    "aten::t", "aten::transpose", "aten::unsqueeze", "aten::view", "aten::_unsafe_view",
}  # fmt: skip
LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch", "cuGraphLaunch")  # and their variants, by prefix


def profile(call: Call, device: str, steps: int) -> dict:
    """Operator calls and time inside them of one call of ``steps`` forwards, per forward.

    ``operators``: calls of PyTorch's operators from outside another; ``kernel_share``: time inside those that compute
    (on CUDA: of kernels on the device) over the wall time of the profiled call, which the profiler itself lengthens; on
    CUDA ``launches`` and ``kernel_ms`` as well.
    """
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    cuda = device.startswith("cuda")
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    call.run(call.prepare(0))
    argument = call.prepare(1)
    settle = _synchronised(device)  # what is still queued of the input is not the call's
    with profiler(activities=activities) as profiled:
        start = time.perf_counter()
        call.run(argument)
        settle()
        wall_us = 1e6 * (time.perf_counter() - start)
    events = profiled.events()
    aten = [e for e in events if e.name.startswith("aten::")]
    outer = [e for e in aten if e.cpu_parent is None or not e.cpu_parent.name.startswith("aten::")]
    found = {"operators": round(len(outer) / steps, 1)}
    if cuda:
        kernel_us, launches = _on_the_device(events)
        found |= {"launches": round(launches / steps, 1), "kernel_ms": round(kernel_us / steps / 1e3, 6)}
    else:
        kernel_us = sum(e.self_cpu_time_total for e in aten if e.name not in VIEWS)
    return found | {"kernel_share": round(min(1.0, kernel_us / wall_us), 4)}


def _synchronised(device: str) -> Callable[[], None]:
    """Wait for a device, and give what waits for it again."""
    import torch

    settle = partial(torch.cuda.synchronize, device) if device.startswith("cuda") else lambda: None
    settle()
    return settle


def _on_the_device(events) -> tuple[float, int]:
    """Microseconds inside kernels, and launches; operators repeat the time of the kernels that they launched."""
    from torch.autograd import DeviceType

    kernels = [e for e in events if e.device_type == DeviceType.CUDA and not e.is_user_annotation]
    launches = sum(e.device_type == DeviceType.CPU and e.name.startswith(LAUNCHES) for e in events)
    return sum(e.self_device_time_total for e in kernels), launches


def peak_memory(call: Call, device: str) -> dict:
    """Most memory that PyTorch held on a GPU during one more call, in 10^6 bytes; nothing on a processor.

    What other engines allocate on the board is not seen, and not counted as zero: without any, nothing is said.
    """
    if not device.startswith("cuda"):
        return {}
    import torch

    torch.cuda.reset_peak_memory_stats(device)
    call.run(call.prepare(0))
    peak = torch.cuda.max_memory_allocated(device)
    return {"peak_memory_mb": round(peak / 1e6, 3)} if peak else {}
