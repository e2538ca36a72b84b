"""Runs beside each other: what is the same is found the same, and a planted difference where it was planted."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench_utils import comparison, shifts, statistics
from bench_utils.errors import BenchError
from bench_utils.records import MANIFEST, PROCESSES, SAMPLES, read_lines, read_manifest, write_manifest
from bench_utils.reporting.compare import build, panels
from tests.conftest import REPOSITORY, make_project

OTHER = "cpu-other-3.0ghz-4c"
Change = Callable[[dict, dict], float]  # process and sample -> by how much its latency is multiplied


def committed(report: str = "TR126") -> comparison.Run:
    """A committed run, the newest of the first device."""
    return next(iter(comparison.newest(REPOSITORY, report).values()))


DEVICE = committed()[1].device


def oldest(report: str = "TR126") -> comparison.Run:
    """The first committed run of that device: what is planted in its copies does not change with every new one."""
    folder = min((REPOSITORY / "results" / DEVICE / report).iterdir(), key=lambda run: run.name)
    return folder, read_manifest(folder)


def root_with_run(root: Path, report: str = "TR126") -> Path:
    """A project with this repository's plans and one of its runs."""
    make_project(root, {})
    shutil.copytree(REPOSITORY / "notebooks", root / "notebooks", dirs_exist_ok=True)
    folder, manifest = oldest(report)
    shutil.copytree(
        folder, root / "results" / manifest.device / report / folder.name, ignore=shutil.ignore_patterns("logs")
    )
    return root


def add_copy(root: Path, change: Change = lambda process, sample: 1.0, report: str = "TR126", **manifest) -> Path:
    """A copy of the committed run under another name, with its latencies changed; a valid run of its own."""
    folder, original = oldest(report)
    mine = {"run": "copy", "device": OTHER, "machine": "0123456789ab", "started_at": "2099-01-01T00:00:00+00:00"}
    renamed = original.model_copy(update=mine | manifest)
    target = root / "results" / renamed.device / report / renamed.run
    write_manifest(target, renamed.model_copy(update={"identity": renamed.identity | {"device": renamed.device}}))
    processes = {row["process"]: row for row in read_lines(folder / PROCESSES)[0] if row["kind"] == "process"}
    shutil.copy(folder / PROCESSES, target / PROCESSES)
    with (target / SAMPLES).open("w") as file:
        for sample in read_lines(folder / SAMPLES)[0]:
            sample["latency_ms"] *= change(processes[sample["process"]], sample)
            file.write(json.dumps(sample) + "\n")
    return target


def jitter(seed: int, spread: float = 0.004) -> Change:
    """Every process and phase a little faster or slower than it was."""
    generator, levels = np.random.default_rng(seed), {}

    def change(process: dict, sample: dict) -> float:
        key = (process["process"], sample["cell"])
        return levels.setdefault(key, float(np.exp(spread * generator.standard_normal())))

    return change


def slow_decode(process: dict, sample: dict) -> float:
    """Decode with a static cache takes 1.3 times as long, and nothing else."""
    return 1.3 if process["variant"] == "compile-static" and sample["cell"].startswith("decode") else 1.0


def is_slowed(row) -> bool:
    return row.variant == "compile-static" and row.phase == "decode"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return root_with_run(tmp_path / "project")


@pytest.mark.parametrize("report", ["TR126", "selftest"])
def test_verdicts_are_those_of_the_page(report: str) -> None:
    folder, manifest = committed(report)
    page = json.loads((REPOSITORY / "reports" / manifest.device / f"{report}.json").read_text())
    assert page["run"] == manifest.run
    mine = comparison.verdicts(REPOSITORY, folder)
    assert list(mine["verdict"]) == [claim["verdict"] for claim in page["claims"]]
    values = [np.nan if claim["value"] is None else claim["value"] for claim in page["claims"]]
    assert np.allclose(mine["value"], values, rtol=1e-6, equal_nan=True)


def test_what_is_handed_out_is_a_copy() -> None:
    folder, _ = committed()
    for table in (comparison.effects(REPOSITORY, folder), comparison.verdicts(REPOSITORY, folder)):
        table.drop(table.index, inplace=True)
    assert len(comparison.effects(REPOSITORY, folder)) and len(comparison.verdicts(REPOSITORY, folder))


