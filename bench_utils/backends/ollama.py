"""Ollama's own API on the same GGUF file: text in and text out, counts in its last line."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from pathlib import Path

import torch

from ..catalog import Variant
from ..errors import CellError
from . import gguf_file
from .launch import HOST, Remote, is_address
from .llama_cpp import LlamaCppBackend
from .served import Served
from .stream import Dialect, Piece

# What Ollama calls the types of a file's matrices.
DTYPES = {"F32": "float32", "F16": "float16", "Q8_0": "q8_0"}
CLOSE_SECONDS = 10.0  # for an answer to the last request, which nobody waits for
INSTALL = "install Ollama (https://ollama.com/download), or set OLLAMA_HOST to a server"


class Generate(Dialect):
    """Ollama's generate route, raw: no template is put around the prompt. Lines of JSON, the last with the counts."""

    path = "/api/generate"

    def body(self, prompt: list[int] | str, new_tokens: int) -> dict:
        """A greedy request; the model stays loaded. By default Ollama makes what was said before less likely."""
        options = {"num_predict": new_tokens, "temperature": 0, "seed": 0, "repeat_penalty": 1.0}
        asked = {"model": self.model, "prompt": prompt, "raw": True, "stream": True, "keep_alive": -1}
        return asked | {"options": options | self.extra}

    def preload(self) -> dict:
        """A request that loads the model, with the options of all others: on a change Ollama loads it anew."""
        return {"model": self.model, "stream": False, "keep_alive": -1, "options": self.extra}

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
        host = os.environ.get("OLLAMA_HOST")
        if host and not is_address(_url(host)):
            return "OLLAMA_HOST names no server; set it to an address such as 127.0.0.1:11434"
        if not host and not shutil.which("ollama"):
            return f"Ollama is not here: {INSTALL}"
        return None

    export = LlamaCppBackend.export

    def build(self) -> None:
        """The GGUF file, whose tokenizer must be the checkpoint's."""
        super().build()
        if gguf_file.describe(self.file)["tokenizer"] == "none":
            said = f"Ollama takes text, and the GGUF file of {self.model.name!r} holds no tokenizer"
            raise CellError("unavailable", f"{said}; measure a folder with a byte-level BPE tokenizer")
        self.provenance |= gguf_file.readback(self.file, self.provenance["digest"])
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
        self.client.json(Generate.path, "POST", json=self.client.dialect.preload())

    def dialect(self) -> Dialect:
        """Threads and context as everybody's; no layer on a GPU where a processor is measured."""
        layers = {} if self.device.startswith("cuda") else {"num_gpu": 0}
        return Generate(self.name, num_ctx=self.config.n_positions, num_thread=torch.get_num_threads(), **layers)

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
        """The version and the memory on a GPU that the server reports, and the threads that it was told to use."""
        return {
            "version": self.client.json("/api/version").get("version"),
            "asked_threads": torch.get_num_threads(),
            "gpu_bytes": self._gpu_bytes(),
        }

    def _gpu_bytes(self) -> int | None:
        """Bytes of the loaded model that are on a GPU; CellError ``silent_fallback`` where the label says otherwise."""
        loaded = self.client.json("/api/ps").get("models") or []
        found = next((m.get("size_vram") for m in loaded if m["name"].removesuffix(":latest") == self.name), None)
        if found is not None and bool(found) != self.device.startswith("cuda"):
            said = f"asked for {self.device}, Ollama has {found} bytes of the model on a GPU"
            raise CellError("silent_fallback", f"{said}; see its log for why")
        return found

    def close(self) -> None:
        """A server that was there before is left as it was found, if it is there still."""
        try:
            if self.created and isinstance(self.server, Remote):
                self.created = False
                with contextlib.suppress(CellError):
                    name = {"model": self.name}
                    self.client.json("/api/delete", "DELETE", json=name, timeout=CLOSE_SECONDS)
        finally:
            super().close()


def _url(host: str) -> str:
    """OLLAMA_HOST as Ollama reads it: the scheme and the port may be left out."""
    url = host if "://" in host else f"http://{host}"
    return url if re.search(r":\d+/?$", url) else f"{url.rstrip('/')}:11434"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
