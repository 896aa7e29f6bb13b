"""A request that the venue has not decided yet, and the reply that it will become."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import msgspec
from attrs import define, field

from gateway.clock import Clock
from gateway.protocol import jsonrpc, large_results
from gateway.protocol.errors import ApiError, Code, refusal
from gateway.protocol.large_results import LargeReply
from risk.events import Answer, Refused

Convert = Callable[[Answer], object]
"""From the venue's answer to the reply's `result`; may raise ApiError instead."""

Explain = Callable[[Refused], ApiError]
"""From the venue's refusal to what the client is told."""


def plainly(refused: Refused) -> ApiError:
    """The refusal as the venue put it."""
    return refusal(refused.reason, refused.detail)


class ReplyFormat(msgspec.Struct, frozen=True):
    """How an answer is told: `convert` for what took effect, `explain` for a refusal."""

    convert: Convert
    explain: Explain = plainly


OK: Final = HTTPStatus.OK.value


@define(eq=False)
class InFlightLimiter:
    """How many requests of each account wait for the venue's decision; `limit` of one may.

    Where any number may (None), nobody need count them.
    """

    limit: int | None
    counts: dict[int, int] = field(factory=dict)

    def full(self, account: int) -> bool:
        """Whether the account has as many as it may."""
        return self.limit is not None and self.counts.get(account, 0) >= self.limit

    def acquire(self, account: int) -> None:
        """Count one more. Raises ApiError 10047 when the account has too many already."""
        count = self.counts.get(account, 0)
        if self.limit is not None and count >= self.limit:
            raise ApiError(Code.MATCHING_ENGINE_QUEUE_FULL)
        self.counts[account] = count + 1

    def release(self, account: int) -> None:
        """Count one less."""
        self.counts[account] -= 1
        if not self.counts[account]:
            del self.counts[account]


class PendingRequest(msgspec.Struct, eq=False):
    """A request between its command and its answer.

    Whoever holds it calls `answer` or `refuse` for the reply, or `abandon` where nobody
    is left to read one; each also frees the account's place among the undecided, if the request
    took one: `undecided` is where that is, until then. `status` is the HTTP status of the reply.
    `undo` takes back what the session assumed.
    """

    meta: jsonrpc.RequestMeta
    clock: Clock
    account: int
    limiter: InFlightLimiter | None
    convert: Convert
    explain: Explain = plainly
    undo: Callable[[], None] | None = None
    status: int = OK

    def answer(self, event: Answer) -> bytes | LargeReply:
        """The reply to the venue's answer."""
        if self.limiter is not None:
            self._release()
        # `isinstance` has to ask the type of types of all structs, where the answer is no.
        if type(event) is Refused:
            return self._error(self.explain(event))
        try:
            result = self.convert(event)
        except ApiError as error:
            return self._error(error)
        return large_results.reply(self.meta, result, self.clock)

    def refuse(self, code: int) -> bytes:
        """The reply where the command never reached the venue: 10047, 11051, 13028."""
        self._release()
        return self._error(ApiError(code))

    def abandon(self) -> None:
        """Nobody waits for the reply any more; safe to call at any time, also after an answer."""
        self._release()

    def _error(self, error: ApiError) -> bytes:
        if self.undo is not None:
            self.undo()
        self.status = error.status
        return jsonrpc.error_reply(self.meta, error, self.clock.micros())

    def _release(self) -> None:
        limiter, self.limiter = self.limiter, None
        if limiter is not None:
            limiter.release(self.account)
