"""The main job, small: one smoke run of TR126 through the command line, shared by all tests here."""

import json
import subprocess
import sys

import nbformat
import pytest

from bench_utils import frames, records
from bench_utils.explore.selection import VIEWS
from bench_utils.reporting.execute import execute
from bench_utils.runs import runs, timed
from bench_utils.study import Study
from tests.conftest import REPOSITORY


def tool(root, *arguments, timeout=300):
    return subprocess.run(
        [sys.executable, "-m", "bench_utils", *arguments], cwd=root, capture_output=True, text=True, timeout=timeout
    )


@pytest.fixture(scope="module")
def measured(project):
    done = tool(project, "run", "TR126", "--device", "cpu", "--preset", "smoke")
    assert done.returncode == 0, done.stderr
    folder, manifest = next(iter(runs(project)))
    return project, folder, manifest, done


def test_it_says_where_to_look_and_how_long_is_left(measured):
    _, _, manifest, done = measured
    assert f"reports/{manifest.device}/TR126.html" in done.stdout
    assert "index: reports/index.html" in done.stdout
    assert "left" in done.stderr


def test_every_cell_of_the_plan_has_rows_with_a_receipt(measured):
    root, folder, _, _ = measured
    study = Study("TR126", run=folder.name, root=root)
    cells = frames.receipts(folder)
    timed = cells[cells["phase"].isin(["e2e", "prefill", "decode"])]
    assert len(timed) == len(study.limits.measured) * study.limits.rounds
    for receipt in timed["receipt"]:
        assert {"threads", "cache", "provenance", "expected_calls", "tokens", "others_cores"} <= receipt.keys()
        assert receipt["provenance"]["dtype"] == "float32"
    assert set(timed["tokens_out"]) == {1, 16, 17}


def test_inductors_own_code_ran_on_every_call(measured):
    rows = frames.load(measured[1])
    compiled = rows[(rows["variant"] == "compile-static") & (rows["role"] == "sample") & rows["expected_calls"].notna()]
    assert len(compiled) >= 12
    assert (compiled["compiled_calls"] == compiled["expected_calls"]).all()


def test_compiled_and_eager_produce_the_same_tokens(measured):
    rows = frames.load(measured[1]).query("model == 'tiny-gpt2' and phase == 'e2e'")
    assert rows.groupby("round")["tokens"].nunique().eq(1).all()


def test_cold_and_warm_compilation_load_and_first_call_have_rows_of_their_own(measured):
    rows = frames.load(measured[1])
    counts = rows[rows["role"] == "sample"].drop_duplicates(["process", "phase"])["phase"].value_counts()
    assert (counts["compile_cold"], counts["compile_warm"], counts["first_call"]) == (1, 2, 6)
    load = rows[rows["phase"] == "load"]  # of seeded weights: read back, and not timed
    assert load["process"].nunique() == len(load) == 6 and load["latency_ms"].isna().all()
    cold = rows.query("phase == 'compile_cold'")["latency_ms"].item()
    assert cold > rows.query("phase == 'compile_warm'")["latency_ms"].max()


def test_two_rounds_give_no_verdict_on_speed(measured):
    root, _, manifest, _ = measured
    page = json.loads((root / "reports" / manifest.device / "TR126.json").read_text())
    verdicts = {claim["id"]: claim["verdict"] for claim in page["claims"]}
    assert verdicts["decode-no-gain"] == "inconclusive"
    assert verdicts["static-ran-compiled"] == "supported"
    assert verdicts["graphs-decode"] == "not testable here"
    assert {"report", "device", "run", "plan_digest", "identity", "claims", "tables"} <= page.keys()


def test_a_second_run_measures_nothing_and_gives_the_same_bytes(measured):
    root, folder, manifest, _ = measured
    page = root / "reports" / manifest.device / "TR126.html"
    before, rows = page.read_bytes(), (folder / records.SAMPLES).read_bytes()
    done = tool(root, "run", "TR126", "--device", "cpu", "--preset", "smoke")
    assert done.returncode == 0
    assert (folder / records.SAMPLES).read_bytes() == rows
    assert page.read_bytes() == before
    assert len(list(runs(root))) == 1


def test_papermill_works_without_our_command_line(measured, tmp_path):
    root, folder, _, _ = measured
    parameters = tmp_path / "params.yml"
    parameters.write_text(f"preset: smoke\nrun: {folder.name}\n")
    out = tmp_path / "out.ipynb"
    command = [sys.executable, "-m", "papermill", "TR126_compile_phases.ipynb", str(out), "-f", str(parameters)]
    done = subprocess.run(command, cwd=root / "notebooks", capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert any(
        "bench" in o.metadata for c in nbformat.read(out, 4).cells for o in c.get("outputs", []) if "metadata" in o
    )


EXPLORE = REPOSITORY / "notebooks" / "explore.ipynb"


def outputs(path):
    nb = nbformat.read(path, 4)
    return [o for c in nb.cells for o in c.get("outputs", [])], nb


def test_exploring_without_a_front_end_shows_every_committed_run_in_still_pictures(tmp_path):
    execution = execute(EXPLORE, {"interactive": False}, tmp_path / "out.ipynb", cwd=EXPLORE.parent)
    assert execution.status == "complete", execution.message
    shown, _ = outputs(tmp_path / "out.ipynb")
    said = [o["metadata"]["bench"] for o in shown if "bench" in o.get("metadata", {})]
    names = [bench["name"] for bench in said if bench["kind"] == "figure"]
    newest = {(m.report, m.device) for _, m in timed(REPOSITORY)}
    assert sorted(names) == sorted(f"{view}-{n + 1}" for view in VIEWS[:-1] for n in range(len(newest)))
    assert all(bench["alt"] and bench["caption"] for bench in said if bench["kind"] == "figure")
    for report, device in newest:
        assert any(f"{report} · {device}" in o["data"]["text/plain"] for o in shown if "data" in o)


def test_nobody_moves_a_control_under_papermill_whatever_is_asked_for(tmp_path):
    out = tmp_path / "out.ipynb"
    command = [sys.executable, "-m", "papermill", str(EXPLORE), str(out), "--cwd", str(EXPLORE.parent)]
    done = subprocess.run([*command, "-y", "interactive: true"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    shown, nb = outputs(out)
    kinds = {kind for o in shown for kind in o.get("data", {})}
    assert "image/png" in kinds and "application/vnd.jupyter.widget-view+json" not in kinds
    assert "widgets" not in nb.metadata


@pytest.mark.parametrize(("arguments", "said"), [
    (["run", "TR127"], "unknown report 'TR127'; did you mean TR147 or TR126"),
    (["run", "TR126", "--preset", "quik"], "unknown preset 'quik'; did you mean quick"),
    (["run", "TR126", "--device", "gpu"], "unknown device 'gpu'"),
    (["run", "TR126", "--device", "cuda:7"], "device 'cuda:7' is not on this machine; present: "),
    (["run", "TR126", "--run", "2020"], "unknown run of TR126: '2020'"),
    (["measure", "TR126", "--preset", "quik"], "did you mean quick"),
    (["render", "TR12"], "unknown report 'TR12'"),
])  # fmt: skip
def test_bad_input_is_one_sentence_and_measures_nothing(project, arguments, said):
    before = sorted(project.glob("results/*/*/*"))
    done = tool(project, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert sorted(project.glob("results/*/*/*")) == before
