"""A report's plan: what is measured and claimed, declared before anything runs, read and checked.

A plan is the TOML file beside its notebook. Reading it resolves every name against the catalog and refuses
what is unknown, impossible or declared twice, so that nothing is measured under a wrong plan.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt, ValidationError, field_validator, model_validator

from . import catalog, energy
from .cells import CellPlan, Group, Scenario, Strict
from .errors import BenchError, said, unknown
from .prices import Price, Prices
from .project import short_name, slug
from .records import Status
from .timing import Budget


class Preset(Strict):
    """How much of the plan is measured, and how long each cell may take.

    ``cell_seconds``, ``cold_seconds`` and ``start_seconds`` are what a cell, the cold compilation of one model and
    variant, and the start of a round are expected to take on two cores: the plan predicts its own minutes. With
    ``energy`` each e2e cell is followed by a pass that meters joules per token, where the device has a meter.
    """

    help: str
    rounds: PositiveInt
    cells: list[Group] = Field(min_length=1)
    exhibits: list[Group] = []
    budget: Budget = Budget()
    exhibit_budget: Budget = Budget(
        warmup_seconds=0.0, warmup_max_seconds=0.0, steady_window=1, min_samples=3, max_samples=3, min_seconds=0.0
    )
    cell_seconds: float = Field(gt=0)
    cold_seconds: float = Field(gt=0)
    start_seconds: float = 6.0
    cell_timeout: float = Field(default=600.0, gt=0)
    energy: bool = False

    @cached_property
    def measured(self) -> list[CellPlan]:
        """Cells measured every round."""
        return [cell for group in self.cells for cell in group.cells(exhibit=False)]

    @cached_property
    def shown(self) -> list[CellPlan]:
        """Cells measured once, for their receipt."""
        return [cell for group in self.exhibits for cell in group.cells(exhibit=True)]

    def expected_minutes(self) -> float:
        """The plan's own prediction."""
        compiled = {c.process for c in (*self.measured, *self.shown) if catalog.variant(c.variant).compiled}
        joules = energy.PASS_SECONDS * sum(c.phase == "e2e" for c in self.measured) * self.energy
        rounds = self.rounds * (self.start_seconds + len(self.measured) * self.cell_seconds + joules)
        once = self.start_seconds + len(self.shown) * self.cell_seconds + len(compiled) * self.cold_seconds
        return (rounds + once) / 60


class ClaimPlan(Strict):
    """A sentence, the metric that decides it, and what would refute it.

    Metrics: ``outcome`` (the contrast's outcome is ``expect`` on every model), ``compiled_share`` (compiled calls
    per expected call), ``ratio`` (latency ratio with its interval), ``latency`` (median in milliseconds),
    ``time_per_token`` (the same, of each new token), ``bandwidth_share`` (of the bandwidth measured in the run, were
    only weights and cache read), ``status`` (every cell ended with ``expect_status``), ``crossover`` (the width at
    which a layer's weights cost as much as the layer, over the whole grid), ``model_ratio`` (latency of the first of
    two ``models`` over the second's). Numbers must lie ``above`` a bound, ``below`` one, or between two.
    """

    id: str
    text: str
    metric: Literal[
        "outcome", "compiled_share", "ratio", "latency", "time_per_token", "bandwidth_share", "status", "crossover",
        "model_ratio",
    ]  # fmt: skip
    variant: str
    phase: Literal["prefill", "decode", "e2e"]
    models: list[str] = []
    expect: Literal["faster", "slower", "same"] | None = None
    expect_status: Status | None = None
    above: float | None = None
    below: float | None = None
    source: str | None = None
    needs: Literal["cuda"] | None = None

    @field_validator("variant")
    @classmethod
    def _variant(cls, name: str) -> str:
        return catalog.variant(name).name

    @model_validator(mode="after")
    def _decidable(self) -> ClaimPlan:
        what = {"outcome": "expect", "status": "expect_status"}.get(self.metric, "above or below")
        if all(getattr(self, name) is None for name in what.split(" or ")):
            raise ValueError(f"nothing says what would refute it: a claim on {self.metric} needs {what}")
        models = {"model_ratio": 2, "time_per_token": 1, "bandwidth_share": 1}.get(self.metric, len(self.models))
        if len(self.models) != models:
            raise ValueError(
                f"a claim on {self.metric} is of {models} of the models: name so many, not {len(self.models)}"
            )
        return self


