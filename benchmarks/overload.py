"""Three times as much as the venue can do, for a minute.

First the peak: 20 connections that each keep as many requests under way as an account may. Then
calm, a tenth of that on a schedule; the flood, three times the peak on a schedule; and calm again.
The schedule does not wait for the server: delays count from the time a request was due. Two things
keep a client from a promise: the venue refuses what an account has under way beyond its share
(10047), and a socket that is full takes nothing; such a request is given up at once, and counted.

    python benchmarks/overload.py [--quick]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Final

import attrs

# Python puts this file's own directory first, and there `book` would be another benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.crowd import Crowd, Trader, log_in, memory, open_peers, percentile
from benchmarks.figures import Figure, command, durable_venue

CONNECTIONS: Final = 20
UNDER_WAY: Final = 8
"""What an account may have undecided by default."""

SEND_BUFFER: Final = 8_192
"""A client that follows a market does not queue stale orders by the thousand."""

LIMITS: Final = """
enabled = true
matching_per_second = 1000000
matching_burst = 1000000
"""
TIMES: Final = 3
CALM: Final = 0.1
TICK_SECONDS: Final = 0.0003
NORMAL_SECONDS: Final = 2.0
MEBIBYTE: Final = 2**20


@attrs.define
class Phase:
    """What came of a schedule: counts, delays in seconds, the server's memory at some moments."""

    seconds: float
    offered: int
    accepted: int
    refused: int
    given_up: int
    delays: list[float]
    behind: float
    memory: list[int]

    @property
    def rate(self) -> float:
        """Accepted per second."""
        return self.accepted / self.seconds

    @property
    def p99(self) -> float:
        """Milliseconds."""
        return percentile(self.delays, 99) * 1e3

    def show(self, name: str) -> None:
        """Print it in a line."""
        counts = {
            "offered": self.offered,
            "accepted": self.accepted,
            "refused": self.refused,
            "not taken by a socket": self.given_up,
        }
        rates = (f"{count / self.seconds:,.0f}/s {kind}" for kind, count in counts.items())
        delays = f"p50 {percentile(self.delays, 50) * 1e3:.1f} ms, p99 {self.p99:.1f} ms"
        used = f"{min(self.memory) / MEBIBYTE:.1f} to {max(self.memory) / MEBIBYTE:.1f} MiB"
        late = f"client behind by {self.behind * 1e3:.0f} ms at most"
        print(f"  {name}: {', '.join(rates)}; {delays}; {used}; {late}", flush=True)


