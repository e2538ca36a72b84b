"""EleutherAI's harness over a model that is already loaded: its tasks, read through our engines and our windows.

This module imports ``lm_eval``; nothing else here does.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import lm_eval
from lm_eval.api.model import TemplateLM
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager
from lm_eval.tasks.hellaswag.utils import process_docs

from ..errors import BenchError, CellError
from . import scoring
from .asked import Source
from .engines import Engine
from .texts import digest


class Loaded(TemplateLM):
    """An engine as the harness asks for it: log-likelihoods of continuations, and of whole documents."""

    def __init__(self, engine: Engine, tokenizer, context: int, stride: int) -> None:
        super().__init__()
        self.engine, self.tokenizer, self.max_length, self.stride = engine, tokenizer, context, stride

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """The token that a text is read behind."""
        return scoring.begins(self.tokenizer)

    def tok_encode(self, string: str, **_) -> list[int]:
        """The tokens of a text."""
        return scoring.encode(self.tokenizer, string)

    def loglikelihood_rolling(self, requests, disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood of each whole document, by the sliding-window protocol."""
        return [-self._nll(request.args[0]) for request in requests]

    def _nll(self, text: str) -> float:
        sequence = [self.prefix_token_id, *self.tok_encode(text)]
        scoring.refuse_beyond(self.engine, [sequence])
        return scoring.nll(self.engine, sequence, self.max_length, self.stride)

    def _loglikelihood_tokens(self, requests, **_) -> list[tuple[float, bool]]:
        return [self._continuation(context, continuation) for _, context, continuation in requests]

    def _continuation(self, context: Sequence[int], continuation: Sequence[int]) -> tuple[float, bool]:
        """Log-likelihood of a continuation, and whether greedy decoding gives it; a context loses its start."""
        if len(continuation) > self.max_length:
            raise BenchError(f"an ending has {len(continuation)} tokens, context = {self.max_length}; raise context")
        sequence = [*context, *continuation][-(self.max_length + 1) :]
        scoring.refuse_beyond(self.engine, [sequence])
        first = len(sequence) - len(continuation)
        logits, targets = self.engine.logits(sequence[:-1])[first - 1 :], sequence[first:]
        found = scoring.log_likelihoods(logits, targets)
        return float(found.sum()), logits.argmax(-1).tolist() == list(targets)

    def generate_until(self, requests, disable_tqdm: bool = False) -> list[str]:
        """Tasks that generate are not scored here."""
        raise CellError("unavailable", "this task generates text, which is not scored here; give one of likelihoods")


def scorer(engine: Engine, tokenizer, context: int, stride: int) -> Loaded:
    """The engine for the harness; BenchError for a context that the model does not have."""
    scoring.refuse_context(engine, context)
    return Loaded(engine, tokenizer, context, stride)


def run(model: TemplateLM, source: Source, limit: int | None) -> tuple[list[dict], dict]:
    """Run a task: a row a document, as ``rows.Score`` has it beyond its arm and task, and what the harness makes of it.

    Raises BenchError for a task that is unknown, many in one, of another kind, or without its data.
    """
    task = _task(source)
    kind = task.OUTPUT_TYPE
    if kind not in _ROWS:
        raise CellError("unavailable", f"task {source.name!r} is of {kind}, which is not scored; give one of {_KINDS}")
    tasks = {"tasks": {task.task_name: task}, "groups": {}, "group_map": {}}
    found = lm_eval.evaluate(model, tasks, limit=limit, bootstrap_iters=0, log_samples=True)
    samples = found["samples"][task.task_name]
    samples = [sample for sample in samples if sample["filter"] == samples[0]["filter"]]
    rows = [{"document": number} | _ROWS[kind](model, sample) for number, sample in enumerate(samples)]
    printed = {name.partition(",")[0]: value for name, value in found["results"][task.task_name].items()}
    numbers = {name: value for name, value in printed.items() if isinstance(value, float)}
    return rows, {"harness": {"version": version("lm_eval"), "task": task.task_name, "results": numbers}}


def _document(model: TemplateLM, sample: dict) -> dict:
    """The bytes are those that the task counts, which may be of the text before it was made readable."""
    text, likelihood = sample["arguments"][0][0], float(sample["resps"][0][0])
    size = sample["bits_per_byte"][1] if "bits_per_byte" in sample else len(text.encode())
    return {"digest": digest(text), "nll": -likelihood, "tokens": len(model.tok_encode(text)), "bytes": int(size)}


def _choice(model: TemplateLM, sample: dict) -> dict:
    known = {"correct": sample.get("acc"), "correct_norm": sample.get("acc_norm")}
    return {"digest": sample["doc_hash"][:16]} | {name: bool(v) for name, v in known.items() if v is not None}


_ROWS = {"loglikelihood_rolling": _document, "multiple_choice": _choice, "loglikelihood": _choice}
_KINDS = ", ".join(_ROWS)


def _task(source: Source):
    """The task, its data loaded."""
    try:
        found = _named(source.name) if source.path is None else _from_file(source.path)
    except (OSError, ValueError) as error:  # what the data sets' client raises where the hub is out of reach is one
        if source.path is not None:
            raise BenchError(f"task {source.name!r} cannot be read ({error}); correct the file") from error
        raise BenchError(
            f"task {source.name!r} needs its data set, which neither the hub nor the local cache gives ({error}); "
            "go online once, or give a local text, or a task's file"
        ) from error
    if len(found) != 1:
        raise BenchError(f"{source.name!r} is many tasks in one; name those that are to be scored")
    return found[0]


def _named(name: str) -> list:
    manager = TaskManager()
    if name not in manager.all_tasks:
        near = difflib.get_close_matches(name, manager.all_tasks, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "`lm-eval ls tasks` lists them"
        raise BenchError(f"the harness knows no task {name!r}; {hint}")
    return _tasks(manager, name)


def _from_file(path: Path) -> list:
    """A task of a file: a configuration of the harness, or items in HellaSwag's format."""
    if path.suffix == ".jsonl":
        return [ConfigurableTask(config=_endings(path))]
    return _tasks(TaskManager(include_defaults=False), str(path))


def _tasks(manager: TaskManager, name: str) -> list:
    return list(manager.load(name)["tasks"].values())


def _endings(path: Path) -> dict:
    """The harness's own HellaSwag over a file."""
    return {
        "task": path.name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"validation": str(path)}},
        "validation_split": "validation",
        "output_type": "multiple_choice",
        "process_docs": process_docs,
        "doc_to_text": "{{query}}",
        "doc_to_target": "{{label}}",
        "doc_to_choice": "choices",
        "metric_list": [
            {"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm")
        ],
    }
