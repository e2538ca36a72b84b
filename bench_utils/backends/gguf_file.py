"""GGUF files of GPT-2 checkpoints: written like those of llama.cpp's own converter, and read back before use."""

from __future__ import annotations

import hashlib
import json
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..artifacts import ORIGIN, artifact
from ..catalog import Model
from ..errors import BenchError, CellError
from ..loading import load_tokenizer

if TYPE_CHECKING:
    import gguf

FILE = "model.gguf"
WRITER = 1  # another number builds every file anew
WEIGHTS, TOKENIZER = "bench_utils.weights", "bench_utils.tokenizer"
# What the matrices are stored as, and what GGUF calls a file of them; vectors and positions stay in full precision.
STORED = {"float32": ("F32", "ALL_F32"), "float16": ("F16", "MOSTLY_F16"), "q8_0": ("Q8_0", "MOSTLY_Q8_0")}
BLOCK = 32  # weights of a row that share a scale in q8_0
ACTIVATIONS = ("gelu_new", "gelu_pytorch_tanh")
CONV1D = ("c_attn.weight", "c_proj.weight", "c_fc.weight")


def export(store: Path, model: Model, module: torch.nn.Module, provenance: dict, dtype: str) -> Path:
    """The GGUF file of a loaded checkpoint, written into the store unless it is there.

    Raises CellError ``unavailable`` for a checkpoint that GPT-2's layout in GGUF cannot hold, BenchError for a
    file that was altered.
    """
    _refuse(module.config, dtype)
    with tempfile.TemporaryDirectory(prefix="bench_gguf_") as scratch:
        tokenizer = _tokenizer(model, provenance, module.config.vocab_size, Path(scratch))
        builder = {"gguf": version("gguf"), "writer": WRITER, "tokenizer": tokenizer and _sha256(tokenizer)}
        digest = provenance["digest"]
        folder = artifact(
            store, digest, f"gguf-{dtype}", builder, lambda to: write(module, to / FILE, dtype, digest, tokenizer)
        )
    return folder / FILE


def readback(file: Path, digest: str) -> dict:
    """What an exported file adds to the checkpoint's provenance: its dtype, its parameters and its hash.

    BenchError when it holds other weights.
    """
    found = describe(file)
    if found["weights"] != digest:
        raise BenchError(
            f"{FILE} in {file.parent.name!r} holds weights {found['weights']}, asked for {digest}; remove the folder"
        )
    origin = json.loads((file.parent / ORIGIN).read_text())
    return {"dtype": found["dtype"], "parameters": found["parameters"], "artifact": origin["files"][FILE][:16]}