def test_a_planted_difference_is_found_where_it_is_and_nowhere_else(root: Path) -> None:
    add_copy(root, slow_decode)
    pairs = comparison.across(root, "TR126").differences
    found = {(row.model, row.phase, row.variant) for row in pairs.itertuples() if row.differs}
    assert found == {(row.model, row.phase, row.variant) for row in pairs.itertuples() if is_slowed(row)} != set()
    slowed = pairs[pairs["differs"]]
    backwards = slowed["a"].iloc[0] == OTHER  # devices are in order of their names
    assert np.allclose(slowed["shift"], 1 / 1.3 if backwards else 1.3)
    assert ((slowed["low"] < slowed["shift"]) & (slowed["shift"] < slowed["high"])).all()
    assert np.allclose(pairs.loc[~pairs["differs"], "shift"], 1.0)


@pytest.mark.parametrize("seed", range(3))
def test_a_jittered_copy_shows_no_difference(seed: int, root: Path) -> None:
    add_copy(root, jitter(seed))
    found = comparison.across(root, "TR126")
    assert len(found.differences) > 10 and not found.differences["differs"].any()


def test_a_machine_that_is_slower_throughout_has_the_same_effects(root: Path) -> None:
    add_copy(root, lambda process, sample: 2.0)
    pairs = comparison.across(root, "TR126").differences
    assert np.allclose(pairs["shift"], 1.0) and not pairs["differs"].any()


def test_shift_combines_both_intervals() -> None:
    row = {"ratio_a": 0.5, "low_a": 0.5 / 1.1, "high_a": 0.5 * 1.1, "rounds_a": 6,
           "ratio_b": 0.6, "low_b": 0.6 / 1.1, "high_b": 0.6 * 1.1, "rounds_b": 6}  # fmt: skip
    effect = shifts.shift(type("Pair", (), row))
    # Two standard errors of log(1.1) / t(5) each; ten degrees of freedom: t = 2.228 against 2.571 with five.
    half = np.sqrt(2) * np.log(1.1) / 2.5706 * 2.2281
    assert effect.estimate == pytest.approx(1.2)
    assert np.log([effect.low, effect.high]) == pytest.approx(np.log(1.2) + np.array([-half, half]), rel=1e-4)
    assert effect.p == pytest.approx(0.0060, abs=0.0003)


def test_the_interval_of_a_shift_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    hits = []
    for _ in range(2000):
        arms = [statistics.paired_ratio(generator.normal(0.0, sd, 6)) for sd in (0.01, 0.02)]
        numbers = ({"ratio": arm.estimate, "low": arm.low, "high": arm.high, "rounds": arm.n} for arm in arms)
        row = {f"{name}_{run}": value for run, arm in zip("ab", numbers, strict=True) for name, value in arm.items()}
        effect = shifts.shift(type("Pair", (), row))
        hits.append(effect.low < 1 < effect.high)
    assert 0.935 < np.mean(hits) < 0.965


def test_shift_without_an_interval_is_none() -> None:
    row = {"ratio_a": 0.5, "low_a": np.nan, "high_a": np.nan, "rounds_a": 1,
           "ratio_b": 0.6, "low_b": 0.5, "high_b": 0.7, "rounds_b": 6}  # fmt: skip
    assert shifts.shift(type("Pair", (), row)) is None


@pytest.mark.parametrize(
    ("outcomes", "floor", "expected"),
    [
        (("faster", "slower"), 0.01, "differs"),
        (("invalid", "slower"), 0.01, "invalid"),
        (("faster", "slower"), 0.5, "ambiguous"),  # a floor beyond which nothing is seen
        (("ambiguous", "ambiguous"), np.nan, "ambiguous"),  # no control was measured
    ],
)
def test_the_outcome_heeds_floor_and_validity(outcomes: tuple, floor: float, expected: str, root: Path) -> None:
    add_copy(root, slow_decode)
    table = comparison.across(root, "TR126").contrasts.rename(columns={"device": "run"})
    table = table[[is_slowed(row) for row in table.itertuples()]].copy()
    names = list(dict.fromkeys(table["run"]))
    table["outcome"], table["floor"] = table["run"].map(dict(zip(names, outcomes, strict=True))), floor
    assert set(shifts.differences(table)["outcome"]) == {expected}


def test_only_what_all_devices_measured_is_compared(root: Path) -> None:
    target = add_copy(root)
    lines = (target / PROCESSES).read_text().replace('"dtype":"float32"', '"dtype":"float16"')
    kept = [line for line in lines.splitlines() if "tiny-gpt2" in line]
    rest = [line for line in (oldest()[0] / PROCESSES).read_text().splitlines() if "tiny-gpt2" not in line]
    (target / PROCESSES).write_text("\n".join(kept + rest) + "\n")
    found = comparison.across(root, "TR126")
    assert set(found.contrasts["dtype"]) == {"float32"} and set(found.contrasts["model"]) == {"gpt2-25m"}
    where = found.left_out[["dtype", "measured_on", "missing_on"]].drop_duplicates().itertuples(index=False, name=None)
    assert set(where) == {("float32", DEVICE, OTHER), ("float16", OTHER, DEVICE)}
    assert "float16" in build(root, "TR126").read_text()


