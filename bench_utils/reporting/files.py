"""Files that are either there in full or not at all, in places that a name cannot escape from."""

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from .errors import ReportingError

WRITABLE = "free space, or make the folder writable"


def below(root: Path, *parts: str) -> Path:
    """Return `root/parts…`; raises ReportingError where a part leads upwards or is a link to somewhere else."""
    path = root
    for part in parts:
        if part in ("", ".", ".."):
            raise ReportingError(f"{'/'.join(parts)} leads out of its folder: render that report again")
        path = path / part
        if path.is_symlink():
            raise ReportingError(f"{path.relative_to(root)} is a symbolic link: remove it and try again")
    return path


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old one or the new one; see `write_together`."""
    write_together({path: content})


def write_together(contents: Mapping[Path, str | bytes]) -> None:
    """Write files that belong together: all of them are on the disk before the first takes its place.

    Raises ReportingError when a folder cannot be written or the disk is full; the old files then stay.
    """
    unfinished: dict[Path, Path] = {}
    for path, content in contents.items():
        unfinished[path] = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            _write(unfinished[path], content.encode("utf-8") if isinstance(content, str) else content)
        except OSError as error:
            _remove(unfinished.values())
            raise ReportingError(f"cannot write {path.name}: {error.strerror or error}; {WRITABLE}") from error
    for path, partial in unfinished.items():
        try:
            partial.replace(path)
        except OSError as error:
            _remove(unfinished.values())
            raise ReportingError(f"cannot replace {path.name}: {error.strerror or error}; {WRITABLE}") from error


def _write(partial: Path, data: bytes) -> None:
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.unlink(missing_ok=True)
    with partial.open("xb") as file:  # never through a link that somebody put in its place
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _remove(partials: Iterable[Path]) -> None:
    for partial in partials:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
