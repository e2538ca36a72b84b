"""A stranger's notebook: nothing of it runs, loads or hides, nothing is endless or written elsewhere."""

import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from bench_utils.reporting.canonical import canonical
from bench_utils.reporting.errors import ReportingError
from bench_utils.reporting.execute import execute
from bench_utils.reporting.exporter import render
from bench_utils.reporting.files import write_atomic
from bench_utils.reporting.pictures import clean_png, safe_svg
from bench_utils.reporting.publish import publish
from bench_utils.reporting.site import build_index
from tests.hostile import DRAWING, EVIL, SVG, TEXT, audited, cases, code, placed, png, report, shown

CASES = cases()
HUGE = 10_000_000
# Larger than any page: the template with its style sheet is 14 KB.
SMALL = 100_000


def test_there_are_many_cases_and_each_has_its_name() -> None:
    assert len(CASES) > 100


@pytest.mark.parametrize("name", CASES)
def test_nothing_of_it_runs_loads_or_hides(name: str) -> None:
    page = render(CASES[name], context={"report": TEXT["markup"], "device": TEXT["markup"], "run": TEXT["markup"]})
    audited(page)
    audited(unquote(page))
    assert {one for one in page if unicodedata.category(one) in ("Cc", "Cf", "Co", "Cs")} <= {"\n", "\t"}


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith(("html-", "markdown-image"))])
def test_addresses_elsewhere_are_dropped_and_words_stay(name: str) -> None:
    page = render(CASES[name])
    assert EVIL not in page
    assert "before" in page or name.startswith("markdown")


def test_text_is_never_a_template() -> None:
    page = render(placed(TEXT["jinja"], "stdout"))
    assert "{{ 7 * 191 }}" in page and "1337" not in page


@pytest.mark.parametrize("name", SVG)
def test_a_drawing_that_runs_or_loads_is_not_used(name: str) -> None:
    safe = safe_svg(SVG[name])
    assert (safe is None) == (name != "processing-instruction")
    assert EVIL not in (safe or "")


def test_an_honest_drawing_is_used() -> None:
    assert safe_svg(f"<?xml version='1.0'?>\n{DRAWING}") == DRAWING


def test_texts_hidden_in_a_png_are_dropped() -> None:
    cleaned = clean_png(png("grace at /home/grace"))
    assert cleaned == clean_png(png()) and b"grace" not in cleaned
    assert clean_png(b"<script>") is None


def displayed(kind: str, content: str) -> nbformat.NotebookNode:
    return shown({kind: content, "text/plain": "too long"})


def tabled(words: str) -> nbformat.NotebookNode:
    bench = {"kind": "table", "name": "t", "caption": words, "columns": [["a", words, False]], "rows": [{"a": words}]}
    return shown({"text/plain": "x"}, bench)