def test_runs_that_share_nothing_are_not_compared(root: Path) -> None:
    for device in (OTHER, DEVICE):
        target = add_copy(root, device=device, run=f"half-{device}")
        lines = (target / PROCESSES).read_text()
        (target / PROCESSES).write_text(lines.replace('"dtype":"float32"', '"dtype":"float16"'))
    said = comparison.changes(root, "TR126", DEVICE)
    assert "The two runs share no contrast, so no effect can be compared." in said
    assert not any("baseline" in line for line in said)
    shutil.rmtree(target)
    page = build(root, "TR126").read_text()
    assert "These runs share no contrast." in page and "<img" not in page
    assert "Contrasts that some device lacks" in page


def test_the_newest_complete_run_of_each_device_is_compared(root: Path) -> None:
    add_copy(root, run="older", started_at="2098-01-01T00:00:00+00:00")
    add_copy(root, run="newer", started_at="2099-01-01T00:00:00+00:00")
    add_copy(root, run="stopped", started_at="2100-01-01T00:00:00+00:00", status="measuring")
    assert {m.run for m in comparison.across(root, "TR126").runs.values()} == {"newer", oldest()[1].run}


def test_factors_that_differ_are_marked(root: Path) -> None:
    identity = oldest()[1].identity | {"torch": "2.14.0", "gpu": "NVIDIA H200", "driver": "570.1"}
    target = add_copy(root, identity=identity)
    text = (target / PROCESSES).read_text()
    (target / PROCESSES).write_text(re.sub(r'"host_score":(\d+)', r'"host_score":2\1', text))
    table = comparison.across(root, "TR126").identity.set_index("factor")
    assert set(table.index[table["differs"]]) == {"GPU", "GPU driver", "torch", comparison.HOST_SCORE}
    assert table.loc["torch", OTHER] == "2.14.0" and table.loc["GPU", DEVICE] == "none"


def test_no_earlier_run_has_no_changes(root: Path) -> None:
    assert comparison.changes(root, "TR126", DEVICE) == []
    assert comparison.changes(root, "TR126", OTHER) == []


def test_a_repeated_run_changed_nothing(root: Path) -> None:
    add_copy(root, jitter(1), device=DEVICE, machine=oldest()[1].machine)
    said = comparison.changes(root, "TR126", DEVICE)
    assert said[0] == f"The plan is that of the run before, {oldest()[1].run}."
    assert said[-1].startswith("Nothing changed beyond noise; of ") and len(said) == 2


def test_changes_name_the_contrast_the_claim_the_machine_and_the_plan(root: Path) -> None:
    add_copy(root, slow_decode, device=DEVICE, plan_digest="0123456789ab")
    said = comparison.changes(root, "TR126", DEVICE)
    assert said[0].startswith("The plan is not that of the run before") and "is 0123456789ab" in said[0]
    assert "different machines" in said[1]
    effects = [line for line in said if "times as long" in line]
    assert len(effects) == 2 and all(line.startswith("Decode of ") and "compile-static" in line for line in effects)
    assert re.search(r"takes 1\.30? \(1\.\d+ to 1\.\d+\) times as long against eager as before", effects[0])
    assert any(line.startswith("The claim decode-no-gain") for line in said)
    assert not any("Nothing" in line for line in said)


def test_a_slower_baseline_is_said(root: Path) -> None:
    add_copy(root, lambda process, sample: 1.5, device=DEVICE, machine=oldest()[1].machine)
    said = comparison.changes(root, "TR126", DEVICE)
    assert any(line.startswith("The baseline eager itself took another time") and "+50.0%" in line for line in said)
    assert said[-1].startswith("No effect changed beyond noise")


def test_too_few_rounds_change_nothing(root: Path) -> None:
    target = add_copy(root, slow_decode, device=DEVICE)
    rounds = [line for line in (target / PROCESSES).read_text().splitlines() if not re.search(r'"r[3-6]-', line)]
    (target / PROCESSES).write_text("\n".join(rounds) + "\n")
    said = comparison.changes(root, "TR126", DEVICE)
    assert any("too uncertain to tell" in line for line in said) and not any("times as long" in line for line in said)


