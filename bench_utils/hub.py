"""Checkpoints from the hub: fetched into the local cache at one commit, and every failure as one sentence."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .catalog import Model
from .errors import BenchError
from .vetting import first_sentence

PROBE_SECONDS = 3.0
CONFIG = ("config.json", "generation_config.json")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "model-*.safetensors")
VOCABULARY = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
TOKENIZER = (*VOCABULARY, "merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
CODE = ("*.py",)

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)
_LOGIN = "log in with `hf auth login` or set HF_TOKEN"


def pinned(model: Model) -> bool:
    """Whether the model's revision is a commit; a branch or a tag can move."""
    return re.fullmatch("[0-9a-f]{40}", model.revision or "") is not None


def fetch(model: Model, patterns: Sequence[str]) -> Path:
    """The folder that holds those files of a checkpoint: a folder's own, or the cache's, named after the commit.

    A commit that the cache holds is taken from there without a request. What has to come is shown with a progress
    bar, resumed where the connection broke, and compared with the hub's checksums; finished files are kept.
    Raises BenchError.
    """
    if model.folder:
        return model.folder
    from huggingface_hub import HfApi

    try:
        if pinned(model) and (folder := _complete(model, patterns)):
            return folder
        online = answers(model.repository)
        found = HfApi().resolve_revision(model.repository, revision=model.revision, local_files_only=not online)
        at = replace(model, revision=found.resolved)
        return _complete(at, patterns) or _download(at, patterns, online)
    except BenchError:
        raise
    except Exception as error:  # connection errors of the client's HTTP library share no base class with OSError
        raise _explained(model, error) from error


def listing(model: Model, folder: Path) -> set[str]:
    """Names of all files of a checkpoint in a folder from ``fetch``, those included that were not fetched."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    if not model.folder:
        try:
            return {file.path for file in get_cached_repo_tree(model.repository, revision=folder.name)}
        except CachedRepoTreeNotFoundError:
            pass  # offline, and another tool filled the cache
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def answers(repository: str) -> bool:
    """Whether the hub answers a question about a repository within three seconds, whatever it says."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if offline():
        return False
    try:
        HfApi().model_info(repository, timeout=PROBE_SECONDS)
    except (HfHubHTTPError, HFValidationError):
        return True  # what it said is for whoever fetches to report
    except Exception:  # refused, timed out, or some portal's page in place of the hub's answer
        return False
    return True


def offline() -> bool:
    """Whether the environment forbids to ask the hub, also where it was set after the client was imported."""
    from huggingface_hub import constants

    return constants.is_offline_mode() or os.environ.get("HF_HUB_OFFLINE", "").upper() in constants.ENV_VARS_TRUE_VALUES


def cached(model: Model, patterns: Sequence[str]) -> Path | None:
    """The cache's folder of a model's revision as last resolved; where its files were never listed it may lack some."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    where = {"revision": model.revision, "allow_patterns": [*patterns], "local_files_only": True}
    try:
        return Path(snapshot_download(model.repository, **where))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _complete(model: Model, patterns: Sequence[str]) -> Path | None:
    """The cached folder, where the files of this commit were listed once and none that is asked for is missing."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        get_cached_repo_tree(model.repository, revision=model.revision)
    except CachedRepoTreeNotFoundError:
        return None
    return cached(model, patterns)


def _download(model: Model, patterns: Sequence[str], online: bool) -> Path:
    from huggingface_hub import snapshot_download

    where = {"revision": model.revision, "allow_patterns": [*patterns], "local_files_only": not online}
    folder = Path(snapshot_download(model.repository, **where))
    if online and folder.is_dir():
        _refuse_damaged(model.repository, folder)
    return folder


def _refuse_damaged(repository: str, folder: Path) -> None:
    """The client compares sizes alone. A file whose checksum is not the hub's is removed, so that it comes again."""
    from huggingface_hub import HfApi

    damaged = [wrong["path"] for wrong in HfApi().verify_repo_checksums(repository, revision=folder.name).mismatches]
    for name in damaged:
        (folder / name).resolve().unlink()
        (folder / name).unlink(missing_ok=True)
    if damaged:
        raise BenchError(
            f"{damaged[0]} of {repository!r} came with another checksum than the hub states and was removed; run again"
        )


def _explained(model: Model, error: Exception) -> BenchError:
    """The client's error as one sentence with its remedy."""
    from huggingface_hub import errors

    name = f"repository {model.repository!r}"
    absent = (errors.LocalEntryNotFoundError, errors.RevisionResolutionError)
    if isinstance(error, absent) and hasattr(error.__cause__, "response"):
        error = error.__cause__  # the hub answered, and what it said is the reason
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        said = f"{name} is gated; ask for access on its page, then {_LOGIN}"
    elif status in (401, 403):
        said = f"{name} is private or does not exist (the hub answered {status}); correct the name, or {_LOGIN}"
    elif isinstance(error, errors.RevisionNotFoundError):
        said = f"{name} has no revision {model.revision!r}; correct the revision"
    elif isinstance(error, errors.RepositoryNotFoundError):
        said = f"{name} is not on the hub; correct the name"
    elif status:
        said = f"the hub answered {status} for {name}; run again later"
    elif isinstance(error, errors.HFValidationError):
        said = f"{model.repository!r} is no id of a repository; write it as owner/name"
    elif isinstance(error, absent):
        why = "HF_HUB_OFFLINE forbids to ask the hub" if offline() else "the hub does not answer"
        said = f"{name} is not in the local cache and {why}; go online once, or give a folder"
    elif isinstance(error, OSError) and error.errno in _UNWRITABLE:
        said = f"the local cache cannot take {name} ({error.strerror}); free disk space, or set HF_HOME to another disk"
    else:
        said = f"{name} did not arrive whole ({first_sentence(error)}); run again, finished files are kept"
    return BenchError(said)