class Plan(Strict):
    """A report: its question, presets and claims; without presets it measures nothing and reads published tables.

    ``checkpoint`` is the digest of a local folder's weights: other weights are another run. ``across`` says that its
    page is about published tables and every run there is, so that it can be rendered before anything is measured.
    """

    report: str
    title: str
    question: str
    expectation: str
    baseline: str = "eager"
    control: str = "eager-again"
    seed: int = 0
    checkpoint: str | None = None
    across: bool = False
    presets: dict[str, Preset] = {}
    claims: list[ClaimPlan] = []
    prices: Prices = {}
    scores: dict[str, dict] = {}  # presets of a report on quality, read by the room of that name

    @property
    def per_device(self) -> bool:
        """Whether the report has a page for every device that it was measured or scored on."""
        return bool(self.presets or self.scores) and not self.across

    def preset(self, name: str) -> Preset:
        """The preset of that name; BenchError with the nearest names."""
        if not self.presets:
            raise BenchError(f"report {self.report!r} measures nothing; run it without measuring")
        if name not in self.presets:
            raise unknown("preset", name, self.presets)
        return self.presets[name]

    def digest(self, preset: str) -> str:
        """Hash of what a run of that preset depends on: presentation apart, any change makes another run."""
        content = self.model_dump(include={"report", "baseline", "control", "seed"}, mode="json")
        content["preset"] = self.preset(preset).model_dump(mode="json", exclude_defaults=True)
        content["claims"] = [claim.model_dump(exclude_defaults=True) for claim in self.claims]
        content |= {"checkpoint": self.checkpoint} if self.checkpoint else {}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def read(path: Path) -> Plan:
    """The plan in a TOML file, every name resolved; BenchError that names the field and the remedy."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchError(f"plan {path.name} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BenchError(f"plan {path.name} is not TOML: {error}") from error
    try:
        plan = Plan.model_validate(data)
        slug("report", plan.report)
        if plan.report not in (path.stem, short_name(path.stem)):
            raise BenchError(f"report {plan.report!r} is another than the file's: name it {short_name(path.stem)!r}")
        for name, preset in plan.presets.items():
            _refuse_duplicates(name, preset)
    except ValidationError as error:
        raise BenchError(f"plan {path.name}: {first_problem(error)}") from error
    except BenchError as error:
        raise BenchError(f"plan {path.name}: {error}") from error
    return plan


def _refuse_duplicates(name: str, preset: Preset) -> None:
    seen = set()
    for cell in (*preset.measured, *preset.shown):
        identity = (*cell.process, cell.key)
        if identity in seen:
            raise BenchError(
                f"preset {name!r} declares {cell.model} × {cell.variant} × {cell.dtype} × {cell.key} twice; remove one"
            )
        seen.add(identity)


_TYPOS = ("extra_forbidden", "unexpected_keyword_argument")


def first_problem(error: ValidationError) -> str:
    """The first problem, with the path to the wrong element and, for an unknown key, the nearest known ones."""
    problems = error.errors()
    problem = next((p for p in problems if p["type"] in _TYPOS), problems[0])
    if problem["type"] in _TYPOS:
        *path, key = problem["loc"]
        return str(unknown(f"key {'.'.join(map(str, path)) or 'plan'}:", str(key), _fields_at(path)))
    return said(error, problem)


def _fields_at(path: list) -> list[str]:
    levels = {0: Plan, 2: Preset, 4: Group, 6: Scenario}
    if path and path[0] == "prices":
        return list(Price.model_fields)
    if path and path[0] == "claims":
        return list(ClaimPlan.model_fields)
    if path and path[-1] in ("budget", "exhibit_budget"):
        return list(Budget.__dataclass_fields__)
    return list(levels.get(len(path), Plan).model_fields)
