"""The few styles that JupyterLab, which knows nothing of our style sheet, needs on each element itself."""

import re

from .verdicts import LOOKS

_STYLES = {
    "headline": "font-size:1.25em;font-weight:600",
    "claims": "list-style:none;padding-left:0",
    "what": "margin:0.2em 0 0.9em",
    "sentence": "margin:0",
    "measured": "margin:0",
    "reason": "margin:0;opacity:0.8",
    "bound": "font-weight:600",
    "title": "font-weight:600",
    "number": "text-align:right",
    "badge": "padding:0.1em 0.6em;border-radius:1em;white-space:nowrap;font-weight:600",
    **{look.css: f"color:{look.ink};background:{look.tint}" for look in LOOKS.values()},
}
_CLASS = re.compile(r'<(\w+) ((?:scope="col" )?)class="([a-z ]+)"')


def styled(html: str) -> str:
    """Return our own writers' HTML with a `style` beside each class that has one; text is escaped there."""
    return _CLASS.sub(_with_style, html)


def _with_style(match: re.Match[str]) -> str:
    tag, scope, classes = match.groups()
    words = classes.split()
    styles = [_STYLES[word] for word in words if word in _STYLES and not (word == "bound" and tag == "span")]
    return match[0] + (f' style="{";".join(styles)}"' if styles else "")
