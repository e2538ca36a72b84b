"""Models and variants, as data.

Shapes of the models are those of ``reference/models.csv``. A revision is a commit to stay at; None means the
repository's main branch, and the record names the commit that was fetched.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from .errors import BenchError, unknown

TORCH_DTYPES = ("float32", "bfloat16", "float16")
HEAD_SIZE = 64  # of models named by their depth and width, as in GPT-2
DTYPES = (*TORCH_DTYPES, "q8_0")


@dataclass(frozen=True)
class Model:
    """A GPT-2 shaped checkpoint: its architecture, where it lives, and what must be trusted to load it."""

    name: str
    repository: str | None
    layers: int
    width: int
    heads: int
    vocabulary: int = 50257
    context: int = 1024
    revision: str | None = None
    remote_code: bool = False
    folder: Path | None = None

    @property
    def inner(self) -> int:
        """Width of the feed-forward layer."""
        return 4 * self.width

    @property
    def block_parameters(self) -> int:
        """Parameters of the transformer blocks and the final layer norm, embeddings apart."""
        d, f = self.width, self.inner
        return self.layers * (4 * d * d + 4 * d + 2 * d * f + f + d + 4 * d) + 2 * d

    @property
    def parameters(self) -> int:
        """All parameters, the tied head counted once."""
        return self.block_parameters + (self.vocabulary + self.context) * self.width


@dataclass(frozen=True)
class Variant:
    """What is compared: an engine with its options."""

    name: str
    backend: str
    help: str
    cache: str = "dynamic"
    compiled: bool = False
    mode: str = "default"
    dynamic: bool | None = None
    padded: bool = False
    all_logits: bool = False
    provider: str | None = None
    served: bool = False
    plant: str | None = None
    requires: str | None = None
    dtypes: tuple[str, ...] = TORCH_DTYPES


# Configuration keys of layers, width, heads, vocabulary and context, in the dialects of the hub.
_SHAPE_KEYS = (
    ("n_layer", "num_hidden_layers"),
    ("n_embd", "hidden_size"),
    ("n_head", "num_attention_heads"),
    ("vocab_size",),
    ("n_positions", "max_position_embeddings"),
)

_MODELS = (
    Model("tiny-gpt2", "Crusadersk/tiny-gpt2", layers=2, width=2, heads=2),
    Model("gpt2-5m", None, layers=12, width=80, heads=2),
    Model("gpt2-25m", "Crusadersk/gpt2-25m", layers=3, width=384, heads=2),
    Model("gpt2-50m", "Crusadersk/gpt2-50m", layers=8, width=512, heads=2),
    Model("gpt2-100m", "Crusadersk/gpt2-100m", layers=8, width=768, heads=2),
    Model("gpt2", "openai-community/gpt2", layers=12, width=768, heads=12),
    Model("gpt-124m", "samkeet/GPT_124M", layers=12, width=768, heads=12, vocabulary=50304, remote_code=True),
    Model("slimgpt", "samueljayasingh/slimGPT", layers=12, width=768, heads=12),
)

_VARIANTS = (
    Variant("eager", "transformers", "plain PyTorch, growing cache"),
    Variant("eager-again", "transformers", "eager under a second label: the A/A control"),
    Variant(
        "eager-all-logits",
        "transformers",
        "eager, logits of every position (as TR126 timed it)",
        all_logits=True,
    ),
    Variant("eager-static", "transformers", "plain PyTorch, static cache", cache="static"),
    Variant(
        "compile",
        "transformers",
        "torch.compile, growing cache, shapes made dynamic when they vary",
        compiled=True,
    ),
    Variant(
        "compile-dynamic-false",
        "transformers",
        "TR126 'baseline': dynamic=False with a growing cache",
        compiled=True,
        dynamic=False,
    ),
    Variant(
        "compile-dynamic-true",
        "transformers",
        "TR126 'dynamic': dynamic=True with a growing cache",
        compiled=True,
        dynamic=True,
    ),
    Variant(
        "compile-padded",
        "transformers",
        "TR126 'padded': dynamic=False, prompt padded to a multiple of eight",
        compiled=True,
        dynamic=False,
        padded=True,
    ),
    Variant(
        "compile-static",
        "transformers",
        "torch.compile with a static cache",
        cache="static",
        compiled=True,
        dynamic=False,
    ),
    Variant(
        "compile-reduce-overhead",
        "transformers",
        "torch.compile with CUDA graphs, growing cache",
        compiled=True,
        mode="reduce-overhead",
        requires="cuda",
    ),
    Variant(
        "compile-static-reduce-overhead",
        "transformers",
        "torch.compile with CUDA graphs and a static cache",
        cache="static",
        compiled=True,
        dynamic=False,
        mode="reduce-overhead",
        requires="cuda",
    ),
    Variant(
        "cudagraph",
        "cuda_graph",
        "eager's kernels in one CUDA graph a decode step, static cache",
        cache="static",
        requires="cuda",
    ),
    Variant(
        "compile-static-max-autotune",
        "transformers",
        "torch.compile, max-autotune without graphs, static cache",
        cache="static",
        compiled=True,
        dynamic=False,
        mode="max-autotune-no-cudagraphs",
    ),
)

# Engines beside PyTorch: each runs a file that this tool makes from the checkpoint, or is asked over HTTP.
_ENGINES = (
    Variant(
        "onnxruntime",
        "onnxruntime",
        "one ONNX graph with its KV cache, exported here",
        dtypes=("float32", "float16"),
    ),
    Variant(
        "onnxruntime-tensorrt",
        "onnxruntime",
        "the same graph through the TensorRT provider",
        provider="TensorrtExecutionProvider",
        requires="cuda",
        dtypes=("float32", "float16"),
    ),
    Variant(
        "llama.cpp",
        "llama_cpp",
        "a GGUF file written here, run in the measuring process",
        dtypes=("float32", "float16", "q8_0"),
    ),
    Variant(
        "llama.cpp-server",
        "llama_server",
        "the same GGUF file through llama.cpp's server",
        served=True,
        dtypes=("float32", "float16", "q8_0"),
    ),
    Variant(
        "llama.cpp-server-again",
        "llama_server",
        "llama.cpp-server under a second label: the A/A control of what is asked over HTTP",
        served=True,
    ),
    Variant(
        "ollama",
        "ollama",
        "the same GGUF file through Ollama",
        served=True,
        dtypes=("float32", "float16", "q8_0"),
    ),
    Variant("vllm", "vllm", "vllm serve in an environment of its own, prefix cache off", served=True),
    Variant("transformers-serve", "transformers_serve", "transformers serve", served=True),
    Variant("openai", "openai", "the OpenAI-compatible server at OPENAI_BASE_URL", served=True),
)

# What the tool measures to test itself: known work, and failures that it must report.
_PLANTED = (
    Variant("known-work", "planted", "a known number of hashes", plant="work"),
    Variant("known-work-again", "planted", "the same under a second label", plant="work"),
    Variant("known-slower-3", "planted", "three percent more of them", plant="slower-3"),
    Variant("known-slower-10", "planted", "ten percent more of them", plant="slower-10"),
    Variant("known-nothing", "planted", "no work at all", plant="nothing"),
    Variant("known-sleep", "planted", "a sleep of fifty milliseconds", plant="sleep"),
    Variant("planted-wrong-token", "planted", "every token one too high", plant="wrong-token"),
    Variant("planted-wrong-logits", "planted", "logits one percent off", plant="wrong-logits"),
    Variant("planted-hang", "planted", "never returns", plant="hang"),
    Variant("planted-crash", "planted", "a segmentation fault", plant="crash"),
    Variant("planted-memory", "planted", "more memory than there is", plant="memory"),
    Variant("planted-neighbour", "planted", "a busy process beside the measurement", plant="neighbour"),
)
_MODELS = (*_MODELS, Model("no-model", None, 0, 0, 0, 0, 0))
_VARIANTS = (*_VARIANTS, *_ENGINES, *_PLANTED)

MODELS = {m.name: m for m in _MODELS}
VARIANTS = {v.name: v for v in _VARIANTS}


def variant(name: str) -> Variant:
    """The variant of that name; BenchError with the nearest names otherwise."""
    if name not in VARIANTS:
        raise unknown("variant", name, VARIANTS)
    return VARIANTS[name]


def model(name: str) -> Model:
    """The model of that name, or one described by ``gpt2-<layers>x<width>``, a local folder or ``owner/name``.

    The first is the architecture alone, with heads of HEAD_SIZE, which must divide the width. A folder's shape is read
    from its config.json; a hub id's is unknown until it is loaded, and its numbers are zero until then. Raises
    BenchError with the nearest names.
    """
    if name in MODELS:
        return MODELS[name]
    if grid := re.fullmatch(r"gpt2-(\d+)x(\d+)", name):
        return _from_grid(name, *map(int, grid.groups()))
    if (folder := Path(name).expanduser()).is_dir():
        return _from_folder(name, folder)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return Model(name, name, 0, 0, 0, 0, 0)
    raise unknown("model", name, MODELS)


def _from_grid(name: str, layers: int, width: int) -> Model:
    if not layers or not width or width % HEAD_SIZE:
        raise BenchError(
            f"model {name!r}: the width must be a multiple of the head size {HEAD_SIZE}, with a layer or more"
        )
    return Model(name, None, layers, width, width // HEAD_SIZE)


def _from_folder(name: str, folder: Path) -> Model:
    try:
        config = json.loads((folder / "config.json").read_text())
        shape = [next(config[k] for k in keys if k in config) for keys in _SHAPE_KEYS]
    except FileNotFoundError:
        raise BenchError(f"model folder {name!r} holds no config.json; give the folder of a saved checkpoint") from None
    except (ValueError, TypeError, StopIteration, RecursionError):
        shape = [None]
    if not all(isinstance(size, int) and size > 0 for size in shape):
        raise BenchError(f"model folder {name!r}: config.json does not state a transformer's shape")
    return Model(folder.name, None, *shape, folder=folder)
