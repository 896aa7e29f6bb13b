"""Whether a client is still there: heartbeats and the idle limit, as pure functions of time.

Times are seconds of the clock that the caller drives it with; nothing in here reads one.
"""

from __future__ import annotations

from enum import Enum

from attrs import define, field


class HeartbeatAction(Enum):
    """What the moment asks for."""

    HEARTBEAT = "heartbeat"
    TEST_REQUEST = "test_request"
    SILENT = "no answer to test_request"
    IDLE = "idle for too long"


@define(eq=False)
class Heartbeat:
    """One connection's pulse. `interval` is 0 until the client asks for heartbeats.

    Every interval the client is sent a beat: a plain one while it is heard of, a test request
    once it was quiet for an interval. A test request that is still unanswered at the next beat
    means that nobody is there.
    """

    idle: float
    received_at: float
    interval: float = field(default=0.0, init=False)
    _beat_at: float = field(default=0.0, init=False)
    _tested: bool = field(default=False, init=False)

    def received(self, now: float) -> None:
        """Something came from the client."""
        self.received_at = now
        self._tested = False

    def start(self, interval: float) -> None:
        """Beat every `interval` seconds from the message on that asked for it."""
        self.interval = interval
        self._beat_at = self.received_at + interval

    def stop(self) -> None:
        """Beat no more; the idle limit stays."""
        self.interval = 0.0
        self._tested = False

    @property
    def next_wake(self) -> float:
        """When `wake` has something to say next, if nothing is heard until then."""
        idle = self.received_at + self.idle
        return min(idle, self._beat_at) if self.interval else idle

    def poll(self, now: float) -> HeartbeatAction | None:
        """What is due now, if anything; call it again after a beat until it returns None."""
        if now >= self.received_at + self.idle:
            return HeartbeatAction.IDLE
        if not self.interval or now < self._beat_at:
            return None
        if self._tested:
            return HeartbeatAction.SILENT
        # Missed beats are not made up for: one says as much as three.
        self._beat_at = now + self.interval
        if now - self.received_at < self.interval:
            return HeartbeatAction.HEARTBEAT
        self._tested = True
        return HeartbeatAction.TEST_REQUEST
