"""What a request comes to: a reply, a command for the inbox, or the end of the connection."""

from __future__ import annotations

import msgspec

from gateway.log import Proposal
from gateway.protocol.large_results import LargeReply
from gateway.protocol.pending_request import OK, PendingRequest


class Reply(msgspec.Struct, frozen=True, gc=False):
    """A reply, encoded or still to be. `status` is the HTTP status that goes with it."""

    data: bytes | LargeReply
    status: int = OK


class Submit(Proposal, frozen=True, gc=True):
    """A command for the inbox. The feed already expects its answer under `origin`.

    Where it cannot be put into the inbox: `feed.forget(origin)`, and `pending.refuse(code)` is
    the reply.
    """

    pending: PendingRequest


class Close(msgspec.Struct, frozen=True, gc=False):
    """The end of the connection. `quietly` is a log-out, which spares the session's orders."""

    code: int
    reason: str
    quietly: bool = False


class Push(msgspec.Struct, frozen=True, gc=False):
    """A frame that answers nothing: a heartbeat."""

    data: bytes


Outcome = Reply | Submit | Close
