"""Whether a receipt bears out its label: small pure functions, applied to every cell as it ends."""

from __future__ import annotations

import statistics

# Cores used by others above which a window is spoiled. The kernel counts in ticks of 10 ms: in windows of 0.3 s a quiet
# machine of two cores was seen to show up to 0.10, a busy neighbour 0.3 to 1.3.
CONTAMINATION = 0.15
# Of all cores: on a machine of many, its own services use more than that, and each core of ours loses as little.
CONTAMINATION_SHARE = 0.05
# Of the median clock of the process so far; below it nvbench discards a sample.
THROTTLED = 0.75


def engagement(receipt: dict, compiled_calls: int, expected_calls: int) -> tuple[str, str | None]:
    """Whether the timed calls ran compiled, every one: ``ok``, ``not_compiled``, ``recompile_storm`` or ``graph_skip``.

    That a graph exists, and that nothing recompiled while timed, is passed by the very failure this looks for:
    once Dynamo's limit is reached the rest runs eager, quietly. Inductor leaves graphs out as quietly, so of a receipt
    that asks for them ``replayed_calls``, those of the timed calls, are as many.
    """
    if not expected_calls:
        return "ok", None
    share = f"{compiled_calls} of {expected_calls} timed calls ran compiled code"
    if compiled_calls == 0:
        return "not_compiled", f"{share}: this is eager under another label"
    if compiled_calls < expected_calls:
        limit = receipt.get("recompile_limit")
        return (
            "recompile_storm",
            f"{share}; {receipt.get('cache_entries')} cache entries, limit {limit}: the rest ran eager",
        )
    replayed = receipt.get("replayed_calls", 0)
    if receipt.get("cudagraphs_requested") and replayed < expected_calls:
        return (
            "graph_skip",
            f"CUDA graphs were asked for, {replayed} of {expected_calls} timed calls replayed one "
            f"({receipt.get('cudagraph_skips')} skips in all)",
        )
    return "ok", None


def device(filed: str, found: str) -> tuple[str, str | None]:
    """Whether the GPU that PyTorch runs on is the one, by slug, that the run is filed under."""
    if found != filed:
        return (
            "silent_fallback",
            f"the run is filed under {filed}, PyTorch runs on {found}; leave CUDA_DEVICE_ORDER unset, or name the GPU "
            "by its id in CUDA_VISIBLE_DEVICES",
        )
    return "ok", None


def readback(asked: str, provenance: dict, parameters: int = 0) -> tuple[str, str | None]:
    """Whether the weights have the dtype, and the number of parameters, that the row's label says; 0 is unknown."""
    if provenance["dtype"] != asked:
        return "silent_fallback", f"asked for {asked}, the loaded weights are {provenance['dtype']}"
    if parameters and provenance["parameters"] != parameters:
        return (
            "silent_fallback",
            f"the model has {parameters:,} parameters, what was loaded {provenance['parameters']:,}",
        )
    return "ok", None


def packages(asked: dict[str, str | None], loaded: dict[str, str]) -> tuple[str, str | None]:
    """Whether the modules in the process are of the versions that the run's identity names."""
    other = [
        f"{n} {found} instead of {asked[n]}" for n, found in loaded.items() if not _same(asked.get(n, found), found)
    ]
    return ("silent_fallback", f"the process loaded {', '.join(other)}") if other else ("ok", None)


def _same(asked: str | None, found: str) -> bool:
    """A wheel may leave its build (``+cu130``) out of its metadata, while the module names it."""
    return asked == found or asked == found.partition("+")[0]


def clocks(mhz: list[float]) -> tuple[str, str | None]:
    """Whether the last clock reading stands out below those before it: nvbench's threshold for throttling."""
    usual = statistics.median(mhz) if mhz else 0.0
    if len(mhz) >= 3 and mhz[-1] < THROTTLED * usual:
        return (
            "throttled",
            f"the clock fell to {mhz[-1]:.0f} MHz from {usual:.0f} MHz; cool the machine and measure again",
        )
    return "ok", None


def lengths(seen: set[int]) -> tuple[str, str | None]:
    """Whether every call of a cell produced the same number of tokens; which they are is checked elsewhere."""
    if len(seen) > 1:
        return "token_mismatch", f"calls produced {', '.join(map(str, sorted(seen)))} tokens"
    return "ok", None


def exclusivity(others: float | None, cores: int) -> tuple[str, str | None]:
    """Whether the machine, of so many ``cores``, was ours while the cell was measured."""
    if others is not None and others > max(CONTAMINATION, CONTAMINATION_SHARE * cores):
        return "contaminated", f"other processes used {others:.2f} of a core; stop them and measure again"
    return "ok", None


def board(look: dict) -> tuple[str, str | None]:
    """Whether the GPU was ours and was not held back; what its driver does not show spoils nothing."""
    if look["others"]:
        return "contaminated", f"processes of others on the GPU: {look['others']}; stop them and measure again"
    if look["held_back"]:
        return "throttled", f"the GPU was held back by {', '.join(look['held_back'])}; cool it and measure again"
    return "ok", None


def steadiness(steady: bool) -> tuple[str, str | None]:
    """Whether the warm-up ended in steady times."""
    return ("ok", None) if steady else ("not_steady", "the times were still moving when the warm-up budget ended")


def first_failure(*results: tuple[str, str | None]) -> tuple[str, str | None]:
    """The first result that is not ok."""
    return next((r for r in results if r[0] != "ok"), ("ok", None))
