"""What a machine can measure is a line a check; what is missing says how to get it, and nothing private is shown."""

import importlib.machinery
import importlib.metadata
import sys
import tempfile
import types

import pytest
import torch._inductor.config

from bench_utils import backends, catalog, doctor, privacy
from bench_utils.errors import BenchError
from bench_utils.processes import exclusive

VOLATILE = ("processor", "clock", "memory", "disk", "neighbours")


@pytest.fixture(autouse=True)
def _own_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def line(name, device="cpu"):
    found = [check for check in doctor.examine(device) if check.name == name]
    assert len(found) == 1
    return found[0]


def lasting(checks):
    """The text without the lines that change from moment to moment."""
    return doctor.render([check for check in checks if check.name not in VOLATILE]).splitlines()


def test_every_line_is_marked_and_aligned_and_the_last_says_whether_all_is_there():
    checks = doctor.examine("cpu")
    lines = doctor.render(checks).splitlines()
    marked = [text for text in lines if text.startswith("  ")]
    assert len(marked) == len(checks)
    assert all(text.startswith(("  ok  ", "  --  ")) for text in marked)
    assert len({text.index(check.said) for text, check in zip(marked, checks, strict=True)}) == 1
    assert {"software", "machine", "tools", "variants on cpu"} <= set(lines)
    assert lines[-1] == "ready: make run has what it needs"
    assert doctor.exit_code(checks) == 0


def test_every_variant_but_the_planted_has_a_line_with_its_reason():
    found = {check.name: check for check in doctor.examine("cpu") if check.topic == "variants on cpu"}
    assert set(found) == {v.name for v in catalog.VARIANTS.values() if v.backend != "planted"}
    for name, check in found.items():
        reason = backends.unavailable(catalog.variant(name), "cpu")
        assert (check.ok, check.said) == (reason is None, reason or catalog.variant(name).help)
    assert "needs a CUDA device" in found["compile-reduce-overhead"].said


def installed(name):
    """Stands in for a package: it can be found, and nothing in it is called."""
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    return module


@pytest.mark.parametrize(
    ("needed", "package", "engines"),
    [
        (("onnx", "onnxscript", "onnxruntime"), "onnxruntime", ["onnxruntime"]),
        (("gguf", "xllamacpp"), "xllamacpp", ["llama_cpp", "llama_server"]),
    ],
)
def test_taking_an_engine_s_package_away_changes_the_lines_of_its_variants_alone(monkeypatch, needed, package, engines):
    for name in needed:
        monkeypatch.setitem(sys.modules, name, installed(name))
    before = lasting(doctor.examine("cpu"))
    monkeypatch.setitem(sys.modules, package, None)  # as the import system marks what cannot be imported
    after = lasting(doctor.examine("cpu"))
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    variants = [v.name for v in catalog.VARIANTS.values() if v.backend in engines and v.requires != "cuda"]
    assert [new.split()[:2] for _, new in changed] == [["--", name] for name in variants]
    assert all(old.split()[0] == "ok" for old, _ in changed)
    assert all(f"needs {package}, not installed here; pip install" in new for _, new in changed)


@pytest.mark.parametrize("error", [OSError("libcudart.so.13: cannot open"), BenchError("it moved"), TypeError("odd")])
def test_an_engine_that_breaks_when_it_is_looked_at_takes_no_line_from_the_others(monkeypatch, error):
    look = backends.unavailable

    def broken(variant, device):
        if variant.name == "llama.cpp":
            raise error
        return look(variant, device)

    monkeypatch.setattr(backends, "unavailable", broken)
    found = {check.name: check for check in doctor.examine("cpu") if check.topic == "variants on cpu"}
    assert set(found) == {v.name for v in catalog.VARIANTS.values() if v.backend != "planted"}
    assert not found["llama.cpp"].ok
    assert found["llama.cpp"].said.endswith(f"{type(error).__name__}: {error}")
    assert found["eager"].ok


