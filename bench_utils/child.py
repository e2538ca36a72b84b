"""What runs inside a measuring process: load one model, then measure its cells one after the other."""

from __future__ import annotations

import gc
import os
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from . import backends, catalog, energy, equivalence, operators, parity, physics, receipts
from .cells import CellPlan
from .environment import loaded_versions, single_thread_score, slugify
from .ledger import Ledger, require, status_of
from .privacy import clean
from .processes import die_with_parent
from .records import End, Failure, Journal, Process, Sample, kept, read_manifest
from .schedule import ProcessPlan, Round
from .timing import Budget, Call, Clock, Timed, WarmUp, collect, warm_up
from .window import Window, verdicts

POISONED = 3  # exit code of a process whose CUDA context is lost: the rest of its cells need another


def main(request: Round, plan: ProcessPlan, channel, parent: int) -> None:
    """Measure ``plan`` and leave: every row is on disk, the exit code says whether the process is poisoned."""
    os.setsid()
    die_with_parent(parent)
    _redirect(Path(request.folder) / "logs" / f"{plan.process}.{plan.attempt}.log")
    cache = Path(request.caches) / plan.cache
    os.environ.update(TORCHINDUCTOR_CACHE_DIR=str(cache / "inductor"), TRITON_CACHE_DIR=str(cache / "triton"))
    session = Session(request, plan, channel.send)
    code = session.run()
    session.journal.sync()
    sys.stdout.flush()
    os._exit(code)


def _redirect(log: Path) -> None:
    log.parent.mkdir(exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)


