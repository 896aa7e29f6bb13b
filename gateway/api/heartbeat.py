"""Heartbeats and the idle timeout of a connection, as functions of time.

Times are seconds of the caller's clock and are passed in.
"""

from __future__ import annotations

from enum import Enum

from attrs import define, field


class HeartbeatAction(Enum):
    """What to do now. The values are the API's heartbeat types and the reasons of a close frame."""

    HEARTBEAT = "heartbeat"
    TEST_REQUEST = "test_request"
    SILENT = "no answer to test_request"
    IDLE = "idle for too long"


@define(eq=False)
class Heartbeat:
    """The heartbeat state of a connection. `interval` is 0 until the client sets it.

    Once per interval a heartbeat is due, and after an interval without any input a test request.
    If there is still no input at the next interval, the client does not respond. `idle` is the
    timeout of a connection without input, with or without heartbeats.
    """

    idle: float
    received_at: float
    interval: float = field(default=0.0, init=False)
    _next_beat: float = field(default=0.0, init=False)
    _test_pending: bool = field(default=False, init=False)

    def received(self, now: float) -> None:
        """Note that data arrived."""
        self.received_at = now
        self._test_pending = False

    def start(self, interval: float) -> None:
        """Send heartbeats every `interval` seconds, counted from the latest input."""
        self.interval = interval
        self._next_beat = self.received_at + interval

    def stop(self) -> None:
        """Send no more heartbeats; the idle timeout remains."""
        self.interval = 0.0
        self._test_pending = False

    @property
    def next_wake(self) -> float:
        """When `poll` next returns an action, unless data arrives before."""
        idle = self.received_at + self.idle
        return min(idle, self._next_beat) if self.interval else idle

    def poll(self, now: float) -> HeartbeatAction | None:
        """Return the action that is due now, None without one; call it until it returns None."""
        if now >= self.received_at + self.idle:
            return HeartbeatAction.IDLE
        if not self.interval or now < self._next_beat:
            return None
        if self._test_pending:
            return HeartbeatAction.SILENT
        # A late caller sends one heartbeat, not one for each missed interval.
        self._next_beat = now + self.interval
        if now - self.received_at < self.interval:
            return HeartbeatAction.HEARTBEAT
        self._test_pending = True
        return HeartbeatAction.TEST_REQUEST