def write(module: torch.nn.Module, path: Path, dtype: str, digest: str, tokenizer: Path | None = None) -> None:
    """Write a GPT-2 checkpoint: ``float32``, ``float16`` or ``q8_0``, with the digest of its weights.

    ``tokenizer`` is the folder of a byte-level BPE tokenizer. Without one every token is named after its number:
    llama.cpp's server aborts on a file without vocabulary, even for prompts of token ids. Raises CellError.
    """
    import gguf

    _refuse(module.config, dtype)
    writer = gguf.GGUFWriter(path, "gpt2")
    _add_shape(writer, module.config, dtype)
    _add_vocabulary(writer, module.config, tokenizer)
    writer.add_string(WEIGHTS, digest)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2, module.config.n_layer)
    for name, parameter in module.named_parameters():  # a tied head appears once, as the embedding
        _add_tensor(writer, names.get_name(name, (".weight", ".bias")), _as_stored(name, parameter), dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def describe(path: Path) -> dict:
    """What a GGUF file says and holds: architecture, dtype of its matrices, parameters, weights, tokenizer, shape."""
    import gguf

    reader = gguf.GGUFReader(path)
    dtypes = {stored: dtype for dtype, (stored, _) in STORED.items()}
    found = {t.tensor_type.name for t in reader.tensors if _is_matrix(t.name, t.shape)}
    arch = _value(reader, "general.architecture")
    return {
        "architecture": arch,
        "dtype": "+".join(sorted(dtypes.get(name, name.lower()) for name in found)),
        "parameters": sum(int(t.n_elements) for t in reader.tensors),
        "weights": _value(reader, WEIGHTS),
        "tokenizer": _value(reader, TOKENIZER),
        "layers": _value(reader, f"{arch}.block_count"),
        "heads": _value(reader, f"{arch}.attention.head_count"),
        "width": _value(reader, f"{arch}.embedding_length"),
        "context": _value(reader, f"{arch}.context_length"),
    }


def _refuse(config, dtype: str) -> None:
    """Raise CellError for a checkpoint that cannot be a GGUF file of this dtype."""
    if reason := _refusal(config, dtype):
        raise CellError("unavailable", reason)


def _refusal(config, dtype: str) -> str | None:
    if config.model_type != "gpt2":
        return f"GGUF files are written of GPT-2 checkpoints only, this one is {config.model_type!r}"
    if config.activation_function not in ACTIVATIONS:
        return f"llama.cpp runs GPT-2 with {ACTIVATIONS[0]} only, this one has {config.activation_function!r}"
    if config.scale_attn_by_inverse_layer_idx or not config.scale_attn_weights:
        return "llama.cpp scales GPT-2's attention by the head size alone, this checkpoint's config asks otherwise"
    if dtype == "q8_0" and (config.n_embd % BLOCK or _inner(config) % BLOCK):
        return f"q8_0 stores rows in blocks of {BLOCK} weights, and a width of {config.n_embd} is no multiple of it"
    return None


def _inner(config) -> int:
    return config.n_inner or 4 * config.n_embd


def _add_shape(writer: gguf.GGUFWriter, config, dtype: str) -> None:
    import gguf

    writer.add_block_count(config.n_layer)
    writer.add_context_length(config.n_positions)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(_inner(config))
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(gguf.LlamaFileType[STORED[dtype][1]])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _add_vocabulary(writer: gguf.GGUFWriter, config, tokenizer: Path | None) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_string(TOKENIZER, "checkpoint" if tokenizer else "none")
    if tokenizer:
        _add_tokens(writer, config, tokenizer)
    else:
        _add_numbers(writer, config)


def _add_tokens(writer: gguf.GGUFWriter, config, tokenizer: Path) -> None:
    """Tokens and merges; ids beyond the tokenizer's are unused."""
    import gguf

    known = [(text, kind) for text, _, kind in gguf.vocab.BpeVocab(tokenizer).all_tokens()]
    unused = [(f"[PAD{i}]", gguf.TokenType.UNUSED) for i in range(len(known), config.vocab_size)]
    tokens, types = zip(*known, *unused, strict=True)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    gguf.SpecialVocab(tokenizer, load_merges=True, n_vocab=config.vocab_size).add_to_gguf(writer, quiet=True)


def _add_numbers(writer: gguf.GGUFWriter, config) -> None:
    """Every id under a name of its own. The end of text is named too: llama.cpp would take token 11 for it."""
    writer.add_token_list([f"<{i}>" for i in range(config.vocab_size)])
    writer.add_token_merges(["< 0"])  # llama.cpp does not load a BPE vocabulary without merges
    if config.eos_token_id in range(config.vocab_size):
        writer.add_eos_token_id(config.eos_token_id)


def _tokenizer(model: Model, provenance: dict, size: int, scratch: Path) -> Path | None:
    """A folder with the checkpoint's tokenizer; None where it has none that a vocabulary of this size can hold."""
    import gguf

    if provenance["weights"] == "architecture":
        return None
    try:
        load_tokenizer(model).save_pretrained(scratch)
        vocabulary = gguf.vocab.BpeVocab(scratch)
    except (BenchError, OSError, ValueError):
        return None
    # a folder without tokenizer loads as an empty one
    merges = gguf.SpecialVocab(scratch, load_merges=True).merges
    return scratch if merges and vocabulary.vocab_size <= size else None


def _sha256(folder: Path) -> str:
    return hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()


def _as_stored(name: str, parameter: torch.Tensor) -> torch.Tensor:
    """GPT-2's Conv1D keeps its matrices the other way round."""
    return parameter.detach().T if name.endswith(CONV1D) else parameter.detach()


def _add_tensor(writer: gguf.GGUFWriter, name: str, tensor: torch.Tensor, dtype: str) -> None:
    import gguf

    values = tensor.float().cpu().contiguous().numpy()
    stored = gguf.GGMLQuantizationType[STORED[dtype][0] if _is_matrix(name, values.shape) else "F32"]
    writer.add_tensor(name, gguf.quants.quantize(values, stored), raw_dtype=stored)


def _is_matrix(name: str, shape) -> bool:
    """Whether a tensor takes the file's dtype."""
    return len(shape) == 2 and not name.startswith("position_embd")


def _value(reader: gguf.GGUFReader, key: str):
    field = reader.get_field(key)
    return field.contents() if field else None
