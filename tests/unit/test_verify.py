"""Same records, same bytes: what differs is named, and nothing is touched."""

import shutil
from pathlib import Path

import pytest
from small_project import DEVICE, small_project, write_run

from bench_utils.errors import BenchError
from bench_utils.records import SAMPLES
from bench_utils.reporting import pipeline
from bench_utils.reporting.verify import SETTINGS, differences, digests, targets, unlocked, verify
from bench_utils.study import Study

PAGE = f"reports/{DEVICE}/mini"
FIGURE = f"figures/{DEVICE}/mini/medians"
RUN = "20260101-000000-smoke-aaaa"


def render(root: Path, run: str = RUN) -> None:
    pipeline.render(Study("mini", run=run, root=root))
    pipeline.index(root)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run and its page, made on a machine that this one is not."""
    root = small_project(tmp_path_factory.mktemp("published") / "project")
    write_run(root)
    render(root)
    return root


@pytest.fixture
def root(published: Path, tmp_path: Path) -> Path:
    """A clone of it."""
    return shutil.copytree(published, tmp_path / "clone", ignore=shutil.ignore_patterns(".bench"))


def test_what_its_records_give_holds_and_stays_untouched(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert verify(root) == (5, [])  # page, data, two figures, index
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_a_changed_sample_is_named_by_every_file_that_shows_it(root: Path) -> None:
    samples = root / "results" / DEVICE / "mini" / RUN / SAMPLES
    rows = samples.read_text()
    assert rows.count('"latency_ms":7.1,') == 3
    samples.write_text(rows.replace('"latency_ms":7.1,', '"latency_ms":7.9,'))
    said = "differs from what its records give"
    assert verify(root).complaints[:5] == [
        f"{FIGURE}.png {said}", f"{FIGURE}.svg {said}", f"{PAGE}.html {said}", f"{PAGE}.json {said}",
        f"reports/index.html {said}",
    ]  # fmt: skip


def test_a_changed_byte_a_lost_file_and_a_stray_one_are_named(root: Path) -> None:
    page = root / f"{PAGE}.html"
    page.write_bytes(page.read_bytes().replace(b"Decode takes", b"Decode tapes", 1))
    (root / f"{FIGURE}.png").unlink()
    (root / "figures" / DEVICE / "mini" / "old.svg").write_text("<svg/>")
    assert verify(root).complaints[:3] == [
        f"{FIGURE}.png is missing",
        f"figures/{DEVICE}/mini/old.svg comes from no record",
        f"{PAGE}.html differs from what its records give",
    ]


def test_what_depends_on_more_than_the_records_is_named(tmp_path: Path) -> None:
    unordered = 'bu.say("{order}", order=" ".join({"one", "two", "three", "four", "five", "six", "seven"}))'
    root = small_project(tmp_path / "project", unordered)
    write_run(root)
    render(root)
    assert f"{PAGE}.html differs between two renders of the same records" in verify(root).complaints


@pytest.mark.parametrize("name", ["PYTHONHASHSEED", "TZ", "LC_ALL"])
def test_the_two_renders_share_no_setting(name: str) -> None:
    assert len({setting[name] for setting in SETTINGS}) == len(SETTINGS)


def test_a_line_a_path_whose_digest_is_not_one_and_the_same() -> None:
    here = {"same": "1", "changed": "1", "stray": "1", "shaky": "1"}
    assert differences(here, here, here) == []
    one = {"same": "1", "changed": "2", "shaky": "1", "lost": "1", "half": "1"}
    two = {"same": "1", "changed": "2", "shaky": "2", "lost": "1"}
    assert differences(here, one, two) == [
        "changed differs from what its records give",
        "half differs between two renders of the same records",
        "lost is missing",
        "shaky differs between two renders of the same records",
        "stray comes from no record",
    ]


def test_a_page_is_rendered_from_the_run_that_it_shows_on_every_machine(root: Path) -> None:
    write_run(root, "20260101-090000-smoke-ffff", machine="machine-b")
    assert targets(root) == [("mini", DEVICE, RUN)]
    (root / f"{PAGE}.json").unlink()
    assert targets(root) == [("mini", DEVICE, "20260101-090000-smoke-ffff")]


def test_a_page_of_a_run_that_stopped_is_one_too(root: Path) -> None:
    write_run(root, "20260101-090000-smoke-ffff", processes=1)
    page = root / f"{PAGE}.json"
    page.write_text(page.read_text().replace(RUN, "20260101-090000-smoke-ffff"))
    assert targets(root) == [("mini", DEVICE, "20260101-090000-smoke-ffff")]


def test_a_page_without_its_records_is_not_rendered(root: Path) -> None:
    shutil.rmtree(root / "results" / DEVICE / "mini" / RUN)
    assert targets(root) == []


def test_a_run_without_a_notebook_asks_for_no_page(root: Path) -> None:
    folder = root / "results" / DEVICE / "mini" / RUN
    shutil.copytree(folder, root / "results" / DEVICE / "by-hand" / RUN)
    manifest = root / "results" / DEVICE / "by-hand" / RUN / "run.json"
    manifest.write_text(manifest.read_text().replace('"report": "mini"', '"report": "by-hand"'))
    assert targets(root) == [("mini", DEVICE, RUN)]


def test_records_that_cannot_be_read_are_an_error_that_names_them(root: Path) -> None:
    (root / "results" / DEVICE / "mini" / RUN / "run.json").write_text("{")
    with pytest.raises(BenchError, match=RUN):
        verify(root)


def test_other_packages_than_the_locks_are_named(tmp_path: Path) -> None:
    assert unlocked(tmp_path) == []
    (tmp_path / "requirements.lock").write_text("numpy==0.0.1\nnot-installed==1.0\n")
    assert len(unlocked(tmp_path)) == 1
    assert "numpy" in unlocked(tmp_path)[0] and "not-installed" not in unlocked(tmp_path)[0]


def test_digests_are_of_pages_and_figures_only(root: Path) -> None:
    assert sorted(digests(root)) == [
        f"{FIGURE}.png", f"{FIGURE}.svg", f"{PAGE}.html", f"{PAGE}.json", "reports/index.html",
    ]  # fmt: skip
