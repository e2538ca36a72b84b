"""Numbers are printed with the digits that are known, and never as a placeholder."""

import math

import numpy as np
import pytest

from bench_utils.formatting import count, duration, significant, with_interval


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.8312, "1.83"),
        (0.00012345, "0.000123"),
        (99.96, "100"),
        (9.996, "10.0"),
        (1234567.0, "1,230,000"),
        (-0.04567, "-0.0457"),
        (12, "12"),
        (123456, "123,000"),
        (0.0, "0"),
        (np.float32(1.5), "1.50"),
        (np.int64(7), "7"),
    ],
)
def test_three_significant_digits_without_exponents(value: float, text: str) -> None:
    assert significant(value) == text


def test_only_extreme_magnitudes_get_an_exponent() -> None:
    assert significant(3.2e-12, 2) == "3.2e-12"
    assert "e" not in significant(1e-6) + significant(9.99e14)


@pytest.mark.parametrize("value", [None, math.nan, "text", True, object()])
def test_what_is_no_number_is_unknown(value: object) -> None:
    assert {significant(value), with_interval(value, 1, 2), duration(value), count(value)} == {"unknown"}


@pytest.mark.parametrize(
    ("numbers", "unit", "text"),
    [
        ((1.83, 1.79, 1.88), "ms", "1.83 (1.79 to 1.88) ms"),
        ((1.8312, 1.7921, 1.8801), "ms", "1.831 (1.792 to 1.880) ms"),
        ((12345, 12000, 12700), "tokens/s", "12,340 (12,000 to 12,700) tokens/s"),
        ((4.2, -3.1, 11.4), "%", "4 (-3 to 11) %"),
        ((0.1, -0.05, 0.25), "", "0.10 (-0.05 to 0.25)"),
        ((5, 5, 5), "", "5 (5 to 5)"),
        ((-0.0001, -0.3, 0.3), "", "0.0 (-0.3 to 0.3)"),
    ],
)
def test_value_and_interval_share_the_digits_of_the_interval(numbers: tuple, unit: str, text: str) -> None:
    assert with_interval(*numbers, unit) == text


@pytest.mark.parametrize("low", [None, math.nan, -math.inf])
def test_a_missing_interval_is_said(low: object) -> None:
    assert with_interval(1.8312, low, 2.0, "ms") == "1.83 ms (no interval)"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (2.1e-6, "2.10 us"),
        (0.34, "340 ms"),
        (4.2, "4.2 s"),
        (59.96, "1 min"),
        (185, "3 min 5 s"),
        (7800, "2 h 10 min"),
        (200000, "2 d 7 h"),
        (-3, "-3 s"),
    ],
)
def test_durations_use_the_units_that_matter(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_counts_have_thousands_separators() -> None:
    assert (count(52000), count(np.int64(7)), count(None)) == ("52,000", "7", "unknown")


def test_everything_is_plain_ascii() -> None:
    texts = [significant(-1234.5), with_interval(1, 0.9, 1.1, "ms"), duration(1e-5), count(10**6)]
    assert all(text.isascii() for text in texts)
