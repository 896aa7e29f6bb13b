"""One HTTP connection from its TLS handshake to its end.

While it waits for its client it is under a deadline: for the handshake, for the head of a request,
for its body (gateway.network.http) and for a client that does not read. A byte that arrives extends
none of them.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable
from math import inf
from typing import Any, Final

import trio
from attrs import Factory, define, field, frozen
from starlette.types import ASGIApp

from gateway.config.schema import Limits
from gateway.network.http_protocol import Closed, Context, HttpProtocol, RawData, Updated

# For the whole head of a request, from the end of the one before it.
HEAD_SECONDS: Final = 5.0
# A client that takes less than this a second is cut: 2 bytes at a time would hold a response for
# hours. It comes on top of `send_seconds`.
MIN_BYTES_PER_SECOND: Final = 16_384
# How long, and for how many bytes, a connection that we end is read on: closed with something
# unread, TCP takes back what was sent, and the client never sees why.
LINGER_SECONDS: Final = 1.0
LINGER_BYTES: Final = 2**20
# What a connection costs, and a request that is not like others, in requests.
CONNECTION_COST: Final = 1
TLS_COST: Final = 5
PATH_COSTS: Final = {b"/metrics": 10}
_CHUNK: Final = 2**16
_RESET: Final = struct.pack("ii", 1, 0)


@frozen
class HttpServices:
    """What connections serve with.

    `explain` makes the body of a refusal, `crashed` is called with an exception of the application,
    `failed` with the reason why a connection did not end well. `pace` counts what an address has
    asked for, at its cost, and returns the seconds that it has to wait.
    """

    application: ASGIApp
    limits: Limits
    explain: Callable[[str], bytes]
    on_crash: Callable[[Exception], None]
    count_failure: Callable[[str], None]
    tls: ssl.SSLContext | None
    context: Context
    pace: Callable[[str, float], float]


@define(eq=False)
class HttpConnection:
    """Made at accept. `run` serves it; `end` may be called at any time."""

    services: HttpServices
    socket: trio.SocketStream
    address: str
    _stream: trio.SocketStream | trio.SSLStream[trio.SocketStream] = field(
        default=Factory(lambda self: self.socket, takes_self=True), init=False
    )
    _scope: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _end_at: float = field(default=inf, init=False)
    _nursery: trio.Nursery | None = field(default=None, init=False)
    _protocol: HttpProtocol | None = field(default=None, init=False)
    _writing: trio.Lock = field(factory=trio.Lock, init=False)
    _idle: bool = field(default=True, init=False)
    _paced: bool = field(default=False, init=False)
    # All that the client will ever send was read and handled.
    _read_all: bool = field(default=False, init=False)
    # The last response was sent, and says so.
    _closing: bool = field(default=False, init=False)

    @property
    def idle(self) -> bool:
        """Whether no request has come, or the last one was answered."""
        return self._idle or self._closing

    @property
    def waiting_for_client(self) -> bool:
        """Whether it waits for its client, rather than for the venue; not if it is being ended."""
        if self._end_at < inf:
            return False
        receiving = self._protocol is not None and self._protocol.receiving
        return self.idle or receiving or self._paced or self._writing.locked()

    def end(self, *, within: float = 0.0) -> None:
        """End it without another word, `within` seconds. A plain call."""
        self._end_at = trio.current_time() + within
        self._scope.deadline = min(self._scope.deadline, self._end_at)

    async def run(self) -> None:
        """Serve it until either side ends it. The socket is left to be closed."""
        with self._scope:
            await self._pace(CONNECTION_COST if self.services.tls is None else TLS_COST)
            if await self._shake_hands():
                await self._serve()
                if self._closing:
                    await self._linger()
        if self._scope.cancelled_caught and self._end_at == inf:
            self._timed_out()

    async def _shake_hands(self) -> bool:
        """Whether what follows is HTTP: after a TLS handshake, where there is a certificate."""
        if self.services.tls is None:
            return True
        stream = trio.SSLStream(
            self.socket, self.services.tls, server_side=True, https_compatible=True
        )
        try:
            with trio.move_on_after(self.services.limits.handshake_seconds):
                await stream.do_handshake()
                self._stream = stream
                return True
        except trio.BrokenResourceError:
            # Scanners, and clients that do not trust the certificate.
            pass
        self.services.count_failure("tls_handshake")
        return False

    async def _serve(self) -> None:
        try:
            server = self.socket.socket.getsockname()
        except OSError:
            # Gone before anything was read.
            return
        self._set_deadline(HEAD_SECONDS)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._protocol = HttpProtocol(
                self.services.application,
                self.services.context,
                nursery,
                tls=self.services.tls is not None,
                client=(self.address, 0),
                server=(server[0], server[1]),
                send=self._handle,
                body_bytes=self.services.limits.body_bytes,
                explain=self.services.explain,
                crashed=self.services.on_crash,
                begun=self._begin,
            )
            await self._read(self._protocol)
        if self._protocol.rejected_status:
            self.services.count_failure("bad_request")

    async def _begin(self, target: bytes) -> None:
        """A request has begun: it is let through when it is its address's turn."""
        await self._pace(PATH_COSTS.get(target.partition(b"?")[0], 1))

    async def _pace(self, cost: float) -> None:
        seconds = self.services.pace(self.address, cost)
        if seconds:
            self._paced = True
            await trio.sleep(seconds)
            self._paced = False

    async def _read(self, protocol: HttpProtocol) -> None:
        """Read until the client ends it. A request that came before that is still answered."""
        data = b"-"
        while data:
            try:
                data = bytes(await self._stream.receive_some(_CHUNK))
            except trio.BrokenResourceError:
                self._cancel()
                return
            await protocol.handle(RawData(data))
        self._read_all = True
        if self._idle:
            self._closing = True
            self._cancel()

    async def _handle(self, event: Any) -> None:
        """Do what the protocol asks for."""
        if isinstance(event, RawData):
            await self._write(event.data)
        elif isinstance(event, Updated):
            self._idle = event.idle
            self._set_deadline(HEAD_SECONDS if event.idle else inf)
        if isinstance(event, Closed) or (self._idle and self._read_all):
            self._closing = True
            self._cancel()

    async def _write(self, data: bytes) -> None:
        """Send, unless the client takes too long to read."""
        limits = self.services.limits
        async with self._writing:
            try:
                with trio.move_on_after(
                    limits.send_seconds + len(data) / MIN_BYTES_PER_SECOND
                ) as patience:
                    await self._stream.send_all(data)
            except trio.BrokenResourceError:
                self._cancel()
        if patience.cancelled_caught:
            self.services.count_failure("slow_reader")
            # Otherwise the kernel keeps what is unsent, and tries for minutes.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._cancel()

    def _set_deadline(self, seconds: float) -> None:
        """Wait so long for what comes next, unless the connection is being ended."""
        self._scope.deadline = min(self._end_at, trio.current_time() + seconds)

    def _cancel(self) -> None:
        """Stop reading, and the request that is being served."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def _timed_out(self) -> None:
        """A deadline has passed: not for silence between two requests, which is how most end."""
        if self._protocol is not None and self._protocol.receiving:
            self.services.count_failure("slow_request")

    async def _linger(self) -> None:
        """Read what still comes, so that the client can read why it was the last."""
        left = LINGER_BYTES
        with trio.move_on_after(LINGER_SECONDS):
            try:
                await self.socket.send_eof()
                while left > 0 and (data := await self.socket.receive_some(_CHUNK)):
                    left -= len(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
