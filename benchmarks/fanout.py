"""What it costs to tell a thousand connections, and how late they are told.

All clients subscribe to one book and one trades channel of 100 ms, while 2,000 orders a second come
in: most rest at one of many prices and are cancelled, every twentieth trades. Each listener holds
every message against the one before it: nothing may be missing, doubled or out of order. Delays
count from the oldest trade in a message; up to an interval of it is meant to be.

Cost is the server's processor time beyond what the same orders take without listeners, per
message; of few orders, because of many each is the cheaper the busier the server is. Beside it
stands `websockets.broadcast` on asyncio with messages of the same size.

    python benchmarks/fanout.py [--quick]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import attrs
import msgspec

# Python puts this file's own directory first, and there `book` would be another benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.crowd import (
    PRICE,
    Crowd,
    Dealer,
    Peer,
    Trader,
    log_in,
    open_peers,
    percentile,
    request,
)
from benchmarks.figures import Figure, command, durable_venue
from benchmarks.load import cpu_seconds, server

LISTENERS: Final = 1_000
CHANNELS: Final = ("book.BTC-PERPETUAL.100ms", "trades.BTC-PERPETUAL.100ms")
INTERVAL: Final = 0.1
TRADERS: Final = 18
PER_SECOND: Final = 2_000
FEW: Final = 200
DEAL: Final = 65_000

BROADCAST = """
import asyncio, sys
from websockets.asyncio.server import broadcast, serve

