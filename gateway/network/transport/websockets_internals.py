"""What the transports use of websockets beyond its documented interface.

No other module names these; tests/gateway/network/test_library_internals.py fails where an update
of the library changes them.
"""

from __future__ import annotations

from websockets.frames import apply_mask  # type: ignore[attr-defined]  # in C only through here
from websockets.server import ServerProtocol

__all__ = ["apply_mask", "forget_fragments", "limit_message_size"]


def forget_fragments(protocol: ServerProtocol) -> None:
    """Make the protocol accept a frame other than the continuation of its present message."""
    protocol.current_size = None


def limit_message_size(protocol: ServerProtocol, size: int) -> None:
    """Bound the messages that a protocol opened with `max_size=None` accepts from now on."""
    protocol.max_message_size = size
