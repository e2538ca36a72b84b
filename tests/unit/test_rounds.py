"""What a run still lacks: repetitions that were stopped, children that were killed, machines that took turns."""

from types import SimpleNamespace

import pytest

from bench_utils import frames, records
from bench_utils.errors import BenchError
from bench_utils.records import Journal, Manifest
from bench_utils.rounds import ATTEMPTS, Rounds
from bench_utils.runs import progress_of
from tests.faults.conftest import DEFAULTS, ended, make_preset, started

HERE, ELSEWHERE = DEFAULTS["machine"], "machine-b"
VARIANTS = ("eager", "eager-again", "compile-static")


class Planted(Rounds):
    """The rounds of a run on disk whose journal the test writes."""

    def write(self, *rows):
        """Add rows to the journal."""
        journal = Journal(self.folder)
        for row in rows:
            journal.append(row)
        journal.close()

    def begin(self, plan):
        """A process starts, and is killed."""
        self.write(started(plan).model_copy(update={"machine": self.machine}))

    def end(self, plan, status="ok"):
        """A process comes to its end, its first cell with a status."""
        self.begin(plan)
        statuses = {plan.cells[0].key: status}
        self.write(*(plan.ended(cell, status=statuses.get(cell.key, "ok")) for cell in plan.cells), ended(plan))

    def end_all(self, **statuses):
        """Everything that is left comes to its end, processes of the first round with the status of their variant."""
        for plan in self.left():
            name = plan.variant.replace("-", "_")
            self.end(plan, statuses.get(name, "ok") if plan.round == 1 else "ok")

    def names(self):
        """What is left, without the model and its dtype."""
        return [(plan.round, plan.variant, plan.attempt) for plan in self.left()]


@pytest.fixture
def rounds(tmp_path):
    """A run of two rounds of which nothing is measured; called again, the same run on another machine."""
    preset = make_preset(["gpt2-5m"], VARIANTS, 2)
    manifest = Manifest(run="planted", plan=preset.model_dump(mode="json"), **DEFAULTS)
    records.write_manifest(tmp_path / "planted", manifest)

    def on(machine=HERE):
        return Planted(tmp_path / "planted", manifest, preset, tmp_path / ".bench", machine=machine)

    return on


def spoiled(rounds):
    """A run with nothing missing whose first round a neighbour spoiled."""
    made = rounds()
    made.end_all(eager="contaminated")
    return made


def test_a_spoiled_round_is_repeated_once_and_as_a_whole(rounds):
    made = spoiled(rounds)
    assert sorted(made.names()) == [(1, variant, 2) for variant in sorted(VARIANTS)]
    made.end_all(eager="contaminated")
    assert made.left() == []


@pytest.mark.parametrize("count", [1, 2])
def test_a_repetition_that_was_stopped_between_two_processes_is_finished(rounds, count):
    made = spoiled(rounds)
    again = made.left()
    for plan in again[:count]:
        made.end(plan)
    assert made.left() == again[count:]
    made.end_all()
    assert made.left() == []


def test_a_repetition_that_was_stopped_within_a_process_is_still_that_of_the_whole_round(rounds):
    made = spoiled(rounds)
    first, *rest = made.left()
    made.begin(first)
    assert made.left() == [first.model_copy(update={"attempt": 3}), *rest]
    for plan in made.left()[:2]:
        made.end(plan)
    assert made.left() == rest[1:]


def test_a_process_that_was_interrupted_before_its_round_was_spoiled_is_repeated_as_well(rounds):
    made = rounds()
    for plan in made.left():
        if plan.round == 1:
            made.begin(plan)
    made.end_all(eager="contaminated")
    assert sorted(made.names()) == [(1, variant, 3) for variant in sorted(VARIANTS)]


def test_an_interruption_alone_repeats_no_process_that_came_to_its_end(rounds):
    made = rounds()
    plans = made.left()
    made.begin(plans[2])
    made.end_all()
    assert made.left() == []


def test_a_repetition_that_never_comes_to_an_end_is_given_up_and_the_round_stays_spoiled(rounds):
    made = spoiled(rounds)
    for _ in range(ATTEMPTS):
        assert len(made.left()) == len(VARIANTS)
        made.begin(made.left()[0])
    assert made.left() == []
    assert "contaminated" in set(frames.receipts(made.folder)["status"])


def test_workers_that_leave_a_repetition_undone_are_stopped(rounds, monkeypatch):
    made = spoiled(rounds)
    monkeypatch.setattr(Planted, "_run_worker", lambda *_: 0)  # says that all is well, and did nothing
    bar = SimpleNamespace(more=lambda *_: None)
    assert made.measure_next(bar)
    with pytest.raises(BenchError, match="died twice"):
        made.measure_next(bar)


def test_a_repetition_that_another_machine_began_is_measured_anew_in_one_piece(rounds):
    made = spoiled(rounds)
    other = rounds(ELSEWHERE)
    other.end(next(plan for plan in other.left() if plan.round))
    assert len(made.left()) == len(VARIANTS)
    made.end_all()
    assert made.left() == other.left() == []
    receipts = frames.receipts(made.folder)
    assert set(receipts.loc[receipts["round"] == 1, "machine"]) == {HERE}


def test_a_repetition_elsewhere_compiles_into_the_cache_it_needs(rounds):
    spoiled(rounds)
    assert [plan.cold for plan in rounds(ELSEWHERE).left()] == [True, False, False, False]


def test_a_round_that_goes_on_elsewhere_is_measured_there_once(rounds):
    made = rounds()
    cold, first, second, *_ = made.left()
    for plan in (cold, first, second):
        made.end(plan)
    other = rounds(ELSEWHERE)
    assert len(other.left()) == 1 + 2 * len(VARIANTS)
    other.end_all()
    assert other.left() == []


def crashed(made, went_on):
    """A process dies in its first cell; the child that goes on measures the others, and comes to its end or not."""
    plan = made.left()[1]
    rest = plan.model_copy(update={"process": f"{plan.process}+1"})
    made.begin(plan)
    made.write(plan.ended(plan.cells[0], status="segfault"), ended(plan), started(rest))
    made.write(*(rest.ended(cell, status="ok") for cell in plan.cells[1:]), *([ended(rest)] if went_on else []))
    return plan


def test_a_child_that_goes_on_after_a_crash_counts_when_it_has_come_to_its_end(rounds):
    made = rounds()
    plan = crashed(made, went_on=True)
    assert plan.process not in {left.process for left in made.left()}
    assert progress_of(made.folder, made.limits).measured == len(frames.receipts(made.folder)) == 3


def test_a_child_that_was_killed_after_a_crash_leaves_its_process_to_be_measured_again(rounds):
    made = rounds()
    plan = crashed(made, went_on=False)
    (again,) = [left for left in made.left() if left.process == plan.process]
    assert again.attempt == 2
    assert progress_of(made.folder, made.limits).measured == len(frames.receipts(made.folder)) == 1
    made.end(again)
    assert plan.process not in {left.process for left in made.left()}


def test_an_end_of_an_earlier_attempt_is_not_that_of_a_later_one(rounds):
    made = rounds()
    plan = crashed(made, went_on=True)
    again = plan.model_copy(update={"attempt": 2})
    rest = again.model_copy(update={"process": f"{plan.process}+1"})
    made.write(started(again), again.ended(again.cells[0], status="segfault"), ended(again), started(rest))
    made.write(*(rest.ended(cell, status="ok") for cell in again.cells[1:]))
    assert list(frames.receipts(made.folder)["status"]) == ["segfault"]
    assert plan.process in {left.process for left in made.left()}
