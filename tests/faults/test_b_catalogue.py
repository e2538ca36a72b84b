"""All seventy failures have a status, and checks that cannot fail are found."""

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
    assert [t.name for t in tests if not t.without] == []


@guards("B48", without={"tests.faults.remove_guards.proves": lambda *_: True})
def test_a_test_that_passes_without_its_guard_or_only_breaks_is_found():
    assert [remove_guards.proves(outcome) for outcome in ("failed", "passed", "broke")] == [True, False, False]
