"""The benchmark of file formats, on a small model: fresh processes, alternating order, the same weights in both."""

import re

import pytest
import torch

from bench_utils import loading
from bench_utils.errors import BenchError
from benchmarks import load_formats
from benchmarks.load_formats import FILES, Load

MODEL = "gpt2-1x64"


@pytest.fixture(scope="module")
def pool():
    with load_formats.fresh_processes() as found:
        yield found


class Recorded:
    """Stands beside the pool and notes what it is asked for."""

    def __init__(self, pool) -> None:
        self.pool, self.asked = pool, []

    def submit(self, function, folder, kind):
        self.asked.append(kind)
        return self.pool.submit(function, folder, kind)


def test_a_round_loads_the_same_weights_from_both_formats_each_first_in_turn(pool, tmp_path):
    load_formats.write(tmp_path, MODEL)
    recorded = Recorded(pool)
    found = load_formats.measure(recorded, tmp_path, 2)
    assert [[*both] for both in found] == [["pickle", "safetensors"], ["safetensors", "pickle"]]
    assert recorded.asked == ["safetensors", "pickle", "pickle", "safetensors", "safetensors", "pickle"]
    expected = loading.load_model(MODEL, weights="architecture").provenance.digest
    for load in (load for both in found for load in both.values()):
        assert 0 < load.returned <= load.read
        assert load.digest == expected
    weights = {kind: (tmp_path / kind / file).stat().st_size for kind, file in FILES.items()}
    assert weights["pickle"] == pytest.approx(weights["safetensors"], rel=0.01)
    assert all(sorted(p.name for p in (tmp_path / kind).glob("*.[bs]*")) == [file] for kind, file in FILES.items())


def test_every_load_has_a_process_of_its_own(pool):
    import os

    assert len({pool.submit(os.getpid).result() for _ in range(3)}) == 3


def test_formats_with_different_weights_are_not_compared(pool, tmp_path):
    load_formats.write(tmp_path, MODEL)
    file = tmp_path / "pickle" / FILES["pickle"]
    weights = torch.load(file)
    weights["transformer.ln_f.bias"][0] += 1
    torch.save(weights, file)
    with pytest.raises(BenchError, match="different weights"):
        load_formats.measure(pool, tmp_path, 1)


def test_the_ratio_is_paired_and_the_moments_are_told_apart(capsys):
    found = [
        {"pickle": Load(2.0 * noise, 4.0 * noise, "d"), "safetensors": Load(1.0 * noise, 4.0 * noise, "d")}
        for noise in (1.0, 10.0, 100.0)
    ]
    load_formats.report(found)
    first, second = capsys.readouterr().out.splitlines()
    assert "returned: pickle 20.0 ms, safetensors 10.0 ms; safetensors / pickle = 0.5" in first
    assert "read: pickle 40.0 ms, safetensors 40.0 ms; safetensors / pickle = 1" in second


def test_the_program_says_what_it_did(capsys):
    load_formats.main(["--model", MODEL, "--rounds", "2"])
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith(f"{MODEL}, float32: pickle 1") and "page cache warm, not dropped" in head
    assert all(re.search(r"safetensors / pickle = \S+ \(\S+ to \S+\), 2 pairs$", line) for line in lines)
    assert len(lines) == len(load_formats.MOMENTS)
