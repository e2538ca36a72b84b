"""TR147's headlines, each judged by the numbers that the report itself prints."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from .. import published
from ..audit import statements
from ..audit.evidence import said
from ..claims import INCONCLUSIVE, NOT_TESTABLE, REFUTED, SUPPORTED, Verdict
from ..statistics import wilson
from .outcomes import CRASHED, FASTER, SUSPECTED, triton_comparison
from .platforms import PUBLISHED
from .reproducibility import HOLDS, published_index

SOURCE = "TR147"
_AUDITED = ("tr147-control", "tr147-equivalence")  # decided by the audit of published numbers
_GRAPHS = "reduce-overhead"


@dataclass(frozen=True)
class Findings:
    """What headlines are judged by: contrasts of TR147 with their outcomes, and its rows."""

    table: pd.DataFrame
    cells: pd.DataFrame

    def of(self, phase: str, mode: str = "", cache: str = "", chapter: str = "") -> pd.DataFrame:
        """Published contrasts of TR147 of a phase, mode, cache and chapter, where named."""
        mine = self.table[(self.table["kind"] == PUBLISHED) & self.table["chapter"].str.startswith(SOURCE)]
        for column, wanted in (("phase", phase), ("mode", mode), ("cache", cache), ("chapter", chapter)):
            mine = mine[(mine[column] == wanted) | (wanted == "")]
        return mine

    @property
    def triton(self) -> pd.DataFrame:
        """Contrasts of the Triton comparison: one model, one GPU, several versions."""
        return triton_comparison(self.of(""))


def headlines(table: pd.DataFrame, cells: pd.DataFrame) -> list[Verdict]:
    """A verdict for every headline, with its computation; ``table`` from ``outcomes``, ``cells`` from
    ``published_cells``."""
    findings = Findings(table, cells)
    return [judge(findings) for judge in HEADLINES] + _from_audit()


def _verdict(id: str, text: str, verdict: str, reason: str, **facts) -> Verdict:
    return Verdict(id, f"{SOURCE}: {text}", verdict, reason, source=SOURCE, **facts)


def _from_audit() -> list[Verdict]:
    return [
        Verdict(s.id, s.text, s.verdict, s.reason, value=s.value, n=s.n, unit=s.unit, source=SOURCE)
        for s in statements() if s.id in _AUDITED
    ]  # fmt: skip


def _prefill(found: Findings) -> Verdict:
    """Of unquantised models, where the software is not the thing compared."""
    triton = set(found.triton.index[found.triton["outcome"] == SUSPECTED])
    mine = found.of("prefill")
    mine = mine[mine["dtype"].isin(["float16", "float32"]) & mine["ratio"].notna() & ~mine.index.isin(triton)]
    against, bare = mine[mine["outcome"] != FASTER], int(mine["low"].isna().sum())
    worst = mine.loc[mine["ratio"].idxmax()]
    return _verdict(
        "prefill-elsewhere", "compiled prefill is faster than eager on other GPUs too, for models in full or half "
        "precision.", REFUTED if len(against) else SUPPORTED,
        said("faster in {n} of {of} contrasts on {gpus} GPUs; {bare} of them are means without an interval; suspected "
             "fallbacks of the Triton comparison are left out", n=len(mine) - len(against), of=len(mine),
             gpus=mine["gpu"].nunique(), bare=bare),
        value=worst["ratio"], interval=_interval(worst), n=len(mine), unit="of eager's latency at most",
    )  # fmt: skip


def _interval(row: pd.Series) -> tuple[float, float] | None:
    return None if math.isnan(row["low"]) else (float(row["low"]), float(row["high"]))


def _verified() -> pd.Series:
    claims = published.claims()
    return claims[claims["claim"].str.contains("triton_verified")].iloc[0]


def _newer(arms: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Arms on the newer versions of the Triton comparison, and those of them that are suspected to have run eager."""
    newer = arms[arms["triton"] != arms["triton"].min()]
    return newer, newer[newer["outcome"] == SUSPECTED]


