"""What engines make of a checkpoint: files built once, kept by the digest of their weights, and checked before use."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from .errors import BenchError

ORIGIN = "origin.json"


def artifact(store: Path, digest: str, name: str, builder: dict, build: Callable[[Path], None]) -> Path:
    """The folder of an artifact: ``store/<digest>/<name>``, built by ``build(folder)`` unless it is there.

    ``builder`` names what decides the bytes (package versions, options): another one builds again. Processes that
    ask at once build once. ``origin.json`` in it names the digest of the weights and the SHA-256 of every file;
    BenchError when one was altered.
    """
    folder = store / digest / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder.with_name(f".{name}.lock")):
        if _origin(folder).get("builder") != builder:
            shutil.rmtree(folder, ignore_errors=True)
            _make(folder, {"weights": digest, "builder": builder}, build)
    verify(folder, digest)
    return folder


def verify(folder: Path, digest: str) -> None:
    """Raise BenchError when an artifact is of other weights, or is not what was built."""
    origin = _origin(folder)
    if origin.get("weights") != digest:
        raise BenchError(
            f"artifact {folder.name!r} was built from weights {origin.get('weights')}, asked for {digest}; remove it"
        )
    for name, sha in origin["files"].items():
        if not (folder / name).is_file() or _sha256(folder / name) != sha:
            raise BenchError(f"artifact {folder.name!r}: {name} is not the file that was built; remove the folder")


def _make(folder: Path, origin: dict, build: Callable[[Path], None]) -> None:
    """Build beside the target and move it into place whole: an interrupted build leaves nothing that looks done."""
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    build(unfinished)
    files = {p.relative_to(unfinished).as_posix(): _sha256(p) for p in sorted(unfinished.rglob("*")) if p.is_file()}
    (unfinished / ORIGIN).write_text(json.dumps(origin | {"files": files}, indent=1, sort_keys=True) + "\n")
    unfinished.replace(folder)


def _origin(folder: Path) -> dict:
    with contextlib.suppress(OSError, ValueError):
        return json.loads((folder / ORIGIN).read_text())
    return {}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One builder at a time; the system drops the lock of a process that dies."""
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
