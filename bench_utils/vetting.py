"""What a checkpoint is refused for before it is loaded: its own code, pickles, shapes and ids that do not fit."""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import BenchError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
# A config that describes more than this many times the parameters stored is refused before memory is taken for them.
MOST_DESCRIBED = 2
_AGAIN = "correct config.json, or fetch the checkpoint again"


def read(name: str, file: Path) -> dict:
    """The JSON object in a file of the checkpoint ``name``, empty where there is no such file. Raises BenchError."""
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BenchError(f"{file.name} of {name!r} holds no JSON object; fetch the checkpoint again")
    return found


def refuse_code(name: str, folder: Path, allowed: bool) -> None:
    """BenchError for a checkpoint whose files name code of their own, unless it is allowed; nothing of it is run.

    Code of another repository is never allowed: no revision here pins it.
    """
    for file in ("config.json", "tokenizer_config.json"):
        found = read(name, folder / file)
        if "auto_map" in found and not allowed:
            raise BenchError(
                f"auto_map in {file} of {name!r} asks to run code that comes with the checkpoint; "
                "read it, then list the model in the catalog with remote_code and a pinned revision"
            )
        if "--" in json.dumps(found.get("auto_map")):
            raise BenchError(
                f"auto_map in {file} of {name!r} names code of another repository, which no revision pins; "
                "copy the code beside the weights"
            )


def refuse_pickles(name: str, listed: Iterable[str]) -> None:
    """BenchError for a checkpoint without safetensors; with pickled weights it says how to convert them."""
    listed = set(listed)
    if listed & {SINGLE, INDEX}:
        return
    pickled = sorted(file for file in listed if file.endswith(PICKLED))
    if not pickled:
        raise BenchError(f"{name!r} holds no {SINGLE}; give a repository or a folder of saved weights")
    raise BenchError(
        f"{name!r} has pickled weights only ({pickled[0]}), and to read a pickle can run code; convert it at "
        "https://huggingface.co/spaces/safetensors/convert, or where you trust it with from_pretrained(…)."
        "save_pretrained(folder), and give that folder"
    )


def weight_files(name: str, folder: Path) -> list[Path]:
    """The safetensors of a checkpoint in a folder: the one file, or the shards that its index names.

    Raises BenchError for a file that is missing, and for an index that names anything but safetensors beside it.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    shards = read(name, folder / INDEX).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise BenchError(f"{name!r} holds neither {SINGLE} nor an {INDEX} with a weight_map; fetch it again")
    names = sorted(set(map(str, shards.values())))
    for shard in names:
        if not re.fullmatch(r"\w[\w.-]*\.safetensors", shard):
            raise BenchError(f"weight_map in {INDEX} of {name!r} names {shard!r}, no safetensors beside it; correct it")
        if not (folder / shard).is_file():
            raise BenchError(f"{shard} of {name!r} is missing, and {INDEX} names it; fetch the checkpoint again")
    return [folder / shard for shard in names]


def stored(name: str, files: Iterable[Path]) -> dict[str, list[int]]:
    """Name and shape of every tensor in these files, from their headers; BenchError for one that is no safetensors."""
    from safetensors import SafetensorError, safe_open

    shapes = {}
    for file in files:
        try:
            with safe_open(file, framework="numpy") as opened:
                shapes |= {key: opened.get_slice(key).get_shape() for key in opened.keys()}  # noqa: SIM118 no mapping
        except (SafetensorError, OSError) as error:
            raise BenchError(
                f"{file.name} of {name!r} is no safetensors file, whatever its name says ({first_sentence(error)}); "
                "it was not read further: convert it, or fetch it again"
            ) from error
    return shapes


def refuse_shapes(name: str, folder: Path, tensors: dict[str, list[int]], trusted: bool = False) -> None:
    """BenchError for a config that describes a much larger model than is stored; nothing is allocated to find out."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trusted, local_files_only=True)
        layers = getattr(config.get_text_config(), "num_hidden_layers", None) or 0
        if layers > len(tensors):  # each would take time to describe
            raise BenchError(
                f"config.json of {name!r} describes {layers} layers and {len(tensors)} tensors are stored; {_AGAIN}"
            )
        with torch.device("meta"):
            module = AutoModelForCausalLM.from_config(config, trust_remote_code=trusted)
    except BenchError:
        raise
    except Exception as error:  # numbers that make no model fail wherever they are first used
        raise unreadable(f"config.json of {name!r}", error) from error
    described, held = sum(p.numel() for p in module.parameters()), sum(map(math.prod, tensors.values()))
    if described > MOST_DESCRIBED * held:
        raise BenchError(f"config.json of {name!r} describes {described} parameters and {held} are stored; {_AGAIN}")


