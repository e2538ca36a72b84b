"""A project with one small report, and runs of it that were never measured: rows written through the journal."""

from pathlib import Path

import nbformat

from bench_utils import plan as plans
from bench_utils.records import End, Journal, Manifest, Process, Sample, write_manifest
from bench_utils.schedule import ProcessPlan, schedule
from tests.conftest import MINI_PLAN, make_project

DEVICE = "cpu-test-1ghz-1c"
CLAIM = """
[[claims]]
id = "quick"
text = "A decode takes less than a second."
metric = "latency"
variant = "eager"
phase = "decode"
below = 1000.0
"""
CELLS = [
    "# A small report",
    'device: str = "auto"  # auto, cpu\npreset: str = "smoke"  # the only one\nrun: str = "latest"  # or a run id',
    "import bench_utils as bu\n\n"
    'study = bu.Study("mini", device=device, preset=preset, run=run)\nrows = study.measure()',
    'cells = bu.cell_table(rows)\nbu.headline("Decode takes {ms} ms.", ms=float(cells["median_ms"].iloc[0]))\n'
    "bu.show_claims(bu.judge(study.claims, rows))",
    "from matplotlib import pyplot as plt\n\nfig, ax = plt.subplots(figsize=(4, 2))\n"
    'ax.plot(range(len(cells)), cells["median_ms"])\n'
    'bu.show_figure(fig, "medians", "Medians of every cell.", "A line through the medians of all cells.", data=cells)',
]


def small_project(root: Path, *more: str) -> Path:
    """A root with the report `mini`; `more` are code cells at its end."""
    make_project(root, {"mini.toml": MINI_PLAN + CLAIM})
    cells = [nbformat.v4.new_markdown_cell(CELLS[0])]
    cells += [nbformat.v4.new_code_cell(source) for source in (*CELLS[1:], *more)]
    cells[1].metadata["tags"], cells[2].metadata["tags"] = ["parameters"], ["remove-output"]
    for number, cell in enumerate(cells, start=1):
        cell["id"] = f"c{number:02d}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), root / "notebooks/mini.ipynb"
    )
    return root


def write_run(
    root: Path,
    run: str = "20260101-000000-smoke-aaaa",
    *,
    device: str = DEVICE,
    machine: str = "machine-a",
    processes: int | None = None,
    latency_ms: float = 5.0,
) -> Path:
    """A run of the report `mini`, and its folder; measuring stopped after that many `processes`, if given."""
    plan = plans.read(root / "notebooks" / "mini.toml")
    preset, folder = plan.preset("smoke"), root / "results" / device / "mini" / run
    manifest = Manifest(
        run=run, report="mini", preset="smoke", device=device, device_name="cpu", machine=machine,
        weights="architecture", plan_digest=plan.digest("smoke"), plan=preset.model_dump(mode="json"), seed=0,
        started_at=f"2026-01-01T{run[9:11]}:00:00", status="complete" if processes is None else "measuring",
        identity={"device": device, "cpu": "A processor", "cores": 1, "memory_gib": 2, "python": "3.11.7",
                  "torch": "2.13.0"},
    )  # fmt: skip
    write_manifest(folder, manifest)
    journal = Journal(folder)
    everything = [one for round_ in schedule(preset, seed=0) for one in round_]
    for one in everything[:processes]:
        _write(journal, one, latency_ms * (1 + one.round / 50 + one.order / 100))
    journal.close()
    (folder / "logs").mkdir()
    (folder / "logs" / "worker.log").write_text("chatter")
    return folder


def _write(journal: Journal, plan: ProcessPlan, latency_ms: float) -> None:
    facts = {"process": plan.process, "attempt": 1}
    journal.append(
        Process(**facts, round=plan.round, order=plan.order, model=plan.model, variant=plan.variant, started_at=0.0,
                backend="transformers", dtype=plan.dtype, device="cpu")
    )  # fmt: skip
    for cell in plan.cells:
        for index in range(5):
            journal.append(
                Sample(
                    **facts, cell=cell.key, role="sample", index=index, started_at=0.0, latency_ms=latency_ms + index
                )
            )
        journal.append(plan.ended(cell, status="ok", weights="architecture", count=5, steady=True))
    journal.append(End(**facts, exit_code=0, finished_at=1.0))
