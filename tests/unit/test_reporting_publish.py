"""Publishing: the files, their sameness, their places, and the gate in front of them."""

import copy
import errno
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_output
from test_reporting_sample import cell, executed_sample, notebook, run_notebook, sample_notebook, text

from bench_utils.errors import BenchError
from bench_utils.reporting import files
from bench_utils.reporting.errors import ReportingError
from bench_utils.reporting.publish import Published, publish
from bench_utils.reporting.site import build_index

FACTS = {
    "run": "20260102-a1b2c3",
    "plan_digest": "8f3ab2c41d9e",
    "identity": {"cpu": "Intel(R) Xeon(R) CPU @ 2.50GHz", "torch": "2.13.0", "python": "3.11.7"},
    "date": "2026-01-02",
}
REPORT, DEVICE = "TR126_compile_phases", "cpu-xeon-2.5ghz-2c"


def published(root: Path, nb: nbformat.NotebookNode | None = None, **facts: object) -> Published:
    nb = executed_sample()[1] if nb is None else nb
    return publish(nb, root=root, report=REPORT, device=DEVICE, facts=FACTS | facts)


def with_output(**changes: object) -> nbformat.NotebookNode:
    """Return the sample with its first figure's data changed."""
    nb = copy.deepcopy(executed_sample()[1])
    for one in nb.cells:
        for output in one.get("outputs", []):
            if output.get("metadata", {}).get("bench", {}).get("name") == "speedup":
                output.metadata["bench"] |= changes
    return nb


def printing(words: str) -> nbformat.NotebookNode:
    one = cell("1")
    one.outputs = [new_output("stream", name="stdout", text=words)]
    return notebook(text("# T"), one)