def _flip(found: Findings) -> Verdict:
    """Where the gain went there is no evidence of compiled code."""
    newer, gone = _newer(found.triton[found.triton["phase"] == "prefill"])
    claim, furthest = _verified(), newer.loc[(newer["ratio"] - 1).abs().idxmax()]
    lost = (newer["outcome"] != FASTER).all()
    return _verdict(
        "triton-flip", "a newer Triton alone takes the gain of compiled prefill away.",
        INCONCLUSIVE if len(gone) else SUPPORTED if lost else REFUTED,
        said("on {versions} {n} of {of} compiled arms lie within noise of eager, at most {pct:+.1f} % from it, and "
             "{share} {unit} of the rows are verified ({id}): an arm that ran eager would look the same",
             versions=_listed(newer["triton"]), n=len(gone), of=len(newer), pct=100 * (furthest["ratio"] - 1),
             share=claim.value, unit=claim.unit, id=claim.claim_id),
        value=float(furthest["ratio"]), n=len(newer), unit="of eager's latency, furthest from it",
    )  # fmt: skip


def _listed(values: pd.Series) -> str:
    return " and ".join(sorted(set(values)))


def _crash_gone(found: Findings) -> Verdict:
    """A crash of compiled code cannot be seen where none is shown to have run."""
    mine = found.triton[(found.triton["phase"] == "decode") & (found.triton["mode"] == _GRAPHS)]
    (newer, gone), crashed = _newer(mine), mine[mine["outcome"] == CRASHED]
    failed, tried = int(newer["failed"].sum()), int(newer["tried"].sum())
    return _verdict(
        "triton-crash", "a newer Triton alone takes the decode crash away.",
        INCONCLUSIVE if len(gone) else REFUTED if failed else SUPPORTED,
        said("{crashes} on {before}, {failed} of {tried} on {after}, where decode takes {low:.1%} to {high:.1%} more "
             "than eager although CUDA graphs were asked for: {n} of {of} arms there are suspected fallbacks",
             crashes=crashed["reason"].iloc[0].partition(" and ")[0], before=_listed(crashed["triton"]), failed=failed,
             tried=tried, after=_listed(newer["triton"]), low=newer["ratio"].min() - 1, high=newer["ratio"].max() - 1,
             n=len(gone), of=len(newer)),
        value=failed / tried, interval=wilson(failed, tried), n=tried, unit="of attempts crash on the newer versions",
    )  # fmt: skip


def _index(found: Findings) -> Verdict:
    """The report's own condition on the control, and what else voids it."""
    table = published_index(found.table)
    holds = table[table["verdict"] == HOLDS]
    worst = table.loc[table["control"].idxmax()]
    return _verdict(
        "index", "the index of reproducibility tells how fragile compiled code is over Triton versions.",
        SUPPORTED if len(holds) == len(table) else REFUTED if holds.empty else INCONCLUSIVE,
        said("{holds} of {of} indices hold. {phase} with a {cache} cache: {why}", holds=len(holds), of=len(table),
             phase=worst["phase"].capitalize(), cache=worst["cache"], why=worst["reason"]),
        value=float(worst["control"]), n=len(table), unit="(largest |d| of the control)",
    )  # fmt: skip


def _crashes_past_one(found: Findings) -> Verdict:
    mine = found.of("decode", _GRAPHS)
    dense = mine[mine["dtype"].isin(["float16", "float32"]) & (mine["outcome"] != SUSPECTED)]
    bad = dense[dense["outcome"] == CRASHED]
    least = bad.loc[bad["share_low"].idxmin()]
    return _verdict(
        "graphs-crash", "decode with reduce-overhead crashes, whatever the GPU, the cache and the dense model.",
        SUPPORTED if len(bad) == len(dense) else REFUTED,
        said("{n} of {of} cells crash on {gpus} GPUs, at least {share:.0%} of attempts; suspected fallbacks are left "
             "out", n=len(bad), of=len(dense), gpus=dense["gpu"].nunique(), share=bad["share"].min()),
        value=float(least["share"]), interval=(float(least["share_low"]), float(least["share_high"])),
        n=int(least["tried"]), unit="of attempts, in the cell that crashed least",
    )  # fmt: skip


