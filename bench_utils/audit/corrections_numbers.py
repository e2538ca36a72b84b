"""Corrections of single numbers: statistics, counts and specifications that their own inputs contradict."""

from __future__ import annotations

from .agreement import compare
from .evidence import Correction, again, ids, printed, said, sources

PROMPTS = ids("TR126", *range(148, 153))
TESTS = ids("TR126", 9, 76, 79, 81, 82, 83)  # p values whose standard deviations are printed


def bandwidth() -> Correction:
    return Correction(
        "TR126",
        sources().claims["TR126-143"]["claim"],
        printed("TR126-143"),
        f"at least {again('TR126-143')}",
        "At the stated bandwidth the published prefill of the largest model is impossible: its weights cannot be read "
        "in that time. No roofline drawn with that number holds.",
        "TR126-143",
    )


def prompts() -> Correction:
    return Correction(
        "TR126",
        "Length of the five prompts",
        printed(*PROMPTS),
        again(*PROMPTS),
        "No prompt is long: nothing about long contexts follows from these reports.",
        " ".join(PROMPTS),
    )


def p_range() -> Correction:
    return Correction(
        "TR147",
        "p values of default decode against eager",
        printed("TR147-154"),
        said("{p} or more", p=again("TR147-154")),
        "The printed range does not come from the printed means and intervals; it is no sign of a small slowdown.",
        "TR147-154",
    )


def interaction() -> Correction:
    return Correction(
        "TR126",
        "Interaction of backend and model",
        f"F = {printed('TR126-130')}, eta squared {printed('TR126-131')}",
        f"F = {again('TR126-130', digits=4)}, eta squared {again('TR126-131')}",
        "Empty cells have no degrees of freedom. The interaction stays, as a smaller share of the variance.",
        "TR126-130 TR126-131",
    )


def anova() -> Correction:
    return Correction(
        "TR117",
        "One-way analysis of variance over five backends",
        f"F = {printed('TR117-011')}",
        f"F = {again('TR117-011', digits=4)}",
        "The difference stays, and so does its confound: one backend ran other, larger models.",
        "TR117-011",
    )


def effects() -> Correction:
    claims = ids("TR117", 13, 14, 12)
    return Correction(
        "TR117",
        "Effect sizes: GPU against CPU, compile against Ollama, compile against GPU",
        f"d = {printed(*claims)}",
        f"d = {again(*claims)}",
        "The first two stay large; the third, called significant, is negligible and not significant.",
        " ".join(claims),
    )


def cpu_p() -> Correction:
    return Correction(
        "TR117",
        "Compile label on the CPU against CPU",
        f"p = {printed('TR117-010')}",
        f"p = {again('TR117-010')}",
        "Still no difference; the printed p belongs to no test of the printed means.",
        "TR117-010",
    )


def pooled_std() -> Correction:
    claims = ids("TR126", 121, 123, 125)
    return Correction(
        "TR126",
        "Pooled standard deviation of prefill, decode, end-to-end",
        printed(*claims),
        again(*claims),
        said(
            "What is called pooled is the total standard deviation, differences between backends included. The "
            "smallest decode difference that could be found falls from {before} to {after}.",
            before=printed("TR126-122"),
            after=again("TR126-122"),
        ),
        " ".join(ids("TR126", 64, 65, 120, 121, 122, 123, 124, 125)),
    )


def trimmed() -> Correction:
    return Correction(
        "TR126",
        "Compiled mean without its largest value, and without its largest five",
        printed("TR126-069", "TR126-071"),
        again("TR126-069", "TR126-071"),
        "Taking away values no larger than the printed maximum cannot lower the mean that far.",
        "TR126-069 TR126-070 TR126-071",
    )


def rows() -> Correction:
    return Correction(
        "TR126",
        "Rows of the rerun, and of all phases",
        printed("TR126-006", "TR126-001"),
        again("TR126-006", "TR126-001"),
        "More rows are claimed than design and tables hold; where the others come from is not said.",
        "TR126-001 TR126-006",
    )


def which_test() -> Correction:
    student, welch = (sum(compare(sources(), one, name).agrees for one in TESTS) for name in ("student_p", "welch_p"))
    return Correction(
        "TR126",
        "Means are compared by Welch's test",
        said("{n} p values with printed spreads", n=len(TESTS)),
        said("{student} fit Student's, {welch} Welch's", student=student, welch=welch),
        "The text names a test that the code did not run. No decision changes, only exponents.",
        " ".join(TESTS),
    )


def family() -> Correction:
    return Correction(
        "TR147",
        "Size of the family that Holm's correction was made for",
        printed("TR147-151"),
        said("{n} printed", n=again("TR147-151").split()[0]),
        "A correction for contrasts that the report does not print cannot be checked.",
        "TR147-151",
    )


def cards() -> Correction:
    return Correction(
        "model cards",
        "Parameters of tiny-gpt2; memory of GPT-2's weights alone",
        printed("CARD-005", "CARD-008"),
        again("CARD-005", "CARD-008"),
        "Both follow from the published shapes, and neither is near.",
        "CARD-005 CARD-008",
    )
