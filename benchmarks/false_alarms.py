"""How often is identical code called different, on a noisy machine with a neighbour that comes and goes?

Each run measures eager under two labels on many cells by the whole protocol, while a busy process is switched on and
off beside it. The outcome of every A/A contrast is one comparison. The published protocol, arms one after the other
and a t test over their samples, is applied to the same samples. Writes one row a run, cell, round and label to
``false_alarms.csv``; with ``--read`` it prints from that file and measures nothing.

    python benchmarks/false_alarms.py [--runs 2] [--read]
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pandas as pd

from bench_utils.contrasts import DISQUALIFIED, contrast
from bench_utils.statistics import compare_summaries, wilson
from bench_utils.study import Study

ROWS = Path(__file__).with_suffix(".csv")
CALLED = ["faster", "slower"]
PLAN = """
report = "aa"
title = "A/A"
question = "Is identical code called different?"
expectation = "In at most five percent of comparisons."

[presets.quick]
help = "eager under two labels"
rounds = 6
cell_seconds = 0.12
cold_seconds = 1
budget = {{ warmup_seconds = 0.0, warmup_max_seconds = 0.03, steady_window = 3, min_samples = 10, min_seconds = 0.02, \
max_seconds = 0.06, max_samples = 60 }}

[[presets.quick.cells]]
models = ["tiny-gpt2"]
variants = ["eager", "eager-again"]
phases = ["prefill"]
scenarios = [{scenarios}]
"""


@contextlib.contextmanager
def neighbour(seed: int):
    """A busy process, on for 5 to 15 s and off for 40 to 100 s, as drawn from the seed."""
    stop, draw = threading.Event(), random.Random(seed)
    busy = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(10**6))"

    def come_and_go() -> None:
        while not stop.wait(draw.uniform(40, 100)):
            process = subprocess.Popen([sys.executable, "-c", busy])
            stop.wait(draw.uniform(5, 15))
            process.kill()
            process.wait()

    thread = threading.Thread(target=come_and_go, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def measure(number: int, folder: Path) -> pd.DataFrame:
    """One run: a row a cell, round and label, with what both protocols need."""
    root = folder / str(number)
    (root / "notebooks").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    sizes = ", ".join(f"{{ prompt_tokens = {p}, new_tokens = 16 }}" for p in range(4, 424, 4))
    (root / "notebooks" / "aa.toml").write_text(PLAN.format(scenarios=sizes) + f"\n# run {number}\n")
    with neighbour(number):
        rows = Study("aa", device="cpu", root=root).measure()
    samples = rows[(rows["role"] == "sample") & rows["phase"].isin(["prefill", "decode"])]
    key = ["phase", "prompt_tokens", "variant", "round", "order", "status"]
    spread = samples.groupby(key)["latency_ms"].agg(["mean", "std", "median", "size"]).reset_index()
    outcomes = contrast(rows).set_index(["phase", "prompt_tokens"])[["ratio", "low", "high", "outcome", "reason"]]
    return spread.join(outcomes, on=["phase", "prompt_tokens"]).assign(run=number)


def published_calls(rows: pd.DataFrame) -> tuple[int, int]:
    """Comparisons called different by a t test over the samples of two processes, one after the other."""
    wide = rows.pivot_table(
        index=["run", "phase", "prompt_tokens", "round"], columns="variant", values=["size", "mean", "std"]
    )
    triples = [
        [(row["size", v], row["mean", v], row["std", v]) for v in ("eager", "eager-again")]
        for _, row in wide.dropna().iterrows()
    ]
    called = sum(compare_summaries(a, b, equal_var=True).p < 0.05 for a, b in triples)
    return called, len(triples)


def report(rows: pd.DataFrame) -> None:
    """Print both protocols side by side."""
    comparisons = rows.drop_duplicates(["run", "phase", "prompt_tokens"])
    called = int(comparisons["outcome"].isin(CALLED).sum())
    low, high = wilson(called, len(comparisons))
    print(
        f"{len(comparisons)} A/A comparisons in {rows['run'].nunique()} runs; outcomes:",
        comparisons["outcome"].value_counts().to_dict(),
    )
    print(f"this protocol: {called} called different, {called / len(comparisons):.1%} ({low:.1%} to {high:.1%})")
    decided = comparisons[comparisons["outcome"] != "invalid"]
    print(f"  of the {len(decided)} whose windows were clean: {decided['outcome'].isin(CALLED).mean():.1%}")
    false, total = published_calls(rows)
    low, high = wilson(false, total)
    print(f"published protocol: {false} of {total} called different, {false / total:.1%} ({low:.1%} to {high:.1%})")
    clean = rows[~rows["status"].isin(DISQUALIFIED)]
    false, total = published_calls(clean)
    print(f"  without spoiled windows: {false} of {total}, {false / total:.1%}")


def main() -> None:
    """Measure or read, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--read", action="store_true", help="print from the committed rows")
    arguments = parser.parse_args()
    if not arguments.read:
        folder, parts = Path(tempfile.mkdtemp(prefix="false-alarms-")), []
        for number in range(1, arguments.runs + 1):
            parts.append(measure(number, folder))
            pd.concat(parts).round(6).to_csv(ROWS, index=False)
            print(f"run {number} of {arguments.runs}", flush=True)
        shutil.rmtree(folder)  # reached only when every run was analysed: a failure keeps the records
    report(pd.read_csv(ROWS))


if __name__ == "__main__":
    main()