def _worse_on_a100(found: Findings) -> Verdict:
    """Both crash at every length that both tried: the share differs because one length of one token survives."""
    mine = found.of("decode", _GRAPHS)
    crashed = mine[(mine["outcome"] == CRASHED) & mine["gpu"].str.startswith(("A100", "RTX 6000"))]
    ada, a100 = (crashed[crashed["gpu"].str.startswith(gpu)] for gpu in ("RTX 6000", "A100"))
    pooled, whole = ada.iloc[0], a100[a100["share"] == 1]
    lengths = pooled["new_tokens"].split("/")
    beyond = pooled["failed"] / (pooled["tried"] * (len(lengths) - 1) / len(lengths))
    same = math.isclose(beyond, 1.0) and len(whole) > 0
    return _verdict(
        "a100-worse", "compiled decode is worse on an A100 than on an RTX 6000 Ada.", REFUTED if same else INCONCLUSIVE,
        said("{ada} on the Ada are {beyond:.0%} of those beyond {first} token, as on the A100 at {tried} tokens; the "
             "share is lower because one of {of} lengths is {first} token", ada=pooled["reason"].split(" and ")[0],
             first=lengths[0], beyond=beyond, tried=", ".join(whole["new_tokens"].unique()), of=len(lengths)),
        value=float(beyond), interval=wilson(round(pooled["failed"]), round(pooled["failed"] / beyond)),
        n=int(pooled["failed"]), unit="of the Ada's attempts beyond one token crash",
    )  # fmt: skip


def _prefill_length(found: Findings) -> Verdict:
    """Prefill does not know how many tokens will be decoded."""
    mine = found.cells[(found.cells["phase"] == "prefill") & found.cells["note"].str.contains("token_len")]
    eager, bad = mine[mine["compile_mode"] == "eager"], mine[mine["crash_rate"] == 1]
    spread = eager.groupby("model")["ms"].agg(lambda ms: ms.max() / ms.min() - 1).max()
    return _verdict(
        "a100-prefill", "on an A100 compiled prefill crashes beyond the shortest length.", INCONCLUSIVE,
        said("the lengths {lengths} are of the decode that follows: the prompt is one, and eager prefill differs by "
             "{spread:.1%}; a process that an earlier crash had spoiled fits as well",
             lengths=", ".join(eager["new_tokens"].unique()), spread=spread),
        value=float(spread), n=len(bad), unit="of eager's prefill over the lengths",
    )  # fmt: skip


def _slower(found: Findings) -> Verdict:
    mine = found.of("decode", "default", "static")
    mine = mine[mine["low"].notna()]
    shown = mine[mine["low"] > 1]
    nearest = mine.loc[mine["low"].idxmax()]
    return _verdict(
        "static-slower", "with a static cache, default compilation makes decode slower for every model, on both GPUs.",
        SUPPORTED if len(shown) == len(mine) else INCONCLUSIVE,
        said("{n} of {of} intervals lie above eager: one mean pools decode lengths, and its spread is theirs; nothing "
             "shows that compiled code ran", n=len(shown), of=len(mine)),
        value=float(nearest["ratio"]), interval=_interval(nearest), n=int(nearest["n"]),
        unit="of eager's latency, in the cell nearest to it",
    )  # fmt: skip


def _completes(found: Findings) -> Verdict:
    mine = found.of("decode", "default", "static")
    mine = mine[mine["low"].notna()]
    failed, tried = int(mine["failed"].sum()), int(mine["tried"].sum())
    return _verdict(
        "static-completes", "with a static cache and default compilation, decode no longer crashes.",
        SUPPORTED if not failed else REFUTED,
        said("{failed} of {tried} attempts failed in {n} cells; whether its tokens are right is not shown",
             failed=failed, tried=tried, n=len(mine)),
        value=failed / tried, interval=wilson(failed, tried), n=tried, unit="of attempts crash",
    )  # fmt: skip


