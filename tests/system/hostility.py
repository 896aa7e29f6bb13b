"""Hostile bytes on both ports of a real venue, and honest clients beside them.

What is sent comes from tests/hostile_bytes.py; here is how: in pieces, from several addresses, by
connections that end in several ways or not at all. Honest clients must always be answered.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from statistics import quantiles
from time import perf_counter
from typing import Final
from urllib.parse import urlsplit

import httpx2
import trio
from attrs import define, field

from tests.hostile_bytes import WEBSOCKET, http_stream, pieces, websocket_stream
from tests.system.durability.venue_process import command, replayed_elsewhere
from tests.system.process import ACCOUNTS, Addresses, venue
from tidegate.client import connect

AT_ONCE: Final = 32
# From other addresses than the honest clients, which the limits per address would count with them.
HOSTILE_ADDRESSES: Final = tuple(f"127.0.0.{number}" for number in range(66, 82))
# How long an attacker holds on to a connection that the venue does not end.
PATIENCE_SECONDS: Final = (0.0, 0.02, 0.05, 0.1, 0.5)
HONEST_SECONDS: Final = 5.0
PERIOD_SECONDS: Final = 0.02
REPORT_SECONDS: Final = 10.0
ORDER: Final = {
    "instrument_name": "BTC-PERPETUAL",
    "amount": 10,
    "type": "limit",
    "price": 64_000,
}
# Of a client that reads a few bytes at a time.
_SMALL_BUFFER: Final = 2_048


@define(eq=False)
class Delays:
    """Delays of honest requests, in milliseconds: of all, and since the last line."""

    every: list[float] = field(factory=list)
    recent: list[float] = field(factory=list)

    def add(self, seconds: float) -> None:
        """One more."""
        self.every.append(seconds * 1e3)
        self.recent.append(seconds * 1e3)

    def line(self) -> str:
        """The latest ones in words; the next line is of those after them."""
        recent, self.recent = self.recent, []
        return described(recent)


def described(delays: list[float]) -> str:
    """Percentiles in words."""
    if len(delays) < 2:
        return "too few requests"
    cuts = quantiles(delays, n=100, method="inclusive")
    return (
        f"{len(delays)} requests, p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms,"
        f" worst {max(delays):.1f} ms"
    )


@define(eq=False)
class HostileRun:
    """Attackers and honest clients of one venue, whose addresses these are, of HTTP first."""

    addresses: tuple[str, str]
    random: Random
    trading: Delays = field(factory=Delays)
    asking: Delays = field(factory=Delays)
    sent: int = field(default=0, init=False)

    def lines(self) -> str:
        """What honest clients saw since the last call."""
        return f"orders: {self.trading.line()}; HTTP: {self.asking.line()}"

    async def run(self, cases: Iterator[tuple[str, bytes]]) -> None:
        """Attack with these cases, beside the honest clients."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.serve_honest)
            await self.attack(cases)
            nursery.cancel_scope.cancel()

    async def serve_honest(
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Have honest clients trade and ask until cancelled. Raises where one is not answered."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._trade)
            await nursery.start(self._ask)
            task_status.started()

    async def attack(self, cases: Iterator[tuple[str, bytes]]) -> None:
        """Send each case to the port that it is for, "http" or "ws", many side by side."""
        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(self._attack_all, cases)

    async def _trade(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Place and cancel over the WebSocket."""
        async with connect(self.addresses[1]) as client:
            await client.log_in("alice-key", "alice-secret")
            task_status.started()
            while True:
                began = perf_counter()
                with trio.fail_after(HONEST_SECONDS):
                    placed = await client.call("private/buy", ORDER)
                    order = placed["order"]["order_id"]
                    await client.call("private/cancel", {"order_id": order})
                self.trading.add(perf_counter() - began)
                # No faster than the credits of an account come back.
                await trio.sleep(4 * PERIOD_SECONDS)

    async def _ask(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Ask over HTTP."""
        async with httpx2.AsyncClient(base_url=self.addresses[0]) as web:
            task_status.started()
            while True:
                began = perf_counter()
                with trio.fail_after(HONEST_SECONDS):
                    reply = await web.get("/api/v2/public/test")
                assert 200 == reply.status_code, reply.text
                self.asking.add(perf_counter() - began)
                await trio.sleep(4 * PERIOD_SECONDS)

    async def _attack_all(self, cases: Iterator[tuple[str, bytes]]) -> None:
        for port, data in cases:
            parts = urlsplit(self.addresses[port != "http"])
            assert parts.hostname is not None
            assert parts.port is not None
            with trio.move_on_after(5), suppress(OSError, trio.BrokenResourceError):
                await self._attack(parts.hostname, parts.port, data)
            self.sent += 1

    async def _attack(self, host: str, port: int, data: bytes) -> None:
        random = self.random
        sock = trio.socket.socket()
        async with trio.SocketStream(sock) as stream:
            if random.random() < 0.2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
            await sock.bind((random.choice(HOSTILE_ADDRESSES), 0))
            await sock.connect((host, port))
            for piece in pieces(random, data):
                await stream.send_all(piece)
            ending = random.choice(("hold", "hold", "read", "read", "drip", "half", "reset"))
            if ending == "half":
                await stream.send_eof()
            with trio.move_on_after(random.choice(PATIENCE_SECONDS)):
                if ending == "hold":
                    await trio.sleep_forever()
                while await stream.receive_some(2 if ending == "drip" else None):
                    if ending == "drip":
                        await trio.sleep(PERIOD_SECONDS)
            if ending == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def table(random: Random) -> Iterator[tuple[str, bytes]]:
    """Every known case of frames and upgrades for the WebSocket port, in an order that is drawn."""
    cases = [data for name, data in WEBSOCKET.items() if not name.startswith("http_")]
    random.shuffle(cases)
    return (("ws", data) for data in cases)


def generated(random: Random, count: int | None = None) -> Iterator[tuple[str, bytes]]:
    """So many cases that are drawn, for both ports; without end where no number is given."""
    made = 0
    while made != count:
        made += 1
        if random.random() < 0.3:
            yield "http", http_stream(random)
        else:
            yield "ws", websocket_stream(random)


@contextmanager
def attackers(addresses: Addresses, seed: int) -> Iterator[None]:
    """A process that attacks for as long as the block runs.

    In this one it would delay the honest clients by itself, and so it would with all processors.
    """
    program = [sys.executable, "-m", __name__, addresses.http, addresses.websocket, str(seed)]
    folder = Path(__file__).parents[2]
    with subprocess.Popen(["nice", "-n", "19", *program], cwd=folder) as process:
        try:
            yield
            assert process.poll() is None, "the attackers stopped by themselves"
        finally:
            process.kill()


@contextmanager
def attacked(folder: Path, transport: str) -> Iterator[Addresses]:
    """A venue as a process; raises AssertionError unless it lives through the block unharmed.

    It must end with status 0 and without a traceback, and its log must verify and replay to the
    same state elsewhere.
    """
    data = folder / "data"
    config = ACCOUNTS.replace(
        "[server]", f'[server]\ntransport = "{transport}"\ndata_dir = "data"', 1
    )
    errors = folder / "errors.txt"
    with errors.open("w") as stderr, venue(folder, config, stderr=stderr) as addresses:
        yield addresses
        assert addresses.process.poll() is None, errors.read_text()
    assert "Traceback" not in errors.read_text(), errors.read_text()
    status, said = command("log", "verify", str(data))
    assert 0 == status, said
    digest = replayed_elsewhere(data, 7).split()[0]
    assert f"digest {digest}" in said, said


async def main(http: str, websocket: str, seed: str) -> None:
    """What the attackers' process runs, until it is killed."""
    random = Random(int(seed))
    it = HostileRun((http, websocket), random)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(it.attack, generated(random))
        while True:
            await trio.sleep(REPORT_SECONDS)
            print(f"  attackers: {it.sent:,} connections", flush=True)  # noqa: T201


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
