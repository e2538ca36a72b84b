"""The OpenAI-compatible server that OPENAI_BASE_URL names: the standard's fields, text in and text out.

Its address and key are read from the environment when they are needed, and never written down.
"""

from __future__ import annotations

import os

from ..catalog import Variant
from ..errors import CellError
from .client import Client
from .launch import Remote
from .served import Served
from .stream import Dialect, Piece


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

    @staticmethod
    def unavailable(variant: Variant, device: str) -> str | None:
        """Somebody must say where the server is."""
        if not os.environ.get("OPENAI_BASE_URL", "").startswith(("http://", "https://")):
            return "OPENAI_BASE_URL names no server; set it to an address such as http://127.0.0.1:8000/v1"
        return None

    def export(self, digest: str) -> None:
        """The server has its own file."""

    def serve(self) -> None:
        """Find out which model is served."""
        self.server = Remote(os.environ["OPENAI_BASE_URL"].rstrip("/").removesuffix("/v1"))
        self.shown, self._name = "at OPENAI_BASE_URL", ""
        self.connect()
        self._name = self._served(os.environ.get("OPENAI_MODEL"))
        self.client.dialect = self.dialect()

    def connect(self) -> None:
        """With the key, where there is one."""
        key = os.environ.get("OPENAI_API_KEY")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self.client = Client(self.server.url, self.dialect(), headers)

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
        """Servers do not tell; the output check holds what is asked for against the reference."""
        return self.dtype

    def facts(self) -> dict:
        """Servers do not tell their version on a route that all have."""
        return {"version": None}


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
