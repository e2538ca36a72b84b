"""Energy is a counter's difference over a long window of calls, idle power beside it, or a reason and no number."""

import os

import pynvml
import pytest

from bench_utils import energy
from bench_utils.errors import BenchError
from tests import metered
from tests.metered import RANGE, Alone, zone

world, rapl, board = metered.world, metered.rapl, metered.board


def test_gross_idle_and_net_have_names_and_nothing_is_subtracted_from_gross(rapl, world):
    found = energy.measure(rapl, world.calls(0.1, tokens=17)).asdict()
    assert found["meter"] == "RAPL package-0"
    assert found["seconds"] == pytest.approx(5.0, abs=0.11)
    assert found["tokens"] == 17 * found["calls"]
    assert found["gross_j"] == pytest.approx(100 * found["seconds"], rel=1e-6)
    assert (found["idle_w"], found["idle_seconds"]) == (pytest.approx(20.0), 5.0)
    assert found["net_j"] == pytest.approx(80 * found["seconds"], rel=1e-6)
    assert found["gross_j_per_token"] == pytest.approx(10 / 17)
    assert found["net_j_per_token"] == pytest.approx(8 / 17)


def test_a_window_lasts_five_seconds_of_short_calls_and_twenty_of_long_ones(rapl, world):
    short = energy.measure(rapl, world.calls(0.01, tokens=1))
    assert (short.calls >= 500, short.seconds) == (True, pytest.approx(5.0, abs=0.02))
    long = energy.measure(rapl, world.calls(1.0, tokens=1))
    assert (long.calls, long.seconds) == (20, pytest.approx(20.0))


def test_calls_too_long_for_twenty_in_a_minute_have_no_number(rapl, world):
    assert energy.measure(rapl, world.calls(7.0, tokens=1)).reason == "9 calls in 60 s; energy needs 20"


def test_a_window_shorter_than_the_counter_can_tell_is_refused(rapl, world):
    with pytest.raises(BenchError, match="an energy window of 0.25 s is shorter than its counter can tell; give 5 s"):
        energy.measure(rapl, world.calls(0.01, tokens=1), seconds=0.25)


def test_calls_without_a_token_have_no_energy_per_token(rapl, world):
    assert energy.measure(rapl, world.calls(0.1, tokens=0)).reason == "the calls gave no token"


def test_a_counter_that_stands_still_is_unknown_and_not_zero(tmp_path, world):
    zone(tmp_path, "intel-rapl:0", "package-0")
    found = energy.measure(energy.Rapl(tmp_path), world.calls(0.1, tokens=1))
    assert found.asdict() == {"reason": "the counter stood still", "meter": "RAPL package-0"}


def test_a_busy_neighbour_on_the_processor_leaves_no_number(rapl, world, monkeypatch):
    monkeypatch.setattr(Alone, "others", 0.4)
    found = energy.measure(rapl, world.calls(0.1, tokens=1))
    assert found.reason == "other processes used 0.40 of a core; stop them and measure again"


def test_the_counter_of_a_package_goes_through_its_range_without_losing_energy(tmp_path):
    package = zone(tmp_path, "intel-rapl:0", "package-0", RANGE - 1_000_000)
    meter = energy.Rapl(tmp_path)
    (package / "energy_uj").write_text("2000000")
    assert meter.read() == pytest.approx(3.0)
    (package / "energy_uj").write_text("5000000")
    assert meter.read() == pytest.approx(6.0)


def test_packages_and_memory_are_added_cores_and_platform_are_not_counted_twice(tmp_path):
    zones = [zone(tmp_path, f"intel-rapl:{n}", f"package-{n}") for n in (0, 1)]
    zones.append(zone(tmp_path, "intel-rapl:0:1", "dram"))
    apart = [zone(tmp_path, "intel-rapl:0:0", "core"), zone(tmp_path, "intel-rapl:2", "psys")]
    apart.append(zone(tmp_path, "intel-rapl-mmio:0", "package-0"))
    meter = energy.Rapl(tmp_path)
    for one in (*zones, *apart):
        (one / "energy_uj").write_text("1000000")
    assert meter.name == "RAPL dram + package-0 + package-1"
    assert meter.read() == pytest.approx(3.0)


