"""Prompts and answers as text, for servers that know no token ids."""

from __future__ import annotations

import re

import torch

from ..catalog import Model
from ..errors import BenchError, CellError
from ..loading import load_tokenizer

# What a tokenizer splits off whatever stands before it: a space and letters.
_WORD = re.compile(r" [^\W\d_]+")


class Texts:
    """A checkpoint's tokenizer, and the tokens of it that text can be made of without becoming others."""

    def __init__(self, model: Model) -> None:
        """Load the tokenizer; CellError ``unavailable`` where the checkpoint has none."""
        try:
            self.tokenizer = load_tokenizer(model)
        except (BenchError, OSError, ValueError) as error:
            said = f"this server takes text and {model.name!r} has no tokenizer; measure a folder that holds one"
            raise CellError("unavailable", f"{said} ({error})") from None
        self._prefix = self.tokenizer("")["input_ids"]  # what the tokenizer puts before every text
        self._pool = torch.tensor(self._plain_tokens())

    def _plain_tokens(self) -> list[int]:
        """Tokens that stay what they are beside each other: words where there are any, else all that repeat well."""
        special = set(self.tokenizer.all_special_ids)
        ids = [i for i in range(len(self.tokenizer)) if i not in special]
        twice = self.tokenizer.batch_decode([[i, i] for i in ids], clean_up_tokenization_spaces=False)
        read = self.tokenizer(twice, add_special_tokens=False)["input_ids"]
        stable = [i for i, back in zip(ids, read, strict=True) if back == [i, i]]
        words = [i for i in stable if _WORD.fullmatch(self.tokenizer.decode([i]))]
        return words or stable

    def prompt(self, drawn: torch.Tensor, index: int) -> torch.Tensor:
        """The prompt of a call (1 × prompt tokens) in place of ids that were drawn from the whole vocabulary."""
        start, size = len(self._prefix), len(self._pool)
        if not size or drawn.shape[1] <= start:
            raise CellError("unavailable", "no text of so few tokens can be made with this tokenizer")
        places = drawn % size
        places[:, start] = (places[:, start] + index) % size
        ids = self._pool[places.cpu()]
        ids[:, :start] = torch.tensor(self._prefix)
        return ids.to(drawn.device)

    def text(self, ids: torch.Tensor) -> str:
        """The text of a prompt; CellError when the tokenizer would read it as other tokens."""
        tokens = ids[0].tolist()
        text = self.tokenizer.decode(tokens[len(self._prefix) :], clean_up_tokenization_spaces=False)
        if self.tokenizer(text)["input_ids"] != tokens:
            raise CellError("token_mismatch", "the tokenizer reads the text of these tokens as others")
        return text

    def tokens(self, text: str, plain: list[int]) -> list[int]:
        """The tokens of plain decoding as far as their text is the server's; -1 where it is another.

        A server that shows text only is known by its text: incomplete characters at its end are not shown.
        """
        shown = text.rstrip("\ufffd")
        decoded = [self._shown(plain[:count]) for count in range(len(plain) + 1)]
        if decoded[-1] == shown:
            return plain
        same = max(count for count, begin in enumerate(decoded) if shown.startswith(begin) and count < len(plain))
        return plain[:same] + [-1] * (len(plain) - same)

    def count(self, text: str) -> int:
        """How many tokens the tokenizer reads in a piece of an answer; a character may be incomplete at its end."""
        return len(self.tokenizer(text.rstrip("\ufffd"), add_special_tokens=False)["input_ids"])

    def _shown(self, ids: list[int]) -> str:
        text = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.rstrip("\ufffd")
