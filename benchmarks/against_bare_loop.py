"""The tool measured: its median of a prefill and a decode cell against a loop written by hand.

Both run in this process, in short blocks that take turns for the same minutes, so that what the machine does to one
it does to the other. Prints the ratio of medians with its paired interval, and what the timer adds to a call.

    python benchmarks/against_bare_loop.py [--blocks 30]
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial

import numpy as np
import torch
from transformers import DynamicCache

from bench_utils import backends, catalog
from bench_utils.environment import physical_cores
from bench_utils.formatting import with_interval
from bench_utils.statistics import paired_ratio
from bench_utils.timing import Budget, Call, Clock, collect, quiet_gc

PROMPT, STEPS, BLOCK = 64, 16, 8
EXACT = Budget(min_samples=BLOCK, max_samples=BLOCK, min_seconds=0.0, half_width=0.0)


def bare_prefill(module, ids):
    """One forward of the prompt, as anyone would write it."""
    cache = DynamicCache(config=module.config)
    logits = module(ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
    return logits[:, -1].argmax(-1, keepdim=True), cache


def bare_decode(module, token, cache):
    """Steps of one token, as anyone would write them."""
    for _ in range(STEPS):
        logits = module(token, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        token = logits[:, -1].argmax(-1, keepdim=True)


@torch.inference_mode()
def bare_block(module, ids, phase: str) -> float:
    """Median milliseconds of a block of calls, timed by hand."""
    found = []
    with quiet_gc():
        for _ in range(BLOCK):
            token, cache = bare_prefill(module, ids) if phase == "decode" else (None, None)
            start = time.perf_counter_ns()
            bare_decode(module, token, cache) if phase == "decode" else bare_prefill(module, ids)
            found.append((time.perf_counter_ns() - start) / 1e6)
    return statistics.median(found)


def tool_block(engine, phase: str) -> float:
    """The same through the tool."""
    found: list[float] = []
    call = Call(engine.prompt, engine.prefill)
    if phase == "decode":
        call = Call(lambda i: engine.prepare(engine.prompt(i)), lambda state: engine.decode(state, STEPS))
    collect(call, Clock(), EXACT, lambda role, index, timed: found.append(timed.latency_ms))
    return statistics.median(found)


def timer_overhead(calls: int = 20000) -> float:
    """Milliseconds that the clock reports for a call that does nothing."""
    clock, nothing = Clock(), Call(lambda _: None, lambda _: None)
    return statistics.median(clock.time(nothing, i).latency_ms for i in range(calls))


def log_ratio(blocks: dict, order: int) -> float:
    """One block of each, in turn first: log of tool over bare."""
    names = ["tool", "bare"] if order else ["bare", "tool"]
    found = {name: blocks[name]() for name in names}
    return float(np.log(found["tool"] / found["bare"]))


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--blocks", type=int, default=30)
    parser.add_argument("--model", default="gpt2-25m")
    arguments = parser.parse_args()
    torch.set_num_threads(physical_cores())
    engine = backends.make(
        catalog.model(arguments.model), catalog.variant("eager"), "float32", "cpu", "architecture", 0
    )
    engine.load()
    for phase in ("prefill", "decode"):
        engine.start(phase, PROMPT, STEPS, 1)
        ids = engine.prompt(0)
        blocks = {"tool": partial(tool_block, engine, phase), "bare": partial(bare_block, engine.module, ids, phase)}
        ratios = [log_ratio(blocks, order=number % 2) for number in range(arguments.blocks + 1)][
            1:
        ]  # the first warms up
        effect = paired_ratio(ratios)
        print(
            f"{phase}: tool / bare loop = {with_interval(effect.estimate, effect.low, effect.high)}, {effect.n} pairs"
        )
    overhead = timer_overhead()
    print(f"timer: {overhead * 1e3:.2f} us a call, {overhead / 3:.3%} of a call of 3 ms")


if __name__ == "__main__":
    main()
