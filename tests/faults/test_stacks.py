"""Two stacks measured through one command, and what their comparison refuses."""

import json
import os
import subprocess
import sys

import pytest

from bench_utils import environment, frames, receipts, records, stacks, study
from bench_utils.errors import BenchError
from bench_utils.project import STATE
from bench_utils.study import Study
from tests.conftest import MINI_PLAN, make_project

OLD, NEW = "transformers-5.17", "transformers-5.23"
PLAN = MINI_PLAN.replace("[presets.smoke]", "across = true\n\n[presets.smoke]", 1)
LOOSE = {"transformers>=5": "is no pin", "not a pin": "is no pin", "# nothing": "pins nothing"}


def write_stack(root, name, text):
    (root / "stacks").mkdir(exist_ok=True)
    (root / "stacks" / f"{name}.txt").write_text(text)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The mini plan measured in two releases of transformers, and what the command said."""
    root = make_project(tmp_path_factory.mktemp("stacks") / "project", {"mini.toml": PLAN})
    write_stack(root, OLD, "transformers==5.17.0\n")
    write_stack(root, NEW, "transformers==5.23.0\n")
    done = command(root)
    assert done.returncode == 0, done.stderr
    return root, done


def command(root):
    asked = ["measure", "mini", "--device", "cpu", "--preset", "smoke", "--stack", OLD, "--stack", NEW]
    no_hub = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9"}
    return subprocess.run(
        [sys.executable, "-m", "bench_utils", *asked], cwd=root, env=no_hub, capture_output=True, text=True
    )


def manifests(root):
    found = [records.read_manifest(path.parent) for path in root.glob("results/*/*/*/run.json")]
    return {manifest.stack: manifest for manifest in found}


def folder_of(root, stack):
    manifest = manifests(root)[stack]
    return root / "results" / manifest.device / manifest.report / manifest.run


def test_each_stack_has_a_run_of_its_own_in_one_group(measured):
    found = manifests(measured[0])
    assert found.keys() == {OLD, NEW}
    assert {m.status for m in found.values()} == {"complete"}
    assert len({m.group for m in found.values()}) == 1
    assert [found[name].identity["transformers"] for name in (OLD, NEW)] == ["5.17.0", "5.23.0"]
    assert found[OLD].identity["torch"] == found[NEW].identity["torch"]


def test_receipts_say_which_release_the_measuring_process_had_loaded(measured):
    for name, version in ((OLD, "5.17.0"), (NEW, "5.23.0")):
        cells = frames.receipts(folder_of(measured[0], name)).query("phase in @records.TIMED")
        assert len(cells) == 12
        assert {receipt["provenance"]["loaded"]["transformers"] for receipt in cells["receipt"]} == {version}


def test_rounds_of_the_stacks_follow_each_other_in_an_order_that_turns(measured):
    started = []
    for name in (OLD, NEW):
        rows = records.read_processes(folder_of(measured[0], name))
        started += [(r.started_at, r.round, name) for r in rows if isinstance(r, records.Process)]
    order = list(dict.fromkeys((number, name) for _, number, name in sorted(started)))
    assert order == [(1, OLD), (1, NEW), (2, NEW), (2, OLD)]


def test_the_same_command_again_measures_nothing(measured):
    root, _ = measured
    before = {path: path.read_bytes() for path in root.glob("results/*/*/*/*.json*")}
    done = command(root)
    assert done.returncode == 0
    assert done.stdout.count("(complete)") == 2
    assert "installing" not in done.stdout
    assert {path: path.read_bytes() for path in root.glob("results/*/*/*/*.json*")} == before


def test_a_run_of_one_stack_is_not_continued_by_another_nor_by_the_project_itself(measured):
    root, _ = measured
    assert Study("mini", device="cpu", preset="smoke", root=root).manifest is None
    group = manifests(root)[OLD].group
    old = stacks.prepare(root, root / STATE, OLD)
    assert Study("mini", device="cpu", preset="smoke", root=root, stack=old, group=group).complete
    assert Study("mini", device="cpu", preset="smoke", root=root, stack=old).manifest is None


def test_a_stack_that_lost_its_pin_is_refused(measured):
    root, _ = measured
    stack = stacks.prepare(root, root / STATE, NEW)
    other = stacks.Stack(NEW, stack.python, ("transformers==5.17.0",))
    with pytest.raises(BenchError, match="pins transformers==5.17.0 and has 5.23.0"):
        other.versions()


def test_a_process_that_loaded_another_release_is_no_measurement_of_its_stack():
    asked = {"torch": "2.13.0", "triton": None}
    assert receipts.packages(asked, {"torch": "2.13.0", "transformers": "5.23.0"}) == ("ok", None)
    status, reason = receipts.packages(asked, {"torch": "2.14.0"})
    assert status == "silent_fallback"
    assert "2.14.0 instead of 2.13.0" in reason


@pytest.mark.parametrize("text", LOOSE)
def test_a_line_that_is_no_pin_is_refused(mini, text):
    write_stack(mini, "loose", text + "\n")
    with pytest.raises(BenchError, match=LOOSE[text]):
        stacks.read_pins(mini, "loose")


def test_an_unknown_stack_names_the_nearest(mini):
    write_stack(mini, OLD, "transformers==5.17.0")
    with pytest.raises(BenchError, match="did you mean transformers-5.17"):
        stacks.read_pins(mini, "transformers-5.1")


def test_packages_that_cannot_be_installed_are_said_and_leave_no_ready_environment(mini, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(mini))
    write_stack(mini, "absent", "transformers==0.0.1")
    for _ in range(2):
        with pytest.raises(BenchError, match="stack 'absent' cannot be installed: ERROR: No matching distribution"):
            stacks.prepare(mini, mini / STATE, "absent", lambda said: None)


def test_one_stack_alone_and_reports_about_one_device_are_refused(mini, tmp_path):
    for asked, said in ((["--stack", OLD], "give two stacks"), (["--stack", OLD, "--stack", NEW], "about one stack")):
        done = subprocess.run(
            [sys.executable, "-m", "bench_utils", "measure", "mini", "--preset", "smoke", *asked],
            cwd=mini, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 2
        assert said in done.stderr


def test_the_id_of_a_run_names_no_group(mini):
    with pytest.raises(BenchError, match="several stacks have a run each"):
        study.grouped("mini", [], run="20260101-000000-smoke-aaaa", root=mini)


def test_a_manifest_of_the_schema_before_stacks_is_still_read(measured, tmp_path):
    manifest = json.loads((folder_of(measured[0], OLD) / records.MANIFEST).read_text())
    older = {key: value for key, value in manifest.items() if key not in ("stack", "group")} | {"schema_version": 1}
    (tmp_path / records.MANIFEST).write_text(json.dumps(older))
    assert records.read_manifest(tmp_path).stack is None
    (tmp_path / records.MANIFEST).write_text(json.dumps(older | {"schema_version": records.SCHEMA + 1}))
    with pytest.raises(BenchError, match="this version reads up to"):
        records.read_manifest(tmp_path)


def test_versions_are_asked_of_the_interpreter_that_measures(measured):
    stack = stacks.prepare(measured[0], measured[0] / STATE, OLD)
    here = environment.versions()
    assert stack.versions() == here | {"transformers": "5.17.0"}
