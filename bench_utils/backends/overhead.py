"""What asking costs by itself: the client against a server that answers at once and computes nothing."""

from __future__ import annotations

import contextlib
import json
import socketserver
import statistics
import threading
from collections.abc import Iterator

from .client import Client
from .stream import Dialect

TOKENS, CALLS, PROMPT = 64, 30, 16


def client_overhead_us() -> dict[str, float]:
    """Microseconds of the client and the loopback, medians: until a first token that took no time, and per token after.

    The server is a thread of this process, so this is what the client costs at most.
    """
    with _null_server() as url, contextlib.closing(Client(url, Dialect("null"))) as client:
        streams = [client.complete([0] * PROMPT, PROMPT, TOKENS, "e2e").rest() for _ in range(CALLS)]
    first = statistics.median(stream.latency_ms("prefill") for stream in streams)
    rest = statistics.median(stream.latency_ms("decode") for stream in streams)
    return {"first_token": round(1e3 * first, 1), "per_token": round(1e3 * rest / (TOKENS - 1), 2)}


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _event(said: dict) -> bytes:
    return _chunk(b"data: %s\n\n" % json.dumps(said).encode())


HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
EVENTS = [_event({"choices": [{"token_ids": [token]}]}) for token in range(TOKENS)]
END = _event({"usage": {"prompt_tokens": PROMPT, "completion_tokens": TOKENS}}) + _chunk(b"")


class _Null(socketserver.StreamRequestHandler):
    """The same answer to every request, a write a token."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        while self.rfile.readline():
            headers = dict(line.lower().split(b":", 1) for line in iter(self.rfile.readline, b"\r\n"))
            self.rfile.read(int(headers[b"content-length"]))
            for part in (HEAD, *EVENTS, END):
                self.wfile.write(part)


@contextlib.contextmanager
def _null_server() -> Iterator[str]:
    with socketserver.TCPServer(("127.0.0.1", 0), _Null) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
