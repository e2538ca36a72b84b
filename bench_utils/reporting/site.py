"""The index of all published pages, made from the data files beside them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..privacy import require_clean
from .errors import ReportingError
from .files import below, slug, write_atomic
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
    data: str
    verdicts_html: str
    date: str
    stack: str
    thumbnail: str
    alt: str


def build_index(root: Path) -> Path:
    """Write `reports/index.html` below `root` from every `reports/*/*.json`, and return its path.

    Its links are relative, so it opens from disk and from any folder of any server. Raises ReportingError for
    a data file that is not one of ours, and PrivacyError when something private is in it.
    """
    reports = below(root, "reports")
    pages = [_listing(root, path) for path in sorted(reports.glob("*/*.json"))]
    page = _rendered(sorted(pages, key=lambda page: (page.report, page.device)))
    require_clean(page, "index.html")
    target = below(root, "reports", "index.html")
    write_atomic(target, page)
    return target


def _listing(root: Path, path: Path) -> Listing:
    record = _read(path)
    device, report = path.parent.name, path.stem
    thumbnail, alt = _thumbnail(root, device, report, record)
    return Listing(
        report=report,
        device=device,
        title=plain(record.get("title") or report, 200),
        headline=plain(record.get("headline") or "", 400),
        href=quote(f"{device}/{report}.html"),
        data=quote(f"{device}/{report}.json"),
        verdicts_html=_verdicts(record),
        date=plain(record.get("date") or "", 40),
        stack=plain(record.get("stack") or _stack(record.get("identity")), 200),
        thumbnail=thumbnail,
        alt=alt,
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReportingError(f"{path.parent.name}/{path.name} is not a page's data: {error}") from error
    if not isinstance(record, dict) or not isinstance(record.get("claims", []), list):
        raise ReportingError(f"{path.parent.name}/{path.name} is not a page's data: render that report again")
    slug("device", path.parent.name)
    slug("report", path.stem)
    return record


def _verdicts(record: Mapping[str, Any]) -> str:
    claims = [claim for claim in record.get("claims", []) if isinstance(claim, dict)]
    if record.get("status", "complete") != "complete":
        return badge_html("not measured", "stopped early")
    badges = [badge_html(word, f"{number} {word}") for word, number in tally(claims).items()]
    return " ".join(badges) or badge_html("not measured", "no claims")


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


def _rendered(pages: list[Listing]) -> str:
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    from .exporter import TEMPLATES

    devices = sorted({page.device for page in pages})
    reports = sorted({page.report for page in pages})
    found = {(page.report, page.device): page for page in pages}
    matrix = [(report, [found.get((report, device)) for device in devices]) for report in reports]
    environment = Environment(loader=FileSystemLoader(str(TEMPLATES)), autoescape=True)
    environment.filters["html"] = Markup
    return environment.get_template("site.html.j2").render(pages=pages, devices=devices, matrix=matrix).rstrip() + "\n"
