"""Bytes that a broken or an ill-disposed client may send to either port.

`HTTP` and `WEBSOCKET` are tables of known cases, each with a name; every value is what one
connection sends. `http_stream` and `websocket_stream` make more of them from a seed: the same
`Random` gives the same bytes. No case logs in, so no case may change the venue.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from random import Random
from typing import Final

from tests.hostile_http import (
    BODIES,
    HANDSHAKE,
    HTTP,
    HUGE,
    TEST,
    UPGRADE,
    UPGRADES,
    get,
    ws_frame,
)
from tests.hostile_http2 import PREFACE, h2_frame

__all__ = ["HANDSHAKE", "HTTP", "WEBSOCKET", "http_stream", "pieces", "websocket_stream"]


def _frames() -> Iterator[tuple[str, bytes]]:
    """What follows a correct WebSocket handshake."""
    text, ping, close = ws_frame(1, TEST), ws_frame(9), ws_frame(8)
    yield "text", text
    yield "half", text[:-5]
    yield "unmasked", ws_frame(1, TEST, mask=False)
    yield "not_utf8", ws_frame(1, b"\xff\xfe")
    yield "utf8_cut_in_fragments", ws_frame(1, b"\xe2", first=0) + ws_frame(0, b"\x82\xac")
    yield "surrogate", ws_frame(1, b"\xed\xa0\x80")
    yield "binary", ws_frame(2, bytes(range(256)))
    yield "too_big", ws_frame(1, b"x" * HUGE)
    yield "too_big_valid", ws_frame(1, TEST[:-1] + b" " * HUGE + b"}")
    yield "too_big_in_fragments", ws_frame(1, b"x", first=0) + ws_frame(0, b"x" * 999, first=0) * 50
    yield "empty_text", ws_frame(1)
    yield "empty_fragments", ws_frame(1, first=0) + ws_frame(0, first=0) * 2_000
    yield "fragment_then_close", ws_frame(1, b"x", first=0) + close
    yield "fragment_then_text", ws_frame(1, b"x", first=0) + text
    yield "continuation_alone", ws_frame(0, b"x")
    yield "pings", ping * 2_000
    yield "pongs", ws_frame(10) * 2_000
    yield "ping_too_long", ws_frame(9, b"x" * 126)
    yield "ping_fragment", ws_frame(9, first=0)
    yield "ping_in_message", ws_frame(1, TEST[:9], first=0) + ping + ws_frame(0, TEST[9:])
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        yield f"opcode_{opcode}", ws_frame(opcode, b"x")
    for bits in (0x10, 0x20, 0x40, 0x70):
        yield f"reserved_{bits:x}", ws_frame(1, TEST, first=0x80 | bits)
    for length in (0, 125, 126, 2**15, 2**16):
        head = bytes([0x81, 0x80 | 127]) + struct.pack(">Q", length)
        yield f"long_form_{length}", head + bytes(4) + b"x" * min(length, 100)
    for length in (2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1):
        yield f"length_{length}", bytes([0x81, 0x80 | 127]) + struct.pack(">Q", length) + bytes(4)
    yield "close", close
    yield "close_one_byte", ws_frame(8, b"\x03")
    for code in (0, 999, 1000, 1004, 1005, 1006, 1007, 1015, 1016, 2999, 3000, 4999, 5000, 65535):
        yield f"close_{code}", ws_frame(8, struct.pack(">H", code))
    yield "close_reason_not_utf8", ws_frame(8, b"\x03\xe8\xff")
    yield "close_too_long", ws_frame(8, b"\x03\xe8" + b"x" * 124)
    yield "close_then_text", close + text
    yield "text_then_close", text + close
    yield "close_twice", close + close
    yield "http", get(b"/api/v2/public/test")
    yield "h2", PREFACE
    yield "garbage", b"\xff" * 500
    yield "zeros", bytes(500)
    for number, body in enumerate(BODIES):
        yield f"json_{number}", ws_frame(1, body)


def _websocket() -> Iterator[tuple[str, bytes]]:
    for name, frames in _frames():
        yield f"frames_{name}", HANDSHAKE + frames
    for number, upgrade in enumerate(UPGRADES):
        yield f"upgrade_{number}", get(b"/ws/api/v2", upgrade) + ws_frame(1, TEST)
    for name, stream in HTTP.items():
        yield f"http_{name}", stream


WEBSOCKET: Final[dict[str, bytes]] = dict(_websocket())
"""By name, what one connection sends to a port that speaks WebSocket; all of HTTP is in it."""

_HTTP_CASES: Final = tuple(HTTP.values())
_WEBSOCKET_CASES: Final = tuple(WEBSOCKET.values())
_FRAMES: Final = tuple(frames for _, frames in _frames())

_SPLICES: Final = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\x00",
    b"\xff",
    b" ",
    b":",
    b"%",
    b"?",
    b"\r\n\r\n",
    b"\xc3\xa9",
    b"0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 7\r\n",
    b"Upgrade: h2c\r\n",
    UPGRADE,
    h2_frame(4),
    ws_frame(9),
    ws_frame(8),
    b"HTTP/2.0",
    b"9" * 30,
)


def mutated(random: Random, data: bytes) -> bytes:
    """The same bytes with a few places changed, removed, doubled or filled with foreign ones."""
    made = bytearray(data)
    for _ in range(random.randint(1, 4)):
        start = random.randint(0, len(made))
        end = min(len(made), start + random.choice((0, 1, 1, 2, 8, 40)))
        piece = bytes(made[start:end])
        match random.randrange(6):
            case 0:
                piece = bytes(random.randrange(256) for _ in piece)
            case 1:
                piece = b""
            case 2:
                piece *= random.choice((2, 3, 50))
            case 3:
                piece += random.choice(_SPLICES)
            case 4:
                piece = bytes(each ^ (1 << random.randrange(8)) for each in piece)
            case _:
                del made[start + 1 :]
                break
        made[start:end] = piece
    return bytes(made)


def http_stream(random: Random) -> bytes:
    """What one connection sends to an HTTP port: some cases of the table, changed."""
    parts = [random.choice(_HTTP_CASES) for _ in range(random.choice((1, 1, 1, 2, 3)))]
    made = (mutated(random, part) if random.random() < 0.8 else part for part in parts)
    return b"".join(made)[:200_000]


def websocket_stream(random: Random) -> bytes:
    """The same for a WebSocket port; what begins with a handshake mostly keeps it."""
    data = random.choice(_WEBSOCKET_CASES)
    if not data.startswith(HANDSHAKE) or random.random() < 0.2:
        return mutated(random, data)
    others = [random.choice(_FRAMES) for _ in range(random.randrange(3))]
    return HANDSHAKE + mutated(random, data[len(HANDSHAKE) :] + b"".join(others))


def pieces(random: Random, data: bytes) -> Iterator[bytes]:
    """The bytes in the pieces in which they are sent: at once, in a few, or with a dripping end."""
    cuts = sorted(random.randint(0, len(data)) for _ in range(random.choice((0, 0, 1, 3, 8))))
    start = 0
    for cut in (*cuts, len(data)):
        if cut > start:
            yield data[start:cut]
        start = cut
