"""Loading a model with provenance: from the hub, from a folder, or its architecture alone with seeded weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from . import hub, vetting
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
    """A model ready to run, in evaluation mode; its provenance is read back from it when it is first asked for.

    ``source``: where the weights came from; ``revision``: the commit that they were fetched at, if any.
    """

    module: torch.nn.Module
    model: Model
    source: str
    revision: str | None

    @cached_property
    def provenance(self) -> Provenance:
        """What was loaded, whatever was asked for."""
        return _provenance(self.model, self.module, self.source, self.revision)


def resolve_weights(weights: str, models: Iterable[Model]) -> str:
    """Turn ``auto`` into ``hub`` or ``architecture``, once a run, with one probe of three seconds.

    ``hub`` when every checkpoint is in the local cache or the hub answers; ``architecture`` otherwise.
    """
    if weights not in WEIGHTS:
        raise unknown("weights", weights, WEIGHTS)
    listed = [m for m in models if m.repository and not m.folder]
    if weights != "auto" or not listed:
        return "architecture" if weights == "auto" else weights
    return "hub" if all(map(_cached, listed)) or hub.answers(listed[0].repository) else "architecture"


def _cached(model: Model) -> bool:
    folder = hub.cached(model, (*hub.CONFIG, *hub.WEIGHTS))
    try:
        return bool(folder) and (folder / "config.json").is_file() and bool(vetting.weight_files(model.name, folder))
    except BenchError:
        return False


def prefetch(models: Iterable[Model]) -> None:
    """Fetch checkpoints into the cache with progress bars, so that no process is timed while they come.

    What cannot be fetched is left for the process that loads it to report.
    """
    for model in models:
        if model.repository and not model.folder:
            with suppress(BenchError):
                _fetched(model, trusted=False)


def fetched(model: Model, weights: str) -> Model:
    """The model with its checkpoint in the cache, at one commit, if it comes from the hub. Raises BenchError."""
    if model.folder or not model.repository or resolve_weights(weights, [model]) != "hub":
        return model
    return replace(model, revision=_fetched(model, trusted=False).name)


def load_model(
    name: str | Model,
    device: str = "cpu",
    dtype: str = "float32",
    weights: str = "auto",
    trust_remote_code: bool = False,
) -> Loaded:
    """Load a catalog model, a hub id or a local folder in evaluation mode.

    ``weights``: ``hub`` (safetensors at the model's revision), ``local`` (a folder), ``architecture`` (seeded
    random weights), or ``auto``: the hub where it answers, the architecture otherwise; the provenance says which.
    ``trust_remote_code`` allows a model that the catalog lists to run its own code, at a pinned commit.
    Raises BenchError for an unknown name, dtype or source, for what cannot be fetched, and for a checkpoint with
    pickled weights, with code that is not allowed, or with weights that its config does not describe.
    """
    model = find_model(name) if isinstance(name, str) else name
    if dtype not in TORCH_DTYPES:
        raise unknown("dtype", dtype, TORCH_DTYPES)
    source = _source(model, resolve_weights(weights, [model]))
    if source == "architecture":
        module, revision = _build(model, device, dtype), None
    else:
        module, revision = _pretrained(model, device, dtype, trust_remote_code)
    module.eval()
    return Loaded(module, model, source, revision)


def load_tokenizer(name: str | Model):
    """The tokenizer of a hub repository or folder, its ids checked against the checkpoint's vocabulary.

    Raises BenchError where there is none (use token ids), and for one with an id that the checkpoint does not have.
    """
    from transformers import AutoTokenizer

    model = find_model(name) if isinstance(name, str) else name
    if not (model.folder or model.repository):
        raise BenchError(f"model {model.name!r} has no repository and so no tokenizer; use token ids")
    folder = hub.fetch(model, (*hub.CONFIG, *hub.TOKENIZER))
    vetting.refuse_code(model.name, folder, model.remote_code)
    if not any((folder / file).is_file() for file in hub.VOCABULARY):
        raise BenchError(f"model {model.name!r} comes without a tokenizer; use token ids")
    size = vetting.vocabulary(model.name, folder)
    vetting.refuse_ids(model.name, vetting.written_ids(model.name, folder), size)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # what reads tokenizer.json raises Exception itself
        raise vetting.unreadable(f"the tokenizer of {model.name!r}", error) from error
    vetting.refuse_ids(model.name, tokenizer.get_vocab().values(), size)
    return tokenizer


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


def _pretrained(model: Model, device: str, dtype: str, trust_remote_code: bool) -> tuple[torch.nn.Module, str | None]:
    """The checkpoint on the device, and the commit it was fetched at."""
    import torch
    from transformers import AutoModelForCausalLM

    trusted = _trusted(model, trust_remote_code)
    folder = _fetched(model, trusted)
    files = vetting.weight_files(model.name, folder)
    tensors = vetting.stored(model.name, files)
    small = [folder / file for file in (*hub.CONFIG, vetting.INDEX)]
    with vetting.view([*small, *files, *(folder.glob("*.py") if trusted else ())]) as shown:
        vetting.refuse_shapes(model.name, shown, tensors, trusted)
        try:
            module, info = AutoModelForCausalLM.from_pretrained(
                shown,
                dtype=getattr(torch, dtype),
                use_safetensors=True,
                trust_remote_code=trusted,
                local_files_only=True,
                ignore_mismatched_sizes=True,  # refused below, by name
                output_loading_info=True,
            )
        except Exception as error:  # a checkpoint with its own code raises what it likes
            raise vetting.unreadable(f"model {model.name!r}", error) from error
    vetting.refuse_keys(model.name, info)
    module.config.name_or_path = model.name
    return module.to(device), None if model.folder else folder.name


def _trusted(model: Model, asked: bool) -> bool:
    """Whether a checkpoint's own code may run: of a listed model, when asked to, at a pinned commit."""
    if model.remote_code and not asked:
        raise BenchError(f"{model.repository!r} needs its own code; read it, then allow it with trust_remote_code=True")
    if asked and not model.remote_code:
        raise BenchError(f"{model.name!r} is not listed as a model with its own code; leave trust_remote_code out")
    if asked and not hub.pinned(model):
        raise BenchError(f"code of {model.repository!r} may only run at a pinned revision; set a commit in the catalog")
    return asked


def _fetched(model: Model, trusted: bool) -> Path:
    """The folder of a checkpoint, whose small files were checked before the large ones came."""
    folder = hub.fetch(model, (*hub.CONFIG, *(hub.CODE if trusted else ())))
    vetting.refuse_code(model.name, folder, trusted)
    vetting.refuse_pickles(model.name, hub.listing(model, folder))
    return folder if model.folder else hub.fetch(replace(model, revision=folder.name), hub.WEIGHTS)


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


def _provenance(model: Model, module: torch.nn.Module, source: str, revision: str | None) -> Provenance:
    dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in module.parameters()})
    return Provenance(
        weights=source,
        repository=None if source == "architecture" else model.repository,
        revision=revision,
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
