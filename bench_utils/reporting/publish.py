"""Publish an executed notebook: its page, the page as data, and its figures, after the privacy gate."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nbformat import NotebookNode, from_dict

from ..privacy import require_clean
from ..project import slug
from .blocks import bench_of, claims_of, png_of, svg_of
from .canonical import canonical
from .display import NAME
from .errors import ReportingError
from .exporter import render
from .files import below, write_together
from .page import page_facts, shown
from .status import COMPLETE

FIGURE_KINDS = (".png", ".svg")
STOPPED = "stopped"  # the status of a page whose run was not measured to its end
# Significant digits of a number in a page's data: more than any measurement has, and fewer than the last bits, in
# which processors differ.
DIGITS = 9


class Published(NamedTuple):
    """The files that were written."""

    html: Path
    json: Path
    figures: list[Path]


def publish(nb: NotebookNode, *, root: Path, report: str, device: str, facts: Mapping[str, Any]) -> Published:
    """Write `reports/<device>/<report>.html` and `.json` and `figures/<device>/<report>/` below `root`.

    `facts` gives `run`, `plan_digest` and `identity`, and may give `date`, `stack` and `downloads` (pairs of
    label and address relative to the page), the `claims` that the notebook was to decide, not measured where it
    stopped before, and of a run that stopped its `progress` (cells measured, and planned): then none of its claims
    is, whatever the notebook found. The same notebook and facts give the same bytes. Figures that the report no
    longer has are removed. Raises PrivacyError, before anything is written, when something private is left;
    ReportingError for names that are no slugs, links on the way, figures or tables of one name, and files that cannot
    be written.
    """
    report, device = slug("report", report), slug("device", device)
    clean = _undecided(canonical(nb), facts)
    figures, tables = _figures(clean), _tables(clean)
    pictures = {f"{name}{kind}": data for name, found in figures.items() for kind, data in found["files"]}
    page = render(clean, context=_context(report, device, facts))
    data = _data(clean, report, device, facts, figures, tables)
    require_clean(page, f"{report}.html")
    require_clean(data, f"{report}.json")
    for name, content in pictures.items():
        if name.endswith(".svg"):
            require_clean(content.decode("utf-8"), name)
    return _write(root, report, device, page, data, pictures)


def _write(root: Path, report: str, device: str, page: str, data: str, pictures: dict[str, bytes]) -> Published:
    reports, folder = below(root, "reports", device), below(root, "figures", device, report)
    drawn = {folder / name: content for name, content in sorted(pictures.items())}
    write_together(drawn | {reports / f"{report}.json": data, reports / f"{report}.html": page})
    for stale in sorted(folder.iterdir()) if folder.is_dir() else []:
        if stale.suffix in FIGURE_KINDS and stale.name not in pictures:
            stale.unlink()
    return Published(reports / f"{report}.html", reports / f"{report}.json", list(drawn))


def _context(report: str, device: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    downloads = [("this page as data", f"{report}.json"), *facts.get("downloads", [])]
    return {
        "report": report,
        "device": device,
        "run": str(facts.get("run") or ""),
        "index_href": "../index.html",
        "downloads": downloads,
        "progress": facts.get("progress"),
    }


def _undecided(nb: NotebookNode, facts: Mapping[str, Any]) -> NotebookNode:
    """Return the notebook with the claims it could not decide as not measured, in place of what it said of them."""
    stopped = nb.metadata["bench"]["outcome"]["status"] != COMPLETE
    if facts.get("progress"):
        measured, planned = facts["progress"]
        reason = f"measuring stopped after {measured} of {planned} cells"
    elif stopped and not any(shown(nb, "claims")):
        reason = "the notebook stopped before its claims were judged"
    else:
        return nb
    asked = facts.get("claims") or [claim for bench, _ in shown(nb, "claims") for claim in claims_of(bench)]
    claims = [{"id": c["id"], "text": c["text"], "verdict": "not measured", "reason": reason} for c in asked]
    cells = [cell for cell in nb.cells if cell.cell_type == "code"]
    for cell in cells:
        cell.outputs = [output for output in cell.outputs if bench_of(output).get("kind") != "claims"]
    visible = (c for c in cells if not {"remove-cell", "remove-output"} & set(c.metadata.get("tags", [])))
    if claims and (cell := next(visible, None)):
        bench = {"kind": "claims", "claims": claims}
        cell.outputs.insert(0, from_dict({"output_type": "display_data", "data": {}, "metadata": {"bench": bench}}))
    return nb


def _data(nb: NotebookNode, report: str, device: str, facts: Mapping[str, Any], figures: dict, tables: dict) -> str:
    kept = {key: facts.get(key) for key in ("run", "plan_digest", "identity")}
    kept |= {key: facts[key] for key in ("date", "stack") if facts.get(key)}
    if facts.get("progress"):
        kept |= {"status": STOPPED, "progress": dict(zip(("measured", "planned"), facts["progress"], strict=True))}
    record = {
        "report": report,
        "device": device,
        "status": nb.metadata["bench"]["outcome"]["status"],
        "tables": tables,
        "figures": [{"name": name} | found["about"] for name, found in figures.items()],
        **page_facts(nb),
        **kept,
    }
    return json.dumps(_rounded(record), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, (list, tuple)) else value


def _figures(nb: NotebookNode) -> dict[str, dict[str, Any]]:
    figures: dict[str, dict[str, Any]] = {}
    for bench, data in shown(nb, "figure"):
        name = _unique(bench, figures)
        svg, png = svg_of(data), png_of(data)
        files = [(".svg", svg.encode("utf-8"))] if svg else []
        files += [(".png", png)] if png else []
        about = {key: bench.get(key) for key in ("caption", "alt", "rows")}
        figures[name] = {"files": files, "about": about | {"files": [f"{name}{kind}" for kind, _ in files]}}
    return figures


def _tables(nb: NotebookNode) -> dict[str, list]:
    tables: dict[str, list] = {}
    for bench, _ in shown(nb, "table"):
        tables[_unique(bench, tables)] = bench.get("rows", [])
    return tables


def _unique(bench: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    name = str(bench.get("name", ""))
    if not NAME.fullmatch(name):
        raise ReportingError(f"{name[:60]!r} names a {bench['kind']}: use small letters, digits, '_' and '-'")
    if name in known:
        raise ReportingError(f"two {bench['kind']}s are named {name!r}: one would overwrite the other")
    return name
