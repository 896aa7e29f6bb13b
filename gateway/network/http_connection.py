"""One HTTP connection from its TLS handshake to its end.

Each wait for the client has a deadline: for the handshake, the head of a request, its body (in
gateway.network.http) and the reading of the response. A byte that arrives extends none of them.
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

# How long the whole head of a request may take, counted from the end of the previous request.
HEAD_SECONDS: Final = 5.0
# The least rate at which a client must read a response, after `send_seconds`. A client that reads
# two bytes at a time would hold a response for hours.
MIN_BYTES_PER_SECOND: Final = 16_384
# How long, and for how many bytes, reading continues after the last response. TCP answers a close
# with unread data with a reset, after which the client may not get the response.
LINGER_SECONDS: Final = 1.0
LINGER_BYTES: Final = 2**20
# The costs of a connection, and of requests that cost more than others, in requests.
CONNECTION_COST: Final = 1
TLS_COST: Final = 5
PATH_COSTS: Final = {b"/metrics": 10}
_CHUNK: Final = 2**16
_RESET: Final = struct.pack("ii", 1, 0)


@frozen
class HttpServices:
    """What HTTP connections share.

    `explain` returns the body of an error response for a reason. `on_crash` is called with an
    exception of the application, `count_failure` with the reason why a connection failed. `pace`
    counts a cost against an address and returns by how many seconds to delay it.
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
    """One accepted HTTP connection. `run` serves it; `end` may be called at any time."""

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
    # The client has ended its side of the stream, and all that it sent was handled.
    _read_all: bool = field(default=False, init=False)
    # The last response was sent.
    _closing: bool = field(default=False, init=False)

    @property
    def idle(self) -> bool:
        """Whether no request is being received or served."""
        return self._idle or self._closing

    @property
    def waiting_for_client(self) -> bool:
        """Whether it waits for its client, not for the venue; false once `end` was called."""
        if self._end_at < inf:
            return False
        receiving = self._protocol is not None and self._protocol.receiving
        return self.idle or receiving or self._paced or self._writing.locked()

    def end(self, *, within: float = 0.0) -> None:
        """Close it without another response, `within` seconds. A plain call."""
        self._end_at = trio.current_time() + within
        self._scope.deadline = min(self._scope.deadline, self._end_at)

    async def run(self) -> None:
        """Serve it until either side ends it. The caller closes the socket."""
        with self._scope:
            await self._pace(CONNECTION_COST if self.services.tls is None else TLS_COST)
            if await self._shake_hands():
                await self._serve()
                if self._closing:
                    await self._linger()
        if self._scope.cancelled_caught and self._end_at == inf:
            self._timed_out()

    async def _shake_hands(self) -> bool:
        """Run the TLS handshake, if there is a certificate; return whether it succeeded."""
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
            # Port scanners, and clients that do not trust the certificate.
            pass
        self.services.count_failure("tls_handshake")
        return False

    async def _serve(self) -> None:
        try:
            server = self.socket.socket.getsockname()
        except OSError:
            # The client has disconnected already.
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
        """Delay a request that has begun by what the pace of its address demands."""
        await self._pace(PATH_COSTS.get(target.partition(b"?")[0], 1))

    async def _pace(self, cost: float) -> None:
        seconds = self.services.pace(self.address, cost)
        if seconds:
            self._paced = True
            await trio.sleep(seconds)
            self._paced = False

    async def _read(self, protocol: HttpProtocol) -> None:
        """Read until the client ends its side; a request received before that is still answered."""
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
        """Act on an event of the protocol."""
        if isinstance(event, RawData):
            await self._write(event.data)
        elif isinstance(event, Updated):
            self._idle = event.idle
            self._set_deadline(HEAD_SECONDS if event.idle else inf)
        if isinstance(event, Closed) or (self._idle and self._read_all):
            self._closing = True
            self._cancel()

    async def _write(self, data: bytes) -> None:
        """Send data; end the connection if the client reads too slowly."""
        limits = self.services.limits
        async with self._writing:
            try:
                with trio.move_on_after(
                    limits.send_seconds + len(data) / MIN_BYTES_PER_SECOND
                ) as sending:
                    await self._stream.send_all(data)
            except trio.BrokenResourceError:
                self._cancel()
        if sending.cancelled_caught:
            self.services.count_failure("slow_reader")
            # Without a reset on close the kernel would keep sending its buffer for minutes.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._cancel()

    def _set_deadline(self, seconds: float) -> None:
        """Set the deadline for the next data, unless the connection is being ended."""
        self._scope.deadline = min(self._end_at, trio.current_time() + seconds)

    def _cancel(self) -> None:
        """Cancel reading and the request that is being served."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def _timed_out(self) -> None:
        """Count a request that took too long; silence between two requests is no failure."""
        if self._protocol is not None and self._protocol.receiving:
            self.services.count_failure("slow_request")

    async def _linger(self) -> None:
        """Read and drop what still arrives, so that the client gets the last response."""
        left = LINGER_BYTES
        with trio.move_on_after(LINGER_SECONDS):
            try:
                await self.socket.send_eof()
                while left > 0 and (data := await self.socket.receive_some(_CHUNK)):
                    left -= len(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