async def main(size, period):
    inside = set()

    async def converse(connection):
        inside.add(connection)
        await connection.wait_closed()

    async with serve(converse, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        port = server.sockets[0].getsockname()[1]
        print(f"ws=ws://127.0.0.1:{port}/", flush=True)
        while True:
            await asyncio.sleep(period)
            broadcast(inside, "x" * size)

asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
"""


class _Params(msgspec.Struct):
    channel: str
    data: msgspec.Raw


class _Note(msgspec.Struct):
    params: _Params


class _Book(msgspec.Struct):
    change_id: int
    timestamp: int
    prev_change_id: int | None = None


class _Trade(msgspec.Struct):
    trade_seq: int
    timestamp: int


@attrs.define(frozen=True)
class Link:
    """A message: after which one of its channel it comes, which one it is, since when it is due."""

    channel: str
    after: int | None
    number: int
    since: float


def link(message: bytes) -> Link:
    """What a notification says of its place."""
    params = msgspec.json.decode(message, type=_Note).params
    if params.channel.startswith("book"):
        book = msgspec.json.decode(params.data, type=_Book)
        return Link(params.channel, book.prev_change_id, book.change_id, book.timestamp / 1e3)
    trades = msgspec.json.decode(params.data, type=list[_Trade])
    numbers = [trade.trade_seq for trade in trades]
    assert numbers == list(range(numbers[0], numbers[-1] + 1)), "trades are missing in a message"
    return Link(params.channel, numbers[0] - 1, numbers[-1], trades[0].timestamp / 1e3)


class Audience:
    """Listeners who check what they are told. The same bytes are read once for all of them."""

    def __init__(self, peers: Sequence[Peer]) -> None:
        self.peers = peers
        self.links: dict[bytes, Link] = {}
        self.last: dict[tuple[Peer, str], int] = {}
        self.delays: list[float] = []
        self.messages = self.bytes = self.restarts = 0

    def listen(self) -> None:
        """Ask for the channels; wait until all have the reply and the state of the book."""
        subscribe(self.peers, CHANNELS)
        crowd, end = Crowd(self.peers), perf_counter() + 30
        while sum(name == CHANNELS[0] for _, name in self.last) < len(self.peers):
            assert perf_counter() < end, "subscribers without a book"
            for peer, messages in crowd.read(0.1):
                for message in messages:
                    self.handle(peer, message)

    def forget(self) -> None:
        """Reset the counts, and keep the position of each client."""
        self.delays, self.messages, self.bytes = [], 0, 0

    def handle(self, peer: Peer, message: bytes) -> None:
        """Check one message of one listener; a book that begins anew is counted."""
        if b'"method":' not in message[:40]:
            assert b'"error":' not in message, message
            return
        known = self.links.get(message)
        if known is None:
            known = self.links[message] = link(message)
        place = (peer, known.channel)
        last = self.last.get(place)
        if known.after is None:
            self.restarts += last is not None
        else:
            assert last is None or last == known.after, "a message is missing"
        self.last[place] = known.number
        self.messages += 1
        self.bytes += len(message)
        if known.channel == CHANNELS[1]:
            self.delays.append(time.time() - known.since)


@attrs.define
class Run:
    """Server processor seconds per second, and what the listeners received in how many seconds."""

    cpu: float
    seconds: float
    messages: int
    audience: Audience

    @property
    def p99(self) -> float:
        """Milliseconds from trade to listener."""
        return percentile(self.audience.delays, 99) * 1e3


def traders(peers: Sequence[Peer]) -> list[Trader]:
    """Who rests and cancels, each at a price of its own, and in the end two who trade."""
    resting = [Trader(peer, PRICE - 10 * n) for n, peer in enumerate(peers[:-2])]
    return [*resting, Dealer(peers[-2], "sell", DEAL), Dealer(peers[-1], "buy", DEAL)]


def trade(
    pid: int,
    active: Sequence[Trader],
    audience: Audience,
    seconds: float,
    per_second: int = PER_SECOND,
) -> Run:
    """Send orders on a schedule, and read all replies and notifications."""
    by_peer = {trader.peer: trader for trader in active}
    crowd = Crowd([*by_peer, *audience.peers])
    before, start = cpu_seconds(pid), perf_counter()
    sent = 0
    while (now := perf_counter()) < start + seconds or any(each.due for each in active):
        assert now < start + seconds + 10, "orders without an answer"
        while sent < per_second * seconds and (due := start + sent / per_second) <= now:
            active[sent % len(active)].ask(due)
            sent += 1
        for peer, messages in crowd.read(start + sent / per_second - now):
            assert not peer.ended, "a client was disconnected"
            for message in messages:
                if peer not in by_peer:
                    audience.handle(peer, message)
                elif by_peer[peer].handle(message):
                    assert not by_peer[peer].refusals, message
    elapsed = perf_counter() - start
    return Run((cpu_seconds(pid) - before) / elapsed, elapsed, audience.messages, audience)


def subscribe(peers: Sequence[Peer], channels: Sequence[str]) -> None:
    """Ask for channels."""
    for peer in peers:
        peer.send(msgspec.json.encode(request(0, "public/subscribe", {"channels": channels})))


def told(listeners: int, seconds: float) -> tuple[Run, Run, Run]:
    """A few orders without and with listeners, and many with them."""
    with durable_venue(listeners + TRADERS + 2, accounts=TRADERS + 2) as (url, pid):
        peers = open_peers(url, TRADERS + 2)
        log_in(peers, range(TRADERS + 2))
        active = traders(peers)
        alone = trade(pid, active, Audience([]), seconds / 2, FEW)
        audience = Audience(open_peers(url, listeners))
        audience.listen()
        audience.forget()
        few = trade(pid, active, audience, seconds / 2, FEW)
        audience.forget()
        many = trade(pid, active, audience, seconds)
        for peer in [*peers, *audience.peers]:
            peer.socket.close()
    return alone, few, many


def broadcast(size: int, per_second: float, seconds: float) -> float:
    """Processor seconds of an asyncio server per message that it broadcast."""
    arguments = [str(size), str(1 / per_second)]
    with server([sys.executable, "-c", BROADCAST, *arguments]) as (url, pid):
        peers = open_peers(url, LISTENERS)
        crowd, count = Crowd(peers), 0
        before, end = cpu_seconds(pid), perf_counter() + seconds
        while perf_counter() < end:
            count += sum(len(messages) for _, messages in crowd.read(0.05))
        used = cpu_seconds(pid) - before
        crowd.close()
    return used / count


def measure(quick: bool) -> list[Figure]:
    """Delays, order and cost."""
    rounds, seconds = (1, 4.0) if quick else (5, 8.0)
    delays, costs, others = [], [], []
    for _ in range(rounds):
        alone, few, many = told(LISTENERS, seconds)
        received = many.audience
        assert not received.restarts, "a book began anew"
        delays.append(many.p99)
        costs.append((few.cpu - alone.cpu) * few.seconds / few.messages * 1e6)
        size, per_second = (
            received.bytes // received.messages,
            received.messages / LISTENERS / many.seconds,
        )
        others.append(broadcast(size, per_second, seconds / 2) * 1e6)
        print(
            f"  {received.messages:,} messages of {size} bytes in order, p99 {many.p99:.0f} ms, "
            f"{costs[-1]:.1f} us each; broadcast {others[-1]:.1f} us",
            flush=True,
        )
    beyond = median(delays) - INTERVAL * 1e3
    return [
        Figure(
            f"fan-out: {LISTENERS:,} connections on book and trades, {PER_SECOND:,} orders/s",
            "all in order; p99 ≤ 100 ms beyond the interval",
            f"in order; p99 {beyond:.0f} ms beyond the interval (worst round "
            f"{max(delays) - INTERVAL * 1e3:.0f})",
            beyond <= 100,
        ),
        Figure(
            "fan-out: processor time per delivered message, beside `websockets.broadcast`",
            "given",
            f"{median(costs):.1f} µs beside {median(others):.1f} µs",
        ),
    ]


if __name__ == "__main__":
    command(__doc__, measure)
