"""Findings on quality as sentences and tables: each computed from a frame."""

from __future__ import annotations

import pandas as pd

from ..formatting import count, with_interval
from .asked import BASELINE
from .figures import NOTHING
from .summary import ARM, Found, accuracies, differences, losses

LOSS_HEADS = {
    "arm": "Arm", "task": "Text", "tokens": "Tokens", "perplexity_said": "Perplexity", "bits_said": "Bits a byte",
}  # fmt: skip
DIFFERENCE_HEADS = {"task": "Text or task", "arms": "Compared", "said": "Difference", "significant": "Beyond noise"}
ACCURACY_HEADS = {
    "arm": "Arm", "task": "Task", "items": "Items", "accuracy_norm": "Right by bytes",
    "accuracy": "Right by likelihood",
}  # fmt: skip
_SOURCES = {"hub": "the hub's checkpoint", "local": "a local folder", None: "none that were trained"}
REFUSED_HEADS = {"models": "Models", "arms": "Arms", "tasks": "Texts and tasks", "status": "Status", "reason": "Why"}


def headline(found: Found, beside: pd.DataFrame) -> str:
    """The answer in one clause: what the fastest arm costs, or why nothing can be said."""
    arms = len(found.tasks.drop_duplicates(ARM))
    if found.scores.empty:
        return f"no quality is stated for any of {count(arms)} arms, for the reasons below"
    both = beside.dropna(subset=["latency", "difference"])
    both = both[(both["variant"] != BASELINE[0]) | (both["dtype"] != BASELINE[1])]
    if len(both):
        best = both.loc[both["latency"].idxmin()]
        return (
            f"the fastest arm that was timed, {_arm(best)}, takes "
            f"{with_interval(best['latency'], best['latency_low'], best['latency_high'])} times as long to decode as "
            f"eager float32, and its loss is {with_interval(best['difference'], best['low'], best['high'])} nats a "
            "token above it"
        )
    known = len(found.tasks[found.tasks["status"] == "ok"].drop_duplicates(ARM))
    return f"{count(known)} of {count(arms)} arms have a quality; of none but eager float32 the speed was measured"


def losses_in_words(table: pd.DataFrame) -> str:
    """Every loss, an arm a clause."""
    if table.empty:
        return NOTHING
    said = [f"{_arm(r)} on {r['task']}: {_said(r, 'loss')} nats a token" for _, r in table.iterrows()]
    return "; ".join(said) + "."


def cost_in_words(beside: pd.DataFrame) -> str:
    """What each arm's speed costs, and what is missing."""
    said = []
    for _, row in beside.iterrows():
        latency = with_interval(row["latency"], row["latency_low"], row["latency_high"])
        loss = with_interval(row["difference"], row["low"], row["high"])
        known = [] if pd.isna(row["latency"]) else [f"{latency} times the latency of eager float32"]
        known += [] if pd.isna(row["difference"]) else [f"{loss} nats a token above its loss"]
        said.append(f"{_arm(row)}: {', '.join([*known, *filter(None, [row['missing']])])}")
    return "; ".join(said) + "." if said else "Nothing was scored."


def loss_table(known: pd.DataFrame) -> pd.DataFrame:
    """Perplexities and bits a byte with their intervals in words, LOSS_HEADS; the losses are in the figure."""
    table = known.copy()
    table["arm"] = [_arm(row) for _, row in known.iterrows()]
    for name in ("perplexity", "bits"):
        table[f"{name}_said"] = [_said(row, name) for _, row in known.iterrows()]
    return table.reindex(columns=list(LOSS_HEADS))


def difference_table(known: pd.DataFrame) -> pd.DataFrame:
    """Paired differences with their intervals in words, DIFFERENCE_HEADS."""
    table = known.copy()
    table["arms"] = [_compared(row) for _, row in known.iterrows()]
    table["said"] = [_change(row) for _, row in known.iterrows()]
    return table.reindex(columns=list(DIFFERENCE_HEADS))


def _compared(row: pd.Series) -> str:
    """Two variants of one model, or two models in one variant."""
    plain = " ".join(BASELINE)
    if row["compared"] == "models":
        return f"{_arm(row)} against {row['against'].removesuffix(f' {plain}')}"
    return f"{_arm(row)} against {plain}"


def _change(row: pd.Series) -> str:
    return with_interval(row["difference"], row["low"], row["high"], row["unit"])


def accuracy_table(known: pd.DataFrame) -> pd.DataFrame:
    """Shares of items answered right, with their intervals in words, ACCURACY_HEADS."""
    table = known.copy()
    table["arm"] = [_arm(row) for _, row in known.iterrows()]
    for name, tail in (("accuracy", ""), ("accuracy_norm", "_norm")):
        table[name] = [with_interval(r[name], r[f"low{tail}"], r[f"high{tail}"]) for _, r in known.iterrows()]
    return table.reindex(columns=list(ACCURACY_HEADS))


