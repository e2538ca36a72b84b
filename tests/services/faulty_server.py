"""A server that speaks OpenAI's completions over real HTTP and fails in one planted way.

``serving(fault)`` runs it in a thread; ``python faulty_server.py PORT FAULT`` in a process that can die.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

MODEL = "planted"
QUEUE_SECONDS = 0.3
GAP_SECONDS = 0.002
HANG_SECONDS = 5.0


class Faulty(HTTPServer):
    """One request at a time; ``connections`` counts how often a client connected, ``keys`` are what it showed."""

    def __init__(self, fault: str, port: int = 0, alone: bool = False) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.fault, self.alone, self.connections, self.asked, self.keys = fault, alone, 0, [], []
        self.closing = threading.Event()

    def get_request(self):
        """Accept a connection, late where requests queue."""
        if self.fault == "queues":
            time.sleep(QUEUE_SECONDS)
        self.connections += 1
        return super().get_request()


class Handler(BaseHTTPRequestHandler):
    """Answers with as many tokens as were asked for, numbered from zero, unless a fault says otherwise."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Faulty

    def do_GET(self) -> None:  # noqa: N802
        """Health, and the models that are served."""
        self.server.keys.append(self.headers["Authorization"])
        names = {"two models": ["one", "another"], "no models": []}.get(self.server.fault, [MODEL])
        page = {"data": [{"id": name} for name in names]}
        body = b"<html>hello</html>" if self.server.fault == "not an API" else json.dumps(page).encode()
        self._reply(500 if self.server.fault == "lists nothing" else 200, body)

    def do_POST(self) -> None:  # noqa: N802
        """A completion, or its fault."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        plant = _PLANTS.get(self.server.fault)
        if plant is None or not plant(self, asked):
            self._begin()
            self._answer(asked, **_CHANGES.get(self.server.fault, {}))

    def _answer(self, asked: dict, **change) -> None:
        count = change.get("shown", asked["max_tokens"] + change.get("more", 0))
        model, first = change.get("model", MODEL), min(count, change.get("first", 1))
        for indices in (range(first), *([index] for index in range(first, count))):
            self._tokens([index for index in indices if index != change.get("silent")], model, change.get("ids", True))
            time.sleep(GAP_SECONDS)
        if change.get("usage", True):
            usage = {
                "prompt_tokens": len(asked["prompt"]) + change.get("prompt", 0),
                "completion_tokens": change.get("counted", count),
                "prompt_tokens_details": {"cached_tokens": change.get("cached", 0)},
            }
            self._event({"model": model, "choices": [], "usage": usage})
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _token(self, index: int) -> None:
        self._tokens([index], MODEL, True)

    def _tokens(self, indices: list[int], model: str | None, ids: bool) -> None:
        choice = {"index": 0, "text": "".join(f"t{i} " for i in indices), **({"token_ids": indices} if ids else {})}
        self._event({"model": model, "choices": [choice]})

    def _begin(self, kind: str = "text/event-stream") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _event(self, said: dict) -> None:
        self._chunk(b"data: %s\n\n" % json.dumps(said).encode())

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        """A server's log is for what it has to say."""

    # ------------------------------------------------------------ faults that are no answer at all

    def dies(self, asked: dict) -> bool:
        """Two tokens, then nothing more, ever."""
        self._begin()
        self._token(0)
        self._token(1)
        if self.server.alone:
            print("planted: out of cheese", flush=True)
            os._exit(7)
        self.close_connection = True
        return True

    def hangs(self, asked: dict) -> bool:
        """A token, and then silence on an open connection."""
        self._begin()
        self._token(0)
        self.server.closing.wait(HANG_SECONDS)
        self.close_connection = True
        return True

    def says_nothing(self, asked: dict) -> bool:
        """Not even headers."""
        self.server.closing.wait(HANG_SECONDS)
        self.close_connection = True
        return True

    def pings(self, asked: dict) -> bool:
        """Signs of life in place of tokens."""
        self._begin()
        until = time.monotonic() + HANG_SECONDS
        with contextlib.suppress(OSError):
            while time.monotonic() < until and not self.server.closing.wait(0.05):
                self._chunk(b": still here\n\n")
        self.close_connection = True
        return True

    def fails(self, asked: dict) -> bool:
        """An error of the server's own."""
        self._reply(500, b"\nCUDA out of memory\nTraceback of many lines\n")
        return True

    def refuses(self, asked: dict) -> bool:
        """A request that it does not understand."""
        self._reply(400, json.dumps({"error": {"message": "no such field: seed"}}).encode())
        return True

    def quotes_the_key(self, asked: dict) -> bool:
        """As a server does that refuses one."""
        self._reply(401, f"no such key: {self.headers['Authorization']}".encode())
        return True

    def errs(self, asked: dict) -> bool:
        """An error in the middle of the answer."""
        self._begin()
        self._token(0)
        self._event({"error": {"message": "the engine is gone", "code": 500}})
        self._chunk(b"")
        return True

    def babbles(self, asked: dict) -> bool:
        """A page in place of a stream."""
        self._begin("text/html")
        self._chunk(b"<html>\n<body>Welcome</body>\n</html>\n")
        self._chunk(b"")
        return True

    def breaks_off(self, asked: dict) -> bool:
        """Half a line of JSON."""
        self._begin()
        self._token(0)
        self._chunk(b'data: {"choices": [{"token_')
        self._chunk(b"")
        return True

    def buffers(self, asked: dict) -> bool:
        """All at once."""
        self._begin()
        kept = self.wfile
        with contextlib.closing(_Buffer()) as self.wfile:
            self._answer(asked)
            whole = self.wfile.content()
        self.wfile = kept
        self._chunk(whole)
        self._chunk(b"")
        return True


class _Buffer:
    """Takes chunks and gives back what was in them."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, chunk: bytes) -> None:
        self._parts.append(chunk.partition(b"\r\n")[2].removesuffix(b"\r\n"))

    def content(self) -> bytes:
        return b"".join(self._parts)

    def close(self) -> None:
        self._parts.clear()


_PLANTS = {
    "dies": Handler.dies,
    "hangs": Handler.hangs,
    "says nothing": Handler.says_nothing,
    "pings": Handler.pings,
    "fails": Handler.fails,
    "refuses": Handler.refuses,
    "quotes the key": Handler.quotes_the_key,
    "errs": Handler.errs,
    "babbles": Handler.babbles,
    "breaks off": Handler.breaks_off,
    "buffers": Handler.buffers,
}
# Answers that are well formed and wrong.
_CHANGES = {
    "stops early": {"shown": 5},
    "shows fewer": {"shown": 5, "counted": 16},
    "goes on": {"more": 3},
    "another model": {"model": "another"},
    "counts the prompt otherwise": {"prompt": 1},
    "answers from a cache": {"cached": 12},
    "counts nothing": {"usage": False},
    "shows text only": {"ids": False},
    "sends three first": {"first": 3},
    "sends the text of three first": {"first": 3, "ids": False},
    "shows nothing of a token": {"silent": 5, "ids": False},
    "names no model": {"model": None},
}


@contextlib.contextmanager
def serving(fault: str = "none") -> Iterator[Faulty]:
    """The server in a thread of this process; its ``url`` is where it listens."""
    with Faulty(fault) as server:
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    Faulty(sys.argv[2], int(sys.argv[1]), alone=True).serve_forever()
