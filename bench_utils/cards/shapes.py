"""Sizes of models from their configuration alone, in both units where a unit is part of the number."""

from __future__ import annotations

import pandas as pd

from ..catalog import Model
from ..formatting import count, significant
from ..physics import BYTES
from .evidence import Evidence

# Bytes in a unit; the same letters with an i are powers of 1024.
UNITS = {"MB": 1e6, "MiB": 1024**2, "GB": 1e9, "GiB": 1024**3}
_TWIN = {"MB": "MiB", "MiB": "MB", "GB": "GiB", "GiB": "GB"}


def embeddings(model: Model) -> int:
    """Parameters of the token and position tables."""
    return (model.vocabulary + model.context) * model.width


def untied(model: Model) -> int:
    """Parameters when the head is a matrix of its own."""
    return model.parameters + model.vocabulary * model.width


def weights(model: Model, dtype: str = "float32") -> float:
    """Bytes of the weights, the tied head counted once."""
    return model.parameters * BYTES[dtype]


def masks(model: Model, size: int = 1) -> int:
    """Bytes of the causal masks that older checkpoints hold: context × context in every layer, of `size` bytes."""
    return model.layers * model.context**2 * size


def cache(model: Model, tokens: int, dtype: str) -> float:
    """Bytes of the keys and values of so many tokens, one sequence."""
    return 2 * model.layers * model.width * tokens * BYTES[dtype]


def both(bytes_: float, unit: str) -> str:
    """A size in a unit and in its twin: "206 MB (196 MiB)", to four digits."""
    ours, other = (f"{significant(bytes_ / UNITS[one], 4)} {one}" for one in (unit, _TWIN[unit]))
    return f"{ours} ({other})"


def twin(unit: str) -> str:
    """The unit that is easily taken for another: MiB for MB."""
    return _TWIN[unit]


def sizes(evidence: Evidence) -> pd.DataFrame:
    """A row a model of the cards: configuration, parameters with and without embeddings, bytes by dtype, cache.

    Sizes of weights in 10^6 bytes (``_mb``) and 2^20 bytes (``_mib``); ``cache_kib`` a token in float32.
    """
    return pd.DataFrame([_row(model) for model in evidence.models])


def _row(model: Model) -> dict[str, object]:
    known = {"model": model.name, "layers": model.layers, "width": model.width, "heads": model.heads}
    known |= {"head_size": model.width // model.heads, "parameters": model.parameters}
    known |= {"without": model.block_parameters, "embeddings": embeddings(model)}
    for name, dtype in (("fp32", "float32"), ("fp16", "float16")):
        known |= {
            f"{name}_mb": weights(model, dtype) / UNITS["MB"],
            f"{name}_mib": weights(model, dtype) / UNITS["MiB"],
        }
    return known | {"cache_kib": cache(model, 1, "float32") / 2**10}


def counted(model: Model) -> str:
    """Parameters in words: all, and how they divide."""
    return (
        f"{count(model.parameters)} parameters: {count(model.block_parameters)} in the blocks, "
        f"{count(embeddings(model))} in the embeddings"
    )
