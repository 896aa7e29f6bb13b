"""What frames that are no request cost a polite client: floods of pings, pongs and fragments.

The flood is a process of its own, from another address. Each of its connections sends frames of
one kind for as long as it is let, and connects anew as soon as it is cut. The polite client logs in
on a schedule, and its delays count from the schedule.

    python benchmarks/floods.py [--quick]
"""

from __future__ import annotations

import os
import select
import socket
import sys
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Final
from urllib.parse import urlsplit

import msgspec

# Python puts this file's own directory first, and there `book` would be another benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.background import in_background
from benchmarks.crowd import Peer, open_peers, percentile, request
from benchmarks.figures import Figure, command, durable_venue

FLOODERS: Final = 32
PER_SECOND: Final = 10
ADDRESS: Final = "127.0.0.66"
RETRY_SECONDS: Final = 0.05
_MASK: Final = bytes(4)
_HANDSHAKE: Final = (
    b"GET /ws/api/v2 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
KINDS: Final = {
    "pings": b"\x89\x80" + _MASK,
    "pongs": b"\x8a\x80" + _MASK,
    "empty fragments": b"\x00\x80" + _MASK,
    "long pings": b"\x89\xfd" + _MASK + b"x" * 125,
}
"""The frame that is sent again and again."""


class Flooder:
    """A connection that sends, and connects anew when it is cut."""

    def __init__(self, url: str, kind: bytes) -> None:
        parts = urlsplit(url)
        self._target = parts.hostname, parts.port
        self._frames = kind * (16_384 // len(kind))
        self._begins = b"\x01\x80" + _MASK if kind[0] == 0 else b""
        self._socket: socket.socket | None = None
        self._again_at = 0.0
        self.connected = 0
        self.sent = 0

    def work(self) -> None:
        """Send what goes, and read what has come."""
        if self._socket is None:
            if perf_counter() < self._again_at:
                return
            self._socket = socket.socket()
            self._socket.bind((ADDRESS, 0))
            self._socket.connect(self._target)
            self._socket.settimeout(0)
            self._socket.send(_HANDSHAKE + self._begins)
            self.connected += 1
        try:
            self.sent += self._socket.send(self._frames)
        except BlockingIOError:
            pass
        except ConnectionError:
            self._hang_up()
            return
        try:
            received = self._socket.recv(65_536)
        except BlockingIOError:
            return
        except ConnectionError:
            received = b""
        # A close frame is no reason to stop for this kind of client.
        if not received or received.startswith(b"HTTP/1.1 429"):
            self._hang_up()

    def _hang_up(self) -> None:
        assert self._socket is not None
        self._socket.close()
        self._socket = None
        self._again_at = perf_counter() + RETRY_SECONDS


def flood(url: str, begun: Event, enough: Event) -> None:
    """Send all that goes, until told that it is enough."""
    # The processor that it uses is not what is measured: a real flood has a machine of its own.
    os.nice(19)
    kinds = list(KINDS.values())
    flooders = [Flooder(url, kinds[number % len(kinds)]) for number in range(FLOODERS)]
    for flooder in flooders:
        flooder.work()
    begun.set()
    while not enough.is_set():
        for flooder in flooders:
            flooder.work()
        sleep(0.0005)
    connected = sum(each.connected for each in flooders)
    sent = sum(each.sent for each in flooders)
    print(f"  flood: {connected:,} connections, {sent / 2**20:,.1f} MiB taken", flush=True)


def log_ins(peer: Peer, seconds: float) -> list[float]:
    """Log in on a schedule; the delays in milliseconds."""
    secret = {"client_id": "id0", "client_secret": "secret0"}
    params = {"grant_type": "client_credentials", **secret}
    poll = select.poll()
    poll.register(peer.socket, select.POLLIN)
    delays = []
    start = perf_counter()
    for number in range(int(seconds * PER_SECOND)):
        due = start + number / PER_SECOND
        sleep(max(0.0, due - perf_counter()))
        peer.send(msgspec.json.encode(request(number + 1, "public/auth", params)))
        peer.answer()
        delays.append((perf_counter() - due) * 1e3)
    return delays


def measure(quick: bool) -> list[Figure]:
    """The polite client's delays in calm and in the flood, in turns."""
    rounds, seconds = (1, 10.0) if quick else (5, 20.0)
    calm: list[float] = []
    beside: list[float] = []
    ratios = []
    for _ in range(rounds):
        with durable_venue(FLOODERS, limits="enabled = true") as (url, _):
            (peer,) = open_peers(url, 1)
            alone = log_ins(peer, seconds)
            with in_background(flood, url):
                crowded = log_ins(peer, seconds)
            peer.socket.close()
        calm += alone
        beside += crowded
        ratios.append(percentile(crowded, 99) / percentile(alone, 99))
        print(
            f"  p50 {percentile(alone, 50):.2f} and {percentile(crowded, 50):.2f} ms, p99"
            f" {percentile(alone, 99):.1f} ms alone, {percentile(crowded, 99):.1f} ms in the flood,"
            f" worst {max(crowded):.1f} ms",
            flush=True,
        )
    ratio = median(ratios)
    return [
        Figure(
            f"floods: {FLOODERS} connections send control frames and fragments; p99 of a log-in",
            "within 10 %",
            f"{ratio - 1:+.0%} ({percentile(calm, 99):.1f} → {percentile(beside, 99):.1f} ms;"
            f" worst {max(beside):.1f} ms)",
            ratio <= 1.1,
        )
    ]


if __name__ == "__main__":
    command(__doc__, measure)
