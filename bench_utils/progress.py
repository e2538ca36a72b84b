"""How far a measurement is: a bar in a terminal and in JupyterLab, plain lines when neither."""

from __future__ import annotations

import os
import sys
import time


def progress(total_seconds: float, title: str):
    """The display that fits where this runs; both kinds have ``at``, ``done`` and ``close``."""
    interactive = _in_notebook() and not os.environ.get("BENCH_EXECUTED")
    return Bar(total_seconds, title) if interactive or sys.stderr.isatty() else Lines(total_seconds, title)


def _in_notebook() -> bool:
    return "ipykernel" in sys.modules and "IPython" in sys.modules


class Lines:
    """Plain lines, one a process: what is measured and how long is left."""

    def __init__(self, total_seconds: float, title: str) -> None:
        self._expected, self._passed, self._title = total_seconds, 0.0, title
        self._start = time.monotonic()
        self._say(f"{title}: about {minutes(total_seconds)}")

    @staticmethod
    def _say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def at(self, text: str) -> None:
        """Now at this cell."""

    def done(self, text: str, seconds: float) -> None:
        """A process whose cost was predicted as ``seconds`` has ended."""
        self._passed += seconds
        self._say(f"{self._title}: {text} done, {minutes(self.left())} left")

    def more(self, seconds: float, why: str) -> None:
        """There is more to do than was expected."""
        self._expected += seconds
        self._say(f"{self._title}: {why}, {minutes(self.left())} left")

    def left(self) -> float:
        """Seconds left: what was predicted, scaled by how the prediction has held so far."""
        elapsed = time.monotonic() - self._start
        pace = elapsed / self._passed if self._passed > 0.2 * self._expected else 1.0
        return max(0.0, (self._expected - self._passed) * pace)

    def close(self) -> None:
        """The end."""


class Bar(Lines):
    """A tqdm bar over the predicted seconds."""

    def __init__(self, total_seconds: float, title: str) -> None:
        from tqdm.auto import tqdm

        layout = "{desc} {percentage:3.0f}%|{bar}| {elapsed}, {postfix}"
        self._bar = tqdm(total=total_seconds, desc=title, bar_format=layout)
        super().__init__(total_seconds, title)

    def _say(self, text: str) -> None:
        self._bar.set_postfix_str(f"{minutes(self.left())} left")

    def at(self, text: str) -> None:
        self._bar.set_postfix_str(f"{minutes(self.left())} left, {text}")

    def done(self, text: str, seconds: float) -> None:
        super().done(text, seconds)
        self._bar.update(min(seconds, self._bar.total - self._bar.n))

    def more(self, seconds: float, why: str) -> None:
        self._bar.total += seconds
        super().more(seconds, why)

    def close(self) -> None:
        self._bar.close()


def minutes(seconds: float) -> str:
    """``40 s`` or ``3 min``."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
