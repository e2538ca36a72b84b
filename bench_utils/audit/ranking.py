"""Published rankings on the models that all their arms share: unequal model sets rank models, not arms."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from .. import published

POOLED = "pooled"  # in the model name of a mean over several models
COLUMNS = (
    "comparison", "report", "phase", "arm", "published_ms", "models", "published_rank", "common", "common_ms",
    "common_rank",
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """Arms that a report ranks by one mean each, and the sections that hold the means of single models.

    `whole`: every row of the `pooled` section is such a mean, also those over one model. `key`: what makes two
    models the same. `only`: the backend whose configurations are compared.
    """

    name: str
    report: str
    phase: str
    pooled: str
    single: tuple[str, ...]
    arm: str = "backend"
    key: tuple[str, ...] = ("model",)
    only: str = ""
    whole: bool = False


COMPARISONS = (
    Comparison("Backends, prefill", "TR126", "prefill", "9.1", ("9.2",)),
    Comparison("Backends, prefill, newer stack", "TR126", "prefill", "10.6", ("10.6",)),
    Comparison("Backends, decode", "TR126", "kv_decode", "10.2", ("10.2",)),
    Comparison("Backends, end-to-end", "TR126", "e2e_kv", "10.4", ("10.4",)),
    Comparison(
        "Compile configurations, prefill", "TR126", "prefill", "5.", ("5.4", "5.5", "6.1", "6.2"),
        "compile_config", ("model", "dtype"), "transformers-gpu-compile",
    ),
    Comparison("Backends, service call", "TR117", "e2e_service", "3.1", ("3.1",), whole=True),
)  # fmt: skip


def like_for_like() -> pd.DataFrame:
    """One row a comparison and arm: its published mean and rank, and both again over the models all arms share.

    ``models`` is the number of models behind the published mean, ``common`` names the shared ones; ``common_ms`` is
    the mean of the published means of single models, NaN where the arms share no model. Milliseconds; rank 1 is
    fastest.
    """
    cells = published.latency()
    cells = cells[cells["mean_ms"].notna() & (cells["n"] > 0)]
    return pd.concat([_ranked(one, cells) for one in COMPARISONS], ignore_index=True)


def _ranked(one: Comparison, cells: pd.DataFrame) -> pd.DataFrame:
    cells = cells[(cells["report"] == one.report) & (cells["phase"] == one.phase)]
    cells = cells[cells["backend"] == one.only] if one.only else cells
    section, several = cells["section"], cells["model"].str.contains(POOLED)
    means = cells[section.str.startswith(one.pooled) & cells["scenario"].str.startswith("all") & (several | one.whole)]
    single = cells[section.str.startswith(one.single) & ~several]
    single = single.assign(key=single[[*one.key]].agg(" ".join, axis=1))
    table = single.pivot_table("mean_ms", "key", one.arm).reindex(columns=means[one.arm])
    return _table(one, means.set_index(one.arm), table)


def _table(one: Comparison, means: pd.DataFrame, single: pd.DataFrame) -> pd.DataFrame:
    """`means`: a row an arm; `single`: means of single models, a row a model, a column an arm."""
    shared = single.dropna()
    said = pd.to_numeric(means["model"].str.extract(r"^(\d+) Ollama", expand=False))
    table = pd.DataFrame({"published_ms": means["mean_ms"], "models": single.notna().sum()})
    table["models"] = said.fillna(table["models"]).astype(int)
    table["common_ms"] = shared.mean()
    table["published_rank"] = table["published_ms"].rank().astype(int)
    table["common_rank"] = table["common_ms"].rank().astype("Int64")
    table = table.sort_values("published_rank").rename_axis("arm").reset_index()
    table["arm"] = table["arm"].str.split().str[0]
    facts = {"comparison": one.name, "report": one.report, "phase": one.phase, "common": ", ".join(shared.index)}
    return table.assign(**facts)[list(COLUMNS)]
