"""A load of orders over WebSocket, for the benchmarks that compare servers under it.

A request is a limit order that rests or the cancel of it, in turns; every answer is awaited.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import attrs
import trio
import trio_websocket

from benchmarks import holds

CASES = ((20, 10), (100, 1))
"""(connections, requests in flight on each)."""

TIDEGATE = str(Path(sys.executable).with_name("tidegate"))
PRICE, AMOUNT = 64000, 10

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
    """A venue with a funded account per connection or so many, a fixed index and no rate limits.

    `server` and `limits` are further lines of those tables, `more` are tables.
    """
    sections = [
        f'[server]\nhttp = "127.0.0.1:0"\nwebsocket = "127.0.0.1:0"\n{server}',
        f"[limits]\nconnections_per_address = {connections + 1}\n{limits}",
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
    """User and system time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def call(socket: trio_websocket.WebSocketConnection, method: str, params: object) -> None:
    """One request whose answer must not be an error."""
    request = {"jsonrpc": "2.0", "id": 0, "method": method, "params": params}
    await socket.send_message(json.dumps(request))
    answer = json.loads(await socket.get_message())
    assert "error" not in answer, answer


async def log_in(socket: trio_websocket.WebSocketConnection, number: int) -> None:
    """Log in as one of the accounts of `venue_config`."""
    await call(
        socket,
        "public/auth",
        {
            "grant_type": "client_credentials",
            "client_id": f"id{number}",
            "client_secret": f"secret{number}",
        },
    )


class Connection:
    """One connection that keeps a number of requests in flight until told to stop."""

    def __init__(self, socket: trio_websocket.WebSocketConnection, in_flight: int) -> None:
        self.socket = socket
        self.in_flight = in_flight
        self.sent: dict[int, float] = {}
        self.latencies: list[float] = []
        self.next_id = 0

    def request(self, order_id: str | None) -> str:
        """The next request: a new order, or the cancel of one."""
        self.next_id += 1
        if order_id is None:
            method, params = (
                "private/buy",
                (f'{{"instrument_name":"BTC-PERPETUAL","amount":{AMOUNT},"price":{PRICE}}}'),
            )
        else:
            method, params = "private/cancel", f'{{"order_id":"{order_id}"}}'
        self.sent[self.next_id] = perf_counter()
        return f'{{"jsonrpc":"2.0","id":{self.next_id},"method":"{method}","params":{params}}}'

    async def run(self, seconds: float) -> None:
        """Keep requests in flight for a time, then take the answers that are due."""
        for _ in range(self.in_flight):
            await self.socket.send_message(self.request(None))
        end = perf_counter() + seconds
        while self.sent:
            answer = json.loads(await self.socket.get_message())
            if "id" not in answer:
                # An event of the account.
                continue
            now = perf_counter()
            self.latencies.append(now - self.sent.pop(answer["id"]))
            if now < end:
                await self.socket.send_message(self.request(self.open_order(answer)))

    @staticmethod
    def open_order(answer: Any) -> str | None:
        """The order that an answer says is new; the echo's answers are requests, and say none."""
        if "result" not in answer:
            assert "method" in answer, answer
            return None if answer["method"] == "private/cancel" else "1"
        order = answer["result"].get("order")
        return str(order["order_id"]) if order is not None else None


async def drive(
    url: str,
    pid: int,
    case: tuple[int, int],
    seconds: float,
    settling: float,
    channels: Sequence[str],
) -> Result:
    """Load one server and measure it, once it has had some seconds of peace."""
    connections, in_flight = case
    clients: list[Connection] = []
    async with trio.open_nursery() as nursery:
        for number in range(connections):
            socket = await trio_websocket.connect_websocket_url(nursery, url)
            if "/api/" in url:
                await log_in(socket, number)
                if channels:
                    await call(socket, "private/subscribe", {"channels": channels})
            clients.append(Connection(socket, in_flight))
        await trio.sleep(settling)
        before, start = cpu_seconds(pid), perf_counter()
        async with trio.open_nursery() as load:
            for client in clients:
                load.start_soon(client.run, seconds)
        elapsed, used = perf_counter() - start, cpu_seconds(pid) - before
        nursery.cancel_scope.cancel()
    latencies = sorted(latency for client in clients for latency in client.latencies)
    count = len(latencies)
    return Result(
        rate=count / elapsed,
        cpu=used / count * 1e6,
        p50=latencies[count // 2] * 1e3,
        p99=latencies[count * 99 // 100] * 1e3,
    )


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
        return trio.run(drive, url, pid, (connections, in_flight), seconds, settling, channels)


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
