"""Planted failures of servers: time in their queue, answers that are shorter, come from a cache, or overlap."""

import contextlib

import pytest
from pydantic import ValidationError

from bench_utils.backends.client import Client
from bench_utils.backends.stream import Dialect
from bench_utils.cells import Scenario
from bench_utils.errors import CellError
from tests.faults.catalogue import LET_PASS, guards
from tests.services.faulty_server import MODEL, QUEUE_SECONDS, serving

PROMPT = list(range(12))


def answered(fault, new_tokens=8, phase="e2e"):
    """The whole answer of a server with that fault."""
    with serving(fault) as server, contextlib.closing(Client(server.url, Dialect(MODEL), limit=5.0)) as client:
        return client.complete(PROMPT, len(PROMPT), new_tokens, phase).rest()


def from_the_first_token(stream, phase):
    """Stands in for the clock: it starts when the server begins to answer."""
    return (stream.last - stream.first) / 1e6


@guards("B64", without={"bench_utils.backends.stream.Stream.latency_ms": from_the_first_token})
def test_time_in_a_servers_queue_is_part_of_the_latency():
    assert answered("queues").latency_ms("e2e") >= 1e3 * QUEUE_SECONDS
    assert answered("none").latency_ms("e2e") < 1e3 * QUEUE_SECONDS


@guards("B17", without={"bench_utils.backends.stream.Stream.check": lambda *_: None})
def test_a_server_that_stops_early_gives_no_latency():
    with pytest.raises(CellError, match="asked for 8 tokens, got 5") as caught:
        answered("stops early")
    assert caught.value.status == "short_output"


@guards("B11", without={"bench_utils.cells.Strict": LET_PASS}, construction=True)
def test_requests_never_overlap_so_that_none_can_be_counted_twice():
    with pytest.raises(ValidationError, match="concurrency"):
        Scenario(prompt_tokens=32, new_tokens=16, concurrency=2)
