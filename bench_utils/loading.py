"""Loading a model with provenance: from the hub, from a folder, or its architecture alone with seeded weights."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from .catalog import TORCH_DTYPES, Model
from .catalog import model as find_model
from .errors import BenchError, unknown

if TYPE_CHECKING:
    import torch

WEIGHTS = ("auto", "hub", "local", "architecture")
SEED = 0
# With the usual 0.02 a model repeats one to four tokens whatever its cache holds; with 0.1 a lost cache shows.
BLOCK_STD = 0.1
EMBEDDING_STD = 0.02
PROBE_SECONDS = 3.0


@dataclass(frozen=True)
class Provenance:
    """Where weights came from, and what was read back from them once loaded."""

    weights: str
    repository: str | None
    revision: str | None
    dtype: str
    parameters: int
    digest: str
    attention: str

    def asdict(self) -> dict:
        """As a plain dictionary."""
        return asdict(self)


@dataclass(frozen=True)
class Loaded:
    """A model ready to run, in evaluation mode, with its provenance."""

    module: torch.nn.Module
    provenance: Provenance


def resolve_weights(weights: str, models: Iterable[Model]) -> str:
    """Turn ``auto`` into ``hub`` or ``architecture``, once a run, with one probe of three seconds.

    ``hub`` when every repository is in the local cache or the hub answers; ``architecture`` otherwise.
    """
    if weights not in WEIGHTS:
        raise unknown("weights", weights, WEIGHTS)
    repositories = [m.repository for m in models if m.repository and not m.folder]
    if weights != "auto" or not repositories:
        return "architecture" if weights == "auto" else weights
    return "hub" if all(map(_cached, repositories)) or _hub_answers(repositories[0]) else "architecture"


def _cached(repository: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(repository, "model.safetensors"), str)


def _hub_answers(repository: str) -> bool:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return False
    try:
        HfApi().model_info(repository, timeout=PROBE_SECONDS)
    except HfHubHTTPError:
        return True  # it answered; what it said is the loader's to report
    except (OSError, OfflineModeIsEnabled, RuntimeError, ValueError):
        return False
    except Exception as error:  # the HTTP library's own connection errors share no base class with OSError
        if "connect" in type(error).__name__.lower() or "timeout" in type(error).__name__.lower():
            return False
        raise
    return True


def load_model(
    name: str | Model,
    device: str = "cpu",
    dtype: str = "float32",
    weights: str = "auto",
    trust_remote_code: bool = False,
) -> Loaded:
    """Load a catalog model, a hub id or a local folder in evaluation mode.

    ``weights``: ``hub`` (safetensors at the pinned revision), ``local`` (a folder), ``architecture`` (seeded
    random weights), or ``auto``: the hub where it answers, the architecture otherwise; the provenance says which.
    Raises BenchError for an unknown name, dtype or source, and for a repository that needs its own code.
    """
    model = find_model(name) if isinstance(name, str) else name
    if dtype not in TORCH_DTYPES:
        raise unknown("dtype", dtype, TORCH_DTYPES)
    source = _source(model, resolve_weights(weights, [model]))
    if source == "architecture":
        module = _build(model, device, dtype)
    else:
        module = _pretrained(model, device, dtype, trust_remote_code)
    module.eval()
    return Loaded(module, _provenance(model, module, source))


def load_tokenizer(name: str | Model):
    """The tokenizer of a hub repository or folder; BenchError where the model has none (use token ids)."""
    from transformers import AutoTokenizer

    model = find_model(name) if isinstance(name, str) else name
    if not (model.folder or model.repository):
        raise BenchError(f"model {model.name!r} has no repository and so no tokenizer; use token ids")
    return AutoTokenizer.from_pretrained(model.folder or model.repository, revision=model.revision)


def _source(model: Model, weights: str) -> str:
    if model.folder:
        return "local"
    if weights == "local":
        raise BenchError(f"weights 'local' need a folder, and model {model.name!r} is none; give its path as the model")
    if not model.repository:
        return "architecture"  # the catalog knows no checkpoint of it: the only weights there are
    if weights == "architecture" and not model.layers:
        raise BenchError(f"the shape of {model.name!r} is unknown until the hub is reached; use weights='hub'")
    return weights


def _pretrained(model: Model, device: str, dtype: str, trust_remote_code: bool) -> torch.nn.Module:
    import torch
    from transformers import AutoModelForCausalLM

    if model.remote_code and not trust_remote_code:
        raise BenchError(f"{model.repository!r} needs its own code; read it, then allow it with trust_remote_code=True")
    if trust_remote_code and not model.revision:
        raise BenchError(f"code of {model.repository!r} may only run at a pinned revision; set one in the catalog")
    try:
        module = AutoModelForCausalLM.from_pretrained(
            model.folder or model.repository,
            revision=model.revision or "main",
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
        )
    except (OSError, ValueError) as error:
        raise BenchError(f"cannot load {model.name!r}: {str(error).splitlines()[0]}") from error
    return module.to(device)


def _build(model: Model, device: str, dtype: str) -> torch.nn.Module:
    """The architecture on the meta device, filled one tensor at a time: never in memory twice."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=model.vocabulary,
        n_positions=model.context,
        n_embd=model.width,
        n_layer=model.layers,
        n_head=model.heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    with torch.device("meta"):
        module = GPT2LMHeadModel(config).to(getattr(torch, dtype))
    module = module.to_empty(device=device)
    module.tie_weights()
    _seed(module)
    return module


def _seed(module: torch.nn.Module) -> None:
    import torch

    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim < 2:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
                continue
            std = EMBEDDING_STD if ".wte." in name or ".wpe." in name else BLOCK_STD
            parameter.copy_(torch.empty(parameter.shape).normal_(0.0, std, generator=generator))


def _provenance(model: Model, module: torch.nn.Module, source: str) -> Provenance:
    dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in module.parameters()})
    return Provenance(
        weights=source,
        repository=None if source == "architecture" else model.repository,
        revision=getattr(module.config, "_commit_hash", None) or model.revision,
        dtype="+".join(dtypes),
        parameters=sum(p.numel() for p in module.parameters()),
        digest=digest(module),
        attention=str(getattr(module.config, "_attn_implementation", "unknown")),
    )


def digest(module: torch.nn.Module) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of all parameters, shortened to 16 hex digits."""
    import torch

    sha = hashlib.sha256()
    for name, parameter in module.named_parameters():
        sha.update(f"{name}|{parameter.dtype}|{tuple(parameter.shape)}|".encode())
        flat = parameter.detach().cpu().contiguous().view(torch.uint8) if parameter.ndim else parameter.detach().cpu()
        sha.update(memoryview(flat.numpy()))
    return sha.hexdigest()[:16]


def weight_bytes(model: Model, dtype: str) -> int:
    """Bytes of the weights in memory, the tied head counted once."""
    return model.parameters * (4 if dtype == "float32" else 2)


def head_size(model: Model) -> int:
    """Width of one attention head."""
    return math.floor(model.width / model.heads)
