"""Files that engines are given: of other weights, altered, or half built."""

import json

import pytest

from bench_utils import artifacts
from bench_utils.errors import BenchError
from tests.faults.catalogue import guards

UNCHECKED = {"bench_utils.artifacts.verify": lambda *_: None}


def build(folder):
    (folder / "model.bin").write_bytes(b"weights")


def made(store, digest="aaaa"):
    return artifacts.artifact(store, digest, "engine", {"version": 1}, build)


@guards("B10", without=UNCHECKED)
def test_an_artifact_of_other_weights_is_refused(tmp_path):
    other = made(tmp_path, "bbbb")
    (tmp_path / "aaaa").mkdir()
    other.rename(tmp_path / "aaaa" / "engine")
    with pytest.raises(BenchError, match="built from weights bbbb, asked for aaaa"):
        made(tmp_path, "aaaa")


@guards("B10", without=UNCHECKED)
def test_an_altered_artifact_is_refused(tmp_path):
    (made(tmp_path) / "model.bin").write_bytes(b"toy network")
    with pytest.raises(BenchError, match="model.bin is not the file that was built"):
        made(tmp_path)


def test_an_artifact_is_built_once_and_again_by_another_builder(tmp_path):
    built = []

    def count(folder):
        built.append(folder)
        build(folder)

    for version in (1, 1, 2):
        artifacts.artifact(tmp_path, "aaaa", "engine", {"version": version}, count)
    assert len(built) == 2
    origin = json.loads((tmp_path / "aaaa" / "engine" / artifacts.ORIGIN).read_text())
    assert origin["weights"] == "aaaa"
    assert origin["builder"] == {"version": 2}


def test_an_interrupted_build_leaves_nothing_that_looks_done(tmp_path):
    def interrupted(folder):
        build(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        artifacts.artifact(tmp_path, "aaaa", "engine", {"version": 1}, interrupted)
    assert not (tmp_path / "aaaa" / "engine").exists()
    assert made(tmp_path).is_dir()
