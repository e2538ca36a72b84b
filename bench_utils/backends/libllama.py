"""llama.cpp's C interface, as far as one sequence needs it: the library that the xllamacpp package carries.

The package's own Python interface is a server, with slots and a prompt cache; its library exports ``llama.h``.
The two structures below follow that header, which grows without notice: ``library`` compares the defaults that
the library fills in with those that the header states, and refuses a package whose layout moved.
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int, c_int32, c_size_t, c_uint32, c_void_p
from importlib.metadata import version

import numpy as np

from ..errors import CellError

TESTED = "2026.10.11549"  # of xllamacpp: the version whose header these structures follow
SPARE = ("spare", ctypes.c_byte * 256)  # room for a structure that has grown, so that it can be refused
LOG = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)
INFO, ERROR = 2, 4  # levels of the log
FLASH = "Flash Attention enabled"  # what the log says once every operator that it takes was found


def _of(kind, names: str) -> list[tuple]:
    return [(name, kind) for name in names.split()]


class ModelParams(ctypes.Structure):
    """``llama_model_params``."""

    _fields_ = [
        *_of(c_void_p, "devices tensor_buft_overrides"),
        *_of(c_int32, "n_gpu_layers split_mode load_mode lazy_mode main_gpu"),
        *_of(c_void_p, "tensor_split progress_callback progress_callback_user_data kv_overrides"),
        *_of(c_bool, "vocab_only check_tensors use_extra_bufts no_host no_alloc load_mtp"),
        SPARE,
    ]


class ContextParams(ctypes.Structure):
    """``llama_context_params``."""

    _fields_ = [
        *_of(c_uint32, "n_ctx n_batch n_ubatch n_seq_max n_rs_seq n_outputs_max n_outputs_max_per_seq"),
        *_of(c_int32, "n_threads n_threads_batch ctx_type rope_scaling_type pooling_type attention_type"),
        *_of(c_int32, "flash_attn_type"),
        *_of(c_float, "rope_freq_base rope_freq_scale yarn_ext_factor yarn_attn_factor yarn_beta_fast yarn_beta_slow"),
        ("yarn_orig_ctx", c_uint32),
        ("defrag_thold", c_float),
        *_of(c_void_p, "cb_eval cb_eval_user_data"),
        *_of(c_int, "type_k type_v"),
        ("moe_cache_size", c_size_t),
        *_of(c_void_p, "abort_callback abort_callback_data"),
        *_of(c_bool, "embeddings offload_kqv no_perf op_offload swa_full kv_unified"),
        ("samplers", c_void_p),
        ("n_samplers", c_size_t),
        ("ctx_other", c_void_p),
        SPARE,
    ]


class Batch(ctypes.Structure):
    """``llama_batch``."""

    _fields_ = [("n_tokens", c_int32), *_of(c_void_p, "token embd pos n_seq_id seq_id logits")]


# Defaults that the header states; they lie at both ends of each structure and after every kind of field.
MODEL_DEFAULTS = {"n_gpu_layers": -1, "split_mode": 1, "load_mode": -1, "kv_overrides": None, "use_extra_bufts": True,
                  "no_host": False}  # fmt: skip
CONTEXT_DEFAULTS = {"n_ctx": 512, "n_batch": 2048, "n_ubatch": 512, "n_seq_max": 1, "n_threads": 4,
                    "flash_attn_type": -1, "yarn_ext_factor": -1.0, "defrag_thold": -1.0, "type_k": 1, "type_v": 1,
                    "abort_callback": None, "embeddings": False, "offload_kqv": True, "no_perf": True,
                    "op_offload": True, "swa_full": True, "kv_unified": False, "samplers": None,
                    "n_samplers": 0, "ctx_other": None}  # fmt: skip

_SIGNATURES = {
    "llama_backend_init": (None,),
    "llama_batch_get_one": (Batch, c_void_p, c_int32),
    "llama_context_default_params": (ContextParams,),
    "llama_decode": (c_int32, c_void_p, Batch),
    "llama_free": (None, c_void_p),
    "llama_get_logits_ith": (POINTER(c_float), c_void_p, c_int32),
    "llama_get_memory": (c_void_p, c_void_p),
    "llama_init_from_model": (c_void_p, c_void_p, ContextParams),
    "llama_log_set": (None, LOG, c_void_p),
    "llama_memory_clear": (None, c_void_p, c_bool),
    "llama_model_default_params": (ModelParams,),
    "llama_model_free": (None, c_void_p),
    "llama_model_get_vocab": (c_void_p, c_void_p),
    "llama_model_load_from_file": (c_void_p, c_char_p, ModelParams),
    "llama_model_n_params": (ctypes.c_uint64, c_void_p),
    "llama_n_threads": (c_int32, c_void_p),
    "llama_supports_gpu_offload": (c_bool,),
    "llama_version": (c_char_p,),
    "llama_vocab_n_tokens": (c_int32, c_void_p),
}

_said: list[tuple[int, str]] = []


@LOG
def _log(level: int, text: bytes, _) -> None:
    """Keep what the library says while a model loads; it says nothing while one runs."""
    if level >= INFO:
        _said.append((level, text.decode(errors="replace").strip()))


@functools.cache
def library() -> ctypes.CDLL:
    """The library, with its functions' signatures; CellError ``unavailable`` when its structures have moved."""
    import xllamacpp.xllamacpp

    lib = ctypes.CDLL(xllamacpp.xllamacpp.__file__)
    try:
        for name, (result, *arguments) in _SIGNATURES.items():
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as error:
        raise moved(str(error)) from None
    check(lib.llama_model_default_params(), MODEL_DEFAULTS)
    check(lib.llama_context_default_params(), CONTEXT_DEFAULTS)
    lib.llama_log_set(_log, None)
    lib.llama_backend_init()
    return lib


