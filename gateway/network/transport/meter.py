"""Limits how much one connection may send: token buckets for frames and for bytes.

Requests have rate limits of their own. This meter counts what those do not see: control frames,
fragments, empty and oversized messages, and reads of a few bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio
from attrs import Factory, define, field

# A read takes as long as a short frame. It is charged less, because clients that write header and
# payload separately cause one small read per request.
SMALL_READ_BYTES: Final = 512
SMALL_READ_COST: Final = 0.25

TOO_MANY_FRAMES: Final = "too many frames"
TOO_MANY_BYTES: Final = "too many bytes"


@define(eq=False)
class TokenBucket:
    """A token bucket that starts full and refills at `per_second` up to `burst`.

    The caller subtracts what it spends from `left`, and calls `refill` only when that falls below
    zero, so that most calls do not read the clock. In any period at most two bursts plus the tokens
    refilled in it are spent.
    """

    per_second: float
    burst: float
    clock: Callable[[], float]
    left: float = field(default=Factory(lambda self: self.burst, takes_self=True), init=False)
    _refilled_at: float = field(
        default=Factory(lambda self: self.clock(), takes_self=True), init=False
    )

    def refill(self) -> bool:
        """Add the tokens since the last call; return whether they cover what was spent."""
        now = self.clock()
        left = self.left + (now - self._refilled_at) * self.per_second
        self.left, self._refilled_at = min(left, self.burst), now
        return left >= 0


@define(eq=False)
class InboundMeter:
    """Counts what one client sends; calls `on_excess` once with the reason when it is too much.

    `message_cost` is the cost of a whole message in frames; with 0, messages and their bytes are
    free. `exceeded` is true from the call of `on_excess` on.
    """

    frames: TokenBucket
    octets: TokenBucket
    message_cost: float
    on_excess: Callable[[str], None]
    exceeded: bool = field(default=False, init=False)

    @classmethod
    def of(
        cls,
        *,
        frames: tuple[float, float],
        octets: tuple[float, float],
        message_cost: float,
        on_excess: Callable[[str], None],
        clock: Callable[[], float] = trio.current_time,
    ) -> InboundMeter:
        """Return a meter with buckets of (tokens per second, burst)."""
        return cls(
            TokenBucket(*frames, clock), TokenBucket(*octets, clock), message_cost, on_excess
        )

    def frame(self) -> bool:
        """Count a frame that is not a whole message; return whether the client may continue."""
        self.frames.left -= 1
        if self.frames.left < 0:
            self._check()
        return not self.exceeded

    def chunk(self, size: int, messages: int) -> None:
        """Count the bytes of one read, and the messages that end in it."""
        frames, octets = self.frames, self.octets
        if messages:
            if not self.message_cost:
                return
            frames.left -= self.message_cost * messages
        elif size < SMALL_READ_BYTES:
            frames.left -= SMALL_READ_COST
        octets.left -= size
        if frames.left < 0 or octets.left < 0:
            self._check()

    def _check(self) -> None:
        if self.frames.left < 0 and not self.frames.refill():
            self._exceed(TOO_MANY_FRAMES)
        if self.octets.left < 0 and not self.octets.refill():
            self._exceed(TOO_MANY_BYTES)

    def _exceed(self, reason: str) -> None:
        if not self.exceeded:
            self.exceeded = True
            self.on_excess(reason)


def unmetered() -> InboundMeter:
    """Return a meter without limits, for connections that are rejected after their request."""
    unlimited = (0.0, float("inf"))
    return InboundMeter.of(
        frames=unlimited, octets=unlimited, message_cost=0.0, on_excess=lambda _: None
    )
