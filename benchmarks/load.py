"""A load of orders over WebSocket, for the benchmarks that compare servers under it.

A request is a limit order that rests or the cancel of it, in turns; every answer is awaited. What
has arrived together is answered together, in one write.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter, sleep

import attrs
import msgspec

from benchmarks import holds
from benchmarks.crowd import Crowd, Peer, Trader, log_in, open_peers, request

CASES = ((20, 10), (100, 1))
"""(connections, requests in flight on each)."""

TIDEGATE = str(Path(sys.executable).with_name("tidegate"))
HOLDS: list[list[holds.Hold]] = []
"""What held the loop of each venue that was watched."""

_WATCHED = str(Path(__file__).with_name("watched.py"))
_TICKS = os.sysconf("SC_CLK_TCK")

_COLUMNS = f"{'per s':>8}{'cpu µs':>8}{'p50 ms':>8}{'p99 ms':>8}"
HEAD = f"{'connections x in flight':24}{'server':18}{_COLUMNS}"


@attrs.define
class Result:
    """One run: answers per second, server CPU per answer (µs), latencies (ms)."""

    rate: float
    cpu: float
    p50: float
    p99: float


@contextmanager
def server(command: list[str], *, watched: bool = False) -> Iterator[tuple[str, int]]:
    """Run a server; yields the WebSocket address from its first line, and its process id.

    A venue that is watched runs under a stopwatch, which takes 5 % of its processor: what held
    its loop is then in HOLDS.
    """
    with tempfile.NamedTemporaryFile() as noted:
        if watched:
            assert command[0] == TIDEGATE, "only our own command can be watched"
            command = [sys.executable, _WATCHED, noted.name, *command[1:]]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                line = process.stdout.readline()
                ready = ended = perf_counter()
                yield line.rsplit("ws=", 1)[1].strip(), process.pid
                ended = perf_counter()
            finally:
                process.terminate()
        if watched:
            HOLDS.append(list(holds.read(Path(noted.name), ready, ended)))


def venue_config(
    path: Path,
    connections: int,
    server: str = "",
    more: str = "",
    *,
    accounts: int | None = None,
    limits: str = "",
) -> Path:
    """A venue with a funded account per connection or so many, and a fixed index.

    `server` and `limits` are further lines of those tables, `more` are tables. Unless `limits`
    enables it, nothing limits the rate of requests.
    """
    rate = "" if "enabled" in limits else "enabled = false\n"
    sections = [
        f'[server]\nhttp = "127.0.0.1:0"\nwebsocket = "127.0.0.1:0"\n{server}',
        f"[limits]\nconnections_per_address = {connections + 1}\n{rate}{limits}",
        '[[index]]\nname = "btc_usd"\nsource = "fixed"\nprice = 65000',
        more,
    ]
    sections += [
        f'[[account]]\nname = "bot{n}"\nclient_id = "id{n}"\nclient_secret = "secret{n}"\n'
        "deposits = { BTC = 100 }"
        for n in range(connections if accounts is None else accounts)
    ]
    path.write_text("\n\n".join(sections))
    return path


def cpu_seconds(pid: int) -> float:
    """User and system time that a venue has used, with what writes its log."""
    return sum(map(own_cpu_seconds, [pid, *children(pid)]))


def children(pid: int) -> list[int]:
    """The processes that a process has started and that run."""
    started = (file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children"))
    return [int(child) for each in started for child in each.split()]


def own_cpu_seconds(pid: int) -> float:
    """User and system time that a process alone has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def listen(peers: Sequence[Peer], channels: Sequence[str]) -> None:
    """Subscribe each, whose account it is, to the channels."""
    asked = msgspec.json.encode(request(0, "private/subscribe", {"channels": channels}))
    for peer in peers:
        peer.send(asked)
        peer.answer()


def drive(
    url: str,
    pid: int,
    case: tuple[int, int],
    seconds: float,
    settling: float,
    channels: Sequence[str],
) -> Result:
    """Load one server and measure it, once it has had some seconds of peace."""
    connections, in_flight = case
    peers = open_peers(url, connections)
    if "/api/" in url:
        log_in(peers, range(connections))
        if channels:
            listen(peers, channels)
    sleep(settling)
    traders = {peer: Trader(peer) for peer in peers}
    before, start = cpu_seconds(pid), perf_counter()
    for peer, trader in traders.items():
        with peer.corked():
            for _ in range(in_flight):
                trader.ask(perf_counter())
    converse(traders, start + seconds)
    elapsed, used = perf_counter() - start, cpu_seconds(pid) - before
    assert not any(trader.refusals for trader in traders.values()), "orders were refused"
    latencies = sorted(delay for trader in traders.values() for delay in trader.delays)
    count = len(latencies)
    return Result(
        rate=count / elapsed,
        cpu=used / count * 1e6,
        p50=latencies[count // 2] * 1e3,
        p99=latencies[count * 99 // 100] * 1e3,
    )


def converse(traders: Mapping[Peer, Trader], end: float) -> None:
    """Answer each reply with a request until then, and take the replies that are due."""
    crowd = Crowd(traders)
    while perf_counter() < end or any(trader.due for trader in traders.values()):
        for peer, messages in crowd.read(0.1):
            assert not peer.ended, "the server closed the connection"
            trader = traders[peer]
            with peer.corked():
                for message in messages:
                    if trader.handle(message) and (now := perf_counter()) < end:
                        trader.ask(now)
    crowd.close()


def measure(
    command: list[str],
    connections: int,
    in_flight: int,
    seconds: float,
    settling: float = 0.0,
    channels: Sequence[str] = (),
    *,
    watched: bool = False,
) -> Result:
    """One run against a fresh server; each account listens to the channels."""
    with server(command, watched=watched) as (url, pid):
        return drive(url, pid, (connections, in_flight), seconds, settling, channels)


def row(case: tuple[int, int], name: str, runs: Sequence[Result]) -> str:
    """The medians of some runs, under HEAD."""
    return (
        f"{f'{case[0]} x {case[1]}':24}{name:18}"
        f"{median(r.rate for r in runs):8.0f}{median(r.cpu for r in runs):8.0f}"
        f"{median(r.p50 for r in runs):8.2f}{median(r.p99 for r in runs):8.2f}"
    )


def ratio(runs: Sequence[Result], others: Sequence[Result]) -> float:
    """The median over pairs of runs of how much faster the first is."""
    return median(run.rate / other.rate for run, other in zip(runs, others, strict=True))
