"""The seventy planted failures: what went wrong, what guards against it, and which tests plant it.

What failed and what guards is told here, once. Where a guard is, which test plants its failure, and therefore its
status, is collected from the tests, which the decorator ``guards`` marks. ``python -m tests.faults.catalogue`` prints
the table as a page: redirect it to ``docs/integrity.md``.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "integrity.md"
GUARDED, BY_CONSTRUCTION, MISSING, WAITS, UNKNOWN = "guarded", "by construction", "missing", "waits for", "no status"


class Failure(NamedTuple):
    """What went wrong, and the guard in words; ``waits`` names the feature without which there is nothing to guard."""

    failure: str
    guard: str
    waits: str | None = None


FAILURES = {
    "B01": Failure(
        "arms named compile never called the compiler; a paradox was published about them",
        "compiled calls are counted in every timed call; none at all is `not_compiled`, and such a row is never ranked",
    ),
    "B02": Failure(
        "precision was a label: every dtype ran the same weights",
        "the dtype is read back from the loaded weights; one that differs from the label ends the process",
    ),
    "B03": Failure(
        "which model ran came from the environment, not from the row",
        "digest and parameter count of what was loaded are recorded and compared",
    ),
    "B04": Failure(
        "engines that never ran were filed with placeholder latencies",
        "a failed cell has no latency, and a latency below the memory floor fails a gate",
    ),
    "B05": Failure(
        "a missing model answered with an echo, which counted as a run",
        "tokens must be those of plain greedy decoding, all of them",
    ),
    "B06": Failure(
        "files began with samples several times too slow and turned a ranking over",
        "warm-up until times are steady, its calls kept under another role; unsteady cells say so",
    ),
    "B07": Failure(
        "settings were declared and never applied",
        "a key that nothing reads is an error; the manifest holds the settings in force",
    ),
    "B08": Failure(
        "packages were installed in the middle of a run",
        "installed versions are compared before and after, and before a run is continued",
    ),
    "B09": Failure(
        "what can run where was guessed from names",
        "a variant states what it needs; where that is missing the cell is `unavailable`, with the remedy",
    ),
    "B10": Failure(
        "artifacts of a toy network, uncalibrated or without a head, were filed under the model",
        "an artifact names the digest of its weights and passes an output check",
    ),
    "B11": Failure(
        "two calls in a row were reported as two at once, with twice the throughput",
        "requests are made one at a time; a plan cannot ask for more, and no throughput of several is stated",
    ),
    "B12": Failure(
        "a declared check of outputs gave nothing in any row, and nobody noticed",
        "a check without a value does not pass",
    ),
    "B13": Failure(
        "a metric whose library was missing was made up from another",
        "what is missing prints as unknown, and a claim on it is not testable",
    ),
    "B14": Failure(
        "rows of an older file slipped into the aggregate",
        "a run id in every row, and found cells reconciled with designed ones",
    ),
    "B15": Failure(
        "an assumed price was presented as that of a cloud machine",
        "a price needs its source and date; assumptions are shown as such",
    ),
    "B16": Failure(
        "power was sampled far too rarely, and by different meters in one table",
        "energy from a counter or from long regions, idle recorded, the meter named",
    ),
    "B17": Failure(
        "one engine stopped early, the other was forced to the end; the ratio was published as speed",
        "arms with unequal prompts or outputs are not compared",
    ),
    "B18": Failure(
        "three timers were mixed in one ranking",
        "every row names its timer; arms with different timers are not compared",
    ),
    "B19": Failure(
        "a failure was a zero, threw away what had been measured, and was counted over the wrong total",
        "one row an attempt, without latency; failure rates over attempts, with a Wilson interval",
    ),
    "B20": Failure(
        "the compile check looked at another callable than the one that was timed",
        "compiled calls are counted on the timed calls themselves: a graph that exists proves nothing",
    ),
    "B21": Failure(
        "an option stood in the manifest and was never passed",
        "the value in the receipt is the one that torch.compile was called with",
    ),
    "B22": Failure(
        "nine shapes met a recompile limit of eight: the ninth ran eager, unnoticed",
        "fewer compiled calls than expected is `recompile_storm`, with limit and cache entries in the reason",
    ),
    "B23": Failure(
        "thousands of compiled decode rows had no compiled step",
        "one compiled call a step, or the contrast is invalid",
    ),
    "B24": Failure(
        "a compiled object shared by phases carried the spent limit of one into the next",
        "Dynamo is reset before each cell, and its empty cache is in the receipt",
    ),
    "B25": Failure(
        "compile time was taken on one tiny shape; the others compiled unrecorded",
        "each cell records what its own shapes cost to compile; cold and warm starts are phases of their own",
    ),
    "B26": Failure(
        "the compiler counted as verified because it could be imported; kernels were counted over an old cache",
        "a cold compile finds an empty cache of its own, and evidence is counted per cell",
    ),
    "B27": Failure(
        "the probe for evidence changed what was measured",
        "a receipt only reads counters",
    ),
    "B28": Failure(
        "three phases carried copies of one set of counters",
        "counters start at zero in each cell",
    ),
    "B29": Failure(
        "wall clock and event clock covered different work, and one of them got lost",
        "both clocks around the same region, on every row, and compared",
    ),
    "B30": Failure(
        "one prompt repeated: a cache answered, and long prompts looked fast",
        "every call has a prompt of its own; a longer prompt must not be prefilled faster",
    ),
    "B31": Failure(
        "prompts padded on the wrong side: the last logit was padding's",
        "logits and tokens against the unpadded model",
    ),
    "B32": Failure(
        "compiling went on inside the timed calls",
        "no sample before the compile counters stand still",
    ),
    "B33": Failure(
        "prompts were several times shorter than their names said",
        "tokens are counted in what the engine was given",
    ),
    "B34": Failure(
        "prefill rows keyed by decode length, and a poisoned process told as a crash at certain lengths",
        "prefill has no decode length; after a crash another process measures the rest",
    ),
    "B35": Failure(
        "a model declared twice overwrote its own rows",
        "a cell declared twice is refused",
    ),
    "B36": Failure(
        "engines were ranked over different sets of models",
        "ranks over the models that all measured, those left out named",
    ),
    "B37": Failure(
        "effect sizes over pooled lengths: the spread was that of the lengths",
        "pooling is refused where cells differ more between than within",
    ),
    "B38": Failure(
        "a difference of precision was told as one of engines; the dtype column was copied between arms",
        "each arm's dtype is read back, and only equal dtypes are paired; the confound table shows what else varies",
    ),
    "B39": Failure(
        "graphs were asked for, none ran, and the arm stayed within a percent of eager",
        "graphs asked for and never replayed are `graph_skip`; as fast as eager without evidence is not compiled",
    ),
    "B40": Failure(
        "the few short rows that survived were compared with all rows of the other arm",
        "a contrast of survivors is invalid, and says how many there are",
    ),
    "B41": Failure(
        "rows without output counted as successes because they took long enough",
        "produced tokens are checked, not times",
    ),
    "B42": Failure(
        "parity was called demonstrated without a reference, and a failed check stopped nothing",
        "no reference is no pass; a failed gate stops every claim on speed",
    ),
    "B43": Failure(
        "arms ran on different hosts, one in a container",
        "every row names its machine; mixtures are refused unless named; machine and driver are in the confound table",
    ),
    "B44": Failure(
        "the fingerprint lacked driver, clocks, temperature and library versions",
        "a complete identity with every run; the host's speed with every process; clocks watched",
    ),
    "B45": Failure(
        "tables of the environment were typed, and wrong",
        "such tables are made from the manifest; a typed digit is an error",
    ),
    "B46": Failure(
        "whichever folder was newest was analysed; manifests could not tell runs apart",
        "a run is found by machine and plan digest, or by its id",
    ),
    "B47": Failure(
        "arms were joined on some factors, and a model paired with another",
        "arms are paired on every factor of a cell, in the same round",
    ),
    "B48": Failure(
        "checks that could not fail",
        "each guard is taken out in turn, and the test of its failure must then fail",
    ),
    "B49": Failure(
        "measured fields were dropped on saving",
        "unknown fields are errors; every field comes back as written",
    ),
    "B50": Failure(
        "nothing measured became 0.0, and intervals of a latency went below zero",
        "empty input is an error; intervals keep to positive values",
    ),
    "B51": Failure(
        "the exception's class was cut off with the log",
        "type, message and traceback are kept with the cell",
    ),
    "B52": Failure(
        "printed statistics that their own data contradict",
        "every published statistic is recomputed and compared within its rounding",
    ),
    "B53": Failure(
        "the text named one test, the code ran another",
        "the function that computes a number also names its method",
    ),
    "B54": Failure(
        "degrees of freedom of cells that had no data",
        "a design matrix that refuses what it cannot estimate",
    ),
    "B55": Failure(
        "trimmed means that no trimming can give",
        "recomputed from the printed extremes, as far as they bound it",
    ),
    "B56": Failure(
        "arms called equivalent with a standard error far above the margin",
        "the decision is computed from margin and standard error, both printed",
    ),
    "B57": Failure(
        "families chosen afterwards, comparisons uncorrected",
        "Holm over all contrasts of the run, their number in the table",
    ),
    "B58": Failure(
        "detectable effects from the wrong spread, or for another design",
        "each contrast has its own, from its own spread over rounds",
    ),
    "B59": Failure(
        "conclusions that another section contradicts",
        "verdicts are computed from the same rows each time: opposite claims are never both supported",
    ),
    "B60": Failure(
        "the control arm moved between stacks, and the comparison went on",
        "a control that moved further than the A/A floor voids the comparison",
    ),
    "B61": Failure(
        "row counts that do not follow from the design",
        "the plan says how many cells there must be; a gate counts those there are",
    ),
    "B62": Failure(
        "more rows than the design can yield",
        "found cells are reconciled with the designed ones, surplus included",
    ),
    "B63": Failure(
        "a phase that took longer than the request containing it",
        "prefill and decode must add up to the whole request",
    ),
    "B64": Failure(
        "time spent in the queue was left out",
        "latency from the intended arrival",
    ),
    "B65": Failure(
        "a sentinel for missing was averaged",
        "missing is null; what is no latency is not written, and unfinished cells never count",
    ),
    "B66": Failure(
        "comparisons without uncertainty, duplicates dropped, hardware ignored",
        "an interval and a least number of rounds for every outcome; the same rows twice are refused",
    ),
    "B67": Failure(
        "pages showed what was asked for, the first environment, and zeros",
        "counts are of rows, and every row has its own run and machine",
    ),
    "B68": Failure(
        "the baseline always first, small before large",
        "a random order a round, reversed in the next",
    ),
    "B69": Failure(
        "repeated calls counted as independent",
        "the unit is the process: n is the number of rounds",
    ),
    "B70": Failure(
        "latencies that the memory could not have delivered",
        "a floor from the bytes that must be read and the bandwidth measured in the run",
    ),
}


@dataclass(frozen=True)
class Planted:
    """A test that plants failures; ``without`` gives each guard's stand-in that lets them pass."""

    ids: tuple[str, ...]
    file: str
    line: int
    name: str
    where: tuple[str, ...]
    without: Mapping[str, object] = field(repr=False, compare=False)
    construction: bool = False
    missing: bool = False


