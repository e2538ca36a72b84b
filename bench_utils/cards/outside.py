"""Claims that rest on facts from outside the project: each is named, and how far the result moves with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import pandas as pd

from ..audit.evidence import said
from ..claims import INCONCLUSIVE, REFUTED, SUPPORTED, Verdict
from ..formatting import significant
from . import named
from .evidence import Evidence
from .named import Constant
from .stated import MILLION, Stated, decided, either, open_, undecided

BILLION = 1e9  # tokens are printed in it
# Which claims use a constant, by metric and, where that is not enough, a word of the sentence.
_USES = {
    named.POWER: ("co2", ""), named.INTENSITY: ("co2", ""), named.CAR: ("distance", ""), named.COAL: ("coal", ""),
    named.SEEDLING: ("seedlings", ""), named.TOKENS: ("tokens", "optimal"), named.PEAK: ("tokens", "used"),
    named.WIKITEXT: ("perplexity", "original paper"), named.LAMBADA: ("perplexity", "original paper"),
    named.TPU_CORES: ("gpu_hours", "V100"), named.TRAINED_LOSS: ("perplexity", "OpenWebText"),
    named.RELEASED_LOSS: ("perplexity", "OpenWebText"),
}  # fmt: skip


def carbon(stated: Stated, evidence: Evidence) -> Verdict:
    """Hours × power × carbon intensity, and the power that the printed figure implies."""
    hours = stated.numbered(r"(\d+(?:\.\d+)?) h\b")
    power, intensity = named.POWER.number.value, named.INTENSITY.number.value
    found = [hours * power / 1000 * each for each in named.INTENSITY.all]
    implied = [stated.number.value / hours / each * 1000 for each in named.INTENSITY.all]
    reason = said(
        "{h} h × {w} W × {i} kg/kWh = {kg} kg; the figure printed implies {p} W a GPU at that intensity, {share:.0%} "
        "of the board's power, and {range} W over the intensities named; neither power nor grid is stated", h=hours,
        w=power, i=named.INTENSITY.value, kg=found[0], p=stated.number.value / hours / intensity * 1000,
        range=_range(implied), share=implied[0] / power,
    )  # fmt: skip
    return _by_constant(stated, (found[0], found[0]), found, f"{reason}; {_moves(named.INTENSITY, found, 'kg')}", "kg")


def distance(stated: Stated, evidence: Evidence) -> Verdict:
    """Carbon over the emission of a car."""
    return _equivalent(stated, evidence, named.CAR, lambda co2, emission: co2 / emission * named.KM_A_MILE)


def coal(stated: Stated, evidence: Evidence) -> Verdict:
    """Carbon over the emission of coal."""
    return _equivalent(stated, evidence, named.COAL, lambda co2, emission: co2 / emission * named.KG_A_POUND)


def seedlings(stated: Stated, evidence: Evidence) -> Verdict:
    """Carbon over what a seedling takes up."""
    return _equivalent(stated, evidence, named.SEEDLING, lambda co2, uptake: co2 / uptake)


def _equivalent(stated: Stated, evidence: Evidence, constant: Constant, of: Callable[[float, float], float]) -> Verdict:
    """Of the carbon that the card itself states, right or wrong."""
    co2, number = evidence.beside(stated, "co2"), constant.number
    found = [of(co2.number.value, each) for each in constant.all]
    ends = sorted((of(co2.number.low, number.high), of(co2.number.high, number.low)))
    reason = said(
        "{kg} kg, as {id} states, at {value} {unit} give {found:.4g} {our}; {moves}", kg=co2.value, id=co2.claim_id,
        value=constant.value, unit=constant.unit, found=found[0], our=_unit(stated),
        moves=_moves(constant, found, _unit(stated)),
    )  # fmt: skip
    if stated.holds(*ends) and not stated.holds(found[0]):
        reason += "; the printed number is within the rounding of its inputs"
    return _by_constant(stated, tuple(ends), found, reason, _unit(stated))


def _unit(stated: Stated) -> str:
    return stated.metric if stated.unit == "count" else stated.unit


def optimum(stated: Stated, evidence: Evidence) -> Verdict:
    """Parameters, as the sentence counts them, times tokens a parameter."""
    size, model = stated.numbered(r"(\d+(?:\.\d+)?)M\b") * MILLION, stated.shape()
    found = [size * each / BILLION for each in named.TOKENS.all]
    reason = said(
        "{n:g}M × {k} = {found} billion tokens ({exact} billion for the {all} parameters of its configuration); "
        "{moves}",
        n=size / MILLION, k=named.TOKENS.value, found=found[0], exact=model.parameters * found[0] / size,
        all=model.parameters, moves=_moves(named.TOKENS, found, "billion tokens"),
    )  # fmt: skip
    return _by_constant(stated, (found[0], found[0]), found, reason, "billion tokens", BILLION)


def tokens_used(stated: Stated, evidence: Evidence) -> Verdict:
    """Whether the hours that the card states allow so many tokens; that they were used only a log shows."""
    model, used = stated.shape(), stated.number.value
    best = evidence.beside(stated, "tokens", "optimal")
    seconds = evidence.beside(stated, "gpu_hours").number.value * 3600
    rate = 6 * model.parameters * used / seconds / 1e12
    shares = [rate / each for each in named.PEAK.all]
    reason = said(
        "{used} billion tokens are {times} times the {best} of {id}, {each} a parameter; six operations a parameter "
        "and token in the GPU-hours stated are {rate} TFLOP/s a GPU, {share:.0%} of {peak} {unit} ({other:.0%} of "
        "{wider})",
        used=used / BILLION, times=used / best.number.value, best=best.value, id=best.claim_id,
        each=used / model.parameters,
        rate=rate, share=shares[0], peak=named.PEAK.value, unit=named.PEAK.unit, other=shares[-1],
        wider=named.PEAK.others[-1][0],
    )  # fmt: skip
    facts = {"value": used / best.number.value, "unit": "times that optimum"}
    if min(shares) > 1:
        return either(stated, False, f"{reason}: more than the hardware can do", **facts)
    return undecided(stated, f"{reason}: possible; that so many were used, only the training log shows", **facts)


def perplexity(stated: Stated, evidence: Evidence) -> Verdict:
    """What a paper printed for the data set, or what losses on it give."""
    if "original paper" in stated.claim:
        return _in_the_paper(stated, evidence)
    losses = (named.TRAINED_LOSS, named.RELEASED_LOSS)
    found = [(math.exp(loss.number.low), math.exp(loss.number.high)) for loss in losses]
    words = "; ".join(f"{one.name} ({one.source}): {one.value}, so {math.exp(one.number.value):.1f}" for one in losses)
    inside = [stated.holds(*ends) for ends in found]
    facts = {"value": math.exp(losses[0].number.value), "unit": "perplexity from a published loss"}
    if all(inside):
        return either(stated, True, words, **facts)
    where = "outside" if not any(inside) else "partly outside"
    return undecided(stated, f"{words}: {where} the range; the checkpoint and the text would decide it", **facts)


def _in_the_paper(stated: Stated, evidence: Evidence) -> Verdict:
    """WikiText-2, and the column whose number is printed instead."""
    value, other = named.WIKITEXT, named.LAMBADA
    reason = f"{value.source}: {value.value} on WikiText-2"
    if stated.holds(other.number.low, other.number.high):
        reason += f"; {other.value}, which rounds to the number printed, is its value on LAMBADA"
    ours = [c for c in evidence.sources.claims.values() if "WikiText-2" in c["claim"] and c["metric"] == "perplexity"]
    own = [f"{c['report']} measured {c['value']}" for c in ours if c["report"].startswith("TR")]
    reason += "".join(f"; {words}, by another protocol" for words in own)
    holds = stated.holds(value.number.low, value.number.high)
    return either(stated, holds, reason, value=value.number.value, unit="perplexity in the paper")


def undisclosed(stated: Stated, evidence: Evidence) -> Verdict:
    """Nobody has published how long it took."""
    cores = named.TPU_CORES
    same = "the same number, but" if stated.value == cores.value else "which are"
    known = f"{cores.name}: {cores.value}, {same} of cores, not of hours on V100 GPUs ({cores.source})"
    return open_(stated, "OpenAI's record of the training, which was not published,", known)


def _by_constant(
    stated: Stated, ends: tuple[float, ...], found: list[float], reason: str, unit: str, scale: float = 1.0
) -> Verdict:
    """Supported at the constant named; refuted where no value of it gives the number; else inconclusive.

    ``ends`` are the result within the rounding of its inputs, ``found`` those of all values of the constant; in units
    of `scale`.
    """
    low, high = min(*found, *ends), max(*found, *ends)
    if stated.holds(*(end * scale for end in ends)):
        verdict = SUPPORTED
    else:
        verdict = INCONCLUSIVE if stated.holds(low * scale, high * scale) else REFUTED
    return decided(stated, verdict, reason, value=found[0], unit=unit)


def _moves(constant: Constant, found: list[float], unit: str) -> str:
    who = ", ".join(f"{value}: {source}" for value, source in constant.others)
    return f"{_range(found)} {unit} over other values of that constant ({who})"


def _range(values: Iterable[float]) -> str:
    values = sorted(values)
    return f"{significant(values[0])} to {significant(values[-1])}"


def constants(evidence: Evidence) -> pd.DataFrame:
    """A row a constant: value with unit, source, date, other values, and the claims that use it."""
    return pd.DataFrame([_row(constant, evidence) for constant in named.ALL])


def _row(constant: Constant, evidence: Evidence) -> dict[str, str]:
    metric, word = _USES[constant]
    uses = [s.claim_id for s in evidence.claims if s.metric == metric and word in s.claim]
    return {
        "name": constant.name, "value": f"{constant.value} {constant.unit}", "source": constant.source,
        "date": constant.date, "others": "; ".join(f"{v} ({who})" for v, who in constant.others),
        "claims": ", ".join(uses),
    }  # fmt: skip
