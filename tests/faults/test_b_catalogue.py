"""All seventy failures have a status, and checks that cannot fail are found."""

import pytest

from tests.faults import catalogue, remove_guards
from tests.faults.catalogue import FAILURES, UNKNOWN, guards


def test_all_seventy_failures_have_a_status():
    assert list(FAILURES) == [f"B{number:02}" for number in range(1, 71)]
    tests = catalogue.collect()
    assert [i for i, failure in FAILURES.items() if catalogue.status(failure, tests[i]) == UNKNOWN] == []


def test_the_page_is_up_to_date():
    assert catalogue.PAGE.read_text() == catalogue.document()


def test_every_test_of_a_guard_says_how_to_take_it_out():
    tests = {planted for found in catalogue.collect().values() for planted in found}
    assert [t.name for t in tests if not t.without and not t.missing] == []


@pytest.mark.parametrize(("outcome", "good"), [("failed", True), ("passed", False), ("broke", False)])
@guards("B48", without={"tests.faults.remove_guards.proves": lambda *_: True})
def test_a_test_that_passes_without_its_guard_is_found(outcome, good):
    assert remove_guards.proves(outcome) is good
