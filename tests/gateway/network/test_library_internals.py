"""Undocumented parts of libraries still exist and behave as the modules that name them expect."""

from __future__ import annotations

import inspect

import hypercorn
import pytest
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from gateway.network import http_protocol
from gateway.network.transport.websockets_internals import (
    apply_mask,
    forget_fragments,
    limit_message_size,
)


def opened() -> ServerProtocol:
    """Return a protocol in its open state, as after a handshake."""
    return ServerProtocol(max_size=None, state=State.OPEN)


def frame(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    """Return a client's frame."""
    return Frame(opcode, data, fin).serialize(mask=True)


def test_websockets_masks_bytes() -> None:
    """The key of four bytes is applied over and over; applying it twice gives the data back."""
    key = b"\x01\x02\x03\x04"
    assert b"\x01\x02\x03\x04\x01" == apply_mask(bytes(5), key)
    assert b"hello" == apply_mask(apply_mask(b"hello", key), key)


def test_websockets_accepts_another_frame_after_its_fragments_are_forgotten() -> None:
    """Otherwise it expects a continuation frame."""
    protocol = opened()
    protocol.receive_data(frame(Opcode.TEXT, b"a", fin=False))
    assert protocol.current_size is not None
    forget_fragments(protocol)
    protocol.receive_data(frame(Opcode.TEXT, b"b"))
    assert protocol.parser_exc is None
    assert State.OPEN is protocol.state


def test_websockets_bounds_messages_from_the_call_on() -> None:
    """A protocol without a bound takes the message before it and fails on the one after it."""
    protocol = opened()
    protocol.receive_data(frame(Opcode.TEXT, bytes(100)))
    assert protocol.parser_exc is None
    limit_message_size(protocol, 99)
    protocol.receive_data(frame(Opcode.TEXT, bytes(100)))
    assert isinstance(protocol.parser_exc, PayloadTooBig)


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (H11Protocol, "_check_protocol", ["self", "event"]),
        (H11Protocol, "_create_stream", ["self", "request"]),
        (H11Protocol, "_send_h11_event", ["self", "event"]),
        (H11Protocol, "_send_error_response", ["self", "status_code"]),
        (H11Protocol, "_maybe_recycle", ["self"]),
        (H11Protocol, "stream_send", ["self", "event"]),
        (H11Protocol, "handle", ["self", "event"]),
        (hypercorn.Config, "response_headers", ["self", "protocol"]),
    ],
)
def test_hypercorn_has_the_methods_that_are_called_or_replaced(
    owner: type, name: str, parameters: list[str]
) -> None:
    """A replaced method that the library no longer calls would be silently without effect."""
    assert parameters == list(inspect.signature(getattr(owner, name)).parameters)


def test_hypercorn_s_protocol_is_the_one_extended() -> None:
    """The class that is extended is the one whose methods are checked here."""
    assert H11Protocol is http_protocol.HttpProtocol.__mro__[1]


def test_hypercorn_builds_a_stream_from_the_same_arguments() -> None:
    """They are passed by position."""
    expected = [
        "app",
        "config",
        "context",
        "task_group",
        "ssl",
        "client",
        "server",
        "send",
        "stream_id",
    ]
    assert ["self", *expected] == list(inspect.signature(HTTPStream.__init__).parameters)
    assert 1 == STREAM_ID


async def test_hypercorn_shares_an_event_that_ends_connections() -> None:
    """`terminated` is set when the venue stops."""
    context = http_protocol.Context(None)
    assert not context.terminated.is_set()
    await context.terminated.set()
    assert context.terminated.is_set()
