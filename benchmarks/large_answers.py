"""What large answers cost a polite client: 10 orders a second, while another asks for all its own.

The other client has 8,541 open orders, 4.4 MB of them, and asks for them 12 times a second; in a
second run it asks for the whole book, 1,900 levels. It is a process of its own, and rate limits are
off, which would cut it after a few. The polite client's delays count from its schedule.

    python benchmarks/large_answers.py [--quick]
"""

from __future__ import annotations

import socket
import sys
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Final

import msgspec

# Python puts this file's own directory first, and there `book` would be another benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.background import in_background
from benchmarks.crowd import Peer, frame, log_in, open_peers, percentile, request
from benchmarks.figures import Figure, command, durable_venue
from benchmarks.victim import polite

ORDERS: Final = 8_541
PER_SECOND: Final = 12
AT_ONCE: Final = 64
LOWEST: Final = 64_025
"""The first tick of the price band: there is a level for one order in five."""

QUESTIONS: Final = {
    "get_open_orders": ("private/get_open_orders", {}),
    "get_order_book": (
        "public/get_order_book",
        {"instrument_name": "BTC-PERPETUAL", "depth": 10_000},
    ),
}


def rest(peer: Peer) -> None:
    """Place the orders, some at a time."""
    for begin in range(0, ORDERS, AT_ONCE):
        numbers = range(begin, min(begin + AT_ONCE, ORDERS))
        with peer.corked():
            for number in numbers:
                params = {
                    "instrument_name": "BTC-PERPETUAL",
                    "amount": 10,
                    "price": LOWEST + number % 1_900 / 2,
                    "label": f"order-{number}",
                }
                peer.send(msgspec.json.encode(request(number, "private/buy", params)))
        answered = 0
        while answered < len(numbers):
            assert peer.readable(30), "no answer"
            messages = peer.receive()
            assert not peer.ended, "the venue closed the connection"
            for message in messages:
                assert b'"error":' not in message, message
            answered += len(messages)


def pass_over(connected: socket.socket) -> int:
    """Read one message and forget it; returns its length."""
    head = _read(connected, 2)
    length = head[1]
    if length >= 126:
        length = int.from_bytes(_read(connected, 2 if length == 126 else 8))
    left = length
    while left:
        got = len(connected.recv(min(left, 2**18)))
        assert got, "the venue closed the connection"
        left -= got
    return length


def _read(connected: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connected.recv(count - len(data))
        assert more, "the venue closed the connection"
        data += more
    return data


def ask(url: str, question: str, begun: Event, enough: Event) -> None:
    """Ask on a schedule until `enough` is set; slower where answers take longer."""
    (peer,) = open_peers(url, 1)
    log_in([peer], [1])
    rest(peer)
    peer.socket.settimeout(30)
    asked = frame(msgspec.json.encode(request(1, *QUESTIONS[question])))
    begun.set()
    start = perf_counter()
    count = size = 0
    while not enough.is_set():
        sleep(max(0.0, start + count / PER_SECOND - perf_counter()))
        peer.socket.sendall(asked)
        size = pass_over(peer.socket)
        count += 1
    rate = count / (perf_counter() - start)
    print(f"  {question}: {rate:.1f} answers/s of {size / 1e6:.1f} MB", flush=True)


def measure(quick: bool) -> list[Figure]:
    """The polite client's delays in calm, and beside each question."""
    rounds, seconds = (1, 4.0) if quick else (3, 10.0)
    figures = []
    for question in QUESTIONS:
        calm, beside = [], []
        for _ in range(rounds):
            with durable_venue(2) as (url, _):
                (peer,) = open_peers(url, 1)
                log_in([peer], [0])
                calm.append(percentile(polite(peer, seconds).delays, 99) * 1e3)
                with in_background(ask, url, question, start_seconds=60):
                    trader = polite(peer, seconds)
                assert not trader.refusals, "the polite client was refused"
                beside.append(percentile(trader.delays, 99) * 1e3)
                peer.socket.close()
            print(f"  p99 calm {calm[-1]:.1f} ms, beside it {beside[-1]:.1f} ms", flush=True)
        p99 = median(beside)
        figures.append(
            Figure(
                f"large answers: 10 orders/s beside {PER_SECOND} {question} a second",
                "p99 ≤ 20 ms",
                f"p99 {p99:.1f} ms (worst round {max(beside):.1f}, calm {median(calm):.1f})",
                p99 <= 20,
            )
        )
    return figures


if __name__ == "__main__":
    command(__doc__, measure)
