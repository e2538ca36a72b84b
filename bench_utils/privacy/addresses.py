"""Network addresses in a text, told apart from version numbers that look like them."""

import ipaddress
import re
from collections.abc import Iterator

_QUAD = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
# Possessive, so that a run of ten thousand colons is read once; the end may be a version 4 address.
_COLONS = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]++(?:\.\d+)*+(?![\w:])")
_HARDWARE = re.compile(r"(?<![\w:-])[0-9A-Fa-f]{2}(?:([:-])[0-9A-Fa-f]{2})(?:\1[0-9A-Fa-f]{2}){4}(?![\w:-])")

# What stands right before a version number: an operator, a "v", the word itself, or a package's name.
_VERSION_BEFORE = re.compile(
    r"(?:[=<>~!]=\s*|[vV]|[-_+]|\bver(?:sion)?s?\b\W{0,3}"
    r"|\b(?:c?u?dnn|cuda|cublas|cufft|curand|nccl|driver|mkl|onnxruntime|python|tensorrt|torch|vllm)\b\W{0,3}"
    r"|\b[A-Za-z]+(?:[-_][A-Za-z0-9]+)+[\s|:=]{1,20}|\b[A-Za-z]+\d+[\s|:=]{1,20})$",
    re.IGNORECASE,
)
# What stands around an address: a scheme, an account, or a word of networks; a port or a mask after it.
_NETWORK_BEFORE = re.compile(
    r"(?:://|@|\[|\b(?:addr(?:ess)?|bind|connect(?:ed)?(?: to)?|from|host|inet|ip|listen(?:ing)?(?: on)?|peer"
    r"|remote|server|ssh|tcp|to|udp|via)\b\W{0,3})$",
    re.IGNORECASE,
)
_NETWORK_AFTER = re.compile(r":\d{2,5}\b|/(?:[12]?\d|3[0-2])\b(?!\.)")
# Global, unique-local and link-local prefixes; other runs of colons are slices, times and scopes of C++.
_SIX_PREFIX = re.compile(r"(?:[23][0-9a-f]{3}|f[cd][0-9a-f]{2}|fe[89ab][0-9a-f]):", re.IGNORECASE)
_HIGHEST_MAJOR = 31  # no package of ours has a four-part version that starts higher


def find(text: str) -> list[str]:
    """Return IPv4, IPv6 and hardware addresses in a text, without loopback and "any" addresses.

    Four numbers with dots are also how versions look. They count as an address next to a scheme, port,
    mask or network word; in a private range unless a package or operator stands before them; and when the
    first number is higher than versions get.
    """
    return [*_quads(text), *_sixes(text), *(match[0] for match in _HARDWARE.finditer(text))]


def _quads(text: str) -> Iterator[str]:
    for match in _QUAD.finditer(text):
        before = text[max(0, match.start() - 60) : match.start()]
        if _is_private_fact(match[0]) and _is_address(match[0], before, text[match.end() : match.end() + 6]):
            yield match[0]


def _is_address(quad: str, before: str, after: str) -> bool:
    if _NETWORK_BEFORE.search(before) or _NETWORK_AFTER.match(after):
        return True
    if _VERSION_BEFORE.search(before):
        return False
    address = ipaddress.ip_address(quad)
    return address.is_private or int(quad.partition(".")[0]) > _HIGHEST_MAJOR


def _sixes(text: str) -> Iterator[str]:
    for match in _COLONS.finditer(text):
        if _SIX_PREFIX.match(match[0]) and _is_private_fact(match[0]):
            yield match[0]


def _is_private_fact(token: str) -> bool:
    try:
        address = ipaddress.ip_address(token)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or int(address) == 0xFFFFFFFF)
