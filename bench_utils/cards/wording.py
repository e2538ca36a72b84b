"""What the verdicts on cards come to, as sentences and heads computed from their frames."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..audit.sources import digests
from ..claims import NOT_TESTABLE, REFUTED
from ..formatting import count
from .evidence import Evidence
from .verdicts import WORDS

# What the heads of the page's tables say.
HEADS = {
    "shapes": {
        "model": "Model", "layers": "Layers", "width": "Width", "heads": "Heads", "head_size": "Head size",
        "parameters": "Parameters", "without": "In blocks", "embeddings": "In embeddings",
    },
    "bytes": {
        "model": "Model", "fp32_mb": "float32, MB", "fp32_mib": "float32, MiB", "fp16_mb": "float16, MB",
        "fp16_mib": "float16, MiB", "cache_kib": "Cache a token, KiB",
    },
    "constants": {
        "name": "Constant", "value": "Value", "source": "Source", "date": "Date", "others": "Other values",
        "claims": "Claims",
    },
    "refuted": {"claim_id": "Claim", "claim": "What is stated", "reason": "What is so"},
    "open": {"claim_id": "Claim", "claim": "What is stated", "reason": "What would decide it"},
}  # fmt: skip
# Subjects of the cards that this package has nothing to measure with, by a word that claims about them hold.
_OUT = {
    "training": ("train", "Train"), "recipes for fine-tuning, LoRA and the Trainer among them": ("ine-tun", "LoRA"),
    "TensorFlow Lite": ("TensorFlow", "TFLite"), "JAX": ("JAX",),
}  # fmt: skip


def cards_in_words(counts: pd.DataFrame) -> str:
    """For each card, how many of its claims came out how."""
    said = [
        f"{card}: {', '.join(f'{count(row[word])} {word}' for word in WORDS if row[word])}"
        for card, row in counts.iterrows()
    ]
    return f"Claims by card and verdict: {'; '.join(said)}."


def refuted(table: pd.DataFrame) -> pd.DataFrame:
    """The claims that are refuted, with what is so instead."""
    return table[table["verdict"] == REFUTED].reset_index(drop=True)


def undecided(table: pd.DataFrame) -> pd.DataFrame:
    """The claims that nothing here can decide, with what would."""
    return table[table["verdict"] == NOT_TESTABLE].reset_index(drop=True)


def out_of_scope(evidence: Evidence) -> str:
    """Subjects that the cards bring up and this package does not measure, each with the claims that touch it."""
    said = []
    for subject, words in _OUT.items():
        ids = [s.claim_id for s in evidence.claims if any(word in s.claim for word in words)]
        said.append(f"{subject} ({', '.join(ids) or 'no claim'})")
    return "; ".join(said)


def provenance(found: pd.DataFrame, evidence: Evidence, folder: Path | None = None) -> dict[str, str]:
    """What the page rests on: committed runs, the digest of each table, and how many claims came out how."""
    tally = found["verdict"].value_counts()
    outcomes = ", ".join(f"{count(tally.get(word, 0))} {word}" for word in WORDS)
    tables = digests(folder)
    files = {name: tables[name] for name in ("cards", "models", "latency", "claims")}
    runs = "; ".join(f"{run.name}, {run.manifest.run}, {run.manifest.preset}" for run in evidence.runs)
    known = {"Measured": "nothing by this report: what was measured is read from committed runs", "Verdicts": outcomes}
    known |= {"Runs read": runs or "none"}
    return known | {f"Table of {table}": f"{name}, sha256 {digest}" for table, (name, digest) in files.items()}
