"""Helpers for honest inference benchmarks in notebooks: load, time, measure, compare, show.

Names are loaded when first used: importing this module imports neither torch nor matplotlib.
"""

from __future__ import annotations

import importlib

_HOMES = {
    "Study": "study",
    "measure": "measuring",
    "Measurement": "measuring",
    "Explorer": "explore",
    "load": "frames",
    "load_model": "loading",
    "load_tokenizer": "loading",
    "time_call": "timing",
    "contrast": "contrasts",
    "judge": "claims",
    "figures": "figures",
    "statistics": "statistics",
    "published": "published",
    "run_gates": "gates",
    "roofline": "gates",
    "shares": "compiling",
    "compile_costs": "compiling",
    "rank": "rankings",
    "pool": "rankings",
    "failure_rates": "rankings",
    "cell_table": "frames",
    "failures": "frames",
    "in_words": "wording",
    "share_in_words": "wording",
    "shares_in_words": "wording",
    "fastest_in_words": "wording",
    "outcomes_in_words": "wording",
    "control_in_words": "wording",
    "costs_in_words": "wording",
    "provenance": "facts",
    "protocol": "facts",
    "headline": "reporting.display",
    "say": "reporting.display",
    "show_figure": "reporting.display",
    "show_table": "reporting.display",
    "show_claims": "reporting.display",
    "show_facts": "reporting.display",
    "show_code_text": "reporting.display",
    "selftest": "selftest",
    "scaling": "scaling",
    "by_clock": "frames",
    "compare_outputs": "outputs",
    "engines": "outputs",
    "client_overhead": "outputs",
    "regimes": "regimes",
    "quality": "quality",
    "perplexity": "quality",
    "outputs_in_words": "outputs",
    "decided_in_words": "wording",
    "cost_table": "cost",
    "energy_table": "cost",
    "assumptions": "cost",
    "price_of": "cost",
    "confound_table": "confounds",
    "confounded": "confounds",
    "confounds_in_words": "confounds",
    "BenchError": "errors",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"bench_utils has no {name!r}; it has {', '.join(__all__)}")
    module = importlib.import_module(f"{__name__}.{_HOMES[name]}")
    found = module if module.__name__.endswith(f".{name}") else getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
