"""Disconnects clients that read too slowly while the kernel's send buffer hides it from the writer.

A writer waits only once that buffer is full. A client that reads a few bytes a second would keep
the buffer, and its connection, for as long as it likes.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterable
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import Final

import trio
from attrs import define, field

from gateway.network.outbox import WRITE_BYTES

# Linux's struct tcp_info: its size, and the offset of tcpi_bytes_acked.
_INFO_BYTES: Final = 192
_ACKNOWLEDGED: Final = struct.Struct("=120xQ")
_OUTSTANDING: Final = struct.Struct("=i")
# Checks without a checkpoint. A check takes a few microseconds, so these hold the event loop for
# less than a millisecond.
_CHECKS_PER_TURN: Final = 128


def unacknowledged_bytes(sock: trio.socket.SocketType) -> int:
    """Return how many bytes in the kernel the peer has not acknowledged; 0 if it is unknown."""
    try:
        (size,) = _OUTSTANDING.unpack(ioctl(sock.fileno(), TIOCOUTQ, bytes(_OUTSTANDING.size)))
    except OSError:
        return 0
    return int(size)


def acknowledged_bytes(sock: trio.socket.SocketType) -> int | None:
    """Return how many bytes the peer has acknowledged so far; None if it is unknown."""
    option = getattr(socket, "TCP_INFO", None)
    if option is None:
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, option, _INFO_BYTES)
    except OSError:
        return None
    return int(_ACKNOWLEDGED.unpack_from(info)[0]) if len(info) >= _ACKNOWLEDGED.size else None


@define
class ReadProgress:
    """Decides whether a client reads what was queued at one moment within `seconds`.

    At most WRITE_BYTES of it are demanded, which makes WRITE_BYTES per `seconds` the least rate at
    which a client must read.
    """

    seconds: float
    # By when the peer must have acknowledged `_goal` bytes; None while nothing is unacknowledged.
    _due: float | None = field(default=None, init=False)
    _goal: int = field(default=0, init=False)

    def clear(self) -> None:
        """Record that nothing is unacknowledged."""
        self._due = None

    def too_slow(self, now: float, acknowledged: int, unacknowledged: int) -> bool:
        """Record the byte counts at `now`; return whether the client has missed its deadline."""
        if self._due is None or acknowledged >= self._goal:
            self._due = now + self.seconds
            self._goal = acknowledged + min(unacknowledged, WRITE_BYTES)
            return False
        return now >= self._due


@define(eq=False)
class WatchedConnection:
    """A connection that is checked; `disconnect` may be called again until it is closed."""

    socket: trio.socket.SocketType
    progress: ReadProgress
    disconnect: Callable[[], None]

    def check(self, now: float) -> None:
        """Disconnect the client if it has not read enough since the last checks."""
        if self.socket.fileno() < 0:
            # Closed after the list of connections was made.
            return
        unacknowledged = unacknowledged_bytes(self.socket)
        acknowledged = acknowledged_bytes(self.socket) if unacknowledged else None
        if acknowledged is None:
            self.progress.clear()
        elif self.progress.too_slow(now, acknowledged, unacknowledged):
            # Without a reset on close the kernel would keep sending its buffer for minutes.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.disconnect()


async def disconnect_slow_readers(
    connections: Callable[[], Iterable[WatchedConnection]], seconds: float
) -> None:
    """Check all connections four times in `seconds`, until cancelled.

    Deadlines are measured by the system's monotonic clock, because acknowledgements arrive in real
    time even where a test replaces trio's clock.
    """
    while True:
        await trio.sleep(seconds / 4)
        for index, connection in enumerate(list(connections())):
            if index % _CHECKS_PER_TURN == _CHECKS_PER_TURN - 1:
                await trio.lowlevel.checkpoint()
            connection.check(time.monotonic())
