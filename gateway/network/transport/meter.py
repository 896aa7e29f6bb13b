"""How much one connection may send: token buckets for frames and for bytes.

Requests have credits of their own. What is metered here in any case is what those never see:
control frames, fragments, empty and oversized messages, and reads that bring a few bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio
from attrs import Factory, define, field

# A read costs as much as a short frame. Clients that write a header and its payload separately
# cause one such read for each request, so it is charged less than a frame.
SMALL_READ_BYTES: Final = 512
SMALL_READ_COST: Final = 0.25

TOO_MANY_FRAMES: Final = "too many frames"
TOO_MANY_BYTES: Final = "too many bytes"


@define(eq=False)
class TokenBucket:
    """Tokens that come back by the second up to `burst`; it starts full.

    To spend is to subtract from `left`; where that falls below zero, `refill` says whether it was
    too much. So most calls do not read the clock. In any period the bucket lets through at most two
    bursts and what came back meanwhile.
    """

    per_second: float
    burst: float
    clock: Callable[[], float]
    left: float = field(default=Factory(lambda self: self.burst, takes_self=True), init=False)
    _refilled_at: float = field(
        default=Factory(lambda self: self.clock(), takes_self=True), init=False
    )

    def refill(self) -> bool:
        """Add what came back since the last call; whether what was spent is paid for by that."""
        now = self.clock()
        left = self.left + (now - self._refilled_at) * self.per_second
        self.left, self._refilled_at = min(left, self.burst), now
        return left >= 0


@define(eq=False)
class InboundMeter:
    """Meters what one client sends; when that is too much, calls `on_excess` once, with the reason.

    `message_cost` is what a whole message costs in frames; where it is 0, messages and their bytes
    are free. `exceeded` is true from the call on.
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
        """With buckets of (tokens per second, burst) each."""
        return cls(
            TokenBucket(*frames, clock), TokenBucket(*octets, clock), message_cost, on_excess
        )

    def frame(self) -> bool:
        """Count a frame that is not a whole message; whether the client may go on."""
        self.frames.left -= 1
        if self.frames.left < 0:
            self._check()
        return not self.exceeded

    def chunk(self, size: int, messages: int) -> None:
        """Count what was read in one go, and the messages that end in it."""
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
    """A meter that lets everything pass, for connections that are refused after their request."""
    unlimited = (0.0, float("inf"))
    return InboundMeter.of(
        frames=unlimited, octets=unlimited, message_cost=0.0, on_excess=lambda _: None
    )