def refuse_keys(name: str, info: dict) -> None:
    """BenchError when tensors were missing, left over or of another shape, from the loading info of transformers.

    A tied head is neither: transformers takes it off the list. What is missing would hold random numbers.
    """
    if wrong := sorted(info["mismatched_keys"]):
        key, found, expected = wrong[0]
        said = f"{key} is stored as {list(found)} and should be {list(expected)}"
    elif missing := sorted(info["missing_keys"]):
        said = f"{missing[0]} is not stored, nor are {len(missing) - 1} others"
    elif left := sorted(info["unexpected_keys"]):
        said = f"it has no place for {left[0]}, nor for {len(left) - 1} others"
    else:
        return
    raise BenchError(f"config.json of {name!r} does not describe its weights: {said}; {_AGAIN}")


def vocabulary(name: str, folder: Path) -> int:
    """How many ids the checkpoint's embedding has, as its config.json says. Raises BenchError where it does not."""
    config = read(name, folder / "config.json")
    text = config.get("text_config")
    size = config.get("vocab_size", text.get("vocab_size") if isinstance(text, dict) else None)
    if not isinstance(size, int):
        raise BenchError(f"config.json of {name!r} states no vocab_size; {_AGAIN}")
    return size


def written_ids(name: str, folder: Path) -> Iterator[object]:
    """Every id that the JSON files of a tokenizer state, as written there: what reads them stops at some numbers."""
    tokenizer = read(name, folder / "tokenizer.json")
    model, added = tokenizer.get("model"), tokenizer.get("added_tokens")
    tables = [model.get("vocab") if isinstance(model, dict) else None]
    tables += [read(name, folder / file) for file in ("vocab.json", "added_tokens.json")]
    for table in tables:
        yield from table.values() if isinstance(table, dict) else ()
    for token in added if isinstance(added, list) else ():
        yield token.get("id") if isinstance(token, dict) else None


def refuse_ids(name: str, ids: Iterable[object], size: int) -> None:
    """BenchError for an id of a tokenizer that is not a row of an embedding with ``size`` rows."""
    for id_ in ids:
        if not isinstance(id_, int) or not 0 <= id_ < size:
            raise BenchError(
                f"the tokenizer of {name!r} has the id {id_!r}, and vocab_size in config.json allows 0 to {size - 1}; "
                "correct tokenizer.json or vocab_size"
            )


@contextmanager
def view(files: Iterable[Path]) -> Iterator[Path]:
    """A folder that shows a loader those of these files that exist, and nothing else that may lie beside them."""
    with tempfile.TemporaryDirectory(prefix="bench_checkpoint_") as scratch:
        folder = Path(scratch) / "checkpoint"  # code that is trusted is kept under this name
        folder.mkdir()
        for file in files:
            if file.is_file():
                (folder / file.name).symlink_to(file.resolve())
        yield folder


def unreadable(what: str, error: Exception) -> BenchError:
    """A library's error about a file of a checkpoint, cut to its first sentence."""
    return BenchError(f"{what} cannot be read ({first_sentence(error)}); correct it, or fetch the checkpoint again")


def first_sentence(error: Exception) -> str:
    """The beginning of an error's text, up to its first full stop or line end; its type where it has none."""
    return re.split(r"\.\s|\n", str(error).strip())[0].rstrip(". ") or type(error).__name__
