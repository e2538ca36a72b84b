"""An engine behind HTTP: a server is started on the checkpoint, asked one request at a time, and stopped."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import torch

from ..artifacts import artifact
from ..errors import CellError
from .checkpoint import Exported
from .client import Answer, Client
from .launch import Remote, Server, free_port, shown, visible
from .overhead import client_overhead_us
from .stream import APART, Dialect, Stream, StreamClock
from .texts import Texts

# Share of a cell's answers whose first token may come together with the next, and how many may in any case: a client is
# late now and then, and as text the two tokens of a character are one piece.
TOO_MANY, FEW = 0.25, 5
# What llama.cpp says, and so whatever is made of it, once a model is in memory.
_OFFLOADED = re.compile(r"offloaded (\d+/\d+) layers to GPU")


class Served(Exported):
    """What servers share. A subclass says how one is started and how it is asked."""

    engine = "a server"
    health = "/health"
    takes_text = False
    dtype_from = "the server"

    server: Server | Remote | None = None
    client: Client | None = None
    texts: Texts | None = None

    def command(self, port: int) -> list[str]:
        """The command that serves ``self.file`` at a port of this machine."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Variables for the server, beside this process's own and those that choose its device."""
        return {}

    def dialect(self) -> Dialect:
        """How the server is asked."""
        return Dialect(self.model.name)

    def facts(self) -> dict:
        """What the server says of itself, once a process: its ``version`` at least.

        What it was only told is ``asked_…``, so that nobody takes it for what ran.
        """
        return {"version": None}

    def loaded_dtype(self) -> str:
        """The dtype of what the server has loaded, read back."""
        raise NotImplementedError

    def build(self) -> None:
        """The reference in memory and the server's file, untimed; its tokenizer where the server takes text."""
        if self.takes_text and self.weights == "architecture" and not self.model.folder:
            raise CellError("unavailable", "this server takes text, and weights without a checkpoint have no tokenizer")
        if self.takes_text:
            self.texts = Texts(self.model)
        super().build()

    def export(self, digest: str) -> Path:
        """The checkpoint in a folder of its own, as transformers saves it; nothing in it ends an answer early."""
        import transformers

        builder = {"transformers": transformers.__version__, "tokenizer": self.takes_text}
        return artifact(self.store, digest, "checkpoint", builder, self._save)

    def _save(self, folder: Path) -> None:
        self.module.save_pretrained(folder)
        settings = self.module.generation_config.to_dict() | {"eos_token_id": None, "pad_token_id": None}
        type(self.module.generation_config)(**settings).save_pretrained(folder)
        if self.texts:
            self.texts.tokenizer.save_pretrained(folder)

    def load(self) -> None:
        """Start the server and wait until it answers."""
        self.serve()

    def read_back(self) -> dict:
        """The provenance of what the server was given, with what it says of it."""
        read = {"dtype": self.loaded_dtype(), "dtype_from": self.dtype_from}
        return self.provenance | {"attention": None} | read  # how the reference attends is not how a server does

    def serve(self) -> None:
        """A server that answers, and a client for it."""
        port = free_port()
        command = self.command(port)
        self.server = Server(command, self.environment() | visible(self.device), port, self.file.parent)
        self.shown = shown(command, port)
        self.server.wait(self.health)
        self.connect()

    def connect(self, **options) -> None:
        """A client for the server that runs."""
        self.client = Client(self.server.url, self.dialect(), last_words=self.server.last_words, **options)

    def close(self) -> None:
        """Stop the server with every process that it started."""
        for one in (self.client, self.server):
            if one is not None:
                one.close()
        self.client = self.server = None

    def processes(self) -> list[int]:
        """The process above the server's own; none where the server is elsewhere."""
        return [self.server.pid] if self.server and self.server.pid else []

    def clock(self) -> StreamClock:
        """The client's clock; what client and server are is found out here, outside of everything timed."""
        self._facts = self.facts() | {"offloaded_layers": self._offloaded(), "client_overhead_us": client_overhead_us()}
        return StreamClock()

    def _offloaded(self) -> str | None:
        """Layers on a GPU, of how many, as the newest line of the server's log has it; None where none does."""
        return next(reversed(_OFFLOADED.findall(self.server.log())), None)

    def start(self, phase: str, prompt_tokens: int, new_tokens: int, batch_size: int) -> None:
        """Begin a cell; a server that died or hung in the cell before is started again."""
        if batch_size != 1:
            raise CellError("unavailable", "a server is asked one request at a time; use batch_size = 1")
        super().start(phase, prompt_tokens, new_tokens, batch_size)
        self._new_tokens, self._cached, self._calls, self._together = new_tokens, None, 0, 0
        self._answered: str | None = None
        if self.server is None or not self.server.running():
            self.close()
            self.serve()

    def prompt(self, index: int) -> torch.Tensor:
        """Ids, different for every index from the first on, and such as text can be made of where it must be."""
        return self.texts.prompt(self._ids, index) if self.texts else super().prompt(index)

    def prefill(self, prompt: torch.Tensor) -> Stream:
        """A request for one token."""
        return self._whole(prompt, 1)

    def prepare(self, prompt: torch.Tensor) -> Answer:
        """A request for the cell's tokens, read up to the first."""
        with self._watched():
            return self._ask(prompt, 1 + self._new_tokens).until_first()

    def decode(self, state: Answer, steps: int) -> Stream:
        """The rest of the same answer."""
        with self._watched():
            return self._noted(state.rest())

    def generate(self, prompt: torch.Tensor, steps: int) -> Stream:
        """A request for all tokens."""
        return self._whole(prompt, 1 + steps)

    def _whole(self, prompt: torch.Tensor, new_tokens: int) -> Stream:
        with self._watched():
            return self._noted(self._ask(prompt, new_tokens).rest())

    def _ask(self, prompt: torch.Tensor, new_tokens: int) -> Answer:
        said = self.texts.text(prompt) if self.texts else prompt[0].tolist()
        return self.client.complete(said, prompt.numel(), new_tokens, self.phase)

    def _noted(self, stream: Stream) -> Stream:
        """Keep what the receipt tells of all answers; CellError where decoding cannot be told from its first token."""
        cached = stream.usage["cached_tokens"]
        self._cached = cached if cached is not None else self._cached
        self._answered = stream.usage["model"] or self._answered
        self._calls += 1
        self._together += stream.together > 1 or self._opening(stream) > 1
        if self.phase == "decode" and self._together > max(FEW, self._calls * TOO_MANY):
            said = f"in {self._together} of {self._calls} answers the first token came together with the next"
            raise CellError("server_error", f"{said}; {APART}, unless it decodes faster than a client reads")
        return stream

    def _opening(self, stream: Stream) -> int:
        """Tokens in the first piece of an answer; of text that does not tell, as many as the tokenizer reads in it."""
        return self.texts.count(stream.head) if self.texts and stream.opening is None else stream.opening or 0

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """A server that died or hangs is stopped, so that the next cell starts another."""
        try:
            yield
        except CellError as error:
            if error.status in ("server_died", "timeout"):
                self.close()
            raise

    def logits(self, prompt: torch.Tensor, tokens: list) -> None:
        """Servers do not show them."""
        return

    def tokens(self, result) -> list[list[int]]:
        """Ids of an answer (1 × tokens), or of plain decoding; of a decode, those after the first."""
        if not isinstance(result, Stream):
            return super().tokens(result)
        ids = result.tokens if result.tokens is not None else self._by_text(result)
        return [ids[1:] if result.phase == "decode" else ids]

    def _by_text(self, stream: Stream) -> list[int]:
        """Ids of an answer that is text: those of plain decoding, as far as their text is the same."""
        ids = torch.tensor([self.texts.tokenizer(stream.prompt)["input_ids"]], device=self.device)
        return self.texts.tokens(stream.text, super().tokens(self.plain(ids, stream.asked - 1)[0])[0])

    def receipt(self) -> dict:
        """The server as it reports itself, and how it was asked."""
        return {
            "engine": self.engine,
            "runs_in": "a server, over HTTP",
            "command": self.shown,
            "model": self._answered,
            "asked_model": self.client.dialect.model,
            "prompt": "text" if self.texts else "token ids",
            "cached_tokens": self._cached,
            "first_tokens_together": self._together,
            "server_threads": self.server.threads(),
            **self._facts,
        }