def _quantised(found: Findings) -> Verdict:
    mine = found.of("").loc[lambda t: ~t["dtype"].isin(["float16", "float32"]) & (t["code"] == "transformers")]
    shown = mine[mine["low"] > 1]
    slowest = mine.loc[mine["ratio"].idxmax()]
    return _verdict(
        "quantised-neutral", "compiling a quantised model is neutral and stable.", INCONCLUSIVE,
        said("{n} of {of} contrasts are suspected fallbacks, and {slower} intervals of prefill lie above eager",
             n=int((mine["outcome"] == SUSPECTED).sum()), of=len(mine), slower=len(shown)),
        value=float(slowest["ratio"]), interval=_interval(slowest), n=int(slowest["n"]),
        unit="of eager's latency, furthest above it",
    )  # fmt: skip


def _conditions(found: Findings) -> Verdict:
    claims = published.claims()
    mine = claims[(claims["report"] == SOURCE) & claims["claim"].str.startswith("Portability verdict")]
    counts = mine.set_index(mine["claim"].str.removeprefix("Portability verdict "))["value"].astype(int)
    missing = int(counts[counts.index.str.startswith("missing")].sum())
    total = int(counts.sum())
    return _verdict(
        "conditions", "its conditions were compared on two GPUs.", REFUTED if missing > total / 2 else SUPPORTED,
        said("{missing} of {total} conditions have no counterpart on the other GPU", missing=missing, total=total),
        value=1 - missing / total, interval=wilson(total - missing, total), n=total, unit="of conditions compared",
    )  # fmt: skip


def _gpt_fast(found: Findings) -> Verdict:
    mine = found.of("generate", "compiled")
    mine = mine[mine["gpu"] == "A100-PCIe-80GB"]
    failed, tried = int(mine["failed"].sum()), int(mine["tried"].sum())
    return _verdict(
        "gpt-fast-triton", "no Triton version that was tried lets the pinned gpt-fast run compiled.",
        SUPPORTED if failed == tried else REFUTED,
        said("{failed} of {tried} attempts failed over {n} versions", failed=failed, tried=tried, n=len(mine)),
        value=failed / tried, interval=wilson(failed, tried), n=tried, unit="of attempts failed",
    )  # fmt: skip


def _gpt_fast_ratio(found: Findings) -> Verdict:
    """The newer code's eager is not the older code's."""
    cells = found.cells[found.cells["code"].str.startswith("gpt-fast") & (found.cells["phase"] == "generate")]
    speed = cells[cells["throughput_tok_s"].notna()]
    eager, compiled = (speed[speed["compile_mode"] == mode]["throughput_tok_s"] for mode in ("eager", "compiled"))
    best, slow, fast = float(compiled.max()), float(eager.min()), float(eager.max())
    return _verdict(
        "gpt-fast-gain", "on its newest code gpt-fast gains an order of magnitude from compiling.", INCONCLUSIVE,
        said("{ratio} times its own eager, which is {slower} times slower than the pinned code's: {fair} times the "
             "faster eager", ratio=best / slow, slower=fast / slow, fair=best / fast),
        value=best / fast, n=len(speed), unit="times the faster eager",
    )  # fmt: skip


HEADLINES: tuple[Callable[[Findings], Verdict], ...] = (
    _prefill, _flip, _crash_gone, _index, _crashes_past_one, _worse_on_a100, _prefill_length, _slower, _completes,
    _quantised, _conditions, _gpt_fast, _gpt_fast_ratio,
)  # fmt: skip


def unsupported(found: list[Verdict]) -> list[Verdict]:
    """Headlines that the report's own numbers do not support."""
    return [verdict for verdict in found if verdict.verdict in (REFUTED, INCONCLUSIVE)]


WORDS = (SUPPORTED, REFUTED, INCONCLUSIVE, NOT_TESTABLE)
