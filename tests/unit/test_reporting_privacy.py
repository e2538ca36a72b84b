"""The gate: what is private is replaced where it is known, and refused where it is not."""

import base64
import getpass
import os
import socket
import sys
import time

import pytest

from bench_utils import privacy
from bench_utils.privacy import PrivacyError, check, clean, require_clean
from bench_utils.privacy.addresses import find


def png_that_spells(word: str) -> str:
    """An embedded PNG whose base64 holds a word."""
    content = b"\x89PNG\r\n\x1a\n" + b"." + base64.b64decode(word) + b"IEND\xaeB`\x82"
    address = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    assert word in address
    return address


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """A machine with telling names."""
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("USER", "ada.lovelace")
    monkeypatch.setenv("TMPDIR", "/scratch/ada")
    monkeypatch.setenv("HF_HOME", "/data/hub")
    monkeypatch.setenv("SERVICE_TOKEN", "correct-horse-battery")
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/scratch/ada")
    monkeypatch.setattr(socket, "gethostname", lambda: "analytical-engine.lab.example")
    monkeypatch.setattr(getpass, "getuser", lambda: "ada.lovelace")


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("/home/ada/x.py:3", "~/x.py:3"),
        ("in /scratch/ada/k.json", "in [tmp]/k.json"),
        ("/data/hub/models--gpt2", "[hub cache]/models--gpt2"),
        ("on analytical-engine.lab.example today", "on host today"),
        ("analytical-engine: out of memory", "host: out of memory"),
        ("by ada.lovelace", "by user"),
        ("token=correct-horse-battery", "token=[secret]"),
        ("/home/adamant/x", "/home/adamant/x"),
        ("read from /home/ada.", "read from ~."),
        (f"{sys.prefix}/lib/site.py", "[environment]/lib/site.py"),
        (f"{os.getcwd()}/report.ipynb", "[project]/report.ipynb"),  # noqa: PTH109
        ("nothing private here", "nothing private here"),
    ],
)
@pytest.mark.usefixtures("machine")
def test_the_machines_own_words_are_replaced(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


LEAKS = {
    "home path": [
        "/home/grace/models/gpt2",
        "file:///home/grace/x",
        "File /root/project/a.py, line 3",
        "cd /root",
        "/Users/grace/Library",
        r"C:\Users\grace\x",
        r"C:\\Users\\grace",
        "/mnt/c/Users/grace",
        "/nfs/home/grace/x",
        "read from /data/cluster/home/grace.",
        "boom:\\n/home/grace/x.cpp",
        '"\\u002fhome\\u002fgrace"',
        "data:image/png;base64,AAAA\n/home/grace/models",
        "/ho<u>me/grace/x</u>",
        "<text>/ho<tspan>me/grace</tspan></text>",
        '<img alt="&#47;home&#47;grace">',
        '<span class="o">/</span><span class="n">home</span><span class="o">/</span><span class="n">grace</span>',
    ],
    "token": [
        "hf_abcdefghijABCDEFGHIJklmnop",
        "ghp_0123456789abcdefghij0123456789abcdef",
        "said\\nhf_abcdefghijABCDEFGHIJklmnop",
        "hf_abcdefghij<mark>ABCDEFGHIJklmnop</mark>",
        '<a title="hf&#95;abcdefghijABCDEFGHIJklmnop">',
        "github_pat_11ABCDEFG0abcdefghijkl",
        "sk-proj-abcdefghijklmnopqrstuvwx",
        "Authorization: Bearer abcdefghijklmnopqrstuvwx",
    ],
    "AWS key": ["AKIAIOSFODNN7EXAMPLE", "aws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"],
    "private key": ["-----BEGIN OPENSSH PRIVATE KEY-----"],
    "e-mail address": ["write to grace.hopper@navy.example.org", "someone@example.com"],
    "GPU serial": [
        "GPU-5d1e8f2a-1c2d-3e4f-5a6b-7c8d9e0f1a2b",
        "MIG-5d1e8f2a-1c2d-3e4f-5a6b-7c8d9e0f1a2b",
        "Serial Number : 1322021045678",
        "serial=1322021045678",
    ],
    "address": [
        "http://192.168.1.20:8888/lab",
        "10.1.2.3",
        "inet 54.12.33.8",
        "fe80::1ff:fe23:4567:890a",
        "at fe80::1ff:fe23:4567:890a.",
        "2001:db8::198.51.100.7 answered",
        "00:1a:2b:3c:4d:5e",
    ],
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in LEAKS.items() for text in texts])
def test_leaks_are_found(kind: str, text: str) -> None:
    assert kind in {leak.kind for leak in check(f"<p>{text}</p>")}


