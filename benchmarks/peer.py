"""Durable orders, beside those of the durable gateway of `matching-engine` on PyPI.

That is a FastAPI gateway over HTTP whose log is synced before it answers, as ours is, and which
knows neither accounts nor risk. Both do the same work in turns, in pairs of runs: limit orders
that rest and their cancels, every answer awaited; ours are checked against margin as well, and
each client is sent its own orders. The client is this process and costs little. HTTP has one
request on a connection at a time, so 20 x 10 in flight are 200 connections for the other, whose
rate is much the same with 20 or 500 of them.

The package wants Python 3.12 or later. It is installed, from where pip finds it, in an environment
of its own that is removed afterwards. The interpreter is the one that PEER_PYTHON names, else the
first of those that can be found.

    [PEER_PYTHON=python3.13] python benchmarks/peer.py [--quick]
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Final

import msgspec

# Python puts this file's own directory first, and there `book` would be another benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.crowd import Crowd, Peer, Trader, log_in, open_peers, request
from benchmarks.figures import Figure, command, durable_venue
from benchmarks.load import cpu_seconds

PACKAGE: Final = "matching-engine[gateway]==0.1.1"
MARKET: Final = "BTC-USDT"
CONNECTIONS, IN_FLIGHT = 20, 10
AIM: Final = 10.0
CHANNEL: Final = "user.orders.BTC-PERPETUAL.raw"

_PATIENCE: Final = 20.0
_ORDER: Final = b'{"account":%d,"side":"buy","price":"64000.00","quantity":"0.001"}'
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_NUMBER: Final = re.compile(rb'"order_id": *(\d+)')


class MissingError(Exception):
    """What the other cannot be run without; the message says so to people."""


def interpreters() -> Iterator[str]:
    """Where a Python might be that is new enough, best first."""
    if named := os.environ.get("PEER_PYTHON"):
        yield named
        return
    yield sys.executable
    for version in ("3.14", "3.13", "3.12"):
        yield from filter(None, [shutil.which(f"python{version}")])
    # Where pyenv keeps those that are not the default.
    yield from map(str, sorted(Path.home().glob(".pyenv/versions/3.1[2-9]*/bin/python")))


def new_enough(python: str) -> bool:
    """Whether it runs, is 3.12 or later and can make environments."""
    program = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 12))"
    try:
        tried = subprocess.run([python, "-c", program], check=False, capture_output=True)
    except OSError:
        return False
    return not tried.returncode


@contextmanager
def installed() -> Iterator[Path]:
    """The package's command, in an environment of its own. Raises MissingError."""
    python = next(filter(new_enough, interpreters()), None)
    if python is None:
        raise MissingError("needs Python 3.12 or later with venv: name one in PEER_PYTHON")
    with tempfile.TemporaryDirectory() as folder:
        programs = Path(folder, "environment", "bin")
        for step in (
            [python, "-m", "venv", str(programs.parent)],
            [str(programs / "pip"), "install", "--quiet", PACKAGE],
        ):
            done = subprocess.run(step, check=False, capture_output=True, text=True)
            if done.returncode:
                raise MissingError(f"{' '.join(step)} failed: {done.stderr.strip()[-300:]}")
        yield programs / "matching-engine"


@contextmanager
def other_gateway(program: Path) -> Iterator[tuple[int, int]]:
    """Run it with nothing in its log, which it syncs; yields its port and process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        # Its own defaults: sync on, up to 512 orders in a sync.
        settings = os.environ | {"ME_DATA_DIR": folder, "ME_FSYNC": "1"}
        serve = [str(program), "serve", "--port", str(port)]
        with subprocess.Popen(serve, env=settings, stderr=subprocess.DEVNULL) as process:
            try:
                end = perf_counter() + _PATIENCE
                while not answers(port):
                    if process.poll() is not None or perf_counter() > end:
                        raise MissingError(f"{program.name} does not serve")
                    sleep(0.05)
                yield port, process.pid
            finally:
                process.terminate()


def answers(port: int) -> bool:
    """Whether the address accepts connections."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class HttpPeer(Peer):
    """One connection that is kept alive, and the orders that an account places over it."""

    def __init__(self, port: int, account: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), _PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(0)
        self.unsent = bytearray()
        self.ended = False
        self.account = account
        self._open: bytes | None = None
        self._rest = b""

    def ask(self) -> None:
        """Send the next request: a new order, or the cancel of the one that is open."""
        path = b"/markets/" + MARKET.encode() + b"/orders"
        if self._open is None:
            body = _ORDER % self.account
            head = b"POST %b HTTP/1.1\r\nHost: peer\r\nContent-Type: application/json\r\n" % path
            self.unsent += head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        else:
            what = b"%b/%b?account=%d" % (path, self._open, self.account)
            self.unsent += b"DELETE %b HTTP/1.1\r\nHost: peer\r\n\r\n" % what
        self.flush()

    def receive(self) -> list[bytes]:
        """The bodies of the answers that have arrived, which must all be yes."""
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return []
        self.ended = not data
        self._rest += data
        head, blank, body = self._rest.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not blank or length is None or len(body) < int(length[1]):
            return []
        assert head.startswith(b"HTTP/1.1 200"), self._rest
        assert b'"rejected"' not in body, body
        number = _NUMBER.search(body)
        self._open = number[1] if self._open is None and number is not None else None
        self._rest = b""
        return [body]


