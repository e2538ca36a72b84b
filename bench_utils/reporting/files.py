"""Files that are either there in full or not at all, in places that a name cannot escape from."""

import contextlib
import os
import re
from pathlib import Path

from .errors import ReportingError

_SLUG = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.))*(?<!\.)")


def slug(kind: str, name: str) -> str:
    """Return a name that is safe as a folder or file; raises ReportingError for any other."""
    if not isinstance(name, str) or len(name) > 120 or not _SLUG.fullmatch(name):
        raise ReportingError(
            f"the {kind} {str(name)[:60]!r} becomes a folder: use letters, digits, '.', '_' and '-' only"
        )
    return name


def below(root: Path, *parts: str) -> Path:
    """Return `root/parts…`; raises ReportingError where a folder on the way is a link to somewhere else."""
    path = root
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise ReportingError(f"{path.relative_to(root)} is a symbolic link: remove it and try again")
    return path


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old one or the new one.

    Raises ReportingError when the folder cannot be written or the disk is full; the old file then stays.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise ReportingError(f"cannot write {path.name}: {error.strerror or error}") from error
