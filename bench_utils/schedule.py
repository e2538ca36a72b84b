"""Which process runs when: rounds of shuffled variants, drawn from the run's seed."""

from __future__ import annotations

import random

from pydantic import BaseModel

from . import catalog
from .cells import CellPlan
from .plan import Preset
from .records import Cell
from .timing import Budget


class ProcessPlan(BaseModel):
    """One process: a model and a variant, all their phases. ``cold``: compile into an empty cache, and no more."""

    process: str
    attempt: int = 1
    round: int
    order: int
    model: str
    variant: str
    dtype: str
    cells: list[CellPlan]
    cold: bool = False

    def ended(self, cell: CellPlan, **facts) -> Cell:
        """The row that says what became of a cell in this process."""
        own = cell.model_dump(include={"phase", "prompt_tokens", "new_tokens", "batch_size", "exhibit"})
        return Cell(process=self.process, attempt=self.attempt, cell=cell.key, **own, **facts)

    @property
    def cache(self) -> str:
        """The compile cache that processes of the same model and variant share."""
        return f"{self.model.replace('/', '-')}-{self.variant}-{self.dtype}"


class Round(BaseModel):
    """What a worker is asked to do."""

    folder: str
    caches: str
    artifacts: str
    packages: dict[str, str | None] = {}
    device: str
    machine: str | None = None
    weights: str
    seed: int
    threads: int
    budget: Budget
    exhibit_budget: Budget
    cell_timeout: float
    energy: bool = False
    processes: list[ProcessPlan]


def schedule(preset: Preset, seed: int) -> list[list[ProcessPlan]]:
    """All rounds of a preset, in order; round zero compiles cold and measures the exhibits."""
    return [_preparation(preset)] + [_round(preset, number, seed) for number in range(1, preset.rounds + 1)]


def _preparation(preset: Preset) -> list[ProcessPlan]:
    compiled = [c for c in preset.measured if catalog.variant(c.variant).compiled]
    cold = [_process(0, i, cells, cold=True) for i, cells in enumerate(_by_process(compiled))]
    return cold + [_process(0, len(cold) + i, cells) for i, cells in enumerate(_by_process(preset.shown))]


def _round(preset: Preset, number: int, seed: int) -> list[ProcessPlan]:
    """Models in random order, the variants of one model side by side in random order; even rounds reversed (ABBA)."""
    pair = (number + 1) // 2
    generator = random.Random(f"{seed}/{pair}")
    by_model: dict[str, list] = {}
    for cells in _by_process(preset.measured):
        by_model.setdefault(cells[0].model, []).append(cells)
    models = list(by_model)
    generator.shuffle(models)
    queue = []
    for model in models:
        variants = by_model[model]
        generator.shuffle(variants)
        queue += variants
    if number % 2 == 0:
        queue.reverse()
    return [_process(number, order, cells) for order, cells in enumerate(queue)]


def _by_process(cells: list[CellPlan]) -> list[list[CellPlan]]:
    groups: dict[tuple, list[CellPlan]] = {}
    for cell in cells:
        groups.setdefault(cell.process, []).append(cell)
    return list(groups.values())


def _process(number: int, order: int, cells: list[CellPlan], cold: bool = False) -> ProcessPlan:
    model, variant, dtype = cells[0].process
    name = "-".join(
        [f"r{number}", model.replace("/", ".").replace("+", "."), variant, dtype, *(["cold"] if cold else [])]
    )
    return ProcessPlan(
        process=name,
        round=number,
        order=order,
        model=model,
        variant=variant,
        dtype=dtype,
        cells=cells,
        cold=cold,
    )