def paced(
    peers: list[Peer], answered: Callable[[Peer, bytes], bool], pid: int, seconds: float
) -> tuple[float, float]:
    """Answers a second and the server's processor time for each, in µs, once warm.

    `answered` sends the next request if a message is an answer, and tells whether it was.
    """
    crowd = Crowd(peers)

    def until(end: float) -> int:
        count = 0
        while perf_counter() < end:
            for peer, messages in crowd.read(0.1):
                assert not peer.ended, "the server closed the connection"
                count += sum(answered(peer, message) for message in messages)
        return count

    until(perf_counter() + seconds / 4)
    before, start = cpu_seconds(pid), perf_counter()
    count = until(start + seconds)
    elapsed, used = perf_counter() - start, cpu_seconds(pid) - before
    crowd.close()
    return count / elapsed, used / count * 1e6


def theirs(program: Path, seconds: float) -> tuple[float, float]:
    """One run of the other gateway."""
    with other_gateway(program) as (port, pid):
        clients = [HttpPeer(port, 1 + number) for number in range(CONNECTIONS * IN_FLIGHT)]
        peers: dict[Peer, HttpPeer] = {client: client for client in clients}

        def answered(peer: Peer, _message: bytes) -> bool:
            peers[peer].ask()
            return True

        for client in clients:
            client.ask()
        return paced(list(peers), answered, pid, seconds)


def ours(seconds: float, *, watched: bool = False) -> tuple[float, float]:
    """One run of the venue."""
    with durable_venue(CONNECTIONS, watched=watched) as (url, pid):
        peers = open_peers(url, CONNECTIONS)
        log_in(peers, range(CONNECTIONS))
        listen = msgspec.json.encode(request(0, "private/subscribe", {"channels": [CHANNEL]}))
        for peer in peers:
            peer.send(listen)
            peer.answer()
        traders = {peer: Trader(peer) for peer in peers}

        def answered(peer: Peer, message: bytes) -> bool:
            trader = traders[peer]
            if reply := trader.handle(message):
                trader.ask(perf_counter())
            return reply

        for trader in traders.values():
            for _ in range(IN_FLIGHT):
                trader.ask(perf_counter())
        result = paced(peers, answered, pid, seconds)
        assert not any(trader.refusals for trader in traders.values()), "orders were refused"
    return result


def measure(quick: bool) -> list[Figure]:
    """Pairs of runs, and the median of their ratios."""
    name = "durable orders/s ÷ the durable gateway of matching-engine 0.1.1"
    rounds, seconds = (1, 1.0) if quick else (5, 4.0)
    runs = []
    try:
        with installed() as program:
            for _ in range(rounds):
                pair = ours(seconds), theirs(program, seconds)
                runs.append(pair)
                shown = [f"{rate:,.0f}/s, {cpu:.0f} µs each" for rate, cpu in pair]
                print(f"  ours {shown[0]}; theirs {shown[1]}", flush=True)
    except MissingError as missing:
        return [Figure(name, f"≥ {AIM:.0f}", f"not measured: {missing}")]
    # Apart: the stopwatch would slow the others.
    ours(seconds, watched=True)
    times = median(our[0] / their[0] for our, their in runs)
    rates = [median(pair[side][0] for pair in runs) for side in (0, 1)]
    return [
        Figure(
            name,
            f"≥ {AIM:.0f}",
            f"{times:.1f} ({rates[0]:,.0f}/s ÷ {rates[1]:,.0f}/s)",
            times >= AIM,
        )
    ]


if __name__ == "__main__":
    command(__doc__, measure)