class Session:
    """One process's work: its engine, its journal, and the cell it is at."""

    def __init__(self, request: Round, plan: ProcessPlan, say: Callable[[str], None]) -> None:
        self.request, self.plan, self.say = request, plan, say
        self.journal = Journal(Path(request.folder))
        self.variant = catalog.variant(plan.variant)
        self.weights: str | None = None
        self.clocks: list[float] = []

    def run(self) -> int:
        """Load and measure; the exit code."""
        plan = self.plan
        self.journal.append(
            Process(
                process=plan.process, attempt=plan.attempt, round=plan.round, order=plan.order, model=plan.model,
                variant=plan.variant, backend=self.variant.backend, dtype=plan.dtype, device=self.request.device,
                machine=self.request.machine, started_at=time.time(), host_score=single_thread_score(),
            )
        )  # fmt: skip
        self.backend: backends.Backend | None = None
        try:
            code = self._cells()
        finally:
            self._close()
        self.journal.append(End(process=plan.process, attempt=plan.attempt, exit_code=code, finished_at=time.time()))
        return code

    def _close(self) -> None:
        """An engine that does not stop as it should has measured all the same: its log says what it said."""
        try:
            if self.backend is not None:
                self.backend.close()
        except Exception:
            traceback.print_exc()

    def _cells(self) -> int:
        if reason := backends.unavailable(self.variant, self.request.device):
            for cell in self.plan.cells:
                self._end(cell, status="unavailable", reason=reason)
            return 0
        if not self._attempt(self.plan.cells[0], self._load):
            for cell in self.plan.cells[1:]:
                self._end(
                    cell,
                    status="unavailable",
                    reason="the model did not load; see the first cell of this process",
                )
            return 0
        for cell in self.plan.cells:
            self.say(cell.key)
            if not self._attempt(cell, self._measure) and self._poisoned():
                return POISONED
        return 0

    def _attempt(self, cell: CellPlan, action: Callable[[CellPlan], None]) -> bool:
        """Run ``action``; an exception becomes the cell's row."""
        try:
            action(cell)
        except Exception as error:
            said = clean(str(error))
            failure = Failure(
                type=type(error).__qualname__, message=said[:2000], traceback=clean(traceback.format_exc())[-8000:]
            )
            traceback.print_exc()
            self._end(cell, status=status_of(error), reason=said.partition("\n")[0][:300], failure=failure)
            return False
        return True

    def _poisoned(self) -> bool:
        """CUDA errors are sticky: whether this process can still use its device."""
        if not self.request.device.startswith("cuda"):
            return False
        import torch

        try:
            torch.ones(1, device=self.request.device).sum().item()
            torch.cuda.empty_cache()  # fails too where a capture did
        except RuntimeError:
            return True
        return False

    def _load(self, cell: CellPlan) -> None:
        import torch

        torch.set_num_threads(self.request.threads)
        plan, device = self.plan, self.request.device
        if device.startswith("cuda"):
            torch.cuda.set_device(device)  # graphs and events are of the current one
            filed = read_manifest(Path(self.request.folder)).device
            require(receipts.device(filed, slugify(torch.cuda.get_device_name(device))))
        self.backend = backends.make(
            catalog.model(plan.model),
            self.variant,
            plan.dtype,
            device,
            self.request.weights,
            self.request.seed + plan.round,
            Path(self.request.artifacts),
        )
        self.backend.build()
        clock = Clock(device)
        timed = clock.time(Call(lambda _: None, lambda _: self.backend.load()), 0)
        self.clock = self.backend.clock()
        self.provenance: dict = self.backend.read_back() | {"loaded": loaded_versions()}
        self.weights = self.provenance["weights"]
        gc.collect()
        gc.freeze()  # what was loaded stays: each cell's collection then takes no time
        known = catalog.model(plan.model)
        # own code counts its own way, and a folder may hold another architecture
        expected = 0 if known.remote_code or known.folder else known.parameters
        require(
            receipts.readback(plan.dtype, self.provenance, expected),
            receipts.packages(self.request.packages, self.provenance["loaded"]),
        )
        if not plan.cold:
            self._loaded(cell, timed, clock.timer)

    def _loaded(self, cell: CellPlan, timed: Timed, timer: str) -> None:
        """The row of loading. PyTorch draws seeded weights and loads none, so their row has no latency."""
        receipt = {"provenance": self.provenance} | self._once()
        if self.weights == "architecture" and self.variant.backend in operators.PROFILED:
            drawn = cell.model_copy(update={"phase": "load"})
            self._end(drawn, status="ok", reason="seeded weights are drawn and not loaded", receipt=receipt)
        else:
            self._single(cell, "load", timed, receipt, timer)

    def _once(self) -> dict:
        """Observations that a round, or a run, needs only once."""
        found = {}
        if self.plan.order == 0:
            found["bandwidth_gbs"] = physics.measured_bandwidth(self.request.device)
            found["last_cache_bytes"] = physics.last_cache_bytes(self.request.device)
            if self.plan.dtype in catalog.TORCH_DTYPES:
                found["gflops"] = physics.measured_gflops(self.request.device, self.plan.dtype)
        digest = self.provenance["digest"]
        if self.plan.round == 1 and not self.variant.compiled and digest in parity.references():
            status, evidence = parity.check(parity.observe(self.backend), digest, self.plan.dtype)
            found["parity"] = {"status": status, "evidence": evidence}
        return found

    def _measure(self, cell: CellPlan) -> None:
        backend = self.backend
        backend.start(cell.phase, cell.prompt_tokens, cell.new_tokens, cell.batch_size)
        budget = self.request.exhibit_budget if cell.exhibit else self.request.budget
        ledger = Ledger(backend, partial(self._row, cell))
        call = _call(backend, cell)
        warm = warm_up(call, self.clock, budget if not self.plan.cold else COLD, backend.progress, ledger.keep)
        if cell.phase == "e2e" and not cell.exhibit:
            self._startup(cell, warm)
        if not self.plan.cold:
            self._collect(cell, call, budget, warm, ledger)

    def _collect(self, cell: CellPlan, call: Call, budget: Budget, warm: WarmUp, ledger: Ledger) -> None:
        backend, once = self.backend, self.backend.expected_calls(cell.phase, cell.new_tokens)
        before = backend.receipt() if once else {}
        window = Window(self.request.device, backend.processes())
        done = collect(call, self.clock, budget, ledger.keep)
        beside = window.close()
        facts, expected = backend.receipt(), done.count * once
        receipt = (
            {"runs_in": "the measuring process", "arithmetic": backend.arithmetic}
            | facts
            | {
                "provenance": self.provenance,
                "compiled_calls": ledger.compiled_calls,
                "replayed_calls": facts.get("replayed_calls", 0) - before.get("replayed_calls", 0),
                "expected_calls": expected,
                "tokens": [row[:64] for row in ledger.tokens],
                "warmup_calls": warm.calls,
                "compile_ms": warm.compile_ms,
                "n_eff": done.interval.n_eff,
                "lag1": done.interval.lag1,
            }
            | beside
        )
        if cell.exhibit and self.variant.backend in operators.PROFILED:
            receipt["profile"] = operators.profile(call, self.request.device, _forwards(cell))
        if self.variant.backend in operators.PROFILED and not facts.get("cudagraphs_requested"):
            receipt |= operators.peak_memory(call, self.request.device)  # a replay's memory was counted at its capture
        self.clocks += [beside["clock_mhz"]] if "clock_mhz" in beside else []
        same, outputs = equivalence.check(backend, cell.phase, cell.new_tokens, ledger.tokens)
        status, reason = receipts.first_failure(
            receipts.engagement(receipt, ledger.compiled_calls, expected),
            receipts.lengths(ledger.lengths),
            *same,
            *verdicts(beside, self.clocks),
            receipts.steadiness(warm.steady) if not cell.exhibit else ("ok", None),
        )
        if self.request.energy and cell.phase == "e2e" and not cell.exhibit:
            again = energy.repeated(self.clock, call, done.count, sum(map(len, ledger.tokens)))
            receipt["energy"] = energy.measure_on(self.request.device, again, backend.processes())
        self._end(
            cell, status=status, reason=reason, stop_reason=done.stop_reason, count=done.count, steady=warm.steady,
            timer=self.clock.timer, tokens_in=backend.tokens_in(backend.prompt(0)),
            tokens_out=sum(map(len, ledger.tokens)), receipt=receipt | {"equivalence": outputs},
        )  # fmt: skip

    def _startup(self, cell: CellPlan, warm: WarmUp) -> None:
        """Rows of the first request of a process, and of what compiling it cost."""
        if not self.plan.cold:
            self._single(cell, "first_call", warm.first, {})
        if self.variant.compiled and warm.compile_calls:
            phase = "compile_cold" if self.plan.cold else "compile_warm"
            cost = Timed(None, warm.compile_ms, None, warm.first.started_at)
            self._single(cell, phase, cost, {"compile_calls": warm.compile_calls} | self.backend.receipt())

    def _single(self, cell: CellPlan, phase: str, timed: Timed, receipt: dict, timer: str | None = None) -> None:
        """A cell of one sample, timed by the clock of the calls unless another is named."""
        single = cell.model_copy(update={"phase": phase})
        self._sample(single.key, "sample", 0, timed, None)
        self._end(single, status="ok", count=1, timer=timer or self.clock.timer, receipt=receipt)

    def _row(self, cell: CellPlan, role: str, index: int, timed: Timed, compiled_calls: int) -> None:
        """Write a call of a cell, unless it only compiled or is one too many."""
        if not self.plan.cold and kept(index, index + 1):
            counts = self.backend.expected_calls(cell.phase, cell.new_tokens) > 0
            self._sample(cell.key, role, index, timed, compiled_calls if counts else None)

    def _sample(self, cell: str, role: str, index: int, timed: Timed, compiled_calls: int | None) -> None:
        self.journal.append(
            Sample(
                process=self.plan.process, attempt=self.plan.attempt, cell=cell, role=role, index=index,
                latency_ms=round(timed.latency_ms, 6), event_ms=timed.event_ms, started_at=round(timed.started_at, 4),
                compiled_calls=compiled_calls,
            )
        )  # fmt: skip

    def _end(self, cell: CellPlan, **facts) -> None:
        self.journal.append(self.plan.ended(cell, weights=self.weights, **facts))


# A cold process only compiles: three calls at most once the counters stand still.
COLD = Budget(warmup_seconds=0.0, warmup_max_seconds=0.0, steady_window=1)


def _forwards(cell: CellPlan) -> int:
    """Forwards of one call: a prompt's, and one for each token after the first."""
    return cell.new_tokens + (cell.phase != "decode")


def _call(backend: backends.Backend, cell: CellPlan) -> Call:
    """The timed region of a phase, and what is made ready before it."""
    steps = cell.new_tokens
    if cell.phase == "prefill":
        return Call(backend.prompt, backend.prefill)
    if cell.phase == "decode":
        return Call(lambda i: backend.prepare(backend.prompt(i)), lambda state: backend.decode(state, steps))
    return Call(backend.prompt, lambda prompt: backend.generate(prompt, steps))
