"""How long one checkpoint takes to load from safetensors and from a pickle, with the same seeded weights in both.

Every load is the first of a process of its own, forked from one that has imported the libraries and has seen no
checkpoint. A round loads both formats, each first in every other round. The page cache is warm: both files were just
written, each is loaded once before anything counts, and nothing here drops them. ``from_pretrained`` maps both kinds of
file into memory and may return before their bytes were read, so the time until every weight was read is taken as well.

    python benchmarks/load_formats.py [--model gpt2-25m] [--rounds 20]
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from bench_utils.errors import BenchError
from bench_utils.formatting import significant, with_interval
from bench_utils.loading import digest, load_model
from bench_utils.statistics import PairedRatio, paired_ratio

FILES = {"pickle": "pytorch_model.bin", "safetensors": "model.safetensors"}
MOMENTS = {"returned": "until from_pretrained returned", "read": "until every weight was read"}
PRELOADED = (
    "torch", "transformers.models.auto.modeling_auto", "transformers.models.gpt2.modeling_gpt2", "bench_utils.loading",
    "bench_utils.formatting", "bench_utils.statistics",
)  # fmt: skip
disable_progress_bar()  # in every process that loads: each imports this file


class Load(NamedTuple):
    """Milliseconds from the call to each moment, and the digest of what was loaded."""

    returned: float
    read: float
    digest: str


def write(folder: Path, model: str) -> None:
    """Both formats of the model's architecture with seeded weights, each in a folder of its own."""
    module = load_model(model, weights="architecture").module
    for kind in FILES:
        module.config.save_pretrained(folder / kind)
    module.save_pretrained(folder / "safetensors", max_shard_size="100GB")
    torch.save(module.state_dict(), folder / "pickle" / FILES["pickle"])


@torch.inference_mode()
def load(folder: Path, kind: str) -> Load:
    """Load one format, and read all of it."""
    start = time.perf_counter()
    module = AutoModelForCausalLM.from_pretrained(folder / kind, use_safetensors=kind == "safetensors")
    returned = time.perf_counter()
    for parameter in module.parameters():
        parameter.sum()
    read = time.perf_counter()
    return Load((returned - start) * 1e3, (read - start) * 1e3, digest(module))


@contextmanager
def fresh_processes() -> Iterator[ProcessPoolExecutor]:
    """Runs each call in a process of its own that has the libraries and nothing else."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED])
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
        yield pool


def measure(pool: ProcessPoolExecutor, folder: Path, rounds: int) -> list[dict[str, Load]]:
    """Loads of both formats a round, in the order in which they ran; a first round is left out.

    Raises BenchError when the formats did not give the same weights.
    """
    found = []
    for number in range(rounds + 1):
        order = [*FILES] if number % 2 else [*FILES][::-1]
        found.append({kind: pool.submit(load, folder, kind).result() for kind in order})
    if len({each.digest for both in found for each in both.values()}) > 1:
        raise BenchError("the two formats hold different weights; their load times do not compare")
    return found[1:]


def ratio(found: list[dict[str, Load]], moment: str) -> PairedRatio:
    """Safetensors over pickle until a moment, paired within rounds."""
    return paired_ratio(
        [np.log(getattr(both["safetensors"], moment) / getattr(both["pickle"], moment)) for both in found]
    )


def report(found: list[dict[str, Load]]) -> None:
    """Print medians and the ratio, until each moment."""
    for moment, words in MOMENTS.items():
        effect = ratio(found, moment)
        medians = {kind: statistics.median(getattr(both[kind], moment) for both in found) for kind in FILES}
        times = ", ".join(f"{kind} {significant(value)} ms" for kind, value in medians.items())
        shown = with_interval(effect.estimate, effect.low, effect.high)
        print(f"{words}: {times}; safetensors / pickle = {shown}, {effect.n} pairs")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="gpt2-25m")
    parser.add_argument("--rounds", type=int, default=20)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench_formats_") as scratch, fresh_processes() as pool:
        folder = Path(scratch)
        pool.submit(write, folder, asked.model).result()
        sizes = ", ".join(
            f"{kind} {(folder / kind / file).stat().st_size / 1e6:.1f} MB" for kind, file in FILES.items()
        )
        print(f"{asked.model}, float32: {sizes}; page cache warm, not dropped; a process a load")
        report(measure(pool, folder, asked.rounds))


if __name__ == "__main__":
    main()