def everything(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_page_data_and_figures_are_written(tmp_path: Path) -> None:
    done = published(tmp_path)
    assert sorted(everything(tmp_path)) == [
        f"figures/{DEVICE}/{REPORT}/{name}" for name in ("order.png", "order.svg", "speedup.png", "speedup.svg")
    ] + [f"reports/{DEVICE}/{REPORT}.html", f"reports/{DEVICE}/{REPORT}.json"]
    assert done.html.exists() and len(done.figures) == 4
    page = done.html.read_text(encoding="utf-8")
    assert 'href="../index.html"' in page and f'href="{REPORT}.json" download' in page


def test_the_data_file_is_the_page_as_data(tmp_path: Path) -> None:
    written = published(tmp_path).json.read_text(encoding="utf-8")
    data = json.loads(written)
    assert written.endswith("}\n") and list(data) == sorted(data)
    assert {key: data[key] for key in ("report", "device", "run", "plan_digest", "identity", "status")} == {
        "report": REPORT, "device": DEVICE, "run": FACTS["run"], "plan_digest": FACTS["plan_digest"],
        "identity": FACTS["identity"], "status": "complete",
    }  # fmt: skip
    assert data["title"] == "Compiled inference, phase by phase"
    assert "1.83 (1.78 to 1.88) times" in data["headline"]
    assert [claim["verdict"] for claim in data["claims"]] == [
        "supported",
        "refuted",
        "inconclusive",
        "not testable here",
    ]
    assert set(data["claims"][0]) == {"id", "text", "verdict", "reason", "value", "interval", "n", "unit"}
    assert len(data["tables"]["effects"]) == 6
    assert data["figures"][0]["name"] == "speedup" and len(data["figures"][0]["rows"]) == 6


def test_publishing_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    published(tmp_path / "a")
    published(tmp_path / "b")
    published(tmp_path / "b")
    assert everything(tmp_path / "a") == everything(tmp_path / "b")


def test_executing_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    _, again = run_notebook(sample_notebook(), tmp_path, {"preset": "smoke"})
    published(tmp_path / "a")
    published(tmp_path / "b", again)
    assert everything(tmp_path / "a") == everything(tmp_path / "b")


RENDER = """
import hashlib, pathlib, sys, nbformat
from bench_utils.reporting.exporter import render
from bench_utils.reporting.publish import publish
from bench_utils.reporting.site import build_index
nb = nbformat.read(sys.argv[1], as_version=4)
root = pathlib.Path(sys.argv[2])
done = publish(nb, root=root, report="TR1", device="d", facts={"run": "r", "identity": {"b": 1, "a": {"z": 1, "y": 2}}})
paths = [done.html, done.json, *done.figures, build_index(root)]
print(hashlib.sha256(b"".join(p.read_bytes() for p in paths)).hexdigest())
"""


def test_other_processes_places_and_times_write_the_same_bytes(tmp_path: Path) -> None:
    nbformat.write(executed_sample()[1], tmp_path / "nb.ipynb")
    settings = [
        {"PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo", "LANG": "C", "LC_ALL": "C"},
        {"PYTHONHASHSEED": "2", "TZ": "America/Lima", "LANG": "de_DE.UTF-8", "PYTHONUTF8": "1"},
    ]
    digests = set()
    for number, setting in enumerate(settings):
        folder = tmp_path / f"place-{number}"
        folder.mkdir()
        command = [sys.executable, "-c", RENDER, str(tmp_path / "nb.ipynb"), str(folder / "root")]
        done = subprocess.run(command, cwd=folder, env=os.environ | setting, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1


def test_figures_the_report_no_longer_has_are_removed(tmp_path: Path) -> None:
    folder = published(tmp_path).figures[0].parent
    (folder / "old.svg").write_text("<svg/>")
    (folder / "notes.txt").write_text("kept")
    published(tmp_path, with_output(name="renamed"))
    assert sorted(path.name for path in folder.iterdir()) == [
        "notes.txt", "order.png", "order.svg", "renamed.png", "renamed.svg",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["../../evil", "a/b", "..", "", "x.svg", "A"])
def test_a_figures_name_cannot_leave_its_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(ReportingError, match="names a figure"):
        published(tmp_path, with_output(name=name))
    assert everything(tmp_path) == {}


def test_two_figures_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportingError, match="two figures are named 'order'"):
        published(tmp_path, with_output(name="order"))


@pytest.mark.parametrize("name", ["../up", "a/b", "..", ".", ".hidden", "a..b", "end.", "", "a b", "x" * 200, "a\n"])
def test_report_and_device_are_plain_names(name: str, tmp_path: Path) -> None:
    for names in ({"report": name, "device": "d"}, {"report": "r", "device": name}):
        with pytest.raises(BenchError, match="becomes a folder"):
            publish(executed_sample()[1], root=tmp_path, facts=FACTS, **names)
    assert everything(tmp_path) == {}


@pytest.mark.parametrize("link", ["reports", f"reports/{DEVICE}", "figures", f"figures/{DEVICE}/{REPORT}"])
def test_a_link_on_the_way_is_not_followed(link: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "root"
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(outside, target_is_directory=True)
    with pytest.raises(ReportingError, match="symbolic link"):
        published(root)
    assert list(outside.iterdir()) == []


def test_a_linked_file_is_replaced_not_written_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside.html"
    outside.write_text("mine")
    page = tmp_path / "root" / "reports" / DEVICE / f"{REPORT}.html"
    page.parent.mkdir(parents=True)
    page.symlink_to(outside)
    published(tmp_path / "root")
    assert outside.read_text() == "mine" and not page.is_symlink()


def test_a_secret_in_the_environment_is_masked_in_what_was_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_KEY", "correct-horse-battery")
    page = published(tmp_path, printing("key correct-horse-battery")).html.read_text(encoding="utf-8")
    assert "correct-horse" not in page and "[secret]" in page


def test_a_full_disk_leaves_the_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published(tmp_path)
    before = everything(tmp_path)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(ReportingError, match="No space left"):
        published(tmp_path, with_output(caption="another"))
    assert everything(tmp_path) == before


def test_files_that_belong_together_change_together(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "file").touch()
    with pytest.raises(ReportingError, match="cannot write b: .*; free space, or make the folder writable"):
        files.write_together({tmp_path / "a": "new", tmp_path / "file" / "b": "new"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "file"]
    assert (tmp_path / "a").read_text() == "old"
    files.write_together({tmp_path / "a": "new", tmp_path / "c": b"new"})
    assert (tmp_path / "a").read_text() == (tmp_path / "c").read_text() == "new"


def test_a_stopped_report_is_published_as_such(tmp_path: Path) -> None:
    nb = printing("x")
    nb.cells[1].outputs = [new_output("error", ename="ValueError", evalue="no", traceback=[])]
    data = json.loads(published(tmp_path, nb).json.read_text())
    assert (data["status"], data["claims"], data["headline"]) == ("failed", [], "")
    assert "stopped early" in build_index(tmp_path).read_text()


def test_of_a_run_that_stopped_no_claim_is_decided(tmp_path: Path) -> None:
    asked = [{"id": "C1", "text": "It is fast."}, {"id": "C2", "text": "It is small."}]
    done = published(tmp_path, progress=(3, 12), claims=asked)
    data, page = json.loads(done.json.read_text()), done.html.read_text()
    assert (data["status"], data["progress"]) == ("stopped", {"measured": 3, "planned": 12})
    reason = "measuring stopped after 3 of 12 cells"
    assert [(c["id"], c["verdict"], c["reason"], c["value"]) for c in data["claims"]] == [
        ("C1", "not measured", reason, None),
        ("C2", "not measured", reason, None),
    ]
    assert "This report stopped after 3 of 12 cells measured; its claims are not decided." in page
    assert page.count('<ul class="claims">') == 1 and page.count('class="badge unmeasured"') == 2
    assert "badge supported" not in page and "badge refuted" not in page
    assert "stopped early" in build_index(tmp_path).read_text()


def test_without_a_list_of_claims_those_of_the_notebook_are_not_measured(tmp_path: Path) -> None:
    data = json.loads(published(tmp_path, progress=(3, 12)).json.read_text())
    assert [(c["id"], c["verdict"]) for c in data["claims"]] == [(f"C{i}", "not measured") for i in (1, 2, 3, 4)]


def test_a_notebook_that_stopped_over_a_run_that_stopped_says_both(tmp_path: Path) -> None:
    nb = printing("x")
    nb.cells[1].outputs = [new_output("error", ename="ValueError", evalue="no rows", traceback=[])]
    page = published(tmp_path, nb, progress=(0, 12)).html.read_text()
    said = "stopped in cell 1 of 1, after 0 of 12 cells measured; later cells were not run (ValueError: no rows)."
    assert f"This report {said}" in page


def test_numbers_in_the_data_end_before_the_bits_in_which_processors_differ(tmp_path: Path) -> None:
    third, apart = 1 / 3, 1 / 3 * (1 + 2**-51)
    assert third != apart
    written = {published(tmp_path, with_output(rows=[{"value": x}])).json.read_text() for x in (third, apart)}
    assert len(written) == 1 and "0.333333333" in written.pop()


def test_the_index_lists_every_page_with_its_verdicts(tmp_path: Path) -> None:
    published(tmp_path)
    publish(executed_sample()[1], root=tmp_path, report="TR117", device="nvidia-h200", facts=FACTS)
    page = build_index(tmp_path).read_text(encoding="utf-8")
    assert page.count("1 not testable here") == 2
    assert page.count("not run") == 2
    assert "2026-01-02" in page and "torch 2.13.0" in page
    links = re.findall(r'(?:href|src)="([^"#]+)"', page)
    assert all((tmp_path / "reports" / link).exists() for link in links)
    assert f"../figures/{DEVICE}/{REPORT}/speedup.svg" in links
    assert "<script" not in page and hashlib.sha256(page.encode()).hexdigest()


def test_an_empty_site_says_so(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    assert "No report has been published yet" in build_index(tmp_path).read_text()


def test_a_hostile_data_file_stays_text(tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "d"
    folder.mkdir(parents=True)
    words = "<script>alert(1)</script>"
    record = {"title": words, "headline": words, "date": words, "stack": words, "claims": [{"verdict": words}, 3],
              "figures": [{"name": "x"}]}  # fmt: skip
    (folder / "r.json").write_text(json.dumps(record))
    page = build_index(tmp_path).read_text()
    assert words not in page and "&lt;script&gt;" in page


@pytest.mark.parametrize("content", ["{", "[]", '{"claims": 3}'])
def test_a_data_file_that_is_none_is_named(content: str, tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "d"
    folder.mkdir(parents=True)
    (folder / "r.json").write_text(content)
    with pytest.raises(ReportingError, match=r"d/r\.json is not a page's data"):
        build_index(tmp_path)