class Load:
    """The traders of one venue, and their one crowd."""

    def __init__(self, url: str, pid: int) -> None:
        peers = open_peers(url, CONNECTIONS, send_buffer=SEND_BUFFER)
        log_in(peers, range(CONNECTIONS))
        self.pid = pid
        self.traders = [Trader(peer) for peer in peers]
        self._by_peer = {trader.peer: trader for trader in self.traders}
        self._crowd = Crowd(peers)

    def read(self, seconds: float, answered: Callable[[Trader], None] | None = None) -> None:
        """Take what has come within some time."""
        for peer, messages in self._crowd.read(seconds):
            assert not peer.ended, "a client was cut"
            peer.flush()
            for message in messages:
                if self._by_peer[peer].handle(message) and answered:
                    answered(self._by_peer[peer])

    def finish(self) -> None:
        """Take every answer that is due."""
        end = perf_counter() + 10
        while any(trader.due for trader in self.traders):
            assert perf_counter() < end, "requests without an answer"
            for trader in self.traders:
                trader.peer.flush()
            self.read(0.01)

    def peak(self, seconds: float) -> float:
        """Answers per second when every answer makes a request."""
        end = perf_counter() + seconds

        def answered(trader: Trader) -> None:
            if perf_counter() < end:
                trader.ask(perf_counter())

        for trader in self.traders * UNDER_WAY:
            trader.ask(perf_counter())
        while perf_counter() < end:
            self.read(0.01, answered)
        self.finish()
        phase = self._phase(seconds, 0, 0, 0.0, [])
        assert not phase.refused, "the peak was refused"
        return phase.rate

    def offer(self, per_second: float, seconds: float) -> Phase:
        """Requests on a schedule, whatever becomes of them."""
        start = perf_counter()
        number = given_up = 0
        behind, used = 0.0, [memory(self.pid)]
        while (now := perf_counter()) < start + seconds:
            # What is due by now goes in one write each, as far as the sockets take any.
            free = {trader for trader in self.traders if not trader.peer.unsent}
            for trader in free:
                trader.peer.cork()
            behind = max(behind, now - start - number / per_second)
            while (due := start + number / per_second) <= now:
                trader = self.traders[number % CONNECTIONS]
                number += 1
                if trader in free:
                    trader.ask(due)
                else:
                    given_up += 1
            for trader in free:
                trader.peer.uncork()
            if now - start > len(used):
                used.append(memory(self.pid))
            self.read(max(0.0, due - perf_counter()))
            # The venue shares two processors with us: between two looks it may have both.
            time.sleep(TICK_SECONDS)
        self.finish()
        used.append(memory(self.pid))
        return self._phase(seconds, number, given_up, behind, used)

    def _phase(
        self, seconds: float, offered: int, given_up: int, behind: float, used: list[int]
    ) -> Phase:
        """What the traders remember, who then forget it."""
        delays = [delay for trader in self.traders for delay in trader.delays]
        refused = sum(sum(trader.refusals.values()) for trader in self.traders)
        for trader in self.traders:
            trader.delays, trader.refusals = [], {}
        return Phase(seconds, offered, len(delays), refused, given_up, delays, behind, used)


def normal_after(load: Load, per_second: float, usual: float) -> float:
    """Seconds of calm load until its p99, in half seconds, is at most twice what it was."""
    start = perf_counter()
    while perf_counter() - start < 10:
        began = perf_counter()
        if load.offer(per_second, 0.5).p99 <= 2 * usual:
            return began - start
    return float("inf")


def verdicts(peak: float, calm: Phase, flood: Phase, after: float) -> Sequence[Figure]:
    """The four figures."""
    growth = (max(flood.memory) - flood.memory[len(flood.memory) // 6]) / MEBIBYTE
    name = f"overload, {TIMES} x {peak:,.0f}/s for {flood.seconds:.0f} s"
    share, times = flood.rate / peak, flood.p99 / calm.p99
    return [
        Figure(
            f"{name}: accepted",
            "≥ 90 % of peak",
            f"{flood.rate:,.0f}/s, {share:.0%} ({flood.offered / flood.seconds:,.0f}/s offered)",
            share >= 0.9,
        ),
        Figure("overload: memory", "flat", f"+{growth:.1f} MiB after the first sixth", growth < 8),
        Figure(
            "overload: p99 of accepted",
            "≤ 10 x unloaded",
            f"{flood.p99:.0f} ms, {times:.1f} x {calm.p99:.1f} ms",
            times <= 10,
        ),
        Figure(
            "overload: normal again",
            "≤ 2 s after",
            f"after {after:.1f} s" if after < 10 else "not in 10 s",
            after <= NORMAL_SECONDS,
        ),
    ]


def measure(quick: bool) -> Sequence[Figure]:
    """One flood; its length makes up for rounds."""
    seconds = 3.0 if quick else 60.0
    with durable_venue(CONNECTIONS, limits=LIMITS) as (url, pid):
        load = Load(url, pid)
        load.peak(1.0)
        peak = load.peak(seconds / 6)
        calm = load.offer(CALM * peak, seconds / 6)
        calm.show("calm")
        flood = load.offer(TIMES * peak, seconds)
        flood.show("flood")
        after = normal_after(load, CALM * peak, calm.p99)
    return verdicts(peak, calm, flood, after)


if __name__ == "__main__":
    command(__doc__, measure)
