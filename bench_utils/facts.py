"""What a page says about where its numbers come from: facts of a run, as words."""

from __future__ import annotations

from .formatting import duration
from .study import Study

WEIGHTS = {
    "architecture": "architecture only, seeded random weights (the hub was out of reach): latencies hold, "
    "whatever depends on the text does not",
    "hub": "checkpoints from the hub",
    "local": "a local folder",
}


def provenance(study: Study) -> dict[str, str]:
    """Device, stack, weights, plan and protocol of a study's run."""
    m, known = study.manifest, study.manifest.identity
    gpu = {"GPU": f"{known['gpu']}, {known['gpu_memory_gib']} GiB, driver {known['driver']}"} if "gpu" in known else {}
    return gpu | {
        "Device": f"{m.device}, machine {m.machine}",
        "Host": f"{known['cpu']}, {known['cores']} cores, {known['memory_gib']} GiB, {known['system']}",
        "Stack": ", ".join(f"{p} {known[p]}" for p in ("torch", "triton", "transformers", "numpy") if known.get(p)),
        "Python": known["python"],
        "Clock policy": f"free, governor {known['governor'] or 'unknown'}, boost {known['boost'] or 'unknown'}",
        "Weights": WEIGHTS.get(m.weights, m.weights),
        "Run": f"{m.run}, {m.status}",
        "Plan": f"{m.report}, preset {m.preset}, digest {m.plan_digest}, seed {m.seed}",
        "Code": m.identity.get("commit") or "outside version control",
    }


def protocol(study: Study) -> dict[str, str]:
    """Thresholds that were in force."""
    limits, budget = study.limits, study.limits.budget
    return {
        "Rounds": f"{limits.rounds}; every variant once a round, in a process of its own, in random order",
        "Warm-up": f"until compile counters stand still and two windows of {budget.steady_window} calls agree, "
        f"at most {duration(budget.warmup_max_seconds)}",
        "Samples": f"at least {budget.min_samples} a cell and process, until the median is known to "
        f"{budget.half_width:.0%} or {duration(budget.max_seconds)} have passed",
        "Interval": "paired t interval over the log ratios of the rounds' medians, two-sided 95 %",
        "Outcome": "faster or slower when the interval lies outside the band of the A/A control and survives Holm's "
        "correction over the family",
        "Expected minutes": f"{limits.expected_minutes():.0f}",
    }