TESTS: dict[tuple[str, str], Planted] = {}
LET_PASS = object()  # stands in for a strict schema: unknown fields pass


def guards(
    *ids: str,
    without: Mapping[str, object] | None = None,
    where: str | tuple[str, ...] = (),
    construction: bool = False,
    missing: bool = False,
) -> Callable:
    """Mark a test as the one that plants these failures.

    ``without`` maps dotted names to stand-ins under which the test must fail; ``where`` names the guard where that is
    another thing than what is replaced. ``construction``: the test shows why the failure cannot occur. ``missing``:
    the guard does not exist yet, the test is expected to fail, and the table says so.
    """

    def mark(test: Callable) -> Callable:
        places = (where,) if isinstance(where, str) else where
        planted = Planted(
            ids, Path(test.__code__.co_filename).name, test.__code__.co_firstlineno, test.__name__,
            places or tuple(without or ()), without or {}, construction, missing,
        )  # fmt: skip
        TESTS[planted.file, planted.name] = planted
        test.planted = planted
        if missing:
            test = pytest.mark.xfail(reason="the guard is missing", strict=True)(test)
        return test

    return mark


def passing(gate: str) -> Callable:
    """Stands in for a gate: it always passes."""
    return lambda *_, **__: (gate, "passed", "")


def collect() -> dict[str, list[Planted]]:
    """The tests of each failure, in the order of their files."""
    for path in sorted(Path(__file__).parent.glob("test_b_*.py")):
        importlib.import_module(f"tests.faults.{path.stem}")
    unknown = {i for planted in TESTS.values() for i in planted.ids} - FAILURES.keys()
    if unknown:
        raise ValueError(f"tests plant failures that the catalogue does not hold: {', '.join(sorted(unknown))}")
    ordered = sorted(TESTS.values(), key=lambda planted: (planted.file, planted.line))
    return {i: [planted for planted in ordered if i in planted.ids] for i in FAILURES}