def test_unknown_names_are_refused(root: Path) -> None:
    with pytest.raises(BenchError, match=f"needs two devices.*there are: {DEVICE}"):
        comparison.across(root, "TR126")
    add_copy(root)
    with pytest.raises(BenchError, match=r"unknown device of TR126: 'gpu'; known: .*, "):
        build(root, "TR126", ["gpu", DEVICE])
    with pytest.raises(BenchError, match="needs two devices"):
        build(root, "TR126", [DEVICE, DEVICE])
    with pytest.raises(BenchError, match="unknown report 'TR999'"):
        build(root, "TR999")
    with pytest.raises(BenchError, match="unknown report 'TR999'"):
        comparison.changes(root, "TR999", DEVICE)


def test_one_device_has_no_page(root: Path) -> None:
    target = add_copy(root)
    page = build(root, "TR126")
    assert page == root / "reports" / "compare" / "TR126.html" and page.is_file()
    shutil.rmtree(target)
    assert build(root, "TR126") is None and not page.exists()
    assert build(root, "audit_published") is None


def test_the_same_records_give_the_same_page(root: Path) -> None:
    add_copy(root, slow_decode)
    first = build(root, "TR126").read_bytes()
    assert build(root, "TR126").read_bytes() == first


def test_the_page_shows_what_differs_and_loads_nothing(root: Path) -> None:
    add_copy(root, slow_decode, identity=oldest()[1].identity | {"torch": "2.14.0"})
    (root / "reports" / DEVICE).mkdir(parents=True)
    (root / "reports" / DEVICE / "TR126.html").touch()
    page = build(root, "TR126").read_text()
    assert "default-src 'none'; img-src data:" in page and "<script" not in page
    links = {link for link in re.findall(r'(?:href|src)="([^"#]+)"', page) if not link.startswith("data:")}
    assert links == {"../index.html", f"../{DEVICE}/TR126.html"}  # the other device has no page yet
    assert len(re.findall(r"<th(?! scope)[ >]", page)) == 0
    assert page.count('role="region"') == page.count("<table") == 3
    assert len(re.findall(r'<img [^>]*alt="[^"]{20,}"', page)) == 1
    assert page.count("differs, ") == 2 and shifts.METHOD.split("'")[0] in page
    assert "2.14.0" in page and "A difference between these runs may come from" in page


def test_every_ratio_is_inside_its_panel_and_all_panels_have_one_scale(root: Path) -> None:
    add_copy(root, lambda process, sample: 40.0 if process["variant"].startswith("compile") else 1.0)
    found = comparison.across(root, "TR126")
    axes = panels(found)
    assert len({ax.get_xlim() for ax in axes}) == len({tuple(ax.get_xticks()) for ax in axes}) == 1
    low, high = axes[0].get_xlim()
    assert low < found.contrasts["low"].min() and found.contrasts["high"].max() < high
    assert sum(low < tick < high for tick in axes[0].get_xticks()) >= 3
    assert [ax.get_title(loc="left") for ax in axes] == list(found.runs)
    labels = axes[0].get_yticklabels()
    assert len(labels) == len(found.differences) and {label.get_fontweight() for label in labels} == {"bold"}


def test_all_devices_stand_side_by_side(root: Path) -> None:
    add_copy(root, slow_decode)
    add_copy(root, device="nvidia-h200", run="third", machine="ba9876543210")
    found = comparison.across(root, "TR126")
    assert list(found.runs) == sorted([DEVICE, OTHER, "nvidia-h200"])
    assert len(found.claims) == 3 * found.claims["id"].nunique()
    assert len(found.differences) == len(found.contrasts) == 3 * len(found.contrasts.drop_duplicates(shifts.CONTRAST))
    assert {frozenset((row.a, row.b)) for row in found.differences.itertuples() if row.differs} == {
        frozenset((OTHER, DEVICE)), frozenset((OTHER, "nvidia-h200"))}  # fmt: skip
    some = comparison.across(root, "TR126", ["nvidia-h200", DEVICE])
    assert list(some.runs) == ["nvidia-h200", DEVICE]


def test_something_private_is_not_published(root: Path) -> None:
    add_copy(root, identity=oldest()[1].identity | {"cpu": "see /home/grace/secret"})
    with pytest.raises(BenchError, match="would publish"):
        build(root, "TR126")
    assert not (root / "reports").exists()


def test_a_changed_copy_is_a_valid_run(root: Path) -> None:
    target = add_copy(root)
    assert read_manifest(target).device == OTHER and (target / MANIFEST).is_file()
    assert len(comparison.effects(root, target)) == len(comparison.effects(REPOSITORY, oldest()[0]))
