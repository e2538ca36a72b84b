"""Stacks measured together: what stayed, what shifted, and a control that moved and voids it."""

import numpy as np
import pytest

from bench_utils import drift, frames
from bench_utils.errors import BenchError
from tests.unit.test_comparison import add_copy, jitter, root_with_run

CONTROL_ARMS = ("eager", "eager-again")


def slower(which, by):
    """Processes of these variants take so many times as long, on top of a little noise."""
    noise = jitter(3)
    return lambda process, sample: noise(process, sample) * (by if which(process["variant"]) else 1.0)


@pytest.fixture
def together(tmp_path):
    """Two copies of one run as two stacks of a group, the second changed; what ``between`` finds."""
    root = root_with_run(tmp_path / "project")

    def make(change, **manifest):
        add_copy(root, jitter(1), run="first", stack="old", group="g1")
        add_copy(root, change, run="second", stack="new", group="g1", **manifest)
        found = drift.groups(root, "TR126")
        assert len(found) == 1
        return drift.between(root, next(iter(found.values())), "eager", "eager-again")

    return make


def test_an_arm_that_shifted_beside_a_control_that_stayed(together):
    control, table = together(slower(lambda variant: variant == "compile-static", 1.5))
    assert len(control)
    assert not control["drifted"].any()
    shifted = table[table["variant"] == "compile-static"]
    valid = shifted[shifted["outcome"] != "invalid"]
    assert len(valid)
    assert set(valid["outcome"]) == {"differs"}
    assert np.allclose(valid["shift"], 1.5 ** np.where((valid["a"] == "old"), 1, -1), rtol=0.05)


def test_a_control_that_drifted_voids_what_was_compared_with_it(together):
    control, table = together(slower(lambda variant: variant in CONTROL_ARMS, 1.2))
    assert control["drifted"].all()
    assert np.allclose(np.abs(np.log(control["ratio"])), np.log(1.2), rtol=0.1)
    assert set(table["outcome"]) == {drift.VOID}
    assert not table["differs"].any()


def test_a_drift_in_one_phase_voids_that_phase_alone(together):
    noise = jitter(3)

    def change(process, sample):
        moved = process["variant"] in CONTROL_ARMS and sample["cell"].startswith("decode")
        return noise(process, sample) * (1.3 if moved else 1.0)

    control, table = together(change)
    assert set(control.loc[control["drifted"], "phase"]) == {"decode"}
    assert set(table.loc[table["outcome"] == drift.VOID, "phase"]) == {"decode"}
    assert (table.loc[table["phase"] == "prefill", "outcome"] != drift.VOID).all()


def test_the_control_is_paired_round_by_round(together):
    """A stack that slows down from round to round, beside one that does not, has drifted."""

    def slope(process, sample):
        return 1.0 + 0.05 * process["round"]

    control, _ = together(slope)
    assert control["drifted"].all()
    assert (control["low"] > 1.0).all() | (control["high"] < 1.0).all()
    assert (control["rounds"] == 6).all()


def test_groups_are_whole_and_the_newest_of_their_device(tmp_path):
    root = root_with_run(tmp_path / "project")
    assert drift.groups(root, "TR126") == {}
    for number, (run, stack, group) in enumerate(
        [("1", "old", "g1"), ("2", "new", "g1"), ("3", "old", "g2"), ("4", "new", "g2"), ("5", "old", "g3")]
    ):
        add_copy(root, run=run, stack=stack, group=group, started_at=f"2099-01-0{number + 1}T00:00:00+00:00")
    (found,) = drift.groups(root, "TR126").values()
    assert {stack: manifest.run for stack, (_, manifest) in found.items()} == {"old": "3", "new": "4"}


def test_stacks_that_share_no_cell_are_refused(tmp_path):
    root = root_with_run(tmp_path / "project")
    add_copy(root, run="first", stack="old", group="g1")
    rows = frames.load(next(root.glob("results/*/*/first")))
    tables = {"old": rows, "new": rows[rows["variant"] != "eager"]}
    with pytest.raises(BenchError, match="share no cell of eager"):
        drift.control(tables, "eager", {"old": 0.01, "new": 0.01})
