"""What a flood costs a polite client: 10 orders a second, while 50 connections send all they can.

The flood is a process of its own. Each of its connections writes requests for as long as the
kernel takes them, and reads the answers. The polite client places and cancels on a schedule, and
its delays count from the schedule.

    python benchmarks/victim.py [--quick]
"""

from __future__ import annotations

import sys
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import median
from time import perf_counter

# Python puts this file's own directory first, and there `book` would be another benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.background import in_background
from benchmarks.crowd import Crowd, Peer, Trader, log_in, open_peers, percentile
from benchmarks.figures import Figure, command, durable_venue

FLOODERS = 50
PER_SECOND = 10
AHEAD = 400
"""Requests that a flooder has under way: more than the venue reads before it has answered."""


def flood(url: str, begun: Event, enough: Event) -> None:
    """Send all that goes, until told that it is enough."""
    peers = open_peers(url, FLOODERS)
    log_in(peers, range(1, FLOODERS + 1))
    traders = {peer: Trader(peer) for peer in peers}
    crowd = Crowd(peers)
    begun.set()
    while not enough.is_set():
        for peer, trader in traders.items():
            peer.flush()
            while len(trader.due) < AHEAD and not peer.unsent:
                trader.ask(perf_counter())
        for peer, messages in crowd.read(0.001):
            assert not peer.ended, "a flooder was cut"
            for message in messages:
                traders[peer].handle(message)
    answered = sum(len(trader.delays) for trader in traders.values())
    refused = sum(sum(trader.refusals.values()) for trader in traders.values())
    print(f"  flood: {answered:,} accepted, {refused:,} refused", flush=True)
    crowd.close()


def polite(peer: Peer, seconds: float) -> Trader:
    """Place and cancel on a schedule; returns what came of it."""
    trader, crowd = Trader(peer), Crowd([peer])
    start = perf_counter()
    for number in range(int(seconds * PER_SECOND)):
        due = start + number / PER_SECOND
        while (left := due - perf_counter()) > 0:
            listen(crowd, trader, left)
        trader.ask(due)
    end = perf_counter() + 10
    while trader.due and perf_counter() < end:
        listen(crowd, trader, 0.1)
    assert not trader.due, "requests without an answer"
    return trader


def listen(crowd: Crowd, trader: Trader, seconds: float) -> None:
    """Hear what comes within some time. The rounded wait must not become a busy one here."""
    for peer, messages in crowd.read(seconds + 0.001):
        assert not peer.ended, "the polite client was cut"
        for message in messages:
            trader.handle(message)


def measure(quick: bool) -> list[Figure]:
    """The polite client's delays in calm and in the flood."""
    rounds, seconds = (1, 5.0) if quick else (5, 10.0)
    calm, floods, refused = [], [], 0
    for _ in range(rounds):
        with durable_venue(FLOODERS + 1) as (url, _):
            (peer,) = open_peers(url, 1)
            log_in([peer], [0])
            calm.append(percentile(polite(peer, seconds / 2).delays, 99) * 1e3)
            with in_background(flood, url):
                trader = polite(peer, seconds)
            floods.append(percentile(trader.delays, 99) * 1e3)
            refused += sum(trader.refusals.values())
            peer.socket.close()
        print(f"  p99 calm {calm[-1]:.1f} ms, in the flood {floods[-1]:.1f} ms", flush=True)
    p99 = median(floods)
    return [
        Figure(
            f"victim: {PER_SECOND} orders/s while {FLOODERS} connections flood",
            "p99 ≤ 100 ms; never refused",
            f"p99 {p99:.0f} ms (worst round {max(floods):.0f}, calm {median(calm):.1f}); "
            f"{refused} refused",
            p99 <= 100 and not refused,
        )
    ]


if __name__ == "__main__":
    command(__doc__, measure)
