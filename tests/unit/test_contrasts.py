"""Contrasts of a run that holds a control and nothing else."""

from bench_utils.contrasts import contrast
from bench_utils.study import Study


def test_a_run_of_baseline_and_control_alone_is_contrasted(mini):
    effects = contrast(Study("mini", device="cpu", preset="smoke", root=mini).measure())
    assert set(effects["variant"]) == {"eager-again"}
    assert set(effects["outcome"]) <= {"ambiguous", "invalid"}
    assert set(effects["family"]) == {0}
