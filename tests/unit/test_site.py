"""The site: a page of a run that stopped, the index, and the folder that is served."""

import json
import re
import shutil
from pathlib import Path

import pytest
from small_project import DEVICE, small_project, write_run
from typer.testing import CliRunner

from bench_utils import cli, jobs
from bench_utils import plan as plans
from bench_utils.errors import BenchError
from bench_utils.privacy import PrivacyError
from bench_utils.records import PROCESSES, read_manifest
from bench_utils.reporting import bundle, pipeline
from bench_utils.reporting.errors import ReportingError
from bench_utils.runs import progress_of
from bench_utils.study import Study
from tests.conftest import REPOSITORY


def page_data(root: Path, device: str = DEVICE) -> dict:
    return json.loads((root / "reports" / device / "mini.json").read_text())


def page_text(root: Path, device: str = DEVICE) -> str:
    return (root / "reports" / device / "mini.html").read_text()


def rendered(root: Path, folder: Path) -> pipeline.Rendered:
    return pipeline.render(Study("mini", run=folder.name, root=root))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return small_project(tmp_path / "project")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two devices, one of them with two runs, rendered and indexed."""
    root = small_project(tmp_path_factory.mktemp("published") / "project")
    write_run(root, "20260101-010000-smoke-aaaa", latency_ms=9.0)
    for folder in (write_run(root, "20260101-020000-smoke-bbbb"), write_run(root, device="nvidia-h200")):
        rendered(root, folder)
    pipeline.index(root)
    return root


@pytest.mark.parametrize(("processes", "measured"), [(None, 12), (0, 0), (1, 3), (3, 9)])
def test_progress_counts_the_cells_of_processes_that_ended(root: Path, processes: int | None, measured: int) -> None:
    folder = write_run(root, processes=processes)
    preset = plans.read(root / "notebooks" / "mini.toml").preset("smoke")
    assert progress_of(folder, preset) == (measured, 12)


def test_an_interrupted_process_is_no_progress(root: Path) -> None:
    folder = write_run(root, processes=3)
    lines = (folder / PROCESSES).read_text().splitlines(keepends=True)
    assert '"kind":"end"' in lines[-1]
    (folder / PROCESSES).write_text("".join(lines[:-1]))
    preset = plans.read(root / "notebooks" / "mini.toml").preset("smoke")
    assert progress_of(folder, preset) == (6, 12)


def test_the_page_of_a_run_that_stopped_says_so_and_decides_nothing(root: Path) -> None:
    folder = write_run(root, processes=2)
    page = rendered(root, folder)
    assert (page.status, page.exit_code) == ("stopped after 6 of 12 cells measured", 0)
    assert "This report stopped after 6 of 12 cells measured; its claims are not decided." in page_text(root)
    data = page_data(root)
    assert (data["status"], data["progress"]) == ("stopped", {"measured": 6, "planned": 12})
    assert [(claim["id"], claim["verdict"], claim["value"]) for claim in data["claims"]] == [
        ("quick", "not measured", None)
    ]
    assert page_text(root).count('class="claims"') == 1
    assert read_manifest(folder).status == "measuring"
    index = pipeline.index(root).read_text()
    assert "stopped early" in index and "Stopped after 6 of 12 cells measured." in index and "Decode takes" not in index


def test_a_run_that_measured_nothing_has_a_page_as_well(root: Path) -> None:
    page = rendered(root, write_run(root, processes=0))
    assert page.exit_code == 1
    assert "stopped in cell 3 of 5, after 0 of 12 cells measured; later cells were not run" in page_text(root)
    assert [claim["verdict"] for claim in page_data(root)["claims"]] == ["not measured"]


def test_a_run_that_stopped_never_replaces_a_complete_one_and_is_replaced_by_it(root: Path) -> None:
    first, complete = write_run(root, processes=1), write_run(root, "20260101-010000-smoke-bbbb")
    stopped, whole = Study("mini", run=first.name, root=root), Study("mini", run=complete.name, root=root)
    assert pipeline.may_show(stopped)
    pipeline.render(stopped)
    assert [study.folder.name for study in pipeline.pages(root, {"mini"})] == [complete.name]
    assert pipeline.may_show(stopped) and pipeline.may_show(whole)
    pipeline.render(whole)
    assert not pipeline.may_show(stopped)
    assert page_data(root)["status"] == "complete" and "progress" not in page_data(root)


def test_render_keeps_the_page_of_a_run_that_stopped_and_makes_none(root: Path) -> None:
    folder = write_run(root, processes=1)
    assert list(pipeline.pages(root, {"mini"})) == []
    rendered(root, folder)
    assert [study.folder.name for study in pipeline.pages(root, {"mini"})] == [folder.name]


def measuring_that_stops(processes: int | None):
    """Measuring that comes as far as that many processes."""

    def measure(study: Study, minutes: float | None) -> None:
        if processes is not None:
            study.folder = write_run(
                study.root, "20260101-050000-smoke-dddd", device=study.device.slug, processes=processes
            )
            study.manifest = read_manifest(study.folder)
        raise BenchError("the worker of round 1 died twice")

    return measure


def run_mini(root: Path, monkeypatch: pytest.MonkeyPatch, processes: int | None):
    monkeypatch.chdir(root)
    monkeypatch.setattr(Study, "measure", measuring_that_stops(processes))
    return CliRunner().invoke(cli.app, ["run", "mini", "--device", "cpu", "--preset", "smoke"])


def test_run_ends_with_the_failures_code_and_a_page(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run_mini(root, monkeypatch, processes=2)
    assert done.exit_code == 2
    assert "bench-utils: the worker of round 1 died twice" in done.stderr
    assert "stopped after 6 of 12 cells measured" in done.stdout
    assert "stopped early" in (root / "reports" / "index.html").read_text()


def test_run_says_that_the_page_of_a_complete_run_stays(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Study("mini", device="cpu", preset="smoke", root=root).device.slug
    rendered(root, write_run(root, device=device))
    before = page_text(root, device)
    done = run_mini(root, monkeypatch, processes=2)
    assert done.exit_code == 2
    assert f"reports/{device}/mini.html stays that of a complete run" in done.stdout
    assert page_text(root, device) == before


def test_measuring_that_never_began_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run_mini(root, monkeypatch, processes=None)
    assert done.exit_code == 2
    assert not (root / "reports").exists()


def test_the_selftest_does_every_device_and_ends_with_the_first_failure(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(published)
    codes = {"a": 0, "b": 3, "c": 1, "d": 0}
    tested = []
    monkeypatch.setattr(jobs, "studies_of", lambda *_: list(codes))
    monkeypatch.setattr(jobs, "judged", lambda device: tested.append(device) or codes[device])
    done = CliRunner().invoke(cli.app, ["selftest", "--device", "all"])
    assert (done.exit_code, tested) == (3, list(codes))


def test_the_index_shows_verdicts_stack_changes_comparison_and_downloads(published: Path) -> None:
    index = (published / "reports" / "index.html").read_text()
    assert index.count("1 inconclusive") == 2  # one a device
    assert "A processor, python 3.11.7, torch 2.13.0" in index and "2026-01-01" in index
    assert index.count("Since the last run on this device") == 1
    assert "20260101-010000-smoke-aaaa" in index  # the run before is named
    assert 'href="compare/mini.html"' in index
    records = f"../results/{DEVICE}/mini/20260101-020000-smoke-bbbb"
    for name in ("run.json", "samples.jsonl", "processes.jsonl"):
        assert f'href="{records}/{name}" download' in index
        assert f'href="../{records}/{name}" download' in page_text(published)
    assert '<img src="../figures/nvidia-h200/mini/medians.svg"' in index


def test_every_link_leads_to_a_file_from_wherever_the_site_is(published: Path, tmp_path: Path) -> None:
    bundle.bundle(published, tmp_path / "public")
    shutil.move(tmp_path / "public", tmp_path / "elsewhere")
    pages = sorted((tmp_path / "elsewhere").rglob("*.html"))
    assert len(pages) == 5  # the first page, the index, two devices and their comparison
    for page in pages:
        found = re.findall(r'(?:href|src)="([^"#][^"]*)"', page.read_text())
        links = [link for link in found if not link.startswith("data:")]
        assert links
        assert all((page.parent / link).resolve().is_file() for link in links), page
        anchors = re.findall(r'href="#([^"]+)"', page.read_text())
        assert all(f'id="{anchor}"' in page.read_text() for anchor in anchors)


def test_the_site_holds_what_is_linked_and_nothing_else(published: Path, tmp_path: Path) -> None:
    (published / "reports" / DEVICE / "draft.html").write_text("not linked")
    try:
        first = bundle.bundle(published, tmp_path / "public")
    finally:
        (published / "reports" / DEVICE / "draft.html").unlink()
    files = {path.relative_to(first.parent).as_posix() for path in first.parent.rglob("*") if path.is_file()}
    runs = {DEVICE: "20260101-020000-smoke-bbbb", "nvidia-h200": "20260101-000000-smoke-aaaa"}
    records = {
        f"results/{device}/mini/{run}/{name}"
        for device, run in runs.items()
        for name in ("run.json", "samples.jsonl", "processes.jsonl")
    }
    pages = {f"reports/{device}/mini.{kind}" for device in runs for kind in ("html", "json")}
    figures = {f"figures/{device}/mini/medians.{kind}" for device in runs for kind in ("png", "svg")}
    ours = {".nojekyll", "index.html", "reports/index.html", "reports/compare/mini.html"}
    assert files == records | pages | figures | ours


def test_a_site_is_replaced_as_a_whole_and_nothing_else_ever(published: Path, tmp_path: Path) -> None:
    bundle.bundle(published, tmp_path / "public")
    (tmp_path / "public" / "reports" / "old.html").write_text("of an earlier site")
    bundle.bundle(published, tmp_path / "public")
    assert not (tmp_path / "public" / "reports" / "old.html").exists()
    for folder, kept in (("mine", "thesis.txt"), ("public", ".git"), ("public", "CNAME")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / kept).write_text("all of it")
        with pytest.raises(ReportingError, match=f"the folder '{folder}' holds '{kept}', which no site has"):
            bundle.bundle(published, tmp_path / folder)
        (tmp_path / folder / kept).unlink()


def test_a_figure_that_names_a_file_elsewhere_is_not_copied(published: Path, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(published, root)
    (root / "secret.txt").write_text("mine")
    record = page_data(root)
    record["figures"][0]["files"] = ["../../../secret.txt"]
    (root / "reports" / DEVICE / "mini.json").write_text(json.dumps(record))
    with pytest.raises(ReportingError, match="leads out of its folder"):
        bundle.bundle(root, tmp_path / "public")
    assert not (tmp_path / "public").exists()


@pytest.mark.parametrize("gone", ["run.json", "samples.jsonl"])
def test_a_link_that_leads_nowhere_stops_the_site(gone: str, published: Path, tmp_path: Path) -> None:
    shutil.copytree(published, tmp_path / "project")
    (tmp_path / "project" / "results" / "nvidia-h200" / "mini" / "20260101-000000-smoke-aaaa" / gone).unlink()
    with pytest.raises(ReportingError, match=rf"links to results/nvidia-h200/.*{gone}, which is not there"):
        bundle.bundle(tmp_path / "project", tmp_path / "public")
    assert not (tmp_path / "public").exists()


def test_a_private_fact_in_a_record_stops_the_site(published: Path, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(published, root)
    with (root / "results" / "nvidia-h200" / "mini" / "20260101-000000-smoke-aaaa" / PROCESSES).open("a") as journal:
        journal.write('{"note": "a\\n/home/grace/secret"}\n')
    with pytest.raises(PrivacyError, match=r"processes\.jsonl would publish home path"):
        bundle.bundle(root, tmp_path / "public")
    assert not (tmp_path / "public").exists()


def test_every_link_of_what_is_committed_leads_to_a_committed_file() -> None:
    files = bundle.site_files(REPOSITORY)
    assert {name.partition("/")[0] for name in files} == {"reports", "figures", "results"}
    assert not any("/logs/" in name for name in files)
