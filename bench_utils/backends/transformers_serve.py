"""``transformers serve``: the library's own server, its completions route, text in and text out."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from importlib.util import find_spec

import torch

from ..catalog import Variant
from .served import Served
from .stream import Dialect

NEEDED = ("fastapi", "uvicorn", "openai")


class Serving(Dialect):
    """Completions with a generation configuration in place of what the route does not know: no end but the last token.

    The server refuses fields that it does not know.
    """

    def body(self, prompt: list[int] | str, new_tokens: int) -> dict:
        """A greedy request."""
        settings = {"do_sample": False, "max_new_tokens": new_tokens, "min_new_tokens": None, "eos_token_id": None}
        return {"model": self.model, "prompt": prompt, "stream": True, "generation_config": json.dumps(settings)}


class TransformersServeBackend(Served):
    """One model, pinned, without continuous batching."""

    engine = "transformers serve"
    takes_text = True
    dtype_from = "the file that it was given, and told to keep"

    @staticmethod
    def unavailable(variant: Variant, device: str) -> str | None:
        """transformers leaves its server's packages out."""
        if missing := [name for name in NEEDED if find_spec(name) is None]:
            return f"{variant.name} needs {' and '.join(missing)}; pip install 'transformers[serving]'"
        return None

    def command(self, port: int) -> list[str]:
        """The checkpoint's folder is named without its parents: the server answers with that name.

        A GPU is named without its number: the server sees no other.
        """
        return [
            sys.executable, "-P", "-m", "transformers.cli.transformers", "serve", self.file.name,
            "--device", self.device.partition(":")[0], "--dtype", self.dtype,
            "--host", "127.0.0.1", "--port", str(port),
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        """Threads as everybody's; nothing is fetched."""
        return {"OMP_NUM_THREADS": str(torch.get_num_threads()), "HF_HUB_OFFLINE": "1"}

    def dialect(self) -> Dialect:
        """The server names a model with its revision."""
        return Serving(self.file.name, answered=f"{self.file.name}@main")

    def loaded_dtype(self) -> str:
        """The server does not tell; it was told, and the file has no other."""
        return self.provenance["dtype"]

    def facts(self) -> dict:
        """The server does not tell its version; it is this environment's."""
        return {
            "version": version("transformers"),
            "asked_threads": torch.get_num_threads(),
            "cache": "dynamic",
            "artifact": "checkpoint",
        }
