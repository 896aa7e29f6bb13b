"""What a broken or an ill-disposed client may send to a port that speaks HTTP.

`HTTP` is the table: by name, what one connection sends. No case logs in, so no case may change
the venue. tests/hostile_bytes.py makes more of them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import product
from typing import Final

from tests.hostile_headers import CODINGS, HEADERS, LENGTHS, METHODS, VERSIONS
from tests.hostile_http2 import PREFACE, h2_frame, h2_streams

HUGE: Final = 40_000
"""More than a body or a message may have by default."""

_KEY: Final = b"dGhlIHNhbXBsZSBub25jZQ=="

UPGRADE: Final = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + _KEY + b"\r\n"
)
"""The headers of a WebSocket opening handshake."""

HANDSHAKE: Final = b"GET /ws/api/v2 HTTP/1.1\r\nHost: x\r\n" + UPGRADE + b"\r\n"
"""A correct opening handshake."""


def get(target: bytes, headers: bytes = b"", method: bytes = b"GET") -> bytes:
    """A request without a body; `headers` are whole lines."""
    return method + b" " + target + b" HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n"


def post(body: bytes, headers: bytes | None = None, target: bytes = b"/api/v2") -> bytes:
    """A request with a body, and the headers that go with it unless others are given."""
    if headers is None:
        headers = b"Content-Length: %d\r\nContent-Type: application/json\r\n" % len(body)
    return get(target, headers, b"POST") + body


def chunked(*chunks: bytes) -> bytes:
    """A body in chunks, with the last one of no length."""
    return b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in chunks) + b"0\r\n\r\n"


def ws_frame(opcode: int, payload: bytes = b"", *, first: int = 0x80, mask: bool = True) -> bytes:
    """A frame of WebSocket from a client; `first` are the bits above the opcode."""
    size = len(payload)
    bit = 0x80 if mask else 0
    if size < 126:
        length = bytes([bit | size])
    elif size < 2**16:
        length = bytes([bit | 126]) + struct.pack(">H", size)
    else:
        length = bytes([bit | 127]) + struct.pack(">Q", size)
    # A mask of zeros leaves the payload as it stands.
    return bytes([first | opcode]) + length + (bytes(4) if mask else b"") + payload


TEST: Final = b'{"jsonrpc":"2.0","id":1,"method":"public/test"}'
_GET: Final = get(b"/api/v2/public/test")
_POST: Final = post(TEST)
_TARGETS: Final = (
    b"",
    b"*",
    b"x",
    b"//",
    b"/..",
    b"/%",
    b"/%zz",
    b"/%00",
    b"/%ff",
    b"/%e9",
    b"/\xe9",
    b"/\xff",
    "/é".encode(),
    b"/\x00",
    b"/ x",
    b"/#x",
    b"/?",
    b"/?=&=&",
    b"/?%",
    b"/api/v2/?a=%ff",
    b"?",
    b"/api/v2/public/test?",
    b"/api/v2/public/test??",
    b"/api/v2/" + b"a" * 8_000,
    b"http://",
    b"http://x",
    b"http://x/",
    b"http://x/api/v2/public/test",
    b"HTTPS://x:99999/api/v2",
    b"http://[::1/api/v2",
    b"http://x@y:z/api/v2",
    b"ftp://x/",
    b"x:443",
    b"/api/v2/\r/x",
    b"/api/v2/public%2Ftest",
    b"/ws/api/v2",
    b"/api/v2/public/test;x=1",
    b"\\api\\v2",
    b"/" * 5_000,
    b"http://x?y",
    b"http://x#y",
    b"https:///api/v2",
    b"http:/api/v2",
    b"/api/v2/../../etc/passwd",
)

_CHUNKS: Final = (
    chunked(TEST),
    chunked(b"{", b"}"),
    chunked(*[b"x"] * 3_000),
    chunked(b"y" * HUGE),
    b"0\r\n\r\n",
    b"\r\n",
    b"zz\r\n",
    b"-1\r\n",
    b"5\r\nhello",
    b"5\r\nhelloX",
    b"5\nhello\n0\n\n",
    b"5;" + b"e" * 20_000,
    b"5;x=y\r\nhello\r\n0\r\n\r\n",
    b"ffffffffffffffffffff\r\n",
    b"f" * 5_000,
    b"0x5\r\nhello\r\n",
    b"5 \r\nhello\r\n0\r\n\r\n",
    b"0\r\nX: y\r\n\r\n",
    b"0\r\n\xff\r\n\r\n",
    b"0\r\nContent-Length: 1\r\n\r\n",
    b"0\r\n" + b"X: y\r\n" * 3_000,
    b"\xef\xbc\x95\r\nhello\r\n",
    b"00000000000000000000005\r\nhello\r\n0\r\n\r\n",
)

BODIES: Final = (
    b"",
    b"{",
    b"[]",
    b"null",
    b"1",
    b"\xff",
    b"\x00",
    b'"x"',
    b"{}" * 10,
    b"[" * 30_000,
    TEST[:-1],
    b'{"id":1,"method":1}',
    b'{"id":[],"method":"public/test"}',
    b'{"method":"public/test","params":[]}',
    b'{"id":1e999,"method":"public/test"}',
    b'{"id":' + b"9" * 4_000 + b',"method":"x"}',
    b"y" * HUGE,
    b'{"id":1,"method":"\\ud800"}',
    b"\xef\xbb\xbf" + TEST,
    TEST.decode().encode("utf-16"),
    b"a=1&b=2",
    b'{"a":' * 5_000,
    b'{"id":1,"method":"' + b"m" * 30_000 + b'"}',
    b"{" + b" " * HUGE,
)

_RAW: Final = (
    b"\r\n",
    b"\n" * 3_000,
    b"\r\n\r\n\r\n",
    b"\x00",
    b"\xff" * 100,
    b"GET",
    b"GET ",
    b"GET / HTTP/1.1\r",
    b"GET / HTTP/1.1\r\nHost: x\r\n",
    b"G" * 20_000,
    b"GET / HTTP/1.1\n\n",
    b"GET /\r\n",
    b"\x80\x01",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(600),  # a TLS ClientHello's beginning
    b"\x15\x03\x01\x00\x02\x02\x28",
    b"\x05\x01\x00",
    b"SSH-2.0-x\r\n",
    b"EHLO x\r\n",
    b"*1\r\n$4\r\nPING\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + _GET,
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    TEST,
    ws_frame(1, TEST),
    b" " * 5_000,
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"\r\n" + _GET,
    _GET * 30,
    _POST * 30,
    _GET + b"\xff" * 50,
    _POST[:-5],
    _POST + b"x",
    _GET + _POST[:40],
    get(b"/", method=b"HEAD") + b"GET / HTTP/1.1\r\nX\r\n\r\n",
    get(b"/", method=b"HEAD") * 2 + _GET,
    get(b"/", b"Transfer-Encoding: chunked\r\n", b"PUT") + b"5\r\nhello\r\nzz\r\n",
    get(b"/", b"Transfer-Encoding: chunked\r\n", b"PUT") + chunked(b"y" * HUGE),
    get(b"/", b"Content-Length: 90000\r\n", b"HEAD") + b"x" * 90_000,
    get(b"/", UPGRADE) + b"x",
    get(b"/", UPGRADE) + ws_frame(1, TEST),
    HANDSHAKE + ws_frame(8),
    get(b"/api/v2/public/test", UPGRADE) + _GET,
    HANDSHAKE * 3,
    HANDSHAKE[:-2],
)

UPGRADES: Final = (
    b"Content-Length: 5\r\n" + UPGRADE,
    b"Transfer-Encoding: chunked\r\n" + UPGRADE,
    UPGRADE.replace(b"13", b"8"),
    UPGRADE.replace(b"13", b"x"),
    UPGRADE.replace(_KEY, b""),
    UPGRADE.replace(_KEY, b"AAAAA"),
    UPGRADE.replace(_KEY, b"\xff"),
    UPGRADE * 2,
    UPGRADE.replace(b"websocket", b"WebSocket, h2c"),
    UPGRADE + b"Sec-WebSocket-Extensions: x;=\r\n",
    UPGRADE + b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99\r\n",
    UPGRADE + b"Sec-WebSocket-Protocol: \xff\r\n",
    UPGRADE + b"Expect: 100-continue\r\n",
    UPGRADE + b"Origin: http://elsewhere.example\r\n",
    UPGRADE.replace(b"Connection: Upgrade\r\n", b""),
    UPGRADE.replace(b"Sec-WebSocket-Version: 13\r\n", b""),
)

_H2C_SETTINGS: Final = (
    b"AAMAAABkAAQCAAAAAAIAAAAA",
    b"AAAAA",
    b"",
    b"!",
    b"\xff",
    b"AAMAAABk" * 400,
    b"AAQAAAAA",
    b"=",
)


def _requests() -> Iterator[tuple[str, bytes]]:
    for method, path in product(METHODS, (b"/", b"/api/v2/public/test")):
        yield f"method_{method[:12]!r}_{path.decode()}", get(path, method=method)
    for name, values in (("get", _TARGETS), ("connect", (b"x:443", b"", b"/"))):
        for target in values:
            yield f"{name}_{target[:24]!r}", get(target, method=name.upper().encode())
    for header in HEADERS:
        yield f"header_{header[:40]!r}", get(b"/api/v2/public/test", header)
        yield f"post_header_{header[:40]!r}", post(b"{}", header + b"Content-Length: 2\r\n")
    for length in LENGTHS:
        yield f"length_{length[:24]!r}", post(b"hello", b"Content-Length: " + length + b"\r\n")
    for coding in CODINGS:
        head = b"Transfer-Encoding: " + coding + b"\r\n"
        yield f"coding_{coding[:24]!r}", post(chunked(TEST), head)
        both = head + b"Content-Length: 5\r\n"
        yield f"coding_and_length_{coding[:24]!r}", post(chunked(b"{}") + _GET, both)
        both = b"Content-Length: 5\r\n" + head
        yield f"length_and_coding_{coding[:24]!r}", post(chunked(b"{}") + _GET, both)
    for number, chunks in enumerate(_CHUNKS):
        yield f"chunks_{number}_{chunks[:16]!r}", post(chunks, b"Transfer-Encoding: chunked\r\n")
    for number, body in enumerate(BODIES):
        yield f"body_{number}_{body[:16]!r}", post(body)
    for version in VERSIONS:
        yield f"version_{version!r}", b"GET / " + version + b"\r\nHost: x\r\n\r\n"


def _connections() -> Iterator[tuple[str, bytes]]:
    for number, raw in enumerate(_RAW):
        yield f"raw_{number}_{raw[:20]!r}", raw
    for number, upgrade in enumerate(UPGRADES):
        for path, more in ((b"/", b"x"), (b"/ws/api/v2", ws_frame(9)), (b"/api/v2", b"")):
            yield f"upgrade_{number}_{path.decode()}", get(path, upgrade) + more
        yield f"upgrade_post_{number}", post(TEST, upgrade + b"Content-Length: 47\r\n")
    for number, settings in enumerate(_H2C_SETTINGS):
        lines = b"HTTP2-Settings: " + settings + b"\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        yield f"h2c_{number}", get(b"/", lines + b"Upgrade: h2c\r\n") + PREFACE + h2_frame(4)
    yield "h2c_without_settings", get(b"/", b"Connection: Upgrade\r\nUpgrade: h2c\r\n")
    h2c = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    for name, stream in h2_streams():
        yield f"h2_{name}", PREFACE + stream
        yield f"h2c_{name}", get(b"/api/v2/public/test", h2c) + PREFACE + stream
    for size in (1, 15, 16, 17, 18, 22, 23):
        yield f"h2_preface_{size}", PREFACE[:size]
        yield f"h2_preface_{size}_then_http", PREFACE[:size] + _GET


HTTP: Final[dict[str, bytes]] = dict((*_requests(), *_connections()))
"""By name, what one connection sends."""
