"""The controls: they change a selection, and show what the explorer says about it."""

from __future__ import annotations

from functools import partial

import ipywidgets
from IPython.display import display

from ..errors import BenchError
from ..reporting.text import escaped
from .explorer import Explorer
from .selection import VIEWS

WIDE = ipywidgets.Layout(width="98%")
FIELDS = ("model", "phase", "scenario", "variants", "baseline")


class Controls:
    """Drop-downs over an explorer's runs, the current view below them, and a button that exports it."""

    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer
        names = list(explorer.runs())
        self.run = ipywidgets.Dropdown(options=names, description="Run", layout=WIDE)
        self.view = ipywidgets.ToggleButtons(options=VIEWS)
        self.fields = {field: _chooser(field) for field in FIELDS}
        self.first = ipywidgets.BoundedIntText(20, min=1, max=500, description="First rows")
        self.button = ipywidgets.Button(description="Export", icon="download", tooltip="figure and table as files")
        self.said, self.shown = ipywidgets.HTML(), ipywidgets.HTML()
        self._changing = False
        self.run.observe(lambda change: self._enter(change["new"]), "value")
        for name, widget in {"view": self.view, "first": self.first, **self.fields}.items():
            widget.observe(partial(self._changed, name), "value")
        self.button.on_click(lambda _: self.export())
        self._enter(names[0])

    def show(self) -> None:
        """Display everything."""
        left = ipywidgets.VBox([self.fields["model"], self.fields["phase"], self.fields["scenario"]])
        right = ipywidgets.VBox([self.fields["baseline"], self.first, self.button])
        choosers = ipywidgets.HBox([left, self.fields["variants"], right])
        display(ipywidgets.VBox([self.run, self.view, choosers, self.said, self.shown]))

    def export(self) -> None:
        """Write the current view, and say where."""
        try:
            written = ", ".join(
                f"<code>{escaped(path)}</code>" for path in self.explorer.export(self.explorer.selection)
            )
            self.said.value = f"Written below the root of this checkout: {written}"
        except BenchError as error:
            self.said.value = escaped(error)

    def _enter(self, run: str) -> None:
        """Another run: offer what it has, and keep what it has in common with the one before."""
        view, first = self.explorer.selection.view, self.explorer.selection.first
        self.explorer.selection = start = self.explorer.default(run).but(view=view, first=first)
        self._changing = True
        try:
            known = self.explorer.choices(run)
        except BenchError:
            known = {field: [] for field in FIELDS}
        for field, widget in self.fields.items():
            widget.options = known[field]
            if field != "variants" and known[field]:
                widget.value = getattr(start, field)
        self._changing = False
        self._redraw()

    def _changed(self, name: str, change: dict) -> None:
        if not self._changing:
            self.explorer.selection = self.explorer.selection.but(**{name: change["new"]})
            self._redraw()

    def _redraw(self) -> None:
        chosen = self.explorer.selection
        self.fields["baseline"].disabled = chosen.view != "effects"
        self.first.disabled = chosen.view != "rows"
        self.said.value = ""
        # a widget's lines are as high as its controls
        self.shown.value = f'<div style="line-height:1.4">{self.explorer.html(chosen)}</div>'


def _chooser(field: str) -> ipywidgets.Widget:
    if field == "variants":
        return ipywidgets.SelectMultiple(
            description="Variants", rows=6, tooltip="none is all; Ctrl or Shift adds to what is chosen"
        )
    return ipywidgets.Dropdown(description=field.capitalize())
