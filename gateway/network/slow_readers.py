"""Clients that take what they are sent too slowly, while the kernel's buffer hides it from writers.

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

# In Linux's struct tcp_info: how many bytes the peer's system has acknowledged.
_INFO_BYTES: Final = 192
_ACKNOWLEDGED: Final = struct.Struct("=120xQ")
_OUTSTANDING: Final = struct.Struct("=i")
# A look takes a few microseconds; so many hold the loop for less than a millisecond.
_CHECKS_PER_TURN: Final = 128


def unacknowledged_bytes(sock: trio.socket.SocketType) -> int:
    """Bytes in the kernel that the peer has not acknowledged; 0 where the system does not tell."""
    try:
        (size,) = _OUTSTANDING.unpack(ioctl(sock.fileno(), TIOCOUTQ, bytes(_OUTSTANDING.size)))
    except OSError:
        return 0
    return int(size)


def acknowledged_bytes(sock: trio.socket.SocketType) -> int | None:
    """How many bytes the peer has acknowledged so far; None where the system does not tell."""
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
    """Whether what was queued at one moment leaves within `seconds`.

    Of much that is queued, WRITE_BYTES have to: that is the least rate at which a client may read.
    """

    seconds: float
    # By when the peer has to have acknowledged so many bytes; None while nothing is outstanding.
    _due: float | None = field(default=None, init=False)
    _goal: int = field(default=0, init=False)

    def clear(self) -> None:
        """Nothing is outstanding."""
        self._due = None

    def too_slow(self, now: float, done: int, left: int) -> bool:
        """Take a look: `done` bytes are acknowledged, and `left` are outstanding."""
        if self._due is None or done >= self._goal:
            self._due = now + self.seconds
            self._goal = done + min(left, WRITE_BYTES)
            return False
        return now >= self._due


@define(eq=False)
class WatchedConnection:
    """A connection that is watched; `cut` ends it, and is called again until it is gone."""

    socket: trio.socket.SocketType
    progress: ReadProgress
    disconnect: Callable[[], None]

    def check(self, now: float) -> None:
        """Cut the connection where its client has not taken enough since the last looks."""
        if self.socket.fileno() < 0:
            # It was closed since the list of connections was made.
            return
        left = unacknowledged_bytes(self.socket)
        done = acknowledged_bytes(self.socket) if left else None
        if done is None:
            self.progress.clear()
        elif self.progress.too_slow(now, done, left):
            # The kernel would go on offering what it holds long after the connection is closed.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.disconnect()


async def disconnect_slow_readers(
    readers: Callable[[], Iterable[WatchedConnection]], seconds: float
) -> None:
    """Look at all connections several times in `seconds`, until cancelled.

    The kernel's time counts, by which the peer's acknowledges; tests have another one on trio's
    clock.
    """
    while True:
        await trio.sleep(seconds / 4)
        for place, reader in enumerate(list(readers())):
            if place % _CHECKS_PER_TURN == _CHECKS_PER_TURN - 1:
                await trio.lowlevel.checkpoint()
            reader.check(time.monotonic())
