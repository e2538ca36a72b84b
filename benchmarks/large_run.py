"""How long a run as large as TR147's takes to load and analyse: 52,410 samples, 96 contrasts.

python benchmarks/large_run.py
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from bench_utils import frames
from bench_utils.contrasts import contrast
from bench_utils.records import Cell, End, Journal, Manifest, Process, Sample, write_manifest

MODELS = [f"model-{i}" for i in range(8)]
VARIANTS = ["eager", "eager-again", *(f"variant-{i}" for i in range(4))]
PHASES, ROUNDS, SAMPLES = ["prefill", "decode", "e2e"], 6, 52_410


def write(folder: Path) -> None:
    """A run of made-up latencies."""
    rng, journal = np.random.default_rng(0), Journal(folder)
    manifest = Manifest(
        run="large",
        report="large",
        preset="full",
        device="cpu-made-up",
        device_name="cpu",
        machine="m",
        plan_digest="d",
        plan={},
        weights="none",
        seed=0,
        identity={},
        started_at="2026-01-01T00:00:00+00:00",
        status="complete",
    )
    write_manifest(folder, manifest)
    cells = [(r, m, v, p) for r in range(1, ROUNDS + 1) for m in MODELS for v in VARIANTS for p in PHASES]
    counts = np.full(len(cells), SAMPLES // len(cells)) + (np.arange(len(cells)) < SAMPLES % len(cells))
    for (round_, model, variant, phase), count in zip(cells, counts, strict=True):
        name, cell = f"r{round_}-{model}-{variant}", f"{phase}-p128-n16-b1"
        if phase == PHASES[0]:
            journal.append(Process(process=name, attempt=1, round=round_, order=0, model=model, variant=variant,
                                   backend="made-up", dtype="float32", device="cpu", started_at=0.0))  # fmt: skip
        for index, value in enumerate(np.exp(rng.normal(0, 0.02, count))):
            journal.append(
                Sample(process=name, attempt=1, cell=cell, role="sample", index=index, latency_ms=value, started_at=0.0)
            )
        sizes = {"prompt_tokens": 128, "new_tokens": 16, "batch_size": 1, "tokens_in": 128, "tokens_out": 16}
        ended = {"status": "ok", "count": int(count), "weights": "none", "timer": "made up"}
        journal.append(Cell(process=name, attempt=1, cell=cell, phase=phase, **sizes, **ended))
        if phase == PHASES[-1]:
            journal.append(End(process=name, attempt=1, exit_code=0, finished_at=1.0))
    journal.close()


def main() -> None:
    """Write, load, contrast; print seconds."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        start = time.perf_counter()
        rows = frames.load(folder)
        loaded = time.perf_counter()
        effects = contrast(rows)
        done = time.perf_counter()
    contrasts = effects["family"].iloc[0]
    print(f"{len(rows):,} samples loaded in {loaded - start:.2f} s, {contrasts} contrasts in {done - loaded:.2f} s")


if __name__ == "__main__":
    main()
