"""Nothing private on a page: the machine's own words are replaced, what is left stops publication."""

import base64
import binascii
import contextlib
import functools
import getpass
import html
import os
import platform
import re
import socket
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from ..errors import BenchError
from . import addresses

# Names that are ordinary words: private only where they stand for a machine or an account, as in user@host.
_ORDINARY = frozenset({
    "admin", "administrator", "default", "guest", "jovyan", "jupyter", "root", "runner", "user", "worker",
    "bench", "build", "cloud", "compute", "container", "docker", "host", "local", "localhost", "machine",
    "main", "master", "model", "node", "server", "test", "work", "workstation", "localdomain", "home",
    "debian", "fedora", "linux", "ubuntu", "windows", "cuda", "python", "torch", "base", "data", "batch",
    "amd", "apple", "arm", "cpu", "epyc", "gpu", "graviton", "intel", "nvidia", "ryzen", "xeon",
    "a100", "h100", "h200", "v100",
    "art", "bill", "frank", "grace", "hope", "mark", "may", "rich", "rose", "will",
})  # fmt: skip
_SECRET_NAME = re.compile(r"TOKEN(?!IZ)|SECRET|PASSW(?:OR)?D|(?:API|ACCESS|PRIVATE)_?KEY|CREDENTIAL", re.IGNORECASE)
_SECRET_LENGTH = 8  # shorter values are switches, not secrets

_PATTERNS = {
    "home path": re.compile(
        r"(?:(?<![\w.])|(?<![\w.:/])(?:/[\w.-]+){1,6})/home/[^/\s\"'<>&;,:)\]]+|(?<![\w.])/root(?![\w-]|\.\w)"
        r"|(?:(?<![\w.])|(?<=/mnt/[a-z]))/Users/[^/\s\"'<>&;,:)\]]+"
        r"|\b[A-Za-z]:[\\/]+(?:Users|Documents and Settings)[\\/]+[^\\/\s\"'<>&]+",
    ),
    "token": re.compile(
        r"\b(?:hf_[A-Za-z0-9]{20,}|gh[opsur]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
        r"|sk-[A-Za-z0-9_-]{20,}|xox[abprs]-[\w-]{10,}|nvapi-[\w-]{20,}|pypi-[\w-]{40,}|AIza[\w-]{35})"
        r"|\bBearer\s+[A-Za-z0-9._~+/-]{20,}"
    ),
    "AWS key": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|(?i:aws_secret_access_key)\W{1,4}[A-Za-z0-9/+]{30,}"),
    "private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "e-mail address": re.compile(r"(?<![\w.%+-])(?!git@)[\w.%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}\b"),
    "GPU serial": re.compile(
        r"\b(?:GPU|MIG)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
        r"|\bserial(?:[ _](?:number|no))?\b[\"']?\s*[:=]\s*[\"']?(?=\w*\d)\w{8,}",
        re.IGNORECASE,
    ),
}
_PNG_URI = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)")
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
# Tags inside a word fall away; all others part words, or two cells of a table would read as one number.
_INLINE_TAG = re.compile(
    r"</?(?:a|abbr|b|cite|code|data|del|dfn|em|i|ins|kbd|mark|q|s|samp|small|span|strong|sub|sup|tspan|u|var)\b[^>]*>"
)
_TAG = re.compile(r"<[^>]*>")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|([bfnrt]))")  # of JSON, in which a letter stands before what follows


class Leak(NamedTuple):
    """A private fact left in a text; the excerpt shows enough to find it, never a whole secret."""

    kind: str
    excerpt: str


class PrivacyError(BenchError):
    """Something private was about to be published; nothing was written."""

    def __init__(self, leaks: list[Leak], where: str) -> None:
        self.leaks = leaks
        found = "; ".join(f"{leak.kind} ({leak.excerpt})" for leak in leaks[:5])
        super().__init__(f"{where} would publish {found}: remove it from what the notebook shows, render again")


def clean(text: str) -> str:
    """Return text with this machine's paths, host name, user name and secrets replaced by neutral words."""
    for pattern, word in _replacements(_surroundings()):
        text = pattern.sub(word, text)
    return text


def check(text: str) -> list[Leak]:
    """Return what is private in a text: paths, names, addresses, tokens and serial numbers, in fixed order.

    Markup and the escapes of JSON are looked through, so a path that a highlighter has cut into pieces is found, and
    so is one in an address, an attribute or a drawing; embedded PNGs are skipped.
    """
    raw = unquote(_PNG_URI.sub(_without_picture, text))
    seen = _TAG.sub(" ", _INLINE_TAG.sub("", raw))
    versions = (raw, html.unescape(raw), html.unescape(seen), _ESCAPE.sub(_character, raw))
    leaks: dict[Leak, None] = {}
    for version in dict.fromkeys(versions):
        leaks |= dict.fromkeys(_leaks(version))
    return list(leaks)