def refusals(found: Found) -> pd.DataFrame:
    """Where no quality is stated and why, a row a reason, REFUSED_HEADS; each reason names its remedy."""
    table = [
        {
            "models": _listed(group["model"]),
            "arms": _listed(group["variant"] + " " + group["dtype"]),
            "tasks": _listed(group["task"]),
            "status": status,
            "reason": reason,
        }
        for (status, reason), group in found.refused.groupby(["status", "reason"], sort=False)
    ]
    return pd.DataFrame(table, columns=list(REFUSED_HEADS))


def _listed(names: pd.Series) -> str:
    return ", ".join(dict.fromkeys(names))


def protocol(found: Found) -> dict[str, str]:
    """The windows, texts and weights that were in force."""
    asked = found.manifest.plan["scores"]
    receipts = found.tasks.loc[found.tasks["status"] == "ok", ["model", "task", "receipt"]]
    facts = {
        "Windows": f"{count(asked['context'])} tokens, a stride of {count(asked['stride'])}; every token is scored "
        "once, the first behind the token that begins a text",
        "Texts and tasks": ", ".join([*asked["texts"], *asked["tasks"]]),
        "Most documents of a task": count(asked["limit"]) if asked["limit"] else "all",
        "Intervals": "over documents: t on the residuals of the ratio of totals, two-sided 95 %; shares by Wilson",
        "Differences": "paired by document; Holm's correction over all of the run",
    }
    for task, group in receipts.groupby("task", sort=False):
        facts[f"Digest of {task}"] = ", ".join(dict.fromkeys(r["text"] for r in group["receipt"]))
    for model, group in receipts.groupby("model", sort=False):
        facts[f"Tokenizer of {model}"] = ", ".join(dict.fromkeys(r["tokenizer"] for r in group["receipt"]))
        facts[f"Weights of {model}"] = ", ".join(dict.fromkeys(_weights(r["provenance"]) for r in group["receipt"]))
    return facts


def weights_in_words(found: Found) -> str:
    """Where the weights of each model come from."""
    sources = dict.fromkeys(found.tasks["model"])
    for row in found.tasks[found.tasks["status"] == "ok"].itertuples():
        sources[row.model] = row.receipt["provenance"]["weights"]
    return "; ".join(f"{model}: {_SOURCES[source]}" for model, source in sources.items())


def quantised_in_words(found: Found) -> str:
    """Which modules int8 covers: read from the receipts."""
    done = [(r.model, r.receipt) for r in found.tasks.itertuples() if r.receipt.get("quantised")]
    said = {
        model: f"of {model}, {count(len(r['quantised']))} matrices with {count(r['quantised_parameters'])} weights "
        f"were quantised to int8, of {count(r['parameters'])} parameters (a tied head gets a copy of its own)"
        for model, r in done
    }
    return "; ".join(said.values()).capitalize() + "." if said else "No arm was scored in int8."


def printed(found: Found) -> str:
    """The tables of a run as plain text, for a terminal."""
    lines = [
        f"{_arm(r)}, {r['task']}: loss {_said(r, 'loss')} nats a token, perplexity {_said(r, 'perplexity')}, "
        f"{_said(r, 'bits')} bits a byte ({count(r['tokens'])} tokens in {count(r['documents'])} documents)"
        for _, r in losses(found.scores).iterrows()
    ]
    lines += [
        f"{_arm(r)}, {r['task']}: {with_interval(r['accuracy_norm'], r['low_norm'], r['high_norm'])} right by bytes, "
        f"{with_interval(r['accuracy'], r['low'], r['high'])} by likelihood ({count(r['items'])} items)"
        for _, r in accuracies(found.scores).iterrows()
    ]
    lines += [
        f"{_compared(r)}, {r['task']}: {_change(r)}, {'beyond noise' if r['significant'] else 'within noise'}"
        for _, r in differences(found.scores).iterrows()
    ]
    lines += [f"{r.models} {r.arms}, {r.tasks}: {r.status}, {r.reason}" for r in refusals(found).itertuples()]
    facts = protocol(found)
    return "\n".join(
        [*lines, *(f"{name}: {facts[name]}" for name in facts if name.startswith(("Windows", "Digest", "Tok")))]
    )


def _arm(row: pd.Series) -> str:
    return " ".join(row[name] for name in ARM)


def _said(row: pd.Series, name: str) -> str:
    return with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"])


def _weights(provenance: dict) -> str:
    words = [provenance["weights"], provenance.get("repository"), provenance.get("revision")]
    return " ".join(filter(None, words)) + f", {provenance['dtype']} {provenance['digest']}"
