"""Private facts planted wherever a notebook can carry them: none comes out, and a refusal says where to look."""

import base64
import getpass
import re
import socket
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output, new_raw_cell

from bench_utils.privacy import PrivacyError
from bench_utils.reporting.publish import publish
from tests.hostile import PNG, code, placed, png, report, shown

STRANGERS = {
    "home-path": "/home/grace/secret",
    "mac-path": "/Users/grace/Library/x",
    "windows-path": r"C:\Users\grace\x",
    "e-mail": "grace@navy.example.org",
    "address": "192.168.7.7",
    "address-six": "fe80::1ff:fe23:4567:890a",
    "hardware-address": "00:1a:2b:3c:4d:5e",
    "hub-token": "hf_abcdefghijABCDEFGHIJklmnop",
    "git-token": "ghp_0123456789abcdefghij0123456789abcdef",
    "cloud-key": "AKIAIOSFODNN7EXAMPLE",
    "private-key": "-----BEGIN OPENSSH PRIVATE KEY-----",
    "gpu-uuid": "GPU-5d1e8f2a-1c2d-3e4f-5a6b-7c8d9e0f1a2b",
    "gpu-serial": "serial: 1322021045678",
}

TABLE = {"kind": "table", "name": "t", "caption": "c"}


def drawn(words: str) -> str:
    return f"<svg xmlns='http://www.w3.org/2000/svg'><text>{words}</text></svg>"


def benched(**bench: object) -> nbformat.NotebookNode:
    return shown({"text/plain": "x", "image/png": PNG}, bench)


# What a reader would see there is refused.
SHOWN = {
    **{place: lambda w, place=place: placed(w, place) for place in ("stdout", "stderr", "plain", "error", "code")},
    "markdown": lambda w: placed(w, "markdown"),
    "title": lambda w: placed(w, "title"),
    "traceback": lambda w: report(code("f()", new_output("error", ename="E", evalue="e", traceback=["x", w]))),
    "warning": lambda w: placed(f"{w}: UserWarning: deprecated", "stderr"),
    "html": lambda w: shown({"text/html": f"<p>at {w}</p>"}),
    "html-in-pieces": lambda w: shown({"text/html": f"<p>at {w[:3]}<b>{w[3:7]}</b><span>{w[7:]}</span></p>"}),
    "terminal-codes-between": lambda w: placed(f"{w[:4]}\x1b[1m{w[4:]}\x1b[0m", "stdout"),
    "hidden-letters-between": lambda w: placed(f"{w[:4]}\u200b{w[4:]}", "stdout"),
    "drawing": lambda w: shown({"image/svg+xml": drawn(w), "text/plain": "x"}),
    "figure": lambda w: shown({"image/svg+xml": drawn(w)}, {"kind": "figure", "name": "f", "caption": "c", "alt": "a"}),
    "alt": lambda w: benched(kind="figure", name="f", caption="c", alt=f"see {w}"),
    "caption": lambda w: benched(kind="figure", name="f", caption=f"see {w}", alt="a"),
    "figure-data": lambda w: benched(
        kind="figure", name="f", caption="c", alt="a", columns=[["m", "m", False]], rows=[{"m": w}]
    ),
    "table": lambda w: benched(**TABLE, columns=[["m", "m", False]], rows=[{"m": w}]),
    "column": lambda w: benched(**TABLE, columns=[["m", w, False]], rows=[]),
    "column-not-shown": lambda w: benched(**TABLE, columns=[["m", "m", False]], rows=[{"m": 1, "n": w}]),
    "sentence": lambda w: benched(kind="prose", parts=[["see ", False], [w, True]]),
    "claim": lambda w: benched(kind="claims", claims=[{"id": "C", "text": "t", "verdict": "refuted", "reason": w}]),
    "facts": lambda w: benched(kind="facts", name="provenance", title="t", facts=[["where", w]]),
    "model-text": lambda w: benched(kind="text", name="n", caption="c", text=w),
}

# What no reader sees is left out of what is published.
UNSEEN = {
    "notebook-metadata": lambda w: _with_metadata(w),
    "raw-cell": lambda w: report(new_raw_cell(w)),
    "comment": lambda w: report(new_markdown_cell(f"words <!-- {w} --> words")),
    "removed-cell": lambda w: report(new_code_cell(w, metadata={"tags": ["remove-cell"]})),
    "attachment": lambda w: report(new_markdown_cell("x", attachments={"a.txt": {"text/plain": w}})),
    "output-of-another-kind": lambda w: shown({"application/x-facts": w, "text/plain": "x"}),
    "json-beside-the-text": lambda w: shown({"application/json": {"k": w}, "text/plain": "x"}),
    "html-attribute": lambda w: shown({"text/html": f"<p id='{w}' class='{w}' data-x='{w}'>words</p>"}),
    "drawings-metadata": lambda w: shown(
        {"image/svg+xml": drawn("x").replace("<text", f"<!-- {w} --><metadata>{w}</metadata><text")}
    ),
    "picture": lambda w: shown({"image/png": base64.b64encode(png(w)).decode(), "text/plain": "x"}),
    "picture-of-a-figure": lambda w: shown(
        {"image/png": base64.b64encode(png(w)).decode()}, {"kind": "figure", "name": "f", "caption": "c", "alt": "a"}
    ),
    "picture-in-html": lambda w: shown({"text/html": f"<img src='{_uri(png(w))}' alt='x'>"}),
    "picture-in-markdown": lambda w: report(new_markdown_cell(f"![x]({_uri(png(w))})")),
    "picture-in-a-drawing": lambda w: shown(
        {"image/svg+xml": f"<svg xmlns='http://www.w3.org/2000/svg'><image href='{_uri(png(w))}'/></svg>"}
    ),
    "photograph": lambda w: shown(
        {"image/jpeg": base64.b64encode(b"\xff\xd8\xff\xe1" + w.encode()).decode(), "text/plain": "x"}
    ),
}


