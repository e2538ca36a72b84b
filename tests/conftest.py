"""Fixtures shared by all tests: a scratch project, and a hub that nobody can reach."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent

MINI_PLAN = """
report = "mini"
title = "A small plan"
question = "Does it run?"
expectation = "It does."

[presets.smoke]
help = "one model, eager"
rounds = 2
cell_seconds = 0.5
cold_seconds = 1
cell_timeout = 60
budget = { warmup_seconds = 0.0, warmup_max_seconds = 0.2, steady_window = 2, min_samples = 5, min_seconds = 0.01, \
max_seconds = 0.3, max_samples = 20 }

[[presets.smoke.cells]]
models = ["tiny-gpt2"]
variants = ["eager", "eager-again"]
scenarios = [{ prompt_tokens = 16, new_tokens = 16 }]
"""


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in a test reaches a real hub; a refused connection answers at once."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")


@pytest.fixture
def mini(tmp_path: Path) -> Path:
    """A project whose only report is the mini plan."""
    return make_project(tmp_path / "project", {"mini.toml": MINI_PLAN})


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with this repository's own reports, and nothing measured yet."""
    root = make_project(tmp_path_factory.mktemp("project"), {})
    shutil.copytree(REPOSITORY / "notebooks", root / "notebooks", dirs_exist_ok=True)
    return root


def make_project(root: Path, plans: dict[str, str]) -> Path:
    """A root as the tool looks for it, with these plans."""
    (root / "notebooks").mkdir(parents=True, exist_ok=True)
    (root / "pyproject.toml").touch()
    for name, text in plans.items():
        (root / "notebooks" / name).write_text(text)
    return root
