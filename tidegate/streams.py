"""Opening the socket under a client's WebSocket, and closing it without waiting."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import trio

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]

_PORTS: Final = {"ws": 80, "wss": 443}


async def open_stream(url: str, seconds: float) -> tuple[Stream, str, str]:
    """Connect to a `ws:` or `wss:` URL: the stream, the Host header and the resource.

    Raises ValueError for another URL, OSError where the connection fails or takes longer.
    """
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"expected ws://HOST:PORT/PATH or wss://…, not {url}")
    port = parts.port or _PORTS[parts.scheme]
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with trio.move_on_after(seconds):
        if parts.scheme == "ws":
            return await trio.open_tcp_stream(parts.hostname, port), parts.netloc, resource
        secured = await trio.open_ssl_over_tcp_stream(parts.hostname, port, https_compatible=True)
        return secured, parts.netloc, resource
    raise TimeoutError(f"{url}: no connection within {seconds:g} s")


def close_stream(stream: Stream) -> None:
    """Close the socket at once; what the peer has not got by now is lost."""
    inner = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    inner.socket.close()
