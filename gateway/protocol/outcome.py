"""The outcomes of a request: a reply, a command for the inbox, or the end of the connection."""

from __future__ import annotations

import msgspec

from gateway.log import Proposal
from gateway.protocol.large_results import LargeReply
from gateway.protocol.pending_request import OK, PendingRequest


class Reply(msgspec.Struct, frozen=True, gc=False):
    """A reply, encoded or still to be encoded, and its HTTP status."""

    data: bytes | LargeReply
    status: int = OK


class Submit(Proposal, frozen=True, gc=True):
    """A command for the inbox. The feed has registered the request under `origin`.

    If the inbox does not take it, call `feed.unregister_request(origin)` and send
    `pending.refuse(code)`.
    """

    pending: PendingRequest


class Close(msgspec.Struct, frozen=True, gc=False):
    """The end of the connection. `quietly` is a logout, which leaves the session's orders open."""

    code: int
    reason: str
    quietly: bool = False


class Push(msgspec.Struct, frozen=True, gc=False):
    """A frame that is not a reply: a heartbeat."""

    data: bytes


Outcome = Reply | Submit | Close
