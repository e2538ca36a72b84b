"""Known workloads and planted failures: what the tool measures to test itself.

Nothing here is a language model; the protocol is, so that the whole way from worker to verdict is what is tested.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from ..timing import Clock
from .checkpoint import Checkpoint

VOCABULARY = 64
# Iterations of a key derivation a step, some 0.3 ms: the same machine code in every process, where a loop in Python
# was seen to differ by 7 % between processes.
STEP_ITERATIONS = 1000
SLEEP_SECONDS = 0.05


class PlantedBackend(Checkpoint):
    """An engine that does a known amount of work, or fails in a known way, in its decode phase."""

    _neighbour: subprocess.Popen | None = None

    def load(self) -> None:
        self.plant = self.variant.plant

    def read_back(self) -> dict:
        """No weights."""
        return {"weights": "none", "repository": None, "revision": None, "dtype": self.dtype, "parameters": 0,
                "digest": "none", "attention": "none"}  # fmt: skip

    def clock(self) -> Clock:
        """The work is the processor's, whatever device the run is of."""
        return Clock("cpu")

    def start(self, phase: str, prompt_tokens: int, new_tokens: int, batch_size: int) -> None:
        self.batch, self.prompt_tokens = batch_size, prompt_tokens
        if self.plant == "neighbour" and self._neighbour is None:
            busy = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(10**6))"
            self._neighbour = subprocess.Popen([sys.executable, "-c", busy])

    def prompt(self, index: int) -> int:
        return index

    def tokens_in(self, prompt: int) -> int:
        return self.batch * self.prompt_tokens

    def prefill(self, prompt: int) -> int:
        return prompt

    def prepare(self, prompt: int) -> int:
        return prompt

    def decode(self, state: int, steps: int) -> list[int]:
        return [self._step(state, step) for step in range(steps)]

    def generate(self, prompt: int, steps: int) -> list[int]:
        return [prompt, *self.decode(prompt, steps)]

    def _step(self, state: int, step: int) -> int:
        work = _WORK.get(self.plant)
        if work is not None:
            work(step)
        return 1 + step if self.plant != "wrong-token" else 2 + step

    def plain(self, prompt: int, steps: int) -> tuple[list[int], torch.Tensor]:
        """Every token is known: the prompt's, then one more a step."""
        tokens = [0, *range(1, steps + 1)]
        logits = torch.nn.functional.one_hot(torch.tensor(tokens) % VOCABULARY, VOCABULARY).double()
        return tokens, logits[:, None].expand(-1, self.batch, -1)

    def logits(self, prompt: int, tokens: list[int]) -> torch.Tensor:
        own = self.plain(prompt, len(tokens) - 1)[1]
        return own * 1.01 if self.plant == "wrong-logits" else own

    def tokens(self, result) -> list[list[int]]:
        return [[int(t) for t in (result if isinstance(result, list) else [result])]] * self.batch

    def receipt(self) -> dict:
        return {"engine": "planted", "plant": self.plant, "threads": torch.get_num_threads()}


def _spin(factor: float):
    iterations = round(STEP_ITERATIONS * factor)
    return lambda step: hashlib.pbkdf2_hmac("sha256", b"known", b"work", iterations)


def _exhaust(step: int) -> None:
    """Ask for memory under a limit of what is in use and a little more."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, resource.RLIM_INFINITY))
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
        bytearray(2**30)


def _sleep_once(step: int) -> None:
    if step == 0:
        time.sleep(SLEEP_SECONDS)


_WORK = {
    "work": _spin(1.0),
    "slower-3": _spin(1.03),
    "slower-10": _spin(1.10),
    "sleep": _sleep_once,
    "hang": lambda step: time.sleep(3600),
    "crash": lambda step: os.kill(os.getpid(), signal.SIGSEGV),
    "memory": _exhaust,
    "neighbour": _spin(1.0),
}