ENDLESS = {
    "one-line": lambda: placed("x" * HUGE, "stdout"),
    "many-lines": lambda: placed("a line\n" * (HUGE // 7), "stderr"),
    "a-path-without-end": lambda: placed("/a" * (HUGE // 2), "stdout"),
    "an-address-without-end": lambda: placed("a." * (HUGE // 2), "stdout"),
    "terminal-codes": lambda: placed("\x1b[1m" * (HUGE // 4), "stdout"),
    "a-progress-bar": lambda: placed("99 %\r" * (HUGE // 5), "stderr"),
    "an-error": lambda: placed("x" * HUGE, "error"),
    "code": lambda: placed("x = 1\n" * (HUGE // 6), "code"),
    "markdown": lambda: report(new_markdown_cell("*a " * (HUGE // 3))),
    "open-brackets": lambda: report(new_markdown_cell("[" * HUGE)),
    "quotes-in-quotes": lambda: report(new_markdown_cell("> " * (HUGE // 2))),
    "html": lambda: displayed("text/html", "<p>x</p>" * (HUGE // 8)),
    "html-without-an-end-tag": lambda: displayed("text/html", "<div>" * 15_000),
    "html-that-is-deep": lambda: displayed("text/html", "<b>" * 9_000 + "x" + "</b>" * 9_000),
    "a-drawing": lambda: displayed("image/svg+xml", DRAWING.replace("<rect", "<g/>" * (HUGE // 4) + "<rect")),
    "a-cell-of-a-table": lambda: tabled("x" * HUGE),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_what_has_no_end_is_cut_and_says_so(name: str) -> None:
    page = render(ENDLESS[name]())
    assert len(page) < SMALL
    said = {"terminal-codes": "Back to top", "a-progress-bar": "99 %", "a-drawing": "too long"}
    words = said.get(name, "too long" if "html" in name else "more characters left out")
    assert words in re.sub("<[^>]*>", "", page)


def test_what_was_cut_is_not_cut_again() -> None:
    once = canonical(placed("x" * HUGE, "stdout"))
    assert canonical(once) == once


def test_ten_megabytes_of_a_real_kernel_are_no_burden(tmp_path: Path) -> None:
    """nbclient's own joining of streams takes the square of a line's length: a day for this one."""
    nbformat.write(report(code(f"print('x' * {HUGE})"), code("print('after')")), tmp_path / "in.ipynb")
    done = execute(tmp_path / "in.ipynb", {}, tmp_path / "out.ipynb", cwd=tmp_path, timeout_s=120)
    assert done.status == "complete"
    page = render(nbformat.read(tmp_path / "out.ipynb", as_version=4))
    assert len(page) < SMALL and "after" in page


VALUES = [
    "'; import os; os.system('touch pwned') #",
    '"; import os; os.system("touch pwned") #',
    "\\'; import os; os.system('touch pwned') #",
    "x\nimport os; os.system('touch pwned')",
    '"""\nimport os; os.system("touch pwned")\n"""',
    "{__import__('os').system('touch pwned')}",
]


def test_code_in_the_value_of_a_parameter_is_a_value(tmp_path: Path) -> None:
    names = [f"v{i}" for i in range(len(VALUES))]
    declared = new_code_cell("\n".join(f"{n} = ''" for n in names), metadata={"tags": ["parameters"]})
    source = f"assert [{', '.join(names)}, dict(nested)] == {[*VALUES, {'k': VALUES}]!r}"
    declared.source += "\nnested = {}"
    nbformat.write(report(declared, code(source)), tmp_path / "in.ipynb")
    given = dict(zip(names, VALUES, strict=True)) | {"nested": {"k": VALUES}}
    done = execute(tmp_path / "in.ipynb", given, tmp_path / "out.ipynb", cwd=tmp_path)
    assert done.status == "complete", done.message
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", ["x=1; import os; os.system('touch pwned') #", "unknown"])
def test_papermill_with_our_engine_runs_no_parameter_that_is_not_declared(name: str, tmp_path: Path) -> None:
    declared = new_code_cell("x = 1", metadata={"tags": ["parameters"]})
    nbformat.write(report(declared, code("open('ran', 'w')")), tmp_path / "in.ipynb")
    command = [sys.executable, "-m", "papermill", "in.ipynb", "out.ipynb", "--engine", "bench"]
    done = subprocess.run([*command, "-p", name, "1"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "is no parameter name" in done.stderr or "unknown parameter 'unknown'" in done.stderr
    assert not (tmp_path / "ran").exists() and not (tmp_path / "pwned").exists()


def test_a_link_in_place_of_the_unfinished_file_is_not_written_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    (tmp_path / f".page.html.{os.getpid()}.partial").symlink_to(outside)
    write_atomic(tmp_path / "page.html", "theirs")
    assert outside.read_text() == "mine" and (tmp_path / "page.html").read_text() == "theirs"
    assert not (tmp_path / "page.html").is_symlink()


@pytest.mark.parametrize("link", ["reports", "reports/index.html"])
def test_an_index_is_not_written_through_a_link(link: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "root" / link).parent.mkdir(parents=True)
    (tmp_path / "root" / link).symlink_to(outside)
    with pytest.raises(ReportingError, match=f"{link} is a symbolic link: remove it and try again"):
        build_index(tmp_path / "root")
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("address", ["javascript:alert(1)", "//evil.example/x", "data:text/html,x", "/etc/passwd"])
def test_a_download_leads_beside_the_page(address: str, tmp_path: Path) -> None:
    facts = {"run": "r", "downloads": [("x", address)]}
    page = publish(report(), root=tmp_path, report="r", device="d", facts=facts).html.read_text()
    audited(page)
    assert address not in page


def test_a_hostile_page_is_published_like_any_other(tmp_path: Path) -> None:
    """Everything in one notebook, through the gate and into the index."""
    nb = report(*(cell for one in cases().values() for cell in one.cells[1:]))
    for index, cell in enumerate(nb.cells):
        for output in cell.get("outputs", []):
            if output.get("metadata", {}).get("bench"):
                output.metadata.bench["name"] = f"n{index}"
    done = publish(nb, root=tmp_path, report="r", device="d", facts={"run": "r"})
    audited(done.html.read_text(encoding="utf-8"))
    audited(build_index(tmp_path).read_text(encoding="utf-8"))


def test_an_error_of_a_strangers_notebook_names_it(tmp_path: Path) -> None:
    broken = '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "code", "outputs": 3}]}'
    (tmp_path / "theirs.ipynb").write_text(broken)
    with pytest.raises(ReportingError, match=r"theirs\.ipynb is not a notebook"):
        execute(tmp_path / "theirs.ipynb", {}, tmp_path / "out.ipynb", cwd=tmp_path)


def test_outputs_of_unknown_kinds_are_left_out() -> None:
    output = new_output("display_data", data={"application/x-evil": "alert(1)", "text/plain": "words"})
    page = render(report(code("show()", output)))
    assert "alert(1)" not in page and "words" in page
