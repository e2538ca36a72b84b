"""Claims about outputs and causes, decided from committed runs; where none holds the cells, what would decide them."""

from __future__ import annotations

import pandas as pd

from .. import frames
from ..audit.evidence import said
from ..claims import INCONCLUSIVE, REFUTED, SUPPORTED, Verdict
from ..formatting import with_interval
from ..records import TIMED
from .evidence import Committed, Evidence
from .stated import Stated, decided, either, open_

_DEPTH = ("depth-decides-decode", "depth-decides-prefill")
_ALIKE = ("eager", "eager-again")  # one and the same code under two labels, on the same prompt in every round
_CALL = ["run", "model", "dtype", "phase", "prompt_tokens", "new_tokens", "batch_size", "round"]


def parity(stated: Stated, evidence: Evidence) -> Verdict:
    """Greedy tokens and logit statistics against the stored reference of the same weights."""
    model = stated.shape()
    found = evidence.receipts[evidence.receipts["model"] == model.name]
    checks = [r["parity"] for r in found.get("receipt", []) if "parity" in r and r["parity"]["status"] != "unknown"]
    if not checks:
        return open_(stated, f"a run that loads {model.name} and compares it with its stored reference")
    exact = [check for check in checks if check["status"] == "ok"]
    evident = ", ".join(dict.fromkeys(check["evidence"] for check in checks))
    reason = (
        f"{len(exact)} of {len(checks)} comparisons hold: {evident}; on seeded weights, and heads of size "
        f"{model.width // model.heads} in {model.layers} layers leave little that could differ"
    )
    facts = {"value": len(exact), "unit": f"of {len(checks)} comparisons hold"}
    return either(stated, len(exact) == len(checks), reason, **facts)


def determinism(stated: Stated, evidence: Evidence) -> Verdict:
    """The same tokens from two processes that ran the same code on the same prompt; times are never the same."""
    names = [model.name for model in evidence.about(stated)]
    tables = [_alike(names, run) for run in evidence.runs if set(names) & set(run.receipts["model"])]
    cells = pd.concat(tables) if tables else pd.DataFrame(columns=[*_CALL, "tokens", "latency_ms"])
    pairs = cells.groupby(_CALL).filter(lambda mine: len(mine) > 1).groupby(_CALL)
    if not len(pairs):
        return open_(stated, f"two processes with the same prompt and the same code for {', '.join(names)}")
    kinds, spread = pairs["tokens"].nunique(), pairs["latency_ms"].max() / pairs["latency_ms"].min() - 1
    reason = said(
        "{same} of {n} pairs of processes ({models}) of one code and one prompt gave the same tokens, and medians up "
        "to {spread:.1%} apart. They run in evaluation mode, where PyTorch's dropout passes everything on whatever its "
        "rate: that, and not a rate of zero, makes outputs repeat; another rate was not run", spread=spread.max(),
        same=int((kinds == 1).sum()), n=len(kinds),
        models=", ".join(sorted(set(kinds.index.get_level_values("model")))),
    )  # fmt: skip
    facts = {"value": int((kinds > 1).sum()), "unit": "pairs with other tokens", "n": len(kinds)}
    return either(stated, bool((kinds == 1).all()), reason, **facts)


def _alike(names: list[str], run: Committed) -> pd.DataFrame:
    cells = frames.medians(run.rows).dropna(subset=["tokens"])
    return cells[cells["model"].isin(names) & cells["variant"].isin(_ALIKE) & cells["phase"].isin(TIMED)]


def depth(stated: Stated, evidence: Evidence) -> Verdict:
    """The report on depth against width, on a GPU: both of its claims; on a CPU it only informs."""
    runs = [run for run in evidence.runs if run.manifest.report == "depth_vs_width"]
    known = [(run, claim, found) for run in runs for claim in _DEPTH if (found := run.verdict(claim)) is not None]
    words = "; ".join(
        f"{run.name}, {claim}: {v['verdict']}, crossover at width {with_interval(v['value'], v['low'], v['high'])}"
        for run, claim, v in known
    )
    correlations = [c for c in evidence.sources.claims.values() if c["metric"] == "rho"]
    published = "; ".join(f"{c['claim']}: {c['value']} ({c['comparison']}, {c['report']})" for c in correlations)
    gpu = [found["verdict"] for run, _, found in known if not run.on_cpu]
    if not gpu:
        return open_(stated, "the report depth_vs_width on a GPU", "; ".join(filter(None, (words, published))))
    verdict = REFUTED if REFUTED in gpu else SUPPORTED if set(gpu) == {SUPPORTED} else INCONCLUSIVE
    return decided(stated, verdict, f"{words}; published: {published}", value=len(gpu), unit="verdicts on GPUs")


def threads(stated: Stated, evidence: Evidence) -> Verdict:
    """One thread against several: every run has as many as there are cores."""
    counts = sorted({int(r["threads"]) for r in evidence.receipts.get("receipt", []) if "threads" in r})
    known = f"every receipt names {', '.join(map(str, counts))} threads" if counts else ""
    needed = f"decode of {stated.model} on a CPU with one thread and with several, in the same rounds,"
    return open_(stated, needed, known)


def loading(stated: Stated, evidence: Evidence) -> Verdict:
    """Time to load one format over the other."""
    kinds = sorted(
        {str(weights) for weights in evidence.receipts.get("weights", pd.Series(dtype=object)).dropna()} - {"none"}
    )
    known = f"the weights of recorded runs: {', '.join(kinds)}" if kinds else ""
    needed = f"loading {stated.model} from a safetensors file and from a pickled one, in the same rounds,"
    return open_(stated, needed, known)
