"""What a client may say in HTTP/2, to a port that does not speak it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""How a client opens HTTP/2 without asking."""


def h2_frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    """A frame of HTTP/2."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def h2_headers(*fields: tuple[bytes, bytes], stream: int = 1, flags: int = 0x5) -> bytes:
    """A HEADERS frame whose fields are literals; by default it ends headers and stream."""
    block = b"".join(
        b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in fields
    )
    return h2_frame(1, block, flags=flags, stream=stream)


_H2_GET: Final = (
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":authority", b"x"),
    (b":path", b"/api/v2/public/test"),
)


def h2_streams() -> Iterator[tuple[str, bytes]]:
    """What follows the preface of HTTP/2, or an upgrade to it."""
    settings = h2_frame(4)
    yield "nothing", b""
    yield "settings", settings
    yield "request", settings + h2_headers(*_H2_GET)
    path = (*_H2_GET[:3], (b":path", "/é".encode()))
    yield "path_utf8", settings + h2_headers(*path)
    yield "path_latin1", settings + h2_headers(*_H2_GET[:3], (b":path", b"/\xe9"))
    yield "path_empty", settings + h2_headers(*_H2_GET[:3], (b":path", b""))
    yield "connect", settings + h2_headers((b":method", b"CONNECT"), (b":authority", b"x:1"))
    websocket = ((b":method", b"CONNECT"), (b":protocol", b"websocket"), *_H2_GET[1:])
    yield "connect_websocket", settings + h2_headers(*websocket)
    yield "no_method", settings + h2_headers(*_H2_GET[1:])
    yield "method_binary", settings + h2_headers((b":method", b"\xff"), *_H2_GET[1:])
    yield "upper_case", settings + h2_headers(*_H2_GET, (b"X-Upper", b"1"))
    yield "priorities", settings + h2_frame(2, bytes(5), stream=1) * 1_001
    yield "priority_of_itself", settings + h2_frame(2, struct.pack(">IB", 1, 1), stream=1)
    yield "bad_settings_length", h2_frame(4, bytes(5))
    yield "bad_settings_value", h2_frame(4, struct.pack(">HI", 4, 2**31))
    yield "bad_frame_size", h2_frame(4, struct.pack(">HI", 5, 1))
    yield "settings_flood", h2_frame(4) * 1_000
    yield "pings", settings + h2_frame(6, bytes(8)) * 1_000
    yield (
        "resets",
        b"".join(
            h2_headers(*_H2_GET, stream=n) + h2_frame(3, bytes(4), stream=n)
            for n in range(1, 400, 2)
        ),
    )
    post_head = h2_headers((b":method", b"POST"), *_H2_GET[1:], flags=0x4)
    yield "large_body", settings + post_head + h2_frame(0, bytes(16_000), stream=1) * 4
    body_405 = h2_headers((b":method", b"PUT"), *_H2_GET[1:], flags=0x4)
    yield "body_after_405", settings + body_405 + h2_frame(0, bytes(16_000), stream=1) * 4
    yield "data_on_idle", settings + h2_frame(0, b"x", stream=7)
    yield "data_on_zero", settings + h2_frame(0, b"x")
    yield "window_overflow", settings + h2_frame(8, struct.pack(">I", 2**31 - 1)) * 2
    yield "window_zero", settings + h2_frame(8, bytes(4))
    yield "goaway", settings + h2_frame(7, bytes(8))
    yield "continuation_alone", settings + h2_frame(9, b"x", stream=1)
    yield "headers_unended", settings + h2_headers(*_H2_GET, flags=0) + h2_frame(6, bytes(8))
    yield "push_promise", settings + h2_frame(5, bytes(4), stream=1)
    yield "unknown_kind", settings + h2_frame(0xEE, b"x" * 100)
    yield "hpack_garbage", settings + h2_frame(1, b"\xff" * 64, flags=0x5, stream=1)
    yield "even_stream", settings + h2_headers(*_H2_GET, stream=2)
    yield "huge_length", b"\xff\xff\xff\x00\x00" + bytes(4)
