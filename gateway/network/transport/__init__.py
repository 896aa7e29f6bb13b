"""WebSocket connections, independent of the library that implements the protocol.

`websockets_transport` is the default, on a library without I/O of its own. The tests run over
`trio_websocket_transport` as well, whose behaviour the default is compared with.
"""

from __future__ import annotations

import ssl
from http import HTTPStatus
from typing import Final

import trio

from gateway.config.schema import Library
from gateway.network.transport import trio_websocket_transport, websockets_transport
from gateway.network.transport.handshake import (
    PATH,
    HandshakePolicy,
    Rejection,
    check_head,
    read_head,
    reject,
)
from gateway.network.transport.interface import DisconnectedError, Stream, Transport
from gateway.network.transport.meter import InboundMeter

__all__ = [
    "PATH",
    "PEER_ERRORS",
    "DisconnectedError",
    "HandshakePolicy",
    "InboundMeter",
    "Library",
    "Transport",
    "shake_hands",
]

PEER_ERRORS: Final = (
    DisconnectedError,
    *trio_websocket_transport.LIBRARY_ERRORS,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
)
"""What a handshake or a library's own task raises because of the peer or the network."""


async def shake_hands(
    nursery: trio.Nursery,
    connected: trio.SocketStream,
    *,
    library: Library,
    tls: ssl.SSLContext | None,
    frame_bytes: int,
    seconds: float,
    refusal: HTTPStatus | None,
    policy: HandshakePolicy,
    meter: InboundMeter,
) -> Transport | None:
    """Open a WebSocket connection; return None if that fails, is refused, or takes `seconds`.

    A library that needs a task of its own runs it in `nursery`. `refusal` is an HTTP status to
    answer the client's request with: common clients wait for a minute after a close without an
    answer. Raises PEER_ERRORS.
    """
    stream: Stream = connected
    if tls is not None:
        # WebSocket's closing handshake makes that of TLS unnecessary.
        stream = trio.SSLStream(connected, tls, server_side=True, https_compatible=True)
    with trio.move_on_after(seconds):
        received = await read_head(stream)
        if received is None:
            return None
        ahead = received[1]
        head = check_head(received[0], policy, refusal)
        if isinstance(head, Rejection):
            await reject(stream, head)
            return None
        if library == "trio-websocket":
            return await trio_websocket_transport.shake_hands(
                nursery, stream, head, ahead, frame_bytes, meter
            )
        return await websockets_transport.shake_hands(stream, head, ahead, frame_bytes, meter)
    return None
