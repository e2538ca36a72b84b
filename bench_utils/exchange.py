"""A run as one file that can be mailed, and back again: digests are checked, and only files of a run are written."""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
import zlib
from pathlib import Path

from . import frames
from .errors import BenchError, writing
from .project import COMPARE, PUBLISHED, slug
from .records import MANIFEST, PROCESSES, SAMPLES, SCORES, check_samples, read_manifest, read_processes

DIGESTS = "digests.json"
CONTENT = (MANIFEST, PROCESSES, SAMPLES, SCORES)
LARGEST = 2**30  # bytes of one file; the largest run planned so far has a fiftieth of it
_DATE = (1980, 1, 1, 0, 0, 0)  # the first that the format knows: the same run gives the same bytes


def export(folder: Path, file: Path) -> Path:
    """A run as an archive (``.zip``, what ``import_run`` reads) or as a table of its samples (``.csv``, ``.parquet``).

    Raises BenchError for another suffix, a file that is there or cannot be written, and a folder that is no run.
    """
    read_manifest(folder)
    writers = {".zip": _pack, ".csv": _write_csv, ".parquet": _write_parquet}
    if file.suffix not in writers:
        raise BenchError(f"file {file.name!r}: give a name that ends with {', '.join(writers)}")
    if file.exists():
        raise BenchError(f"file {file.name!r} is there already; choose another name, or remove it")
    with writing(file):
        writers[file.suffix](folder, file)
    return file


def _pack(folder: Path, file: Path) -> None:
    content = {name: (folder / name).read_bytes() for name in CONTENT if (folder / name).exists()}
    digests = json.dumps({name: _sha256(data) for name, data in content.items()}, indent=1).encode()
    with zipfile.ZipFile(file, "x", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {DIGESTS: digests, **content}.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), data, zipfile.ZIP_DEFLATED)


def _write_csv(folder: Path, file: Path) -> None:
    _table(folder).to_csv(file, index=False)


def _write_parquet(folder: Path, file: Path) -> None:
    try:
        _table(folder).to_parquet(file, index=False)
    except ImportError:
        raise BenchError("parquet needs pyarrow, not installed here; pip install pyarrow, or export a .csv") from None


def _table(folder: Path):
    """Every sample with what is constant for its cell; receipts stay in the archive."""
    rows = frames.load(folder)
    return rows.drop(columns=[name for name in rows if rows[name].map(lambda v: isinstance(v, dict)).any()])


def import_run(root: Path, file: Path) -> Path:
    """Put the run of an archive under ``root/results``, whole or not at all; its folder, also if it was there before.

    Raises BenchError for a file that is no archive of a run, was altered, has a newer schema, names a place outside of
    the results, or holds another run of the same name.
    """
    content = _read(file)
    (root / "results").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".import-", dir=root / "results") as scratch:
        folder = Path(scratch) / "run"
        folder.mkdir()
        for name, data in content.items():
            (folder / name).write_bytes(data)
        target = root / "results" / _place(folder)
        if target.exists():
            return _same(target, content)
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(target)
    return target


def _read(file: Path) -> dict[str, bytes]:
    """The files of an archive, each what its digest says."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            _refuse_strangers(file, entries)
            found = {entry.filename: archive.read(entry) for entry in entries}
        digests = dict(json.loads(found.pop(DIGESTS)))
    except (OSError, zipfile.BadZipFile, zlib.error, ValueError, TypeError, EOFError, RuntimeError) as error:
        raise BenchError(f"file {file.name!r} is not an archive of a run: {error}") from None
    altered = [name for name, data in found.items() if _sha256(data) != digests.get(name)]
    if altered or digests.keys() != found.keys():
        what = ", ".join(altered) or "its list of files"
        raise BenchError(f"file {file.name!r}: {what} was altered; ask for it again")
    return found


def _refuse_strangers(file: Path, entries: list[zipfile.ZipInfo]) -> None:
    names = [entry.filename for entry in entries]
    strange = [name for name in names if name not in (*CONTENT, DIGESTS)]
    if strange or len(set(names)) < len(names) or not {MANIFEST, DIGESTS} <= set(names):
        said = f"holds {strange[0]!r}, which no run has" if strange else f"holds no single {MANIFEST} and {DIGESTS}"
        raise BenchError(f"file {file.name!r} {said}; make it with bench-utils export")
    if any(entry.file_size > LARGEST for entry in entries):
        raise BenchError(f"file {file.name!r} unpacks to more than {LARGEST >> 20} MiB, which no run does")


def _place(folder: Path) -> Path:
    """Where a run belongs, from a manifest whose rows can be read; lines that a killed process left half-written are
    kept, as in the run itself."""
    manifest = read_manifest(folder)
    for _ in read_processes(folder):
        pass
    check_samples(folder)
    parts = {"device": manifest.device, "report": manifest.report, "run": manifest.run}
    if manifest.device in (PUBLISHED, COMPARE):
        raise BenchError(f"the device {manifest.device!r} of run {manifest.run!r} is no device's name")
    return Path(*(slug(kind, name) for kind, name in parts.items()))


def _same(target: Path, content: dict[str, bytes]) -> Path:
    if any(not (target / name).exists() or (target / name).read_bytes() != data for name, data in content.items()):
        raise BenchError(f"another run {target.name!r} is there already; remove it, or keep it")
    return target


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
