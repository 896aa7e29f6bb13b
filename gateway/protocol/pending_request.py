"""A request whose command is in flight, and the reply that its answer is turned into."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import msgspec
from attrs import define, field

from gateway.clock import Clock
from gateway.protocol import jsonrpc, large_results
from gateway.protocol.errors import ApiError, Code, error_for
from gateway.protocol.large_results import LargeReply
from risk.events import Answer, Refused

Convert = Callable[[Answer], object]
"""Converts the exchange's answer to the reply's `result`; may raise ApiError instead."""

Explain = Callable[[Refused], ApiError]
"""Converts the exchange's rejection to the error of the reply."""


def explain_rejection(refused: Refused) -> ApiError:
    """Return the error for the reason of a rejection."""
    return error_for(refused.reason, refused.detail)


class ReplyFormat(msgspec.Struct, frozen=True):
    """How an answer becomes a reply: `convert` for a success, `explain` for a rejection."""

    convert: Convert
    explain: Explain = explain_rejection


OK: Final = HTTPStatus.OK.value


@define(eq=False)
class InFlightLimiter:
    """Counts each account's order requests in flight; an account may have `limit` of them.

    Without a limit (None) nothing is counted.
    """

    limit: int | None
    counts: dict[int, int] = field(factory=dict)

    def full(self, account: int) -> bool:
        """Whether the account has as many requests in flight as it may have."""
        return self.limit is not None and self.counts.get(account, 0) >= self.limit

    def acquire(self, account: int) -> None:
        """Count one more. Raises ApiError 10047 if the account has reached the limit."""
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

    Its owner calls `answer` or `refuse` for the reply, or `abandon` if the client is gone; each
    releases the account's place in `limiter`, if the request took one. `status` is the HTTP status
    of the reply. `undo` reverts what the session assumed; it is called if the command fails.
    """

    meta: jsonrpc.RequestMeta
    clock: Clock
    account: int
    limiter: InFlightLimiter | None
    convert: Convert
    explain: Explain = explain_rejection
    undo: Callable[[], None] | None = None
    status: int = OK

    def answer(self, event: Answer) -> bytes | LargeReply:
        """Return the reply for the exchange's answer."""
        if self.limiter is not None:
            self._release()
        # Faster than `isinstance`, which asks the metaclass of all structs if the answer is no.
        if type(event) is Refused:
            return self._error(self.explain(event))
        try:
            result = self.convert(event)
        except ApiError as error:
            return self._error(error)
        return large_results.reply(self.meta, result, self.clock)

    def refuse(self, code: int) -> bytes:
        """Return the reply if the command never reached the exchange: 10047, 11051, 13028."""
        self._release()
        return self._error(ApiError(code))

    def abandon(self) -> None:
        """Release the place of a request that needs no reply; may be called at any time."""
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
