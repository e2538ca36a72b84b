"""The nbconvert exporter of report pages, also as `jupyter nbconvert --to bench-report notebook.ipynb`."""

from importlib.resources import files

from jinja2 import Environment
from markupsafe import Markup
from nbconvert.exporters import HTMLExporter, TemplateExporter
from nbformat import NotebookNode
from traitlets import default

from .canonical import Canonical
from .page import Page, build_page

TEMPLATES = files("bench_utils.reporting") / "templates" / "report"
_CONTEXT = "bench_context"


class ReportExporter(HTMLExporter):
    """Writes one file without scripts that loads nothing; see `render`."""

    export_from_notebook = "Benchmark report"

    @default("template_name")
    def _template_name_default(self) -> str:
        return "report"

    @default("template_paths")
    def _template_paths(self, prune: bool = True, root_dirs: list[str] | None = None) -> list[str]:
        return [str(TEMPLATES)]  # ours alone: a template of the same name elsewhere cannot shadow it

    @default("preprocessors")
    def _preprocessors_default(self) -> list[type]:
        return [Canonical]

    def _create_environment(self) -> Environment:
        """Return nbconvert's environment, except that what a template prints is escaped, in included ones too."""
        environment = super()._create_environment()
        environment.autoescape = True
        return environment

    def from_notebook_node(self, nb: NotebookNode, resources: dict | None = None, **kw: object) -> tuple[str, dict]:
        """Return the page and nbconvert's resources.

        `HTMLExporter` would parse and write the page once more to add attributes; ours has them.
        """
        resources = self._init_resources(resources or {})
        self.register_filter("page_of", _page_of)
        return TemplateExporter.from_notebook_node(self, nb, resources, **kw)


def render(nb: NotebookNode, *, context: dict | None = None) -> str:
    """Return an executed notebook as a complete HTML page.

    `context` may hold `report`, `device`, `run`, `index_href` and `downloads` (pairs of label and relative
    address), all plain strings. The same notebook and context give the same text.
    """
    page, _ = ReportExporter().from_notebook_node(nb, {_CONTEXT: context or {}})
    return page


def _page_of(nb: NotebookNode, resources: dict) -> Page:
    page = build_page(nb, resources.get(_CONTEXT))
    for name in ("lead_html", "headline_html", "claims_html", "provenance_html"):
        setattr(page, name, Markup(getattr(page, name)))
    page.blocks_html = [Markup(block) for block in page.blocks_html]
    return page