@pytest.mark.parametrize(
    "text",
    [
        "torch 2.13.0.1 and transformers 5.23.0",
        "2.13.0.1",
        "nvidia-curand-cu12==10.3.5.147, nvidia-cublas-cu12 12.4.5.8, cudnn 9.10.2.21",
        "driver version: 10.1.2.3",
        "listening on 127.0.0.1:8888",
        "https://github.com/org/home/page and git@github.com",
        "at 12:30:45, x[::2], std::vector, 1e-5",
        "the home directory, a root node, user time, host overhead",
        "Intel(R) Xeon(R) CPU @ 2.50GHz",
        "a 95 % interval of 1.79 to 1.88 ms over 10.000 samples",
        "serialized in serial: not in parallel",
        "sk-learn, hf_hub, ghp_x",
        "<td>10.2</td><td>1.3</td><td>4.5</td>",
        f'<img src="{png_that_spells("AKIAIOSFODNN7EXAMPLE")}">',
    ],
)
def test_ordinary_text_passes(text: str) -> None:
    assert check(text) == []


@pytest.mark.usefixtures("machine")
def test_the_machines_own_names_are_leaks() -> None:
    kinds = {leak.kind for leak in check("ada.lovelace ran this on analytical-engine with correct-horse-battery")}
    assert kinds == {"user name", "host name", "secret from the environment"}


def test_ordinary_words_are_names_only_in_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "vm")
    monkeypatch.setattr(getpass, "getuser", lambda: "root")
    for variable in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    assert check("the root of the vm tree") == []
    assert clean("the root of the vm tree") == "the root of the vm tree"
    assert clean("root@vm:~#") == "user@host:~#"
    assert {leak.kind for leak in check("root@vm")} >= {"user name", "host name"}
    assert check("user@host") == []


@pytest.mark.parametrize("name", ["epyc", "h100", "Will"])
def test_names_that_devices_and_sentences_have_are_ordinary(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    monkeypatch.setenv("USER", name)
    text = f"It {name} run on nvidia-{name}-pcie"
    assert check(text) == [] and clean(text) == text


def test_a_long_run_of_colons_is_read_once() -> None:
    started = time.process_time()
    assert find(":" * 10_000 + "The") == []
    assert time.process_time() - started < 5  # backtracking took the cube of the length: hours


def test_an_error_names_the_leak_without_repeating_a_secret() -> None:
    with pytest.raises(PrivacyError, match=r"page\.html would publish token \(hf_a…\)") as caught:
        require_clean("hf_abcdefghijABCDEFGHIJklmnop", "page.html")
    assert caught.value.leaks == [privacy.Leak("token", "hf_a…")]


def test_short_values_in_the_environment_are_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISABLE_TOKEN_CACHE", "1")
    assert check("1 of 1") == []


def test_public_addresses_need_a_sign_of_the_network() -> None:
    assert find("8.8.4.4 rows") == []
    assert find("connect to 8.8.4.4") == ["8.8.4.4"]
    assert find("8.8.4.4:53") == ["8.8.4.4"]
    assert find("999.1.1.1") == []
