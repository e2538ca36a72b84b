"""What is asked for: the `scores` section of a plan, its arms, and which of them can have a quality at all."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydantic import Field, PositiveInt, ValidationError, field_validator, model_validator

from .. import catalog
from ..catalog import TORCH_DTYPES, Model
from ..cells import Strict
from ..errors import BenchError, unknown
from ..plan import Plan, first_problem
from .rows import Arm
from .texts import file_digest

INT8 = "int8"  # PyTorch's dynamic quantisation: a dtype of scores alone, no variant is timed in it
DTYPES = {"eager": (*TORCH_DTYPES, INT8), "llama.cpp": ("float32", "float16", "q8_0")}
BASELINE = ("eager", "float32")  # what the variants of one model are compared with
COMMAND = "bench-utils quality FOLDER --text FILE"


class Arms(Strict):
    """A variant in its dtypes, for every model of the preset."""

    variant: str
    dtypes: list[str] = Field(min_length=1)

    @model_validator(mode="after")
    def _known(self) -> Arms:
        if self.variant not in DTYPES:
            raise ValueError(str(unknown("variant that is scored:", self.variant, DTYPES)))
        for dtype in self.dtypes:
            if dtype not in DTYPES[self.variant]:
                raise ValueError(str(unknown(f"dtype of {self.variant}:", dtype, DTYPES[self.variant])))
        return self


class Scores(Strict):
    """A preset of scores: which models and arms on which texts and tasks, in which windows.

    ``texts`` are files, relative to the plan; ``tasks`` are names of EleutherAI's harness, or files: a task's
    ``.yaml``, or a ``.jsonl`` in HellaSwag's format. ``context`` and ``stride`` are tokens. ``limit`` is the most
    documents of a task. ``arm_seconds`` is what one arm is expected to take on two cores, ``timeout`` the most.
    """

    help: str
    models: list[str] = Field(min_length=1)
    arms: list[Arms] = Field(min_length=1)
    texts: list[str] = []
    tasks: list[str] = []
    context: PositiveInt = 1024
    stride: PositiveInt = 512
    limit: PositiveInt | None = None
    arm_seconds: float = Field(default=60.0, gt=0)
    timeout: float = Field(default=7200.0, gt=0)

    @field_validator("models")
    @classmethod
    def _models(cls, names: list[str]) -> list[str]:
        return [name for name in dict.fromkeys(names) if catalog.model(name)]

    @model_validator(mode="after")
    def _something(self) -> Scores:
        if self.stride > self.context:
            raise ValueError(f"stride = {self.stride} is longer than the context of {self.context}; lower stride")
        if not (self.texts or self.tasks):
            raise ValueError("there is nothing to score; name texts or tasks")
        names = [catalog.model(name).name for name in self.models]
        if len(set(names)) < len(names):
            raise ValueError("two models have one name, so their rows could not be told apart; rename a folder")
        return self

    def planned(self) -> dict[Arm, str]:
        """Every arm, by model, with how the plan spells its model; rows call a folder by its own name."""
        return {
            Arm(model=catalog.model(name).name, variant=arms.variant, dtype=dtype): name
            for name in self.models
            for arms in self.arms
            for dtype in arms.dtypes
        }

    def expected_minutes(self) -> float:
        """The plan's own prediction, with every checkpoint there."""
        return len(self.planned()) * self.arm_seconds / 60


class Source(NamedTuple):
    """A text or task, located."""

    name: str
    path: Path | None
    is_text: bool


def is_file(task: str) -> bool:
    """Whether a task is a file rather than a name of the harness."""
    return task.endswith((".yaml", ".yml", ".jsonl", ".txt"))


def sources(asked: Scores, folder: Path) -> list[Source]:
    """The texts and tasks of a preset, files found from the plan's folder; BenchError for one that is not there."""
    names = [(name, True) for name in asked.texts] + [(name, False) for name in asked.tasks]
    found = []
    for name, is_text in names:
        path = (folder / Path(name).expanduser()).resolve() if is_text or is_file(name) else None
        if path and not path.is_file():
            raise BenchError(
                f"there is no file {Path(name).name!r}; correct its path (a plan's are from its own folder)"
            )
        found.append(Source(path.name if path else name, path, is_text))
    if len({source.name for source in found}) < len(found):
        raise BenchError("two texts or tasks have one name, so their rows could not be told apart; rename a file")
    return found


def preset_of(plan: Plan, name: str) -> Scores:
    """The preset of a plan's `scores`; BenchError with the nearest names, or with the field that is wrong."""
    if not plan.scores:
        raise BenchError(f"report {plan.report!r} scores nothing: its plan has no presets under [scores]")
    if name not in plan.scores:
        raise unknown("preset", name, plan.scores)
    try:
        return Scores.model_validate(plan.scores[name])
    except ValidationError as error:
        raise BenchError(f"scores.{name}: {_problem(error)}") from error


def _problem(error: ValidationError) -> str:
    """The first problem; for an unknown key with the nearest known ones."""
    first = next((e for e in error.errors() if e["type"] == "extra_forbidden"), None)
    if first is None:
        return first_problem(error)
    *path, key = first["loc"]
    return str(unknown("key", key, (Arms if path else Scores).model_fields))


def digests(asked: Scores, folder: Path) -> dict[str, str]:
    """Digests of every file that scores depend on: texts, task files, and the checkpoints that are local folders."""
    found = {source.name: file_digest(source.path) for source in sources(asked, folder) if source.path}
    for model in map(catalog.model, asked.models):
        for path in sorted(_files(model.folder)) if model.folder else ():
            found[f"{model.name}/{path.name}"] = file_digest(path)
    return found


def _files(folder: Path) -> list[Path]:
    return [*folder.glob("*.safetensors"), *folder.glob("*.json"), *folder.glob("*.txt")]


def refuse_architecture(model: Model, weights: str) -> None:
    """BenchError for a model whose weights would be seeded: they have a speed and no quality."""
    if model.folder:
        return
    if not model.repository:
        raise BenchError(
            "no quality is stated: the catalog knows no checkpoint of this model, and seeded weights have learned from "
            f"no text; train one, and score its folder with `{COMMAND}`"
        )
    if weights == "architecture":
        raise BenchError(
            "no quality is stated: the hub does not answer, so only the architecture of this model is here, and seeded "
            "weights have learned from no text; connect and run again with --run new, or score a folder of the "
            f"checkpoint with `{COMMAND}`"
        )
