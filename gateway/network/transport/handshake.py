"""The opening handshake as far as it is the same for every library: which requests are refused.

The request head is read and judged here. A library gets only heads that ask for a WebSocket
connection which may be opened; it checks the rest and answers.
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
# A head comes in a packet or two, or in lines; one that drips would cost a read for each byte.
HEAD_READS: Final = 256
# A refused client may still be sending: closing over unread bytes would be a reset, which can
# overtake the response. So much is read away, for so long.
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

    `origins` are origins of web pages that may connect besides those of the venue's own host; "*"
    allows all. `hint` says where HTTP requests go.
    """

    origins: tuple[str, ...] = ()
    hint: str = "HTTP requests go to the venue's HTTP port."

    def check(self, head: bytes) -> Rejection | bytes:
        """The head that a library may have of this one, or why the request is refused.

        It holds only what opens a connection without extensions and subprotocols, of which there
        are none: libraries stumble over odd values of the others.
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
        # The port differs where the venue itself served the page: HTTP has a port of its own.
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
    """The head of the request and what came behind it; None where the stream ends before.

    A head that is too long, or in too many pieces, comes without its blank line. Raises what the
    stream raises.
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
            # Not HTTP: a TLS client, probably, to which no answer would be readable.
            return None
    size = end + len(_BLANK_LINE) if end >= 0 else len(received)
    return bytes(received[:size]), bytes(received[size:])


def check_head(
    head: bytes, policy: HandshakePolicy, refusal: HTTPStatus | None
) -> Rejection | bytes:
    """The head for a library, or why the request is refused: any one with `refusal`, if given."""
    if not head.endswith(_BLANK_LINE):
        too_large = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        return Rejection(too_large, f"The request head is over {HEAD_BYTES} bytes, or drips.")
    # Refusals for want of a slot come in floods, and are made at the least expense.
    return policy.check(head) if refusal is None else Rejection(refusal, refusal.phrase)


async def reject(stream: Stream, rejection: Rejection) -> None:
    """Send the response and the end of the stream, and read away what is still on its way."""
    await stream.send_all(rejection.response())
    await half_close(stream)
    left = LINGER_BYTES
    with trio.move_on_after(LINGER_SECONDS):
        while left > 0 and (data := await stream.receive_some(CHUNK_BYTES)):
            left -= len(data)
