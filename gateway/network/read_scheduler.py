"""Reads from all connections in one task.

Waking a task per socket costs more than handling a short request. One epoll loop watches all
sockets and calls the reader of each ready connection directly, round-robin, one slice at a time. A
connection's own task runs only when it has to wait for something other than its socket. A round is
bounded in time, however many connections there are and whatever they send: the rest of the event
loop's time is for the matcher.
"""

from __future__ import annotations

import math
import select
import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Final

import trio
from attrs import define, field
from outcome import Error, Outcome, Value

# Per turn of the event loop. The matcher may take twice as much, so that more requests are executed
# than rejected.
MAX_ROUND_SECONDS: Final = 0.001
# The pause before a throttled connection is read again, unless `retry_throttled` is called sooner.
RETRY_SECONDS: Final = 0.005
# Ready sockets returned by one poll; the kernel rotates through those it has not returned lately.
SOCKETS_PER_POLL: Final = 256


class ReadResult(Enum):
    """The state of a connection after a slice was read from it."""

    DRAINED = "nothing is left to read at present"
    MORE = "more was received, for the next turn"
    THROTTLED = "more was received, but would be rejected now"
    BLOCKED = "the connection's own task has to wait for something"


@define(eq=False)
class _Registration:
    """A connection whose task waits in `serve_reads`.

    It may be `queued` for its next turn, `paused`, which means that its socket is not watched, or
    `removed`.
    """

    task: trio.lowlevel.Task
    read: Callable[[], ReadResult]
    descriptor: int | None
    queued: bool = False
    paused: bool = False
    removed: bool = False


@define(eq=False)
class ReadScheduler:
    """Reads from registered connections while `run` runs, `round_seconds` per turn of the loop.

    Without epoll, `has_epoll` is false and no socket can be watched.
    """

    round_seconds: float = MAX_ROUND_SECONDS
    clock: Callable[[], float] = time.perf_counter
    _poll: select.epoll | None = field(init=False)
    _registrations: dict[int, _Registration] = field(factory=dict, init=False)
    _ready: deque[_Registration] = field(factory=deque, init=False)
    _throttled: deque[tuple[float, _Registration]] = field(factory=deque, init=False)
    _sleep: trio.CancelScope = field(factory=trio.CancelScope, init=False)

    def __attrs_post_init__(self) -> None:
        self._poll = select.epoll() if hasattr(select, "epoll") else None

    @property
    def has_epoll(self) -> bool:
        """Whether sockets can be watched."""
        return self._poll is not None

    async def serve_reads(
        self, read: Callable[[], ReadResult], descriptor: int | None = None
    ) -> None:
        """Call `read` in turn with other connections until it returns BLOCKED.

        With a socket's descriptor, `read` is called whenever the socket is readable. Without one,
        DRAINED ends the wait too. Raises what `read` raises.
        """
        registration = _Registration(trio.lowlevel.current_task(), read, descriptor)
        if descriptor is not None:
            assert self._poll is not None, "a descriptor needs epoll"
            self._poll.register(descriptor, select.EPOLLIN)
            self._registrations[descriptor] = registration
        self._queue(registration)
        self._sleep.cancel()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._remove(registration)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def retry_throttled(self) -> None:
        """Read from throttled connections in the next round. A plain call."""
        if self._throttled:
            while self._throttled:
                self._queue(self._throttled.popleft()[1])
            self._sleep.cancel()

    async def run(self) -> None:
        """Read from ready connections until cancelled."""
        while True:
            if self._ready:
                await trio.lowlevel.checkpoint()
            else:
                await self._wait()
            self._run_once()

    async def _wait(self) -> None:
        due = self._throttled[0][0] if self._throttled else math.inf
        with trio.CancelScope(deadline=due) as self._sleep:
            if self._poll is None:
                await trio.sleep_forever()
            else:
                await trio.lowlevel.wait_readable(self._poll.fileno())

    def _run_once(self) -> None:
        until = self.clock() + self.round_seconds
        while self._throttled and self._throttled[0][0] <= trio.current_time():
            self._queue(self._throttled.popleft()[1])
        if self._poll is not None:
            for descriptor, _ in self._poll.poll(0, SOCKETS_PER_POLL):
                registration = self._registrations[descriptor]
                # epoll reports a hang-up even of a socket whose events are masked.
                if not registration.paused:
                    self._queue(registration)
        # A connection with more to read gets its next slice in the next round.
        for _ in range(len(self._ready)):
            if self._ready:
                self._read_next()
            if self.clock() >= until:
                break

    def _read_next(self) -> None:
        registration = self._ready.popleft()
        registration.queued = False
        try:
            result = registration.read()
        except Exception as error:
            # Raised in the connection's own task, unless `read` has cancelled that.
            if not self._finish(registration, Error(error)):
                raise
            return
        if registration.removed:
            return
        if result is ReadResult.MORE:
            self._queue(registration)
        elif result is ReadResult.THROTTLED:
            self._set_paused(registration, paused=True)
            self._throttled.append((trio.current_time() + RETRY_SECONDS, registration))
        elif result is ReadResult.BLOCKED or registration.descriptor is None:
            self._finish(registration, Value(None))
        else:
            self._set_paused(registration, paused=False)

    def _set_paused(self, registration: _Registration, *, paused: bool) -> None:
        """Stop watching a connection's socket, or watch it again."""
        if registration.paused is not paused:
            registration.paused = paused
            if registration.descriptor is not None and self._poll is not None:
                self._poll.modify(registration.descriptor, 0 if paused else select.EPOLLIN)

    def _queue(self, registration: _Registration) -> None:
        if not (registration.queued or registration.removed):
            registration.queued = True
            self._ready.append(registration)

    def _finish(self, registration: _Registration, outcome: Outcome[None]) -> bool:
        """Wake the connection's task. Return False if it was removed before."""
        present = self._remove(registration)
        if present:
            trio.lowlevel.reschedule(registration.task, outcome)
        return present

    def _remove(self, registration: _Registration) -> bool:
        """Forget a connection. Return False if it was removed before."""
        if registration.removed:
            return False
        registration.removed = True
        if registration.descriptor is not None and self._poll is not None:
            del self._registrations[registration.descriptor]
            self._poll.unregister(registration.descriptor)
        if registration.queued:
            self._ready.remove(registration)
        return True
