"""The explorer: runs by name, their frames kept once loaded, and every view as figure, table, HTML and files."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from .. import frames
from ..contrasts import contrast
from ..errors import BenchError, unknown
from ..figures import style
from ..project import STATE, root_or_here
from ..records import MANIFEST, SCORES, TIMED, read_manifest
from ..reporting import display
from ..reporting.lab import styled
from ..reporting.markup import figure_html, table_html
from ..reporting.tabular import table_of
from ..reporting.text import escaped
from . import views
from .selection import ALL, VIEWS, Selection, choices, select
from .showing import has_front_end, picture, saved

NOTHING = "There is no run here yet: `make run` measures the first one."
SHOWN = [
    "model", "variant", "dtype", "phase", "prompt_tokens", "new_tokens", "batch_size", "round", "order", "role",
    "index", "status", "reason", "latency_ms", "compiled_calls", "expected_calls",
]  # fmt: skip
DPI = 110  # of the picture in a notebook
STILL_PANELS = 9


@dataclass
class Loaded:
    """A run in memory: when its files were written, its rows, and its contrasts by their baseline."""

    state: tuple[int, ...]
    rows: pd.DataFrame
    effects: dict[str, pd.DataFrame] = field(default_factory=dict)

    @cached_property
    def choices(self) -> dict[str, list[str]]:
        """What there is to choose from."""
        return choices(self.rows)


class Explorer:
    """Every run under ``root/results``: what there is to choose from, and views of a choice.

    ``root`` is this checkout, or the working directory outside of one. Rows of a run are loaded when first asked for
    and kept until its files change. Outcomes are those of the whole run, whatever is selected; nothing here is a
    verdict. Methods raise BenchError, one sentence, for a name that is not there and a choice without rows.
    """

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = Path(root) if root else root_or_here()
        self._names: dict[tuple, tuple[str, str, str]] = {}
        self._loaded: dict[Path, Loaded] = {}
        self._figure: Figure | None = None
        self.selection = self.default()

    def runs(self) -> dict[str, Path]:
        """Folders of all runs by name, the newest first: report, device, when it began, preset."""
        paths = (self.root / "results").glob(f"*/*/*/{MANIFEST}")
        paths = (path for path in paths if not (path.parent / SCORES).exists())
        found = sorted((*self._name(path), path.parent) for path in paths)
        return {name: folder for _, _, name, folder in reversed(found)}

    def _name(self, path: Path) -> tuple[str, str, str]:
        """When a run began, its id and its name; a manifest is read again only when it has changed."""
        key = (path, path.stat().st_mtime_ns)
        if key not in self._names:
            self._names[key] = _named(path.parent)
        return self._names[key]

    def rows(self, run: str) -> pd.DataFrame:
        """All rows of a run."""
        return self._load(run).rows

    def _load(self, run: str) -> Loaded:
        known = self.runs()
        if not known:
            raise BenchError(NOTHING)
        if run not in known:
            raise unknown("run", run, known)
        folder = known[run]
        state = tuple(path.stat().st_mtime_ns for path in sorted(folder.glob("*.json*")))
        if folder not in self._loaded or self._loaded[folder].state != state:
            self._loaded[folder] = Loaded(state, frames.load(folder))
        return self._loaded[folder]

    def choices(self, run: str) -> dict[str, list[str]]:
        """What a run has to choose from: ``model``, ``phase``, ``scenario``, ``variants``, ``baseline``."""
        return self._load(run).choices

    def default(self, run: str | None = None) -> Selection:
        """A first look at a run, the newest by default: decode of the model with the most variants, all of them."""
        names = [run] if run else list(self.runs())
        if not names:
            return Selection()
        try:
            known = self.choices(names[0])
        except BenchError:  # nothing has finished in it yet; a view of it says so
            return Selection(names[0])
        phase = next((phase for phase in ("decode", *known["phase"][1:]) if phase in known["phase"]), ALL)
        variants = self.rows(names[0]).groupby("model", sort=False)["variant"].nunique()
        model = max(known["model"][1:], key=variants.get)  # the first of those
        return Selection(names[0], "distribution", model, phase, baseline=(known["baseline"] or [""])[0])

    def select(self, chosen: Selection | None = None) -> pd.DataFrame:
        """The rows of a choice, by default of the one that the controls show; without any run an empty frame."""
        chosen = chosen or self.selection
        if not chosen.run and not self.runs():
            return pd.DataFrame(columns=frames.COLUMNS)
        return select(self.rows(chosen.run), chosen, self.choices(chosen.run))

    def view(self, chosen: Selection) -> views.View:
        """A choice as table, words and picture."""
        rows = select(self.rows(chosen.run), chosen, self.choices(chosen.run))
        if rows.empty:
            raise BenchError("no rows: this run has not measured that combination; choose another variant or phase")
        if chosen.view == "rows":
            return views.raw(rows, chosen)
        if chosen.view == "effects":
            return views.effects(self.effects(chosen.run, chosen.baseline), rows, chosen)
        return views.samples(rows, chosen)

    def effects(self, run: str, baseline: str) -> pd.DataFrame:
        """All contrasts of a run with a baseline; its control, where there is one, is its name with ``-again``."""
        loaded = self._load(run)
        if baseline not in loaded.effects:
            loaded.effects[baseline] = _contrasts(loaded.rows, baseline)
        return loaded.effects[baseline]

    def figure(self, chosen: Selection) -> Figure | None:
        """The picture of a choice, always in the same figure; None for a view that is a table."""
        return self._drawn(self.view(chosen))

    def table(self, chosen: Selection) -> pd.DataFrame:
        """The data of a choice: its rows, or its contrasts in the view ``effects``."""
        return self.view(chosen).table

    def html(self, chosen: Selection) -> str:
        """A choice as HTML: picture or table with its caption, or one sentence that says why there is none."""
        try:
            view = self.view(chosen)
        except BenchError as error:
            return f"<p>{escaped(error)}</p>"
        figure = self._drawn(view)
        if figure is None:
            shown = table_of(view.table[SHOWN].head(chosen.first).dropna(axis="columns", how="all"))
            return styled(table_html(shown, view.caption, limit=chosen.first))
        png = base64.b64encode(picture(figure)).decode()
        width = round(figure.get_figwidth() * 96)
        return styled(figure_html(f"data:image/png;base64,{png}", view.alt, view.caption, width=width))

    def export(self, chosen: Selection) -> list[Path]:
        """Write a choice as CSV and, where it has a picture, SVG and PNG; paths relative to the root.

        The same choice of the same rows is written to the same files, with the same bytes.
        """
        view = self.view(chosen)
        folder = self.root / STATE / "exports"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{self.runs()[chosen.run].name}-{chosen.view}-{_digest(chosen)}"
        (folder / f"{name}.csv").write_text(view.table.to_csv(index=False))
        paths = [folder / f"{name}.csv"]
        if figure := self._drawn(view):
            for kind in ("svg", "png"):
                paths.append(folder / f"{name}.{kind}")
                paths[-1].write_bytes(saved(figure, kind))
        return [path.relative_to(self.root) for path in paths]

    def show(self, interactive: bool = True) -> None:
        """Controls and the view they choose; without a front end to move them, the newest run in still pictures."""
        if not self.runs():
            display.say(NOTHING)
        elif interactive and has_front_end():
            from .widgets import Controls

            Controls(self).show()
        else:
            self._show_still()

    def _show_still(self) -> None:
        """Every view with a picture, over all cells of the newest run of each report and device."""
        newest: dict[tuple, str] = {}
        for name, folder in self.runs().items():
            newest.setdefault(folder.parts[-3:-1], name)
        for number, run in enumerate(newest.values(), 1):
            display.say("{run}", run=run)
            everything = self.default(run).but(model=ALL, phase=ALL, panels=STILL_PANELS)
            for view in VIEWS[:-1]:
                self._show_one(everything.but(view=view), f"{view}-{number}")

    def _show_one(self, chosen: Selection, name: str) -> None:
        try:
            view = self.view(chosen)
        except BenchError as error:
            display.say("{sentence}", sentence=str(error))
            return
        display.show_figure(self._drawn(view), name, view.caption, view.alt)

    def _drawn(self, view: views.View) -> Figure | None:
        if view.draw is None:
            return None
        with style():
            self._figure = self._figure or Figure(layout="constrained", dpi=DPI)
            self._figure.clear()
            view.draw(self._figure)
        return self._figure


def _contrasts(rows: pd.DataFrame, baseline: str) -> pd.DataFrame:
    names = set(rows.loc[~rows["exhibit"].astype(bool) & rows["phase"].isin(TIMED), "variant"])
    control = f"{baseline}-again"
    return contrast(rows, baseline, control if control in names else None) if names - {baseline} else pd.DataFrame()


def _named(folder: Path) -> tuple[str, str, str]:
    """When a run began, its id, and its name for a reader; one that cannot be read is named too, and comes last."""
    try:
        manifest = read_manifest(folder)
    except BenchError:
        return "", folder.name, f"{folder.name} (cannot be read)"
    unfinished = "" if manifest.status == "complete" else ", unfinished"
    when = manifest.started_at[:16].replace("T", " ")
    shown = f"{manifest.report} · {manifest.device} · {when} ({manifest.preset}, {manifest.run[-4:]}{unfinished})"
    return manifest.started_at, manifest.run, shown


def _digest(chosen: Selection) -> str:
    return hashlib.sha256(repr(sorted(asdict(chosen).items())).encode()).hexdigest()[:8]