def test_what_is_shown_can_be_shared():
    assert privacy.check(doctor.render(doctor.examine("cpu"))) == []


def test_a_device_that_is_not_there_is_an_error():
    with pytest.raises(BenchError, match="device 'cuda:7' is not on this machine"):
        doctor.examine("cuda:7")


@pytest.fixture
def without(monkeypatch):
    """Take packages away, as far as their metadata tell."""
    version, gone = importlib.metadata.version, set()

    def look(name):
        if name in gone:
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", look)
    return gone.update


def test_a_machine_that_cannot_render_can_measure(without, monkeypatch):
    without({"papermill"})
    monkeypatch.setitem(sys.modules, "papermill", None)
    checks = doctor.examine("cpu")
    assert doctor.exit_code(checks) == 1
    lines = doctor.render(checks).splitlines()
    assert any("packages" in text and text.endswith("missing: papermill; make setup") for text in lines)
    assert lines[-1] == "ready to measure; make run also needs: packages, papermill"
    assert {"software", "machine", "tools", "variants on cpu"} <= {check.topic for check in checks}


def test_without_transformers_only_the_software_is_looked_at(without):
    without({"transformers"})
    checks = doctor.examine("cpu")
    assert doctor.exit_code(checks) == 1
    assert doctor.render(checks).splitlines()[-1] == "not ready: transformers, packages"
    assert {check.topic for check in checks} == {"software"}


def test_a_checkout_that_is_not_installed_knows_its_packages(monkeypatch):
    def requires(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    assert line("packages").said == "all that the project asks for"


def test_without_a_compiler_make_run_is_not_ready():
    with torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}):
        checks = doctor.examine("cpu")
    assert doctor.exit_code(checks) == 1
    assert doctor.render(checks).splitlines()[-1] == "not ready: C++ compiler"


def test_a_measurement_that_runs_is_seen_and_its_lock_left_alone():
    assert line("measurements").ok
    with exclusive():
        check = line("measurements")
        assert (check.ok, check.said) == (False, "another measurement runs on this machine; wait for it to end")
    with exclusive():
        pass


def test_the_lock_of_another_account_is_locked_and_never_written(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    lock = tmp_path / "bench_utils.lock"
    lock.write_text("made by somebody")
    lock.chmod(0o444)
    with exclusive(), pytest.raises(BenchError, match="another measurement runs"), exclusive():
        pass
    assert lock.read_text() == "made by somebody"


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    (tmp_path / "thesis.txt").write_text("all of it")
    (tmp_path / "bench_utils.lock").symlink_to("thesis.txt")
    with (
        pytest.raises(BenchError, match="bench_utils.lock in the folder for temporary files: .*; remove it"),
        exclusive(),
    ):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "all of it"


def test_a_busy_neighbour_is_shown(monkeypatch):
    monkeypatch.setattr(doctor.Neighbours, "share", lambda self: 0.8)
    check = line("neighbours")
    assert not check.ok
    assert check.said.startswith("other processes used 0.80 of a core")


def test_a_gpu_that_torch_cannot_use_is_named(monkeypatch):
    monkeypatch.setattr(doctor, "nvml_names", lambda: ["NVIDIA H200"])
    monkeypatch.setattr(doctor, "devices", lambda: [doctor.Device("cpu", "cpu-test-1c")])
    check = line("GPU")
    assert not check.ok
    assert "torch is built for CPU" in check.said


def test_a_hub_out_of_reach_is_said_and_does_not_stop_a_run(monkeypatch):
    monkeypatch.setattr(doctor, "resolve_weights", lambda weights, models: "architecture")
    checks = doctor.examine("cpu")
    hub = next(check for check in checks if check.name == "hub")
    assert (hub.ok, doctor.exit_code(checks)) == (False, 0)
    assert hub.said.startswith("neither reached nor cached")
