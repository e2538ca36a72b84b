"""The site as a folder to serve: the index and whatever it leads to, and nothing else."""

import posixpath
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

from ..privacy import require_clean
from .errors import ReportingError
from .files import below
from .site import data_files, read_data

INDEX = "reports/index.html"
FIRST = "index.html"  # leads to it
ROOMS = ("reports", "figures", "results")
MARK = ".nojekyll"  # has GitHub Pages serve files as they are

_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//|#", re.IGNORECASE)
_FIRST_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=reports/index.html"><title>Reports</title></head>
<body><p><a href="reports/index.html">All reports</a></p></body>
</html>
"""


def bundle(root: Path, into: Path) -> Path:
    """Copy the site of a root into a folder that can be served from anywhere, and return its first page.

    A folder of an earlier site, which holds nothing but that, is replaced as a whole. Raises ReportingError for a link
    that leads nowhere and for a folder that holds something else, PrivacyError for a record that holds something
    private; the folder is then as it was.
    """
    into = into.absolute()
    if into.exists() and (strange := _strangers(into)):
        raise ReportingError(f"the folder {into.name!r} holds {strange[0]!r}, which no site has: name a new one")
    partial = into.with_name(f".{into.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        for name in site_files(root):
            _copy(root, name, partial)
        (partial / FIRST).write_text(_FIRST_PAGE, encoding="utf-8")
        (partial / MARK).touch()
        if into.exists():
            shutil.rmtree(into)
        partial.replace(into)
    except OSError as error:
        raise ReportingError(f"cannot write the folder {into.name!r}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return into / FIRST


def _strangers(into: Path) -> list[str]:
    """What is in a place, or is that place, that no site of ours has at its top."""
    if not into.is_dir():
        return [into.name]
    there = {path.name for path in into.iterdir()}
    return sorted(there - {*ROOMS, MARK, FIRST} if MARK in there else there)


def site_files(root: Path) -> list[str]:
    """Paths below a root of the index, of all that it leads to by links, however far, and of the pages' figures.

    Raises ReportingError for a link that leads to no file, or out of the site.
    """
    found, waiting = set(_figures(root)), [(INDEX, INDEX)]
    while waiting:
        name, page = waiting.pop()
        if name in found:
            continue
        if name.partition("/")[0] not in ROOMS or not below(root, *name.split("/")).is_file():
            raise ReportingError(f"{page} links to {name}, which is not there: render and index again")
        found.add(name)
        if name.endswith(".html"):
            waiting += [(target, name) for target in links(root / name, name)]
    return sorted(found)


def links(page: Path, name: str) -> list[str]:
    """What a page leads to or loads that lies beside it: paths relative to where `name` is."""
    parser = _Links()
    parser.feed(page.read_text(encoding="utf-8"))
    near = [unquote(link.partition("#")[0]) for link in parser.found if not _ELSEWHERE.match(link)]
    return [posixpath.normpath(posixpath.join(posixpath.dirname(name), link)) for link in near]


def _figures(root: Path) -> list[str]:
    """Files of every figure that a page's data names."""
    records = [(path, read_data(path)) for path in data_files(root)]
    return [
        f"figures/{path.parent.name}/{path.stem}/{name}"
        for path, record in records
        for figure in record.get("figures", [])
        for name in figure.get("files", [])
    ]


def _copy(root: Path, name: str, into: Path) -> None:
    source, target = below(root, *name.split("/")), into / name
    if name.startswith("results/"):
        require_clean(source.read_text(encoding="utf-8"), name)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


class _Links(HTMLParser):
    """Collects every address that a page names."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for key, value in attrs if key in ("href", "src") and value]
