"""WebSocket close codes (RFC 6455, 7.4.1), and the reasons that more than one module sends."""

from __future__ import annotations

from typing import Final, NamedTuple

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
INVALID_DATA: Final = 1007
POLICY_VIOLATION: Final = 1008
TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011


class CloseReason(NamedTuple):
    """The code and the text of a close frame."""

    code: int
    reason: str


CLOSED_BY_PEER: Final = CloseReason(NORMAL, "")
SERVER_STOPPING: Final = CloseReason(GOING_AWAY, "server is stopping")
TOO_SLOW: Final = CloseReason(POLICY_VIOLATION, "connection_too_slow")
CRASHED: Final = CloseReason(INTERNAL_ERROR, "internal error")
