"""The part of the opening handshake that is the same for every library: which requests are refused.

The request head is read and checked here. A library gets only requests for a WebSocket connection
that may be opened; it checks the remaining headers and sends the response.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import h11
import trio
from attrs import frozen

from gateway.network.transport.interface import CHUNK_BYTES, Stream, half_close

PATH: Final = "/ws/api/v2"
HEAD_BYTES: Final = 16 * 2**10
# A head arrives in a few packets, or line by line; one sent byte by byte would cost a read for each
# byte.
HEAD_READS: Final = 256
# How much is read and dropped after a refusal, and for how long. Closing with unread bytes would
# send a reset, which may overtake the response.
LINGER_BYTES: Final = 64 * 2**10
LINGER_SECONDS: Final = 0.5
ANY_ORIGIN: Final = "*"

_HEADERS: Final = (
    b"host",
    b"upgrade",
    b"connection",
    b"sec-websocket-key",
    b"sec-websocket-version",
)
_BLANK_LINE: Final = b"\r\n\r\n"


class Rejection(NamedTuple):
    """An HTTP response that refuses a handshake; `reason` is its body."""

    status: HTTPStatus
    reason: str

    def response(self) -> bytes:
        """The response with its head."""
        body = f"{self.reason}\n".encode()
        upgrade = ""
        if self.status is HTTPStatus.UPGRADE_REQUIRED:
            upgrade = "Upgrade: websocket\r\n"
        head = (
            f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\n"
            f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
            f"{upgrade}Connection: close\r\n\r\n"
        )
        return head.encode() + body


@frozen
class HandshakePolicy:
    """Which handshakes are accepted.

    Web pages of `origins` may connect, besides those of the venue's own host; "*" allows all.
    `hint` is the part of an error text that says where to send HTTP requests.
    """

    origins: tuple[str, ...] = ()
    hint: str = "HTTP requests go to the venue's HTTP port."

    def check(self, head: bytes) -> Rejection | bytes:
        """Return the head to give to a library, or why the request is refused.

        Only the headers that open a connection without extensions and subprotocols are kept:
        libraries fail on some values of others.
        """
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=2 * HEAD_BYTES)
        try:
            parser.receive_data(head)
            request = parser.next_event()
        except h11.RemoteProtocolError as error:
            return Rejection(HTTPStatus.BAD_REQUEST, f"This is no HTTP request: {error}.")
        if not isinstance(request, h11.Request):
            return Rejection(HTTPStatus.BAD_REQUEST, "This is no HTTP request.")
        if not _asks_for_websocket(request):
            reason = f"This port speaks WebSocket, at {PATH}. {self.hint}"
            return Rejection(HTTPStatus.UPGRADE_REQUIRED, reason)
        path = request.target.decode("latin-1").partition("?")[0]
        if path.rstrip("/") != PATH:
            return Rejection(HTTPStatus.NOT_FOUND, f"The WebSocket is at {PATH}.")
        for origin in _values(request, b"origin"):
            if not self._allows(origin, _values(request, b"host")):
                reason = f"Web pages of {origin} may not connect: see `origins` in [server]."
                return Rejection(HTTPStatus.FORBIDDEN, reason)
        kept = [(name, value) for name, value in request.headers if name in _HEADERS]
        if not all(value.isascii() for _, value in kept):
            return Rejection(HTTPStatus.BAD_REQUEST, "The header is not ASCII.")
        lines = b"".join(b"%b: %b\r\n" % each for each in kept)
        request_line = request.method + b" " + request.target + b" HTTP/" + request.http_version
        return request_line + b"\r\n" + lines + b"\r\n"

    def _allows(self, origin: str, hosts: list[str]) -> bool:
        if ANY_ORIGIN in self.origins or origin.lower() in map(str.lower, self.origins):
            return True
        try:
            page = urlsplit(origin)
            own = {urlsplit(f"//{host}").hostname for host in hosts}
        except ValueError:
            return False
        # The port is not compared: the venue serves HTTP on another port.
        return (
            page.scheme in ("http", "https")
            and page.hostname is not None
            and (own == {page.hostname})
        )


def _values(request: h11.Request, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in request.headers if key == name]


def _asks_for_websocket(request: h11.Request) -> bool:
    upgrades = ",".join(_values(request, b"upgrade")).lower().split(",")
    return "websocket" in {each.strip() for each in upgrades}


async def read_head(stream: Stream) -> tuple[bytes, bytes] | None:
    """Return the request's head and the bytes after it; None if the stream ends before.

    A head that is too long, or arrives in too many pieces, is returned without its blank line.
    Raises what the stream raises.
    """
    received = bytearray()
    reads = 0
    while (end := received.find(_BLANK_LINE)) < 0 and len(received) <= HEAD_BYTES:
        if (reads := reads + 1) > HEAD_READS:
            break
        data = await stream.receive_some(CHUNK_BYTES)
        if not data:
            return None
        received += data
        if not received[:1].isalpha():
            # Not HTTP, probably TLS: the client could not read an answer.
            return None
    size = end + len(_BLANK_LINE) if end >= 0 else len(received)
    return bytes(received[:size]), bytes(received[size:])


def check_head(
    head: bytes, policy: HandshakePolicy, refusal: HTTPStatus | None
) -> Rejection | bytes:
    """Return the head to give to a library, or why it is refused; `refusal` refuses any request."""
    if not head.endswith(_BLANK_LINE):
        too_large = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        return Rejection(too_large, f"The request head is over {HEAD_BYTES} bytes, or drips.")
    # Refusals for want of a slot come in floods, so the request is not parsed.
    return policy.check(head) if refusal is None else Rejection(refusal, refusal.phrase)


async def reject(stream: Stream, rejection: Rejection) -> None:
    """Send the response and the end of the stream, and drop what still arrives."""
    await stream.send_all(rejection.response())
    await half_close(stream)
    left = LINGER_BYTES
    with trio.move_on_after(LINGER_SECONDS):
        while left > 0 and (data := await stream.receive_some(CHUNK_BYTES)):
            left -= len(data)
