"""The lists of packages agree, and what the README says can be typed."""

import re
import shlex
import subprocess
import tomllib

import pytest
import yaml
from typer.main import get_command

from bench_utils.cli import app
from tests.conftest import REPOSITORY


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def lock() -> dict[str, str]:
    lines = (REPOSITORY / "requirements.lock").read_text().split()
    return {normal(name): version for name, _, version in (line.partition("==") for line in lines)}


def test_every_direct_dependency_is_pinned_alike_in_lock_and_conda_environment():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    conda = yaml.safe_load((REPOSITORY / "environment.yml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in conda if isinstance(entry, dict))
    direct = {normal(name) for name in project["dependencies"]}
    assert {line for line in pip if "==" in line} == {f"{name}=={lock()[name]}" for name in direct}
    assert "--constraint requirements.lock" in pip
    assert "--editable ." in pip
    for extra in project["optional-dependencies"].values():
        assert {normal(name) for name in extra} <= lock().keys()


def test_the_lock_pins_versions_and_names_no_place_to_get_them():
    text = (REPOSITORY / "requirements.lock").read_text()
    assert all(re.fullmatch(r"[A-Za-z0-9_.\-]+==[A-Za-z0-9_.]+", line) for line in text.splitlines())
    assert "torch==2.13.0\n" in text


def test_the_conda_environment_has_a_python_that_the_project_accepts():
    conda = yaml.safe_load((REPOSITORY / "environment.yml").read_text())
    assert conda["name"] == "bench-utils"
    assert "python=3.11" in conda["dependencies"]


def test_make_alone_prints_the_targets_with_their_help():
    shown = subprocess.run(["make", "-s"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    targets = {line.split()[0] for line in shown.splitlines()[:-1]}
    assert targets == {
        "help",
        "setup",
        "lab",
        "run",
        "render",
        "site",
        "verify",
        "vllm",
        "test",
        "test-services",
        "check",
        "clean",
    }
    assert all(len(line.split()) > 2 for line in shown.splitlines())


def commands() -> list[str]:
    blocks = re.findall(r"```(?:bash|sh)\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.S)
    return [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


OURS = [c for c in commands() if "bench-utils " in c or "bench_utils " in c]


def test_the_readme_is_short_and_has_commands():
    assert len((REPOSITORY / "README.md").read_text().splitlines()) < 150
    assert OURS


@pytest.mark.parametrize("line", OURS)
def test_every_command_of_the_readme_is_one_of_the_command_line(line):
    words = shlex.split(line)
    arguments = words[words.index("bench_utils") + 1 :] if "bench_utils" in words else words[1:]
    command = get_command(app)
    with command.make_context("bench-utils", list(arguments), resilient_parsing=False) as context:
        name, sub, rest = command.resolve_command(context, list(arguments))
        sub.make_context(name, rest, parent=context)


@pytest.mark.parametrize("line", [c for c in commands() if c.startswith("make ")])
def test_every_make_command_of_the_readme_has_a_target(line):
    subprocess.run(["make", "--dry-run", *shlex.split(line)[1:]], cwd=REPOSITORY, check=True, capture_output=True)
