"""Ollama's API over llama.cpp's own server: what the Ollama engine asks for, answered as Ollama answers it.

``ollama_shim.py serve`` listens at OLLAMA_HOST, like the program that it stands for. A file handed over is kept in
OLLAMA_MODELS; a model is loaded with the first request for it, and anew for one whose options need it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import xllamacpp

VERSION = "0.0.0-llama.cpp"
LEVELS = {"all F32": "F32", "F16": "F16", "Q8_0": "Q8_0"}
# Ollama's own values of the options that a model is loaded with, and of those that a token is chosen with.
RUNNER = {"num_ctx": 4096, "num_thread": 1, "num_gpu": -1}
SAMPLING = {"repeat_penalty": 1.1, "repeat_last_n": 64}


class Ollama(ThreadingHTTPServer):
    """Files by their digest, models by their name, and the llama.cpp servers that run them.

    ``loads`` counts how often each was loaded.
    """

    def __init__(self, host: str, port: int, folder: Path) -> None:
        super().__init__((host, port), Handler)
        self.folder, self.models, self.running, self.loads = folder, {}, {}, Counter()
        folder.mkdir(parents=True, exist_ok=True)

    def loaded(self, name: str, options: dict) -> httpx.Client:
        """A client of the llama.cpp server of a model that runs with these options."""
        wanted = _known(RUNNER, options)
        if name not in self.running or self.running[name][0] != wanted:
            server = xllamacpp.Server(self._params(name, wanted))
            self.running[name] = wanted, httpx.Client(base_url=server.listening_address, timeout=60), server
            self.loads[name] += 1
        return self.running[name][1]

    def _params(self, name: str, options: dict) -> xllamacpp.CommonParams:
        params = xllamacpp.CommonParams()
        params.model.path, params.hostnames, params.port = str(self.models[name]), ["127.0.0.1"], 0
        params.n_ctx, params.n_parallel, params.n_gpu_layers = options["num_ctx"], 1, 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options["num_thread"]
        params.cache_ram_mib, params.ui, params.verbosity = 0, False, 2
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        return params

    def loaded_models(self) -> list[dict]:
        """What runs, as on a machine with a GPU that takes all layers unless none is asked for."""
        return [
            {"name": f"{name}:latest", "size_vram": self.models[name].stat().st_size if options["num_gpu"] else 0}
            | {"loads": self.loads[name]}
            for name, (options, *_) in self.running.items()
        ]


def _known(defaults: dict, options: dict) -> dict:
    return {name: options.get(name, value) for name, value in defaults.items()}


class Handler(BaseHTTPRequestHandler):
    """The routes."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Ollama

    def do_GET(self) -> None:  # noqa: N802
        """The version, or what runs."""
        pages = {"/api/version": {"version": VERSION}, "/api/ps": {"models": self.server.loaded_models()}}
        self._reply(pages.get(self.path, {"error": "not found"}))

    def do_HEAD(self) -> None:  # noqa: N802
        """Whether a file is there."""
        there = (self.server.folder / self.path.rpartition("/")[2]).exists()
        self.send_response(200 if there else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_DELETE(self) -> None:  # noqa: N802
        """Forget a model."""
        name = json.loads(self._body())["model"]
        self.server.models.pop(name)
        self.server.running.pop(name, None)
        self._reply({})

    def do_POST(self) -> None:  # noqa: N802
        """A file, a model, what a model is, or a completion."""
        body = self._body()
        if self.path.startswith("/api/blobs/"):
            return self._keep(body)
        asked = json.loads(body)
        route = {"/api/create": self._create, "/api/show": self._show, "/api/generate": self._generate}[self.path]
        return route(asked)

    def _keep(self, body: bytes) -> None:
        name = self.path.rpartition("/")[2]
        assert name == f"sha256:{hashlib.sha256(body).hexdigest()}"
        (self.server.folder / name).write_bytes(body)
        self._reply({}, 201)

    def _create(self, asked: dict) -> None:
        self.server.models[asked["model"]] = self.server.folder / asked["files"]["model.gguf"]
        self._reply({"status": "success"})

    def _show(self, asked: dict) -> None:
        meta = self.server.running[asked["model"]][1].get("/v1/models").json()["data"][0]["meta"]
        self._reply({"details": {"format": "gguf", "quantization_level": LEVELS[meta["ftype"]]}})

    def _generate(self, asked: dict) -> None:
        if asked["model"] not in self.server.models:
            return self._reply({"error": f"model '{asked['model']}' not found"}, 404)
        options = asked.get("options", {})
        model = self.server.loaded(asked["model"], options)
        if "prompt" not in asked:
            return self._reply({"model": asked["model"], "response": "", "done": True})
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        body = {"prompt": asked["prompt"], "stream": True, "n_predict": options["num_predict"], "temperature": 0}
        body |= _known(SAMPLING, options)
        with model.stream("POST", "/completion", json=body) as answer:
            for line in answer.iter_lines():
                if line:
                    self._line(asked["model"], json.loads(line.removeprefix("data: ")))
        return self._chunk(b"")

    def _line(self, name: str, said: dict) -> None:
        line = {"model": name, "response": said["content"], "done": said["stop"]}
        if said["stop"]:
            line |= {"prompt_eval_count": said["tokens_evaluated"], "eval_count": said["tokens_predicted"]}
        self._chunk(json.dumps(line).encode() + b"\n")

    def _body(self) -> bytes:
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _reply(self, page: dict, status: int = 200) -> None:
        body = json.dumps(page).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        """Nothing to say."""


if __name__ == "__main__":
    address, _, number = os.environ["OLLAMA_HOST"].partition(":")
    Ollama(address, int(number), Path(os.environ["OLLAMA_MODELS"])).serve_forever()
