"""A hub on the loopback: the part of its API that a download needs, small checkpoints, and faults on demand.

The real client talks to it. A repository is a dictionary of files for every commit; a ``Fault`` says what goes wrong
with it. Weights are announced as the hub announces large files, by their SHA-256, all others by git's hash.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin")
SHAPE = {"n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
WORDS = 40
_API = re.compile(
    r"/api/models/(?P<repository>[^/]+/[^/]+)(/(?P<what>revision|tree)/(?P<revision>[^/]+)(/(?P<under>.+))?)?"
)
_FILE = re.compile(r"/(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


@dataclass
class Fault:
    """What goes wrong: an answer in place of all others, or one file that arrives otherwise than announced."""

    status: int | None = None
    code: str | None = None
    only: str | None = None  # the status is the answer for this file alone
    cut: str | None = None  # the connection breaks in the middle of this file,
    times: int = 1  # so many times
    served: dict[str, bytes] = field(default_factory=dict)  # bytes that come in place of those announced


@dataclass
class Request:
    """What the client asked for."""

    method: str
    path: str
    range: str | None
    token: str | None

    @property
    def file(self) -> str | None:
        """The file it asked for, if it asked for one."""
        found = _FILE.fullmatch(self.path)
        return found and found["file"]


class Hub(ThreadingHTTPServer):
    """Repositories with their commits, the last of which is main, and what was asked of them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.faults: dict[str, Fault] = {}
        self.requests: list[Request] = []

    @property
    def url(self) -> str:
        """What HF_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, repository: str, files: dict[str, bytes], fault: Fault | None = None) -> str:
        """Publish a commit of a repository; its hash."""
        sha = hashlib.sha1(repository.encode())
        for name, content in sorted(files.items()):
            sha.update(f"{name}|{git_hash(content)}|".encode())
        self.repositories.setdefault(repository, {})[sha.hexdigest()] = dict(files)
        self.faults[repository] = fault or Fault()
        return sha.hexdigest()

    def files(self) -> list[str]:
        """The files that were sent so far."""
        return [request.file for request in self.requests if request.method == "GET" and request.file]


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub that answers until the block ends."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield hub
        hub.shutdown()
        thread.join()


def checkpoint(scratch: Path, words: int | None = WORDS, shard: str = "1GB", **changes) -> dict[str, bytes]:
    """The files of a small GPT-2 checkpoint; ``words`` are its tokenizer's, ``changes`` go to its config."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = GPT2Config(**{"vocab_size": WORDS} | SHAPE | changes)
    GPT2LMHeadModel(config).save_pretrained(scratch, max_shard_size=shard)
    if words:
        found = Tokenizer(models.WordLevel({f"w{i}": i for i in range(words)}, unk_token="w0"))
        PreTrainedTokenizerFast(tokenizer_object=found, unk_token="w0").save_pretrained(scratch)
    return {path.name: path.read_bytes() for path in scratch.iterdir()}


def changed(files: dict[str, bytes], name: str, **values) -> dict[str, bytes]:
    """The files of a checkpoint with some values of one JSON file replaced."""
    return files | {name: json.dumps(json.loads(files.get(name, b"{}")) | values).encode()}


def digest(name: str, content: bytes) -> str:
    """What the hub names a file's content by: SHA-256 of a large one, git's hash of any other."""
    return hashlib.sha256(content).hexdigest() if name.endswith(LARGE) else git_hash(content)


def git_hash(content: bytes) -> str:
    """The name that git gives a file's content."""
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:  # noqa: N802 the library's name
        self._answer()

    def do_GET(self) -> None:  # noqa: N802 the library's name
        self._answer()

    def _answer(self) -> None:
        path, headers = unquote(urlsplit(self.path).path), self.headers
        self.server.requests.append(Request(self.command, path, headers.get("Range"), headers.get("Authorization")))
        match = _API.fullmatch(path) or _FILE.fullmatch(path)
        asked = match.groupdict() if match else {}
        commits = self.server.repositories.get(asked.get("repository"))
        if not commits:
            return self._start(404, {"X-Error-Code": "RepoNotFound"})
        fault = self.server.faults[asked["repository"]]
        if fault.status and fault.only in (None, asked.get("file")):
            return self._start(fault.status, {"X-Error-Code": fault.code} if fault.code else {})
        commit = [*commits][-1] if asked["revision"] in (None, "main") else asked["revision"]
        if commit not in commits:
            return self._start(404, {"X-Error-Code": "RevisionNotFound"})
        if "file" in asked:
            return self._file(commits[commit], asked["file"], commit, fault)
        if asked["what"] != "tree":
            return self._json(_info(asked["repository"], commit))
        folder = f"{asked['under']}/" if asked["under"] else ""
        files = {name: content for name, content in commits[commit].items() if name.startswith(folder)}
        return self._json(_tree(files)) if files or not folder else self._start(404, {"X-Error-Code": "EntryNotFound"})

    def _json(self, content: object) -> None:
        body = json.dumps(content).encode()
        self._start(200, {"Content-Type": "application/json"}, len(body))
        self.wfile.write(body)

    def _file(self, files: dict[str, bytes], name: str, commit: str, fault: Fault) -> None:
        if name not in files:
            return self._start(404, {"X-Error-Code": "EntryNotFound"})
        content = files[name]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{digest(name, content)}"', "Accept-Ranges": "bytes"}
        if self.command == "HEAD":
            return self._start(200, headers, len(content))
        content = fault.served.get(name, content)
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._start(206 if start else 200, headers, len(content) - start)
        broken = fault.cut == name and fault.times > 0
        self.wfile.write(content[start : (start + len(content)) // 2] if broken else content[start:])
        if broken:
            fault.times -= 1
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        return None

    def _start(self, status: int, headers: dict[str, str], length: int = 0) -> None:
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(length)}).items():
            self.send_header(key, value)
        self.end_headers()


def _info(repository: str, commit: str) -> dict:
    return {"id": repository, "sha": commit}


def _tree(files: dict[str, bytes]) -> list[dict]:
    entries = []
    for name, content in sorted(files.items()):
        entry = {"type": "file", "path": name, "size": len(content), "oid": git_hash(content)}
        if name.endswith(LARGE):
            entry["lfs"] = {"oid": digest(name, content), "size": len(content), "pointerSize": 130}
        entries.append(entry)
    return entries