def _uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _with_metadata(words: str) -> nbformat.NotebookNode:
    nb = report(code())
    nb.metadata |= {"authors": [{"name": words}], "papermill": {"output_path": words}, "widgets": {"state": words}}
    nb.cells[1].metadata |= {"note": words, "execution": {"host": words}}
    return nb


def published(nb: nbformat.NotebookNode, root: Path, **facts: object) -> bytes:
    """Publish; return every byte that was written, embedded pictures also as they are inside."""
    publish(nb, root=root, report="r", device="d", facts={"run": "r", "identity": {}} | facts)
    return written(root)


def written(root: Path) -> bytes:
    content = b"".join(path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file())
    inside = [base64.b64decode(found) for found in re.findall(rb"base64,([A-Za-z0-9+/=]+)", content)]
    return b"".join([content, *inside])


def _refused(nb: nbformat.NotebookNode, root: Path, **facts: object) -> None:
    where = r"r\.html|r\.json|f\.svg"
    with pytest.raises(PrivacyError, match=rf"^({where}) would publish .*: remove it .*, render again$") as caught:
        published(nb, root, **facts)
    assert caught.value.leaks
    assert written(root) == b""


@pytest.mark.parametrize("place", SHOWN)
def test_what_a_reader_would_see_is_refused(place: str, tmp_path: Path) -> None:
    _refused(SHOWN[place](STRANGERS["home-path"]), tmp_path)


@pytest.mark.parametrize("canary", STRANGERS)
@pytest.mark.parametrize("place", ["stdout", "code", "table", "drawing"])
def test_every_kind_of_private_fact_is_refused(place: str, canary: str, tmp_path: Path) -> None:
    _refused(SHOWN[place](f"{STRANGERS[canary]} there"), tmp_path)


@pytest.mark.parametrize("place", UNSEEN)
def test_what_no_reader_sees_is_left_out(place: str, tmp_path: Path) -> None:
    content = published(UNSEEN[place](STRANGERS["home-path"]), tmp_path)
    assert b"<h1>T</h1>" in content and b"grace" not in content


@pytest.mark.parametrize("fact", ["identity", "stack", "downloads"])
def test_facts_of_the_run_pass_the_same_gate(fact: str, tmp_path: Path) -> None:
    words = STRANGERS["home-path"]
    values = {"identity": {"where": words}, "stack": words, "downloads": [(words, "x.json")]}
    _refused(report(), tmp_path, **{fact: values[fact]})


TELLING = """
import os, pathlib, sys, warnings
home, user, token = os.environ["HOME"], os.environ["USER"], os.environ["SERVICE_TOKEN"]
host = "analytical-engine"
"""
TALKING = [
    "print(home, user, token, f'{user}@{host}.lab.example', sep='\\n')",
    "print(home, token, file=sys.stderr)",
    "warnings.warn(f'{home}/model is deprecated on {host}')",
    "os.system('echo $HOME $SERVICE_TOKEN')",
    "home, {'token': token, 'user': user}",
    "import logging; logging.error('%s on %s as %s', token, host, user)",
    "from bench_utils.reporting import display as bu\n"
    "bu.say('{a} by {b}', a=home, b=user)\n"
    "bu.show_table([{'path': home, 'key': token, host: user}], caption=f'From {host}', name='t')\n"
    "bu.show_facts(home, {user: token, 'host': host}, name='provenance')\n"
    "bu.show_code_text(f'{home} {token}', f'By {user}', name='x')",
    "import matplotlib.pyplot as plt\nfig, ax = plt.subplots(figsize=(2, 2))\nax.set_title(host)\n"
    "bu.show_figure(fig, 'f', f'On {host}', f'In {home}', data=[{'key': token}])",
    "from IPython.display import HTML, Markdown\ndisplay(HTML(f'<p>{home} {token}</p>'), Markdown(f'`{user}@{host}`'))",
    "sys.path.insert(0, home)\nimport telling\ntelling.fail(token)",
]


def test_a_machine_gives_nothing_away_through_a_real_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Home, account, host and token, printed, warned of, raised, drawn and tabled: the page has neutral words."""
    from test_reporting_sample import run_notebook

    home, place = tmp_path / "home-of-lovelace", tmp_path / "project"
    home.mkdir(), place.mkdir()
    (home / "telling.py").write_text("def fail(token):\n    raise RuntimeError(f'{__file__} with {token}')\n")
    for name, value in {"HOME": str(home), "USER": "ada.lovelace", "SERVICE_TOKEN": "correct-horse-battery"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(socket, "gethostname", lambda: "analytical-engine.lab.example")
    monkeypatch.setattr(getpass, "getuser", lambda: "ada.lovelace")
    done, nb = run_notebook(report(code(TELLING), *map(code, TALKING)), place)
    assert (done.status, done.failed_cell) == ("failed", len(TALKING) + 1), done.message
    assert "correct-horse-battery" in nbformat.writes(nb)
    content = published(nb, tmp_path / "site")
    for word in (str(home), "lovelace", "correct-horse", "analytical-engine", str(tmp_path)):
        assert word.encode() not in content, word
    assert content.count(b"[secret]") > 10 and content.count(b"~/telling.py") > 1 and b"user@host" in content
