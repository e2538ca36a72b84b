"""The index of all published pages, made from the data files beside them and the records that they come from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..privacy import require_clean
from ..project import COMPARE, PUBLISHED, slug
from ..records import MANIFEST, PROCESSES, SAMPLES, SCORES
from .errors import ReportingError
from .files import below, write_atomic
from .markup import badge_html
from .text import plain
from .verdicts import tally

# What of an identity tells two stacks apart, in the order in which it is read.
_STACK = ("gpu", "driver", "cpu", "python", "torch", "transformers", "triton", "vllm", "onnxruntime")


@dataclass(frozen=True)
class Listing:
    """A published page as the index shows it."""

    report: str
    device: str
    title: str
    headline: str
    href: str
    verdicts_html: str
    date: str
    stack: str
    thumbnail: str
    alt: str
    changes: list[str]
    downloads: list[tuple[str, str]]


@dataclass(frozen=True)
class Line:
    """A report in the overview: what it found on each device, or on none, and where its devices are compared."""

    report: str
    comparison: str
    pages: list[Listing | None] = field(default_factory=list)
    tables: Listing | None = None

    @property
    def first(self) -> Listing:
        """The page that its title leads to."""
        return self.tables or next(page for page in self.pages if page)


def build_index(root: Path) -> Path:
    """Write `reports/index.html` below `root` from every page's data file, and return its path.

    Its links are relative, so it opens from disk and from any folder of any server. Raises ReportingError for
    a data file that is not one of ours, and PrivacyError when something private is in it.
    """
    page = _rendered(root, [_listing(root, path) for path in data_files(root)])
    require_clean(page, "index.html")
    target = below(root, "reports", "index.html")
    write_atomic(target, page)
    return target


def data_files(root: Path) -> list[Path]:
    """The data file of every published page, by report and then by device."""
    found = below(root, "reports").glob("*/*.json")
    return sorted((path for path in found if path.parent.name != COMPARE), key=lambda p: (p.stem, p.parent.name))


def shown_runs(root: Path) -> dict[tuple[str, str], str]:
    """The run that each published page shows, by report and device."""
    return {(path.stem, path.parent.name): str(read_data(path).get("run") or "") for path in data_files(root)}


def read_data(path: Path) -> dict[str, Any]:
    """A page's data; raises ReportingError for a file that is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReportingError(f"{path.parent.name}/{path.name} is not a page's data: {error}") from error
    if not isinstance(record, dict) or not isinstance(record.get("claims", []), list):
        raise ReportingError(f"{path.parent.name}/{path.name} is not a page's data: render that report again")
    slug("device", path.parent.name)
    slug("report", path.stem)
    return record


def record_links(root: Path, device: str, report: str, run: str) -> list[tuple[str, str]]:
    """Names of a run's files, and their addresses relative to `reports/`; none where the run is not there."""
    names = [name for name in (MANIFEST, SAMPLES, PROCESSES, SCORES) if run]
    return [
        (name, quote(f"../results/{device}/{report}/{run}/{name}"))
        for name in names
        if (root / "results" / device / report / run / name).is_file()
    ]


def _listing(root: Path, path: Path) -> Listing:
    record = read_data(path)
    device, report, run = path.parent.name, path.stem, str(record.get("run") or "")
    thumbnail, alt = _thumbnail(root, device, report, record)
    records = record_links(root, device, report, run)
    return Listing(
        report=report,
        device=device,
        title=plain(record.get("title") or report, 200),
        headline=_headline(record),
        href=quote(f"{device}/{report}.html"),
        verdicts_html=_verdicts(record),
        date=plain(record.get("date") or "", 40),
        stack=plain(record.get("stack") or _stack(record.get("identity")), 200),
        thumbnail=thumbnail,
        alt=alt,
        changes=_changes(root, report, device) if records and not _stopped(record) else [],
        downloads=[("page as data", quote(f"{device}/{report}.json")), *records],
    )


def _stopped(record: Mapping[str, Any]) -> bool:
    return record.get("status", "complete") != "complete"


def _headline(record: Mapping[str, Any]) -> str:
    """What the report found; of a run that was not measured to its end, only how far it came."""
    progress = record.get("progress")
    if isinstance(progress, dict):
        return plain(f"Stopped after {progress.get('measured')} of {progress.get('planned')} cells measured.", 100)
    return plain(record.get("headline") or "", 400)


def _verdicts(record: Mapping[str, Any]) -> str:
    claims = [claim for claim in record.get("claims", []) if isinstance(claim, dict)]
    if _stopped(record):
        return badge_html("not measured", "stopped early")
    badges = [badge_html(word, f"{number} {word}") for word, number in tally(claims).items()]
    return " ".join(badges) or badge_html("not measured", "no claims")


def _changes(root: Path, report: str, device: str) -> list[str]:
    from ..comparison import changes

    return [plain(sentence, 600) for sentence in changes(root, report, device)]


def _stack(identity: object) -> str:
    if not isinstance(identity, dict):
        return ""
    return ", ".join(_named(key, identity[key]) for key in _STACK if identity.get(key))


def _named(key: str, value: object) -> str:
    return str(value) if key in ("gpu", "cpu") else f"{key} {value}"


def _thumbnail(root: Path, device: str, report: str, record: Mapping[str, Any]) -> tuple[str, str]:
    """Return address and alternative text of the page's first figure that is there."""
    for figure in record.get("figures", []):
        for kind in (".svg", ".png"):
            name = f"{slug('figure', figure.get('name', ''))}{kind}"
            if (root / "figures" / device / report / name).is_file():
                return quote(f"../figures/{device}/{report}/{name}"), plain(figure.get("alt") or report, 400)
    return "", ""


def _rendered(root: Path, pages: list[Listing]) -> str:
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    from .exporter import TEMPLATES

    devices = sorted({page.device for page in pages} - {PUBLISHED})
    lines = [_line(root, report, devices, pages) for report in sorted({page.report for page in pages})]
    environment = Environment(loader=FileSystemLoader(str(TEMPLATES)), autoescape=True)
    environment.filters["html"] = Markup
    template = environment.get_template("site.html.j2")
    return template.render(pages=pages, devices=devices, lines=lines).rstrip() + "\n"


def _line(root: Path, report: str, devices: list[str], pages: list[Listing]) -> Line:
    mine = {page.device: page for page in pages if page.report == report}
    there = (root / "reports" / COMPARE / f"{report}.html").is_file()
    comparison = quote(f"{COMPARE}/{report}.html") if there else ""
    return Line(report, comparison, [mine.get(device) for device in devices], mine.get(PUBLISHED))
