"""The OpenAI-compatible server that OPENAI_BASE_URL names: the standard's fields, text in and text out.

Its address and key are read from the environment when they are needed, and never written down.
"""

from __future__ import annotations

import os
import re

from ..catalog import Variant
from ..errors import CellError
from .client import Client
from .launch import Remote, is_address
from .served import Served
from .stream import Dialect, Piece

_HEADER = re.compile(r"[ -~]*")


class Standard(Dialect):
    """Servers of hub repositories answer with the branch behind the name that was asked for."""

    def piece(self, said: dict) -> Piece:
        """One event of the answer, its model without the branch."""
        found = super().piece(said)
        return found._replace(model=found.model and found.model.removesuffix("@main"))


class OpenaiBackend(Served):
    """A server that is there already; what it runs is known by what it answers."""

    engine = "OpenAI-compatible server"
    takes_text = True
    dtype_from = "the label: the server does not tell, its tokens are compared"

    @staticmethod
    def unavailable(variant: Variant, device: str) -> str | None:
        """Somebody must say where the server is, and what is sent must be HTTP."""
        if not is_address(_address()):
            return "OPENAI_BASE_URL names no server; set it to an address such as http://127.0.0.1:8000/v1"
        if not _HEADER.fullmatch(_key()):
            return "OPENAI_API_KEY is no key: an HTTP header cannot hold it; set it again, to printable ASCII alone"
        return None

    def build(self) -> None:
        """The reference. Without a word on its dtype a server is known by its tokens, and those count in float32."""
        if self.dtype != "float32":
            said = f"a server at OPENAI_BASE_URL does not tell whether it runs in {self.dtype}"
            raise CellError("unavailable", f"{said}; plan float32, where its tokens are compared")
        super().build()

    def export(self, digest: str) -> None:
        """The server has its own file."""

    def read_back(self) -> dict:
        """What the server runs has no digest: the reference's would say that these are its weights."""
        return super().read_back() | {"digest": None}

    def serve(self) -> None:
        """Find out which model is served."""
        self.server = Remote(_address().rstrip("/").removesuffix("/v1"))
        self.shown, self._name = "at OPENAI_BASE_URL", ""
        self.connect()
        self._name = self._served(os.environ.get("OPENAI_MODEL"))
        self.client.dialect = self.dialect()

    def connect(self) -> None:
        """With the key, where there is one."""
        self.client = Client(self.server.url, self.dialect(), _key())

    def _served(self, wanted: str | None) -> str:
        """The model to ask for. A server that fails to list its models may serve the one that is named all the same."""
        try:
            return _choose([model["id"] for model in self.client.json("/v1/models")["data"]], wanted)
        except (LookupError, TypeError):
            said = ""
        except CellError as error:
            if error.status == "unavailable":
                raise
            if error.status == "server_error" and wanted:
                return wanted
            said = f": {error}"
        raise CellError("unavailable", f"no OpenAI-compatible server answers at OPENAI_BASE_URL{said}")

    def dialect(self) -> Dialect:
        """The standard's fields, and no others."""
        return Standard(self._name)

    def loaded_dtype(self) -> str:
        """The label: servers do not tell, and the provenance says so."""
        return self.dtype

    def facts(self) -> dict:
        """Servers do not tell their version on a route that all have."""
        return {"version": None, "asked_dtype": self.dtype}


def _address() -> str:
    return os.environ.get("OPENAI_BASE_URL", "").strip()


def _key() -> str:
    """The key, without the line break that a file ends with."""
    return os.environ.get("OPENAI_API_KEY", "").strip()


def _choose(models: list[str], wanted: str | None) -> str:
    """The model to ask for; CellError ``unavailable`` where that is open, or where it is not there."""
    if wanted and wanted not in models:
        said = f"OPENAI_MODEL asks for {wanted!r}"
    elif not wanted and len(models) != 1:
        said = "set OPENAI_MODEL to one"
    else:
        return wanted or models[0]
    raise CellError("unavailable", f"the server at OPENAI_BASE_URL serves {_names(models)}; {said}")


def _names(models: list[str]) -> str:
    return ", ".join(models[:5]) or "no model"