def status(failure: Failure, tests: list[Planted]) -> str:
    """One of the words above; a test of a guard that does not exist outweighs those that pass."""
    if any(test.missing for test in tests):
        return MISSING
    if failure.waits:
        return f"{WAITS} {failure.waits}"
    if not tests:
        return UNKNOWN
    return BY_CONSTRUCTION if all(test.construction for test in tests) else GUARDED


INTRODUCTION = """\
# Seventy failures, and what stops each

Published benchmarks of small models have gone wrong in the ways listed here. For each, a test plants that very failure
and sees it caught. This page is generated from those tests by `python -m tests.faults.catalogue > docs/integrity.md`,
and a test fails when it is out of date. `python -m tests.faults.remove_guards` takes out each guard in turn and shows
that its test then fails.
"""
LEGEND = {
    GUARDED: "a test plants the failure, a guard catches it.",
    BY_CONSTRUCTION: "the failure has no way to occur; the test shows why.",
    WAITS: "nothing to guard until that feature exists.",
    MISSING: "what the guard should do is tested, and it does not do all of it yet: the tests in *italics*.",
    UNKNOWN: "no test names it.",
}


def document() -> str:
    """The page."""
    tests = collect()
    statuses = {i: status(failure, tests[i]) for i, failure in FAILURES.items()}
    tally = Counter(s if not s.startswith(WAITS) else WAITS for s in statuses.values())
    counted = ", ".join(f"{n} {word}" for word, n in sorted(tally.items(), key=lambda item: -item[1]))
    rows = [
        " | ".join(("", i, f.failure, f.guard, _names(tests[i]), _links(tests[i]), statuses[i], "")).strip()
        for i, f in FAILURES.items()
    ]
    head = "| id | failure | guard | where | test | status |\n|---|---|---|---|---|---|"
    legend = "".join(f"- **{word}**: {meaning}\n" for word, meaning in LEGEND.items() if word in tally)
    return f"{INTRODUCTION}\n{legend}\nOf {len(FAILURES)}: {counted}.\n\n{head}\n" + "\n".join(rows) + "\n"


def _names(tests: list[Planted]) -> str:
    names = dict.fromkeys(name.removeprefix("bench_utils.") for test in tests for name in test.where)
    return ", ".join(f"`{name}`" for name in names)


def _links(tests: list[Planted]) -> str:
    said = [(t, f"[{t.name.removeprefix('test_').replace('_', ' ')}](../tests/faults/{t.file})") for t in tests]
    return "; ".join(f"*{link}*" if test.missing else link for test, link in said)


if __name__ == "__main__":
    from tests.faults import catalogue  # not this module under its other name, where no test is registered

    print(catalogue.document(), end="")
