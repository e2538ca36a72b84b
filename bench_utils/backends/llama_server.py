"""llama.cpp's own HTTP server on the same GGUF file as the engine in the measuring process, in a process of its own."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import torch

from ..artifacts import artifact
from . import gguf_file
from .llama_cpp import LlamaCppBackend, refuse_heads
from .served import Served
from .stream import Dialect, Piece

LISTENER = Path(__file__).with_name("llama_listener.py")
# What the server calls the types of a file's matrices.
DTYPES = {"all F32": "float32", "F16": "float16", "Q8_0": "q8_0"}


class Native(Dialect):
    """llama.cpp's own completions: unlike its OpenAI route they show token ids."""

    path = "/completion"

    def body(self, prompt: list[int] | str, new_tokens: int) -> dict:
        """A greedy request, past the end of text, and without a prompt cache."""
        return {
            "model": self.model,
            "prompt": prompt,
            "n_predict": new_tokens,
            "temperature": 0,
            "seed": 0,
            "ignore_eos": True,
            "cache_prompt": False,
            "return_tokens": True,
            "stream": True,
        }

    def piece(self, said: dict) -> Piece:
        """A token, or the summary at the end."""
        if not said["stop"]:
            return Piece(ids=said["tokens"], text=said["content"])
        return Piece(
            done=True,
            model=said["model"],
            prompt_tokens=said["tokens_evaluated"],
            completion_tokens=said["tokens_predicted"],
            cached_tokens=said["timings"]["cache_n"],
        )


class LlamaServerBackend(Served):
    """Token ids in and out, one request at a time."""

    engine = "llama.cpp server"

    unavailable = staticmethod(LlamaCppBackend.unavailable)

    def export(self, digest: str) -> Path:
        """A file whose tokens are named after their numbers: of real ones the server sends whole characters only.

        A token that ends within a character would come late, and its id not at all.
        """
        refuse_heads(self.config, self.dtype)
        builder = {"gguf": version("gguf"), "writer": gguf_file.WRITER, "tokenizer": None}
        folder = artifact(
            self.store, digest, f"gguf-{self.dtype}-ids", builder,
            lambda to: gguf_file.write(self.module, to / gguf_file.FILE, self.dtype, digest),
        )  # fmt: skip
        return folder / gguf_file.FILE

    def build(self) -> None:
        """The GGUF file, and what it holds."""
        super().build()
        self.provenance |= gguf_file.readback(self.file, self.provenance["digest"])

    def command(self, port: int) -> list[str]:
        """The program beside this file."""
        asked = {
            "file": str(self.file),
            "name": self.model.name,
            "port": port,
            "context": self.config.n_positions,
            "threads": torch.get_num_threads(),
            "gpu_layers": -1 if self.device.startswith("cuda") else 0,
            "full_precision": self.dtype == "float32",
        }
        return [sys.executable, "-P", str(LISTENER), json.dumps(asked)]

    def environment(self) -> dict[str, str]:
        """A server that aborts says why, not where."""
        return {"GGML_NO_BACKTRACE": "1"}

    def dialect(self) -> Dialect:
        """llama.cpp's own route."""
        return Native(self.model.name)

    def loaded_dtype(self) -> str:
        """The type that the server says its file has."""
        said = self.client.json("/v1/models")["data"][0]["meta"]["ftype"]
        return DTYPES.get(said, said)

    def facts(self) -> dict:
        """The build, and what the server was told: it reports none of it."""
        full = self.dtype == "float32"
        return {
            "version": self.client.json("/props")["build_info"],
            "package": f"xllamacpp {version('xllamacpp')}",
            "asked_threads": torch.get_num_threads(),
            "asked_attention": "plain" if full else "flash where it is supported",
            "asked_kv_cache": "float32" if full else "float16",
            "cache": "dynamic",
        }
