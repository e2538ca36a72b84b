"""From the arguments of one call to a plan, or to one sentence that says why it cannot be measured."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path

from pydantic import ValidationError

from .. import backends, catalog, hub, plan
from ..catalog import Model
from ..cells import Group, Scenario
from ..environment import slugify
from ..errors import BenchError, unknown
from ..figures import in_order
from ..timing import Budget

BASELINE, CONTROL = "eager", "eager-again"
BUDGETS = {
    "smoke": Budget(
        warmup_seconds=0.0,
        warmup_max_seconds=0.5,
        steady_window=2,
        min_samples=6,
        min_seconds=0.05,
        max_seconds=0.6,
    ),
    "quick": Budget(
        warmup_seconds=0.1,
        warmup_max_seconds=1.5,
        steady_window=3,
        min_samples=8,
        min_seconds=0.3,
        max_seconds=1.6,
        max_samples=400,
    ),
    "full": Budget(),
}
COLD_SECONDS = 30.0  # expected of a cold compilation on two cores
HELP = "one model, all variants"


def located(model: str | Path) -> tuple[Model, str]:
    """The model, and how plan and rows name it: a folder by its whole path, without the name of its owner."""
    if not isinstance(model, str | Path):
        raise BenchError(f"model {model!r}: give a name of the catalog, an id on the hub, or a folder")
    named = isinstance(model, str) and (model in catalog.MODELS or not Path(model).expanduser().is_dir())
    if named:
        return catalog.model(model), model
    folder, home = Path(model).expanduser().resolve(), Path.home().resolve()
    if not folder.is_dir():
        raise BenchError(f"there is no model folder {str(model)!r}; give a folder with config.json and safetensors")
    spelled = f"~/{folder.relative_to(home).as_posix()}" if folder.is_relative_to(home) else str(folder)
    known = catalog.model(spelled)
    if not any(folder.glob("*.safetensors")):
        raise BenchError(f"model folder {folder.name!r} holds no safetensors; write them with save_pretrained")
    return known, spelled


def several(value: object) -> list:
    """One value or several, each once; whole numbers of NumPy are plain ones."""
    values = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    return list(dict.fromkeys(int(one) if isinstance(one, Integral) else one for one in values))


def arms(variants: str | Sequence[str], dtype: str) -> list[str]:
    """What is measured, in the catalog's order: the variants asked for, and eager under its two labels."""
    known = [name for name, variant in catalog.VARIANTS.items() if variant.backend != "planted"]
    if dtype not in catalog.variant(BASELINE).dtypes:
        raise unknown("dtype", dtype, catalog.variant(BASELINE).dtypes)
    for name in (asked := several(variants)):
        if name not in known:
            raise unknown("variant", name, known)
        if dtype not in (own := catalog.variant(name).dtypes):
            raise BenchError(f"variant {name!r} has no dtype {dtype!r}; measure it in {' or '.join(own)}")
    return in_order([BASELINE, CONTROL, *asked])


def budget_of(budget: str | Mapping | Budget) -> Budget | dict:
    """A budget by its name, or by its fields, which a preset checks."""
    if isinstance(budget, str):
        if budget not in BUDGETS:
            raise unknown("budget", budget, BUDGETS)
        return BUDGETS[budget]
    if not isinstance(budget, Budget | Mapping):
        raise BenchError(f"budget {budget!r}: give one of {', '.join(BUDGETS)}, or a mapping of a Budget's fields")
    return budget if isinstance(budget, Budget) else dict(budget)


def limits_of(name: str, cells: dict, **limits: object) -> plan.Preset:
    """How much is measured, checked; a name or size that cannot be is one sentence."""
    try:
        for scenario in cells["scenarios"]:
            Scenario(**scenario)  # alone, so that a sentence names the argument and not its place in a plan
        made = plan.Preset(help=HELP, cells=[Group(**cells)], cell_seconds=1, cold_seconds=COLD_SECONDS, **limits)
    except ValidationError as error:
        raise BenchError(f"{name} cannot be measured so: {plan.first_problem(error)}") from error
    seconds = (made.budget.warmup_max_seconds + made.budget.max_seconds) / 2
    made = made.model_copy(update={"cell_seconds": seconds})
    _ = made.measured  # sizes against the model's context
    return made


def plan_of(known: Model, preset: str, limits: plan.Preset) -> plan.Plan:
    """The plan of one model; it claims nothing."""
    return plan.Plan(
        report=f"measure-{slugify(known.name)}",
        title=f"{known.name}, measured",
        question=f"Which variant runs {known.name} fastest here?",
        expectation="None was written down.",
        checkpoint=known.folder and _digest(known.folder),
        presets={preset: limits},
    )


def _digest(folder: Path) -> str:
    """Hash over configuration and weights of a local folder: what is trained further is measured anew."""
    sha = hashlib.sha256()
    for path in sorted([folder / "config.json", *folder.glob("*.safetensors")]):
        with path.open("rb") as file:
            sha.update(f"{path.name}|{hashlib.file_digest(file, 'sha256').hexdigest()}|".encode())
    return sha.hexdigest()[:16]


def refuse_unavailable(variants: list[str], device: str) -> None:
    """BenchError for a variant that cannot run here; PyTorch itself always can."""
    for variant in map(catalog.variant, variants):
        asked = variant.requires or variant.backend != "transformers"
        if reason := backends.unavailable(variant, device) if asked else None:
            raise BenchError(f"variant {variant.name!r} cannot run here: {reason}")


def refuse_unreachable(model: Model) -> None:
    """BenchError for a hub id that cannot be loaded; of the catalog's models the architecture is enough."""
    if model.layers or not model.repository:
        return
    hub.fetch(model, hub.CONFIG)