def test_a_counter_that_becomes_unreadable_gives_none(tmp_path):
    package = zone(tmp_path, "intel-rapl:0", "package-0")
    meter = energy.Rapl(tmp_path)
    (package / "energy_uj").unlink()
    assert meter.read() is None


def test_without_a_meter_there_is_a_reason(tmp_path, monkeypatch):
    assert energy.find("cpu", tmp_path) == (
        None, "the system shows no RAPL counter: a virtual machine, or a processor without one"
    )  # fmt: skip
    package = zone(tmp_path, "intel-rapl:0", "package-0")
    assert energy.find("cpu", tmp_path)[0].name == "RAPL package-0"
    (package / "energy_uj").write_text("not a number")
    assert energy.find("cpu", tmp_path) == (None, "RAPL counters cannot be read (ValueError)")


def test_counters_that_root_alone_may_read_say_how_to_open_them(tmp_path, monkeypatch):
    zone(tmp_path, "intel-rapl:0", "package-0")

    def forbidden(zone):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(energy, "_microjoules", forbidden)  # the tests may run as root, whom no mode keeps out
    meter, reason = energy.find("cpu", tmp_path)
    assert meter is None
    assert reason.startswith("RAPL counters are readable by root alone; sudo chmod a+r")


def test_a_receipt_without_a_meter_holds_the_reason_and_no_zero(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "find", lambda device: (None, "no meter here"))
    assert energy.measure_on("cpu", lambda more: pytest.fail("nothing to measure")) == {
        "reason": "no meter here",
        "meter": None,
    }


def test_a_gpu_is_metered_by_its_total_energy_in_joules(board, world):
    meter, reason = energy.find("cuda:0")
    assert (meter.name, reason) == ("NVML total energy counter", None)
    assert meter.read() == 7000.0
    found = energy.measure(meter, world.calls(0.1, tokens=10))
    assert (found.gross_j / found.seconds, found.idle_w) == (pytest.approx(100.0), pytest.approx(20.0))


def test_processes_of_others_on_the_gpu_leave_a_reason_and_no_number(board, world):
    board.processes = [os.getpid(), 1]
    found = energy.measure(energy.Nvml(0), world.calls(0.1, tokens=10))
    assert isinstance(found, energy.Unknown)
    assert found.reason == "processes of others on the GPU: 1; the counter is the whole board's, stop them"


def test_a_process_that_came_while_calls_ran_is_seen(board, world):
    calls = world.calls(0.1, tokens=10)

    def run_for(more):
        board.processes = [os.getpid(), 1]
        return calls(more)

    assert "processes of others on the GPU: 1" in energy.measure(energy.Nvml(0), run_for).reason


def test_a_helper_of_the_engine_is_no_other(board, world):
    board.processes = [os.getppid()]
    assert energy.measure(energy.Nvml(0), world.calls(0.1, tokens=10), helpers=[os.getppid()]).gross_j > 0


def test_a_gpu_that_does_not_show_its_processes_may_have_others(board, world):
    board.processes = []
    found = energy.measure(energy.Nvml(0), world.calls(0.1, tokens=10))
    assert found.reason.startswith("the driver does not show this process on the GPU, so others cannot be ruled out")


def test_a_split_board_has_no_number(board, world):
    board.split = True
    assert "split into instances (MIG)" in energy.measure(energy.Nvml(0), world.calls(0.1, tokens=10)).reason


def test_a_gpu_without_the_counter_has_a_reason(board, monkeypatch):
    def unsupported(handle):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", unsupported)
    assert energy.find("cuda:0") == (None, "the GPU has no energy counter that its driver shows (Not Supported)")


def test_a_counter_that_fails_in_the_middle_is_unknown(board, world, monkeypatch):
    meter, calls = energy.Nvml(0), world.calls(0.1, tokens=10)

    def lost(handle):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    def run_for(more):
        monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", lost)
        return calls(more)

    assert energy.measure(meter, run_for).reason == "the counter could not be read"
