"""A crowd of WebSocket clients that costs little: the least framing, and one epoll for them all.

A client library takes more of a processor than the server that is measured, and a task for each
connection takes the more the more there are. Requests are masked with zeros, which leaves them as
they are and is as much work for the server as any other mask.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Final
from urllib.parse import urlsplit

import msgspec

PRICE, AMOUNT = 64000, 10
"""What a trader bids, far below the index of the venues that are measured."""

BATCH: Final = 64
"""Connections opened side by side: fewer than a listening socket holds."""

_MASK: Final = bytes(4)
_CHUNK: Final = 64 * 1024
"""Of 256 KiB, the kernel maps and clears as much memory for each call, for 20 us instead of 5."""
_TEXT, _CLOSE = 1, 8
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_PATIENCE: Final = 30.0


def frame(payload: bytes) -> bytes:
    """A client's text frame of up to 65,535 bytes."""
    if len(payload) < 126:
        return bytes((0x80 | _TEXT, 0x80 | len(payload))) + _MASK + payload
    return struct.pack("!BBH", 0x80 | _TEXT, 0x80 | 126, len(payload)) + _MASK + payload


class Peer:
    """One connection, which never waits once it is open.

    What the kernel does not take stays in `unsent`. The buffers are in bytes, and the kernel's
    choice by default: of a small one the other side sees soon that it is full.
    """

    def __init__(self, url: str, *, receive_buffer: int = 0, send_buffer: int = 0) -> None:
        address = urlsplit(url)
        self.socket = socket.socket()
        for option, size in ((socket.SO_RCVBUF, receive_buffer), (socket.SO_SNDBUF, send_buffer)):
            if size:
                self.socket.setsockopt(socket.SOL_SOCKET, option, size)
        self.socket.settimeout(_PATIENCE)
        self.socket.connect((address.hostname, address.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(
            f"GET {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.unsent = bytearray()
        self.ended = False
        self._corked = False
        self._rest = b""

    def shake_hands(self) -> None:
        """Take the answer to the opening handshake, which must be yes."""
        head = b""
        while b"\r\n\r\n" not in head:
            data = self.socket.recv(_CHUNK)
            assert data, "refused"
            head += data
        assert head.startswith(b"HTTP/1.1 101"), head
        self._rest = head.partition(b"\r\n\r\n")[2]
        self.socket.settimeout(0)

    def send(self, payload: bytes) -> None:
        """Send one message, behind what is unsent."""
        self.unsent += frame(payload)
        if not self._corked:
            self.flush()

    @contextmanager
    def corked(self) -> Iterator[None]:
        """Send everything of a block in one go, at its end."""
        self.cork()
        yield
        self.uncork()

    def cork(self) -> None:
        """Keep what is sent."""
        self._corked = True

    def uncork(self) -> None:
        """Send what was kept, in one go."""
        self._corked = False
        self.flush()

    def flush(self) -> None:
        """Send what the kernel takes."""
        try:
            if self.unsent:
                del self.unsent[: self.socket.send(self.unsent)]
        except BlockingIOError:
            return
        except ConnectionError:
            self.ended = True

    def receive(self) -> list[bytes]:
        """The messages that have arrived; `ended` is set at the end of them all."""
        try:
            data = self.socket.recv(_CHUNK)
        except BlockingIOError:
            return []
        except ConnectionError:
            data = b""
        if not data:
            self.ended = True
            return []
        if self._rest:
            data = self._rest + data
        messages = []
        at, size = 0, len(data)
        while size - at >= 2:
            length, start = data[at + 1], at + 2
            if length >= 126:
                start += 2 if length == 126 else 8
                length = int.from_bytes(data[at + 2 : start])
            if start + length > size:
                break
            opcode = data[at] & 0x0F
            if opcode == _TEXT:
                messages.append(data[start : start + length])
            elif opcode == _CLOSE:
                self.ended = True
            at = start + length
        self._rest = data[at:]
        return messages

    def readable(self, seconds: float) -> bool:
        """Wait so long for something to receive."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(seconds * 1e3))

    def answer(self) -> bytes:
        """Wait for the next message, which must be no error."""
        messages: list[bytes] = []
        while not messages:
            assert self.readable(_PATIENCE), "no answer"
            messages = self.receive()
            assert not self.ended, "the server closed the connection"
        (message,) = messages
        assert b'"error":' not in message, message
        return message


def request(number: int, method: str, params: object) -> object:
    """A JSON-RPC request."""
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def open_peers(
    url: str, count: int, *, receive_buffer: int = 0, send_buffer: int = 0
) -> list[Peer]:
    """Open connections, some side by side."""
    peers: list[Peer] = []
    for begin in range(0, count, BATCH):
        batch = [
            Peer(url, receive_buffer=receive_buffer, send_buffer=send_buffer)
            for _ in range(min(BATCH, count - begin))
        ]
        for peer in batch:
            peer.shake_hands()
        peers += batch
    return peers


def log_in(peers: Sequence[Peer], numbers: Iterable[int]) -> None:
    """Log each in as an account of `venue_config`, some side by side."""
    accounts = iter(numbers)
    for begin in range(0, len(peers), BATCH):
        batch = peers[begin : begin + BATCH]
        for peer in batch:
            number = next(accounts)
            secret = {"client_id": f"id{number}", "client_secret": f"secret{number}"}
            params = {"grant_type": "client_credentials", **secret}
            peer.send(msgspec.json.encode(request(0, "public/auth", params)))
        for peer in batch:
            peer.answer()


class Crowd:
    """Peers that are read together."""

    def __init__(self, peers: Iterable[Peer]) -> None:
        self._poll = select.epoll()
        self._peers = {peer.socket.fileno(): peer for peer in peers}
        for number in self._peers:
            self._poll.register(number, select.EPOLLIN)

    def read(self, seconds: float) -> Iterator[tuple[Peer, list[bytes]]]:
        """Yield the peers that sent something in time, with their messages; none if one ended.

        Waits shorter than the kernel's millisecond do not wait at all, so that a schedule is met.
        """
        for number, _ in self._poll.poll(max(0.0, int(seconds * 1e3) / 1e3), len(self._peers) or 1):
            peer = self._peers[number]
            messages = peer.receive()
            if peer.ended:
                self._poll.unregister(number)
            yield peer, messages

    def close(self) -> None:
        """Close all connections."""
        self._poll.close()
        for peer in self._peers.values():
            peer.socket.close()


class _Order(msgspec.Struct):
    order_id: str


class _Result(msgspec.Struct):
    order: _Order | None = None


class _Error(msgspec.Struct):
    code: int


class _Reply(msgspec.Struct):
    """An echo is the request itself, and names its method."""

    id: int | None = None
    method: str = ""
    result: _Result | None = None
    error: _Error | None = None


_REPLY: Final = msgspec.json.Decoder(_Reply)


class Trader:
    """Places orders that rest, and cancels them, on a logged-in connection.

    Delays, in seconds, count from the time a request was due, not from when it could be sent, so
    that a server that holds us up does not look the better for it.
    """

    def __init__(self, peer: Peer, price: int = PRICE) -> None:
        self.peer = peer
        self.price = price
        self.due: dict[int, float] = {}
        self.delays: list[float] = []
        self.refusals: dict[int, int] = {}
        self._open: deque[str] = deque()
        self._cancelling: dict[int, str] = {}
        self._number = 0

    def ask(self, due: float) -> None:
        """Send the next request: the cancel of an open order, or else a new one."""
        if self._open:
            order = self._open.popleft()
            self._cancelling[self._number + 1] = order
            self._send(due, "private/cancel", f'"order_id":"{order}"')
        else:
            self._place(due, "buy")

    def _place(self, due: float, side: str) -> None:
        what = f'"instrument_name":"BTC-PERPETUAL","amount":{AMOUNT},"price":{self.price}'
        self._send(due, f"private/{side}", what)

    def _send(self, due: float, method: str, params: str) -> None:
        self._number += 1
        self.due[self._number] = due
        text = f'{{"jsonrpc":"2.0","id":{self._number},"method":"{method}","params":{{{params}}}}}'
        self.peer.send(text.encode())

    def handle(self, message: bytes) -> bool:
        """Note what a message says; returns whether it is a reply, and no notification."""
        reply = _REPLY.decode(message)
        if reply.id is None:
            return False
        delay = perf_counter() - self.due.pop(reply.id)
        cancelling = self._cancelling.pop(reply.id, None)
        if reply.error is not None:
            self.refusals[reply.error.code] = self.refusals.get(reply.error.code, 0) + 1
            if cancelling is not None:
                # It is still there; else a long flood would leave a book of what it gave up.
                self._open.append(cancelling)
            return True
        self.delays.append(delay)
        if reply.result is not None and reply.result.order is not None:
            self._open.append(reply.result.order.order_id)
        elif reply.method == "private/buy":
            self._open.append("1")
        return True


class Dealer(Trader):
    """Buys or sells at one price and cancels nothing: two of them trade with each other."""

    def __init__(self, peer: Peer, side: str, price: int) -> None:
        super().__init__(peer, price)
        self.side = side

    def ask(self, due: float) -> None:
        """Send the next order."""
        self._place(due, self.side)


def percentile(values: Iterable[float], percent: int) -> float:
    """Of at least one value."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def memory(pid: int) -> int:
    """Bytes that a process has in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
