"""Cells: what is measured, declared as crosses of models, variants, dtypes, scenarios and phases, and checked."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator

from . import catalog
from .errors import BenchError, unknown
from .records import TIMED

MINIMUM_DECODE = 16  # with fewer steps Dynamo's recompile limit of eight may never show


class Strict(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Scenario(Strict):
    """Sizes of a request, in tokens and sequences."""

    prompt_tokens: PositiveInt
    new_tokens: PositiveInt
    batch_size: PositiveInt = 1


class CellPlan(Strict):
    """One cell to measure."""

    model: str
    variant: str
    dtype: str
    phase: str
    prompt_tokens: int
    new_tokens: int
    batch_size: int
    exhibit: bool = False

    @property
    def key(self) -> str:
        """The cell within its process."""
        return f"{self.phase}-p{self.prompt_tokens}-n{self.new_tokens}-b{self.batch_size}"

    @property
    def process(self) -> tuple[str, str, str]:
        """Cells that share a process: model, variant, dtype."""
        return (self.model, self.variant, self.dtype)


class Group(Strict):
    """A full cross of models, variants, dtypes, scenarios and phases."""

    models: list[str] = Field(min_length=1)
    variants: list[str] = Field(min_length=1)
    dtypes: list[str] = Field(default=["float32"], min_length=1)
    phases: list[str] = Field(default=list(TIMED), min_length=1)
    scenarios: list[Scenario] = Field(min_length=1)

    @field_validator("models")
    @classmethod
    def _models(cls, names: list[str]) -> list[str]:
        return [name for name in names if catalog.model(name)]

    @field_validator("variants")
    @classmethod
    def _variants(cls, names: list[str]) -> list[str]:
        return [name for name in names if catalog.variant(name)]

    @field_validator("dtypes")
    @classmethod
    def _dtypes(cls, names: list[str]) -> list[str]:
        return _known("dtype", names, catalog.DTYPES)

    @model_validator(mode="after")
    def _variants_have_dtypes(self) -> Group:
        for name in self.variants:
            if missing := set(self.dtypes) - set(catalog.variant(name).dtypes):
                raise ValueError(
                    f"variant {name!r} has no dtype {min(missing)!r}; give it a group of its own, with dtypes of "
                    f"{', '.join(catalog.variant(name).dtypes)}"
                )
        return self

    @field_validator("phases")
    @classmethod
    def _phases(cls, names: list[str]) -> list[str]:
        return _known("phase", names, TIMED)

    def cells(self, exhibit: bool) -> list[CellPlan]:
        """The cells of the group; a prefill has no new tokens, a scenario that differs in nothing else is one."""
        found: dict[tuple, CellPlan] = {}
        for model in self.models:
            for variant in self.variants:
                for dtype in self.dtypes:
                    for scenario in self.scenarios:
                        for phase in sorted(self.phases, key=TIMED.index):
                            cell = _cell(model, variant, dtype, scenario, phase, exhibit)
                            found.setdefault((*cell.process, cell.key), cell)
        return list(found.values())


def _cell(model: str, variant: str, dtype: str, scenario: Scenario, phase: str, exhibit: bool) -> CellPlan:
    new_tokens = 0 if phase == "prefill" else scenario.new_tokens
    context = catalog.model(model).context
    if context and scenario.prompt_tokens + scenario.new_tokens > context:
        raise BenchError(
            f"scenario {scenario.prompt_tokens} + {scenario.new_tokens} tokens is beyond the context of {model!r} "
            f"({context}); shorten prompt_tokens or new_tokens"
        )
    if scenario.new_tokens < MINIMUM_DECODE:
        raise BenchError(
            f"new_tokens = {scenario.new_tokens}: give at least {MINIMUM_DECODE}, or a recompile limit may never show"
        )
    return CellPlan(
        model=model,
        variant=variant,
        dtype=dtype,
        phase=phase,
        prompt_tokens=scenario.prompt_tokens,
        new_tokens=new_tokens,
        batch_size=scenario.batch_size,
        exhibit=exhibit,
    )


def _known(kind: str, names: list[str], known: tuple[str, ...]) -> list[str]:
    for name in names:
        if name not in known:
            raise unknown(kind, name, known)
    return names
