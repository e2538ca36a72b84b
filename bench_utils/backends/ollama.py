"""Ollama's own API on the same GGUF file: text in and text out, counts in its last line."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

import torch

from ..catalog import Variant
from ..errors import CellError
from . import gguf_file
from .launch import HOST, Remote
from .llama_cpp import LlamaCppBackend
from .served import Served
from .stream import Dialect, Piece

# What Ollama calls the types of a file's matrices.
DTYPES = {"F32": "float32", "F16": "float16", "Q8_0": "q8_0"}
INSTALL = "install Ollama (https://ollama.com/download), or set OLLAMA_HOST to a server"


class Generate(Dialect):
    """Ollama's generate route, raw: no template is put around the prompt. Lines of JSON, the last with the counts."""

    path = "/api/generate"

    def body(self, prompt: list[int] | str, new_tokens: int) -> dict:
        """A greedy request; the model stays loaded."""
        options = {"num_predict": new_tokens, "temperature": 0, "seed": 0, **self.extra}
        return {
            "model": self.model,
            "prompt": prompt,
            "raw": True,
            "stream": True,
            "keep_alive": -1,
            "options": options,
        }

    def piece(self, said: dict) -> Piece:
        """Some text, or the summary at the end."""
        return Piece(
            text=said["response"],
            done=said["done"],
            model=said["model"].removesuffix(":latest"),
            prompt_tokens=said.get("prompt_eval_count"),
            completion_tokens=said.get("eval_count"),
        )


class OllamaBackend(Served):
    """A server at OLLAMA_HOST, or one that is started here; the file is made known to it as a model of its own."""

    engine = "Ollama"
    health = "/api/version"
    takes_text = True
    created = False

    @staticmethod
    def unavailable(variant: Variant, device: str) -> str | None:
        """A server that runs, or the program."""
        if not os.environ.get("OLLAMA_HOST") and not shutil.which("ollama"):
            return f"Ollama is not here: {INSTALL}"
        return None

    export = LlamaCppBackend.export

    def build(self) -> None:
        """The GGUF file, whose tokenizer must be the checkpoint's."""
        super().build()
        if gguf_file.describe(self.file)["tokenizer"] == "none":
            said = f"Ollama takes text, and the GGUF file of {self.model.name!r} holds no tokenizer"
            raise CellError("unavailable", f"{said}; measure a folder with a byte-level BPE tokenizer")
        self.provenance |= gguf_file.readback(self.file, self.provenance["digest"]) | {"attention": "llama.cpp"}
        self.name = f"bench-{self.provenance['digest']}-{self.dtype.replace('_', '')}"

    def command(self, port: int) -> list[str]:
        """Ollama takes its address from the environment."""
        self._port = port
        return ["ollama", "serve"]

    def environment(self) -> dict[str, str]:
        """One request at a time, and its files beside ours."""
        return {
            "OLLAMA_HOST": f"{HOST}:{self._port}",
            "OLLAMA_MODELS": str(self.store / "ollama"),
            "OLLAMA_NUM_PARALLEL": "1",
            "OLLAMA_KEEP_ALIVE": "-1",
        }

    def serve(self) -> None:
        """A server that knows the file, with the model loaded."""
        if host := os.environ.get("OLLAMA_HOST"):
            self.server, self.shown = Remote(_url(host)), "at OLLAMA_HOST"
            self.connect()
        else:
            super().serve()
        self._create()
        self.client.json("/api/generate", "POST", json={"model": self.name, "keep_alive": -1, "stream": False})

    def dialect(self) -> Dialect:
        """Threads and context as everybody's."""
        return Generate(self.name, num_ctx=self.config.n_positions, num_thread=torch.get_num_threads())

    def _create(self) -> None:
        """Hand the file over, unless the server has it, and name a model after its weights."""
        blob = f"sha256:{_sha256(self.file)}"
        try:
            self.client.json(f"/api/blobs/{blob}", "HEAD")
        except CellError:
            with self.file.open("rb") as file:
                self.client.json(f"/api/blobs/{blob}", "POST", content=file)
        asked = {"model": self.name, "files": {"model.gguf": blob}, "stream": False}
        self.client.json("/api/create", "POST", json=asked)
        self.created = True

    def loaded_dtype(self) -> str:
        """The type that the server reads from the file."""
        said = self.client.json("/api/show", "POST", json={"model": self.name})
        level = said.get("details", {}).get("quantization_level")
        return DTYPES.get(level, str(level))

    def facts(self) -> dict:
        """The version that the server reports, and the threads that it was told to use."""
        return {"version": self.client.json("/api/version").get("version"), "threads": torch.get_num_threads()}

    def close(self) -> None:
        """A server that was there before is left as it was found."""
        if self.created and isinstance(self.server, Remote):
            self.created = False
            self.client.json("/api/delete", "DELETE", json={"model": self.name})
        super().close()


def _url(host: str) -> str:
    """OLLAMA_HOST as Ollama reads it: the scheme and the port may be left out."""
    url = host if "://" in host else f"http://{host}"
    return url if re.search(r":\d+/?$", url) else f"{url.rstrip('/')}:11434"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