def check(found: ctypes.Structure, expected: dict) -> None:
    """Raise CellError unless every default is where the structure says."""
    for name, value in expected.items():
        if getattr(found, name) != value:
            raise moved(f"{name} reads {getattr(found, name)}, not {value}")


def moved(evidence: str) -> CellError:
    """The error for a package whose interface is another one."""
    return CellError(
        "unavailable",
        f"xllamacpp {version('xllamacpp')} has another interface than {TESTED} ({evidence}); "
        f"pip install xllamacpp=={TESTED}",
    )


class Sequence:
    """One model with one sequence: token ids in, logits of the last position out."""

    def __init__(self, path: str, model_options: dict, context_options: dict) -> None:
        """Load a GGUF file; options are fields of the two structures. CellError with llama.cpp's own words."""
        self._lib, self._model, self._context = library(), None, None
        _said.clear()
        params = self._lib.llama_model_default_params()
        self._model = self._lib.llama_model_load_from_file(path.encode(), _set(params, model_options))
        if not self._model:
            raise self._refused("load this file")
        params = self._lib.llama_context_default_params()
        self._context = self._lib.llama_init_from_model(self._model, _set(params, context_options))
        if not self._context:
            raise self._refused("run this model")
        self.flash = any(FLASH in line for _, line in _said)
        self._memory = self._lib.llama_get_memory(self._context)
        self._vocabulary = self._lib.llama_vocab_n_tokens(self._lib.llama_model_get_vocab(self._model))

    def _refused(self, what: str) -> CellError:
        self.close()
        errors = "; ".join(line for level, line in _said if level == ERROR)
        return CellError("unavailable", f"llama.cpp cannot {what}: {errors or 'it does not say why'}")

    def clear(self) -> None:
        """Forget every token so far."""
        self._lib.llama_memory_clear(self._memory, True)

    def forward(self, ids: np.ndarray) -> np.ndarray:
        """One forward of ``ids`` (int32) behind what is remembered: the last position's logits, until the next call."""
        if code := self._lib.llama_decode(self._context, self._lib.llama_batch_get_one(ids.ctypes.data, len(ids))):
            raise RuntimeError(f"llama_decode answered {code}")
        return np.ctypeslib.as_array(self._lib.llama_get_logits_ith(self._context, -1), (self._vocabulary,))

    def parameters(self) -> int:
        """Parameters of what was loaded."""
        return self._lib.llama_model_n_params(self._model)

    def threads(self) -> int:
        """Threads of a single-token forward."""
        return self._lib.llama_n_threads(self._context)

    def close(self) -> None:
        """Free the memory."""
        if self._context:
            self._lib.llama_free(self._context)
        if self._model:
            self._lib.llama_model_free(self._model)
        self._model = self._context = None


def _set(params: ctypes.Structure, options: dict) -> ctypes.Structure:
    for name, value in options.items():
        setattr(params, name, value)
    return params
