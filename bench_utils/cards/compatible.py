"""Claims that an engine runs a model, decided from how its cells ended in committed runs."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from ..catalog import VARIANTS
from ..claims import Verdict
from ..gates import DISTURBED
from ..records import TIMED
from .evidence import Evidence
from .stated import Stated, either, open_, undecided

_RAN = ("ok", *DISTURBED)  # disturbed while timed: it ran all the same
_NOBODYS = ("device_lost", "harness_bug")  # failures that are not the engine's


class Engine(NamedTuple):
    """A word of a claim, the variants that stand for it, and what else would show it."""

    word: str
    variants: tuple[str, ...]
    instead: str = ""


_COMPILED = tuple(name for name, v in VARIANTS.items() if v.compiled and v.backend == "transformers")
# The first word that a sentence holds decides.
ENGINES = (
    Engine("pipeline", (), "a text-generation pipeline over the checkpoint"),
    Engine("Hidden states", (), "a forward pass that returns hidden states, and a task scored on them,"),
    Engine("torch.compile", _COMPILED),
    Engine("vLLM", ("vllm",)),
    Engine("Ollama", ("ollama",)),
    Engine("onnxruntime", ("onnxruntime",)),
    Engine("transformers", ("eager",)),
)
_KIN = {"ollama": ("llama.cpp", "llama.cpp-server")}  # what the engine runs inside


def compatible(stated: Stated, evidence: Evidence) -> Verdict:
    """Every model of the claim that a run holds ran, or did not; models without a record are named."""
    engine = next((engine for engine in ENGINES if engine.word in stated.claim), None)
    if engine is None or not engine.variants:
        return open_(stated, engine.instead if engine else "a run of it")
    tried = _tried(engine.variants, evidence)
    mine = _of(stated, evidence, tried)
    if mine.empty:
        return _untried(stated, evidence, engine, tried)
    ran = [_works(cells) for _, cells in mine.groupby("model")]
    facts = {"value": sum(ran), "unit": f"of {len(evidence.about(stated))} models ran", "n": len(mine)}
    return either(stated, all(ran) == (stated.value == "yes"), _said(stated, evidence, mine), **facts)


def _tried(variants: tuple[str, ...], evidence: Evidence) -> pd.DataFrame:
    """Timed cells of these variants on any model, from runs where the variant ran at all.

    There an "unavailable" is the engine's refusal of a model; elsewhere the engine itself was not there.
    """
    cells = evidence.receipts
    cells = cells[cells["variant"].isin(variants) & cells["phase"].isin(TIMED)]
    if cells.empty:
        return cells
    there = cells["status"].isin(_RAN).groupby([cells["report"], cells["device"], cells["variant"]]).transform("any")
    return cells[(there | (cells["status"] != "unavailable")) & ~cells["status"].isin(_NOBODYS)]


def _of(stated: Stated, evidence: Evidence, cells: pd.DataFrame) -> pd.DataFrame:
    return cells[cells["model"].isin([model.name for model in evidence.about(stated)])]


def _works(cells: pd.DataFrame) -> bool:
    """An engine works when one of its variants always does, on some device: some options are known to fail."""
    return bool(cells["status"].isin(_RAN).groupby([cells["variant"], cells["device"]]).all().any())


def _said(stated: Stated, evidence: Evidence, cells: pd.DataFrame) -> str:
    """How the cells of each model and variant ended, where, and which models nothing is known of."""
    ended = [_ended(model, variant, mine) for (model, variant), mine in cells.groupby(["model", "variant"])]
    where = ", ".join(sorted(set(cells["report"] + " on " + cells["device"])))
    kinds = ", ".join(sorted({str(weights) for weights in cells["weights"].dropna()} - {"none"}))
    missing = [m.name for m in evidence.about(stated) if m.name not in set(cells["model"])]
    lacking = f"; without a record: {', '.join(missing)}" if missing else ""
    return f"{'; '.join(ended)} ({where}; weights: {kinds or 'none loaded'}){lacking}"


def _ended(model: str, variant: str, cells: pd.DataFrame) -> str:
    failed = cells[~cells["status"].isin(_RAN)]
    reasons = [f"{cell.status}: {cell.reason}" if cell.reason else cell.status for cell in failed.itertuples()]
    others = "".join(f", {reason}" for reason in dict.fromkeys(reasons))
    return f"{model} with {variant}: {len(cells) - len(failed)} of {len(cells)} cells ran{others}"


def _untried(stated: Stated, evidence: Evidence, engine: Engine, tried: pd.DataFrame) -> Verdict:
    """What would decide it; what runs inside the engine may tell half of it."""
    needed = f"a run of {engine.variants[0]} on {', '.join(model.name for model in evidence.about(stated))}"
    kin = _of(stated, evidence, _tried(_KIN.get(engine.variants[0], ()), evidence))
    kin = kin[kin["status"].isin(_RAN)] if len(kin) else kin
    if len(kin):
        made = f"a file for {engine.word} can be made of these weights: {_said(stated, evidence, kin)}"
        facts = {"value": kin["model"].nunique(), "unit": "models ran as GGUF", "n": len(kin)}
        return undecided(stated, f"{made}; {needed} would decide it", **facts)
    others = sorted(set(tried.loc[tried["status"].isin(_RAN), "model"])) if len(tried) else []
    return open_(stated, needed, f"{engine.word} ran {', '.join(others)}, of other shapes" if others else "")
