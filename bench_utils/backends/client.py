"""One request to a server, its answer streamed: every token stamped as it arrives, every failure named."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator

import httpx

from ..errors import CellError
from .stream import Dialect, Piece, Stream

# Longest silence before a token, in seconds; the limit of a whole cell is the worker's.
LIMIT = 120.0
_SECRET_LENGTH = 8  # a shorter key is a placeholder, and a part of ordinary words
_SILENT = (b":", b"event:", b"id:", b"retry:")  # lines of server-sent events that carry no data


class Client:
    """Asks one server, one request at a time, each over a connection of its own.

    llama.cpp's server promises to keep a connection and closes it after a streamed answer: a request sent into that
    moment is lost. Connecting is part of the latency, the same for every server.
    ``last_words()`` is what the server said last, for the case that it dies. Every failure is a CellError, and none
    names the server's address or the key that it is asked with.
    """

    def __init__(
        self,
        url: str,
        dialect: Dialect,
        key: str = "",
        limit: float = LIMIT,
        last_words: Callable[[], str] = lambda: "",
    ) -> None:
        self.url, self.dialect, self.limit, self.last_words = url.rstrip("/"), dialect, limit, last_words
        self._hidden = {self.url: "[server]"} | ({key: "[key]"} if len(key) >= _SECRET_LENGTH else {})
        fixed = {"accept-encoding": "identity", "content-type": "application/json", "connection": "close"}
        self._http = httpx.Client(
            base_url=self.url, headers=fixed | ({"authorization": f"Bearer {key}"} if key else {}), timeout=limit,
            limits=httpx.Limits(max_keepalive_connections=0),
            trust_env=False,  # proxies are for the world outside, and most servers are on this machine
        )  # fmt: skip

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def json(self, path: str, method: str = "GET", **request) -> dict:
        """A question beside the measurement, such as the server's version; CellError where it is not answered."""
        with self.failures():
            response = self._http.request(method, path, **request)
        if not response.is_success:
            raise self.error("server_error", f"the server answered {response.status_code}: {_line(response.content)}")
        try:
            return response.json() if response.content else {}
        except ValueError:
            raise self.error("server_error", f"the server answered no JSON: {_line(response.content)}") from None

    def complete(self, prompt: list[int] | str, prompt_tokens: int, new_tokens: int, phase: str) -> Answer:
        """Send a request; what is returned reads the answer. ``prompt_tokens`` is what the server must count.

        The request is due, and its latency begins, when it is ready to be sent: whatever it waits for counts.
        """
        body = json.dumps(self.dialect.body(prompt, new_tokens)).encode()
        request = self._http.build_request("POST", self.dialect.path, content=body)
        stream = Stream(prompt, new_tokens, phase, time.time(), time.perf_counter_ns())
        return Answer(self, stream, prompt_tokens, self._send(request))

    def _send(self, request: httpx.Request) -> httpx.Response:
        with self.failures():
            response = self._http.send(request, stream=True)
            if response.status_code == 200:
                return response
            said = _line(response.read())
        raise self.error("server_error", f"the server answered {response.status_code}: {said}")

    @contextlib.contextmanager
    def failures(self) -> Iterator[None]:
        """What the HTTP library raises, as the status of a cell."""
        try:
            yield
        except httpx.TimeoutException:
            raise self.silence() from None
        except httpx.LocalProtocolError:  # its message quotes the header that is at fault
            said = "a request that HTTP does not allow; look at the address and the key of the server"
            raise self.error("unavailable", said) from None
        except httpx.HTTPError as error:
            said = self.last_words() or "its last words are unknown"
            raise self.error("server_died", f"the connection to the server was lost ({error}): {said}") from None

    def silence(self) -> CellError:
        """The error of a server that says nothing."""
        return self.error("timeout", f"no token within {self.limit:g} s")

    def error(self, status: str, message: str) -> CellError:
        """The error of a cell; it names neither the server's address nor the key."""
        for private, word in self._hidden.items():
            message = message.replace(private, word)
        return CellError(status, message)


class Answer:
    """Reads the answer to one request: ``until_first`` and then ``rest``, or ``rest`` alone."""

    def __init__(self, client: Client, stream: Stream, prompt_tokens: int, response: httpx.Response) -> None:
        self.stream = stream
        self._client, self._prompt_tokens, self._response = client, prompt_tokens, response
        self._lines = self._read()
        self._received: list[tuple[int, bytes]] = []

    def until_first(self) -> Answer:
        """Read up to the first token."""
        with self._reading():
            for stamp, line in self._lines:
                self._received.append((stamp, line))
                if self._piece(line).tokens:
                    break
        return self

    def rest(self) -> Stream:
        """Read to the end, and only then look at what came: nothing is parsed while tokens arrive."""
        with self._reading():
            self._received.extend(self._lines)
            self.stream.fill([(stamp, self._piece(line)) for stamp, line in self._received])
            self.stream.check(self._client.dialect.answered, self._prompt_tokens)
        return self.stream

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Whatever goes wrong while an answer is read, its connection is closed."""
        try:
            with self._client.failures():
                yield
        except BaseException:
            self._response.close()
            raise

    def _read(self) -> Iterator[tuple[int, bytes]]:
        """Lines of data, each with the stamp of the moment when its end was there."""
        rest, heard = b"", time.perf_counter_ns()
        for chunk in self._response.iter_raw():
            now = time.perf_counter_ns()
            *lines, rest = (rest + chunk).split(b"\n")
            for line in map(bytes.strip, lines):
                if line and not line.startswith(_SILENT):
                    heard = now
                    yield now, line
            if now - heard > 1e9 * self._client.limit:  # signs of life alone are no answer
                raise self._client.silence()
        if rest.strip():
            yield time.perf_counter_ns(), rest.strip()

    def _piece(self, line: bytes) -> Piece:
        data = line.removeprefix(b"data:").strip()
        if data == b"[DONE]":
            return Piece()
        try:
            said = json.loads(data)
            if "error" not in said:
                return self._client.dialect.piece(said)
        except (ValueError, TypeError, AttributeError, LookupError):
            raise self._client.error("server_error", f"not an answer: {_line(line)}") from None
        raise self._client.error("server_error", f"the server answered an error: {_message(said['error'])}")


def _message(error: object) -> str:
    """What an error says, be it a text or an object with a message."""
    return _line(str(error.get("message", error) if isinstance(error, dict) else error).encode())


def _line(content: bytes) -> str:
    """The first line that says something, at most 200 characters of it."""
    lines = (line.strip() for line in content.decode(errors="replace").splitlines())
    return next((line[:200] for line in lines if line), "nothing")
