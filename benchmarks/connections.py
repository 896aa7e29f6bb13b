"""Five thousand connections: what each takes, how fast they open, how soon all have a heartbeat.

All are logged in, to a hundred accounts. Memory is what the server's process has more of than
before. Each connection asks for heartbeats, all as fast as they can; of the next whole round of
them it counts how late each beat came after its interval.

    python benchmarks/connections.py [--quick]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Final

import msgspec

# Python puts this file's own directory first, and there `book` would be another benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.crowd import Crowd, Peer, log_in, memory, open_peers, percentile, request
from benchmarks.figures import Figure, command, durable_venue
from benchmarks.load import cpu_seconds

ACCOUNTS: Final = 100
INTERVAL: Final = 10
KIBIBYTE: Final = 1_024


def heartbeats(peers: Sequence[Peer]) -> tuple[list[float], float]:
    """How late the beats of one round came, in seconds, and how long all of it took."""
    crowd = Crowd(peers)
    asked: dict[Peer, float] = {}
    ask = msgspec.json.encode(request(0, "public/set_heartbeat", {"interval": INTERVAL}))
    for peer in peers:
        peer.send(ask)
    beats: dict[Peer, float] = {}
    end = perf_counter() + 3 * INTERVAL
    while len(beats) < len(peers) and perf_counter() < end:
        for peer, messages in crowd.read(0.01):
            assert not peer.ended, "a client was disconnected"
            now = perf_counter()
            for message in messages:
                if b'"heartbeat"' in message:
                    beats.setdefault(peer, now)
                else:
                    asked[peer] = now
    assert len(beats) == len(peers), f"{len(peers) - len(beats)} had no heartbeat"
    late = [beats[peer] - asked[peer] - INTERVAL for peer in peers]
    return late, max(beats.values()) - min(beats.values())


def measure(quick: bool) -> list[Figure]:
    """One round: it opens as many as the table says."""
    count = 500 if quick else 5_000
    with durable_venue(count, accounts=ACCOUNTS) as (url, pid):
        before, start, used = memory(pid), perf_counter(), cpu_seconds(pid)
        peers = open_peers(url, count)
        opened = perf_counter()
        log_in(peers, (number % ACCOUNTS for number in range(count)))
        logged_in = perf_counter()
        each = (memory(pid) - before) / count / KIBIBYTE
        cpu = (cpu_seconds(pid) - used) / count
        late, whole = heartbeats(peers)
        for peer in peers:
            peer.socket.close()
    return [
        Figure(
            f"connections: {count:,} open and logged in",
            "≤ 40 KiB of memory each",
            f"{each:.1f} KiB",
            each <= 40,
        ),
        Figure(
            "connections: opening rate",
            "given",
            f"{count / (opened - start):,.0f}/s, and {count / (logged_in - opened):,.0f} log-ins"
            f"/s; {cpu * 1e6:.0f} µs of processor for both",
        ),
        Figure(
            "connections: a heartbeat round of all",
            "within 2 s",
            f"{whole:.2f} s; late by {percentile(late, 50) * 1e3:.0f} ms (median), "
            f"{max(late) * 1e3:.0f} ms (most)",
            whole <= 2,
        ),
    ]


if __name__ == "__main__":
    command(__doc__, measure)
