"""Runs and processes to plant failures in: rows written through the journal, and a child that measures in no time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench_utils import catalog, child, frames, gates, records, window
from bench_utils.backends import checkpoint
from bench_utils.cells import CellPlan, Group
from bench_utils.plan import Preset
from bench_utils.records import TIMED, End, Journal, Manifest, Process, Sample
from bench_utils.schedule import ProcessPlan, Round, schedule
from bench_utils.timing import Budget, Call, Clock, Timed

MODELS = ("gpt2-5m", "gpt2-25m")
VARIANTS = ("eager", "eager-again", "compile-static")
TOKENS = tuple(range(100, 200))
# What the first process of a round found out about its machine.
MACHINE = {"bandwidth_gbs": 100.0, "last_cache_bytes": 2**22}


@dataclass
class Made:
    """A cell of one process before it is written; a plant changes what it says."""

    plan: ProcessPlan
    cell: CellPlan
    latency_ms: float
    samples: int
    receipt: dict
    facts: dict
    compiled_calls: int | None = None
    sample_facts: dict = field(default_factory=dict)
    skipped: bool = False

    @property
    def model(self) -> str:
        return self.cell.model

    @property
    def variant(self) -> str:
        return self.cell.variant

    @property
    def phase(self) -> str:
        return self.cell.phase

    @property
    def round(self) -> int:
        return self.plan.round

    def fail(self, status: str, reason: str = "planted") -> None:
        """End without a sample."""
        self.facts |= {"status": status, "reason": reason}
        self.samples = 0


@dataclass(frozen=True)
class Run:
    """A run on disk, and the preset it was designed by."""

    folder: Path
    preset: Preset

    def rows(self) -> pd.DataFrame:
        return frames.load(self.folder)

    def receipts(self) -> pd.DataFrame:
        return frames.receipts(self.folder)

    def gates(self) -> pd.DataFrame:
        return gates.run_gates(self.rows(), self.receipts(), self.preset)

    def gate(self, words: str) -> pd.Series:
        """The one gate whose name holds these words."""
        table = self.gates()
        found = table[table["gate"].str.contains(words)]
        assert len(found) == 1, f"{len(found)} gates with the words {words!r}"
        return found.iloc[0]

    def append(self, *rows: records.Row) -> None:
        """Add rows to the journal."""
        journal = Journal(self.folder)
        for row in rows:
            journal.append(row)
        journal.close()


Plant = Callable[[Made], None]


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    """A complete run of several rounds on disk, with failures planted; every variant is as fast as its ``speed``."""
    numbers = itertools.count(1)

    def make(
        plant: Plant = lambda made: None,
        *,
        models: Iterable[str] = MODELS,
        variants: Iterable[str] = VARIANTS,
        rounds: int = 6,
        prompts: Iterable[int] = (16,),
        new_tokens: Iterable[int] = (16,),
        samples: int = 5,
        noise: float = 0.002,
        speed: dict[str, float] | None = None,
        root: Path | None = None,
        **manifest,
    ) -> Run:
        preset = make_preset(models, variants, rounds, prompts, new_tokens)
        name = manifest.setdefault("run", f"run-{next(numbers)}")
        folder = (root or tmp_path / "results") / name
        records.write_manifest(folder, Manifest(**(DEFAULTS | {"plan": preset.model_dump(mode="json")} | manifest)))
        generator = np.random.default_rng(0)
        journal = Journal(folder)
        for plan in itertools.chain.from_iterable(schedule(preset, seed=0)[1:]):
            level = (speed or {}).get(plan.variant, 1.0) * float(np.exp(noise * generator.standard_normal()))
            _write_process(journal, plan, level, samples, plant)
        journal.close()
        return Run(folder, preset)

    return make


DEFAULTS = {
    "report": "mini",
    "preset": "smoke",
    "device": "cpu-test-1ghz-1c",
    "device_name": "cpu",
    "machine": "machine-a",
    "plan_digest": "digest",
    "weights": "architecture",
    "seed": 0,
    "identity": {"torch": "2.13.0", "driver": "570.1"},
    "started_at": "2026-01-01T00:00:00+00:00",
    "status": "complete",
}


def make_preset(models, variants, rounds, prompts=(16,), new_tokens=(16,)) -> Preset:
    """A full cross of models, variants and sizes, all phases."""
    scenarios = [{"prompt_tokens": p, "new_tokens": n} for p in prompts for n in new_tokens]
    group = {"models": list(models), "variants": list(variants), "scenarios": scenarios}
    return Preset(help="planted", rounds=rounds, cells=[Group(**group)], cell_seconds=1.0, cold_seconds=1.0)


def _write_process(journal: Journal, plan: ProcessPlan, level: float, samples: int, plant: Plant) -> None:
    journal.append(started(plan))
    own = {"dtype": plan.dtype, "digest": f"digest of {plan.model}", "parameters": catalog.model(plan.model).parameters}
    journal.append(
        plan.ended(
            plan.cells[0].model_copy(update={"phase": "load"}), status="ok", weights="architecture",
            receipt={"provenance": own} | (MACHINE if plan.order == 0 else {}),
        )
    )  # fmt: skip
    for cell in plan.cells:
        made = _made(plan, cell, level * _base_ms(cell), samples, own)
        plant(made)
        if not made.skipped:
            _write_cell(journal, made)
    journal.append(ended(plan))


def started(plan: ProcessPlan) -> Process:
    """The row of a process that has begun."""
    return Process(
        process=plan.process, attempt=plan.attempt, round=plan.round, order=plan.order, model=plan.model,
        variant=plan.variant, backend="transformers", dtype=plan.dtype, device="cpu", started_at=0.0,
    )  # fmt: skip


def ended(plan: ProcessPlan) -> End:
    """The row of a process that came to its end."""
    return End(process=plan.process, attempt=plan.attempt, exit_code=0, finished_at=1.0)


def _base_ms(cell: CellPlan) -> float:
    """Ten milliseconds a prefill of 16 tokens, five a decoded token, twice that for the larger model."""
    prefill, decode = 10.0 * cell.prompt_tokens / 16, 5.0 * cell.new_tokens
    phase = {"prefill": prefill, "decode": decode, "e2e": prefill + decode}[cell.phase]
    return phase * (2.0 if cell.model == "gpt2-25m" else 1.0)


def _made(plan: ProcessPlan, cell: CellPlan, latency_ms: float, samples: int, provenance: dict) -> Made:
    steps = {"prefill": 1, "decode": cell.new_tokens, "e2e": 1 + cell.new_tokens}[cell.phase]
    compiled = catalog.variant(cell.variant).compiled
    receipt = {
        "provenance": provenance,
        "threads": 2,
        "tokens": [list(TOKENS[:steps])],
        "others_cores": 0.01,
        "equivalence": {"difference": 1e-6, "tolerance": 1e-3, "top1_agreement": 1.0, "steps": steps},
        "compiled_calls": steps * samples * compiled,
        "expected_calls": steps * samples * compiled,
    }
    facts = {"status": "ok", "weights": "architecture", "steady": True, "timer": "perf_counter_ns",
             "tokens_in": cell.prompt_tokens, "tokens_out": steps}  # fmt: skip
    return Made(plan, cell, latency_ms, samples, receipt, facts, steps if compiled else None)


def _write_cell(journal: Journal, made: Made) -> None:
    for index in range(made.samples):
        wobble = 1 + 0.001 * (index % 3 - 1)
        journal.append(
            Sample(
                process=made.plan.process, attempt=made.plan.attempt, cell=made.cell.key, role="sample", index=index,
                latency_ms=made.latency_ms * wobble, compiled_calls=made.compiled_calls, started_at=float(index),
                **made.sample_facts,
            )
        )  # fmt: skip
    journal.append(made.plan.ended(made.cell, count=made.samples, receipt=made.receipt, **made.facts))


class SteadyClock(Clock):
    """A clock that runs the call, and says one millisecond."""

    def time(self, call: Call, index: int) -> Timed:
        return Timed(call.run(call.prepare(index)), 1.0, None, 0.0)


class Alone:
    """No neighbour, whatever else this machine does."""

    def __init__(self, helpers=()) -> None:
        pass

    def share(self) -> float:
        return 0.0


SMALL = catalog.Model("small", None, layers=1, width=16, heads=2, context=64)
QUICK = Budget(warmup_calls=2, warmup_seconds=0.0, warmup_max_calls=40, steady_window=2, min_samples=6, max_samples=6,
               min_seconds=0.0)  # fmt: skip


@pytest.fixture
def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pd.DataFrame]:
    """Measure one process here: the real child and engine, a clock that needs no time; its cells, by phase.

    Graphs run as PyTorch captured them, so nothing waits for a C++ compiler. ``measure.rows`` loads the samples.
    """
    from bench_utils.backends import inductor

    monkeypatch.setitem(catalog.MODELS, SMALL.name, SMALL)
    monkeypatch.setattr(inductor, "compile_fx", lambda graph, _, config_patches: graph.forward)
    monkeypatch.setattr(child, "Clock", SteadyClock)
    monkeypatch.setattr(checkpoint, "Clock", SteadyClock)
    monkeypatch.setattr(window, "Neighbours", Alone)
    monkeypatch.setattr(child, "single_thread_score", lambda: 1.0)
    monkeypatch.setattr(window, "clock_mhz", lambda device, look: None)
    folders = [tmp_path / "measured" / str(n) for n in range(5)]
    used = iter(folders)

    def run(variant="eager", phases=TIMED, model=SMALL.name, dtype="float32", prompt_tokens=16) -> pd.DataFrame:
        folder = next(used)
        records.write_manifest(folder, Manifest(run=folder.name, plan={}, **DEFAULTS))
        scenario = {"prompt_tokens": prompt_tokens, "new_tokens": 16}
        group = Group(models=[model], variants=[variant], dtypes=[dtype], phases=list(phases), scenarios=[scenario])
        plan = ProcessPlan(
            process="r2", round=2, order=1, model=model, variant=variant, dtype=dtype, cells=group.cells(exhibit=False)
        )
        request = Round(
            folder=str(folder), caches=str(tmp_path / "caches"), artifacts=str(tmp_path / "artifacts"), device="cpu",
            weights="architecture", seed=7, threads=1, budget=QUICK, exhibit_budget=QUICK, cell_timeout=60,
            processes=[plan],
        )  # fmt: skip
        session = child.Session(request, plan, lambda _: None)
        session.run()
        session.journal.close()
        run.folder = folder
        return frames.receipts(folder).set_index("phase")

    return run