def _without_picture(match: re.Match[str]) -> str:
    """Nothing in place of an embedded PNG; what only looks like one stays."""
    try:
        content = base64.b64decode("".join(match[1].split()), validate=True)
    except (binascii.Error, ValueError):
        return match[0]
    return "" if content.startswith(_PNG_START) and content.endswith(_PNG_END) else match[0]


def _character(match: re.Match[str]) -> str:
    return chr(int(match[1], 16)) if match[1] else " "


def require_clean(text: str, where: str) -> None:
    """Raise `PrivacyError` when `check` finds anything."""
    leaks = check(text)
    if leaks:
        raise PrivacyError(leaks, where)


class _Surroundings(NamedTuple):
    """What could give this machine away: folders with their neutral words, names, and secret values."""

    folders: tuple[tuple[str, str], ...]
    hosts: tuple[str, ...]
    users: tuple[str, ...]
    secrets: tuple[str, ...]


def _surroundings() -> _Surroundings:
    home = os.path.expanduser("~")  # noqa: PTH111  (a lookup that cannot fail)
    cache = os.environ.get("HF_HOME") or f"{home}/.cache/huggingface"
    project = Path(__file__).parents[2]
    found = {
        os.environ.get("HF_HUB_CACHE", ""): "[hub cache]",
        cache: "[hub cache]",
        sys.prefix: "[environment]",
        sys.base_prefix: "[python]",
        str(project): "[project]",
        str(Path.cwd()): "[project]",
        tempfile.gettempdir(): "[tmp]",
        home: "~",
    }
    real = {os.path.realpath(folder): word for folder, word in found.items() if folder}
    folders = {folder.rstrip("/\\"): word for folder, word in (real | found).items()}
    long_enough = [(folder, word) for folder, word in folders.items() if len(folder) > 3]
    ordered = sorted(long_enough, key=lambda pair: (-len(pair[0]), pair[0]))
    return _Surroundings(tuple(ordered), _hosts(), _users(), _secrets())


def _hosts() -> tuple[str, ...]:
    names = {socket.gethostname(), platform.node()}
    return _longest_first(names | {name.partition(".")[0] for name in names})


def _users() -> tuple[str, ...]:
    names = {os.environ.get(variable, "") for variable in ("USER", "LOGNAME", "USERNAME")}
    with contextlib.suppress(KeyError, OSError):  # an account without a name has none to leak
        names.add(getpass.getuser())
    return _longest_first(names)


def _secrets() -> tuple[str, ...]:
    values = {value for name, value in os.environ.items() if _SECRET_NAME.search(name)}
    return _longest_first({value for value in values if len(value) >= _SECRET_LENGTH})


def _longest_first(words: set[str]) -> tuple[str, ...]:
    """Return words so that none is replaced inside a longer one; our own neutral words are no secret."""
    return tuple(sorted(words - {"", "host", "user"}, key=lambda word: (-len(word), word)))


@functools.lru_cache(maxsize=8)
def _replacements(around: _Surroundings) -> tuple[tuple[re.Pattern[str], str], ...]:
    pairs = [(re.compile(re.escape(secret)), "[secret]") for secret in around.secrets]
    pairs += [(_path(folder), word) for folder, word in around.folders]
    pairs += [(_host(name), "host") for name in around.hosts]
    pairs += [(_user(name), "user") for name in around.users]
    return tuple(pairs)


def _path(folder: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.]){re.escape(folder)}(?![\w-]|\.\w)")


def _host(name: str) -> re.Pattern[str]:
    word = re.escape(name)
    return re.compile(rf"(?<=@){word}\b" if _is_ordinary(name) else rf"(?<!\w){word}(?!\w)")


def _user(name: str) -> re.Pattern[str]:
    word = re.escape(name)
    return re.compile(rf"\b{word}(?=@)" if _is_ordinary(name) else rf"(?<!\w){word}(?!\w)")


def _is_ordinary(name: str) -> bool:
    return len(name) < 4 or name.lower() in _ORDINARY or name.isdigit()


def _leaks(text: str) -> list[Leak]:
    around = _surroundings()
    patterns = list(_PATTERNS.items())
    patterns += [("secret from the environment", re.compile(re.escape(value))) for value in around.secrets]
    patterns += [("host name", _host(name)) for name in around.hosts]
    patterns += [("user name", _user(name)) for name in around.users]
    found = [Leak(kind, _excerpt(kind, match[0])) for kind, regex in patterns for match in regex.finditer(text)]
    return found + [Leak("address", match) for match in addresses.find(text)]


def _excerpt(kind: str, match: str) -> str:
    """Return enough to find a leak by; a secret shows its first letters only."""
    open_kinds = ("home path", "e-mail address", "host name", "user name")
    return match[:60] if kind in open_kinds else f"{match[:4]}…"
