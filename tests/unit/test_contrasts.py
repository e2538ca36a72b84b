"""Contrasts of runs that hold a control, or the baseline, and nothing else."""

from bench_utils.contrasts import EFFECT, contrast
from bench_utils.study import Study


def test_a_run_of_baseline_and_control_alone_is_contrasted(mini):
    rows = Study("mini", device="cpu", preset="smoke", root=mini).measure()
    effects = contrast(rows)
    assert set(effects["variant"]) == {"eager-again"}
    assert set(effects["outcome"]) <= {"ambiguous", "invalid"}
    assert set(effects["family"]) == {0}
    alone = contrast(rows[rows["variant"] == "eager"])
    assert alone.empty
    assert list(alone.columns) == EFFECT
