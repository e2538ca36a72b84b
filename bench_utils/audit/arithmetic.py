"""Recomputations by arithmetic: ratios, counts, prices, sizes. Each docstring is the method that the page prints."""

from __future__ import annotations

import math

from .case import Case
from .printed import numbers

_BYTES = {"fp32": 4, "fp16": 2}


def delta_pct(case: Case) -> float:
    """100 (b - a) / a"""
    a, b = case.value(case.a[0]), case.value(case.b[0])
    return 100 * (b - a) / a


def gain_pct(case: Case) -> float:
    """100 (a - b) / a"""
    return -delta_pct(case)


def ratio(case: Case) -> float:
    """b / a"""
    return case.value(case.b[0]) / case.value(case.a[0])


def difference(case: Case) -> float:
    """b - a"""
    return case.value(case.b[0]) - case.value(case.a[0])


def lowest(case: Case) -> float:
    """lowest of the cells"""
    return min(case.values(case.a))


def highest(case: Case) -> float:
    """highest of the cells"""
    return max(case.values(case.a))


def range_ratio(case: Case) -> float:
    """largest over smallest of one cell"""
    return case.cell(case.a[0], "max_ms") / case.cell(case.a[0], "min_ms")


def rows_attempted(case: Case) -> float:
    """sum of attempted rows"""
    return sum(case.counts(case.a, "n_attempted"))


def rows_ok(case: Case) -> float:
    """sum of successful rows, with the counts of other claims added"""
    return sum(case.counts(case.a, "n")) + sum(_signed(case))


def rows_failed(case: Case) -> float:
    """attempted minus successful rows"""
    return rows_attempted(case) - sum(case.counts(case.a, "n"))


def _signed(case: Case) -> list[float]:
    return [-case.claim(other[1:]) if other.startswith("-") else case.claim(other) for other in case.others]


def rows_of_design(case: Case) -> float:
    """product of the design's levels and its rows a cell"""
    levels = [len({case.row(row)[column] for row in case.a}) for column in case.options["levels"].split(",")]
    return math.prod(levels) * max(case.counts(case.a, "n_attempted"))


def remainder(case: Case) -> float:
    """stated total minus the other counts"""
    return case.stated()[0] - sum(_signed(case))


def share_pct(case: Case) -> float:
    """100 a / (a + b), attempted rows"""
    a, b = (sum(case.counts(rows, "n_attempted")) for rows in (case.a, case.b))
    return 100 * a / (a + b)


def share_of_counts(case: Case) -> float:
    """100 times the quotient of the two counts stated beside it"""
    part, whole = case.stated()
    return 100 * part / whole


def crash_rate(case: Case) -> float:
    """1 - successful / attempted rows; 1 where no row succeeded"""
    ok = sum(case.counts(case.a, "n"))
    return 1 - ok / rows_attempted(case) if ok else 1.0


def successes(case: Case) -> float:
    """sum of successful rows"""
    return sum(case.counts(case.a, "n"))


def cumulative_step(case: Case) -> float:
    """difference of consecutive cumulative counts"""
    return case.stated()[0] - sum(case.stated(other)[0] for other in case.others)


def claims_printed(case: Case) -> float:
    """number of effect sizes printed"""
    return len(case.others)


def ratio_of_claims(case: Case) -> float:
    """quotient of two other claims"""
    return case.claim(case.others[1]) / case.claim(case.others[0])


def per_token(case: Case) -> float:
    """latency / tokens decoded"""
    return case.value(case.a[0]) / int(case.row(case.a[0])["new_tokens"])


def usd_per_million_tokens(case: Case) -> float:
    """hourly price / tokens per hour"""
    return case.claim(case.others[0]) / (3600 * case.cell(case.a[0], "throughput_tok_s")) * 1e6


def million_tokens_per_usd(case: Case) -> float:
    """tokens per hour / hourly price"""
    return 1 / usd_per_million_tokens(case)


def total_usd_per_million_tokens(case: Case) -> float:
    """mean over scenarios of machine price / tokens per hour, and energy times its price where printed"""
    per_hour, per_kwh = case.stated()
    machine = [per_hour / (3600 * case.cell(row, "throughput_tok_s")) * 1e6 for row in case.a]
    return sum(machine) / len(machine) + sum(case.claim(energy) * per_kwh for energy in case.others)


def carbon_per_million_tokens(case: Case) -> float:
    """energy times the stated carbon intensity"""
    return case.claim(case.others[0]) * case.stated()[0]


def prompt_tokens(case: Case) -> float:
    """tokens of the published prompt, counted with the GPT-2 tokenizer"""
    return float(case.sources.prompts[case.options["scenario"]]["true_tokens"])


def _shape(case: Case, column: str) -> list[float]:
    models = case.options["models"].split(",")
    return [float(case.sources.models[model][column]) for model in models]


def million_parameters(case: Case) -> float:
    """parameters of the published shape"""
    return _shape(case, "computed_params")[0] / 1e6


def weights_mb(case: Case) -> float:
    """four bytes a parameter of the published shape"""
    return _shape(case, "computed_params")[0] * _BYTES["fp32"] / 1e6


def weights_gb(case: Case) -> float:
    """four bytes a parameter of the published shape"""
    return weights_mb(case) / 1e3


def attention_heads(case: Case) -> float:
    """heads of the published shapes; not a number where they differ"""
    heads = set(_shape(case, "n_head"))
    return heads.pop() if len(heads) == 1 else math.nan


def perplexity(case: Case) -> float:
    """exp of the loss"""
    return math.exp(case.claim(case.others[0]))


def training_hours(case: Case) -> float:
    """iterations times seconds an iteration"""
    notes = case.sources.models[case.options["models"]]["notes"]
    iterations = notes.partition(" iterations")[0].split()[-1]
    return int(iterations.replace(",", "")) * case.claim(case.others[0]) / 3600


def gpu_hours(case: Case) -> float:
    """hours times GPUs, as stated on the card"""
    return math.prod(number.value for number in numbers(case.sources.cards[case.options["card"]]["claim"]))


def bandwidth_needed(case: Case) -> float:
    """bytes of the weights / latency, the highest over the cells: a forward pass reads every weight once"""
    sizes = case.models(case.a, "computed_params")
    each = [size * _BYTES[case.row(row)["dtype"]] for size, row in zip(sizes, case.a, strict=True)]
    return max(size / case.value(row) for size, row in zip(each, case.a, strict=True)) / 1e6


def crossover_model(case: Case) -> float:
    """parameters of the smallest model for which b is faster than a"""
    pairs = zip(case.models(case.a, "computed_params"), case.values(case.a), case.values(case.b), strict=True)
    return min((size for size, a, b in pairs if b < a), default=math.nan) / 1e9
