"""From the sockets to the sessions: heard by a plain call, waited for by a task.

A task that waits for its socket costs more than a short request is worth. So there is one wait for
all sockets, and whoever has something to say is heard by a plain call, a slice of each client in
turn; a client's own task is for the time when it cannot be heard without waiting. What all of them
take together in a turn of the loop is bounded, however many they are and whatever they send: the
rest of the loop's time is for deciding.
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

# Of each turn of the loop. The matcher takes twice as much, so that more is decided than refused.
MAX_ROUND_SECONDS: Final = 0.001
# Until whoever would be refused is asked again, where no decision gave reason to ask sooner.
RETRY_SECONDS: Final = 0.005
# Sockets that are looked up at once; the kernel gives those first that it has not named lately.
SOCKETS_PER_POLL: Final = 256


class ReadResult(Enum):
    """What hearing a client has come to."""

    DRAINED = "there is no more for now"
    MORE = "there is more, for its next turn"
    THROTTLED = "there is more, but now it would be for nothing"
    BLOCKED = "it cannot be heard without waiting"


@define(eq=False)
class _Registration:
    """A client whose task waits here: with a turn coming (`queued`), or not any more (`gone`).

    While it is `busy` with what it has said, its socket is not looked at.
    """

    task: trio.lowlevel.Task
    read: Callable[[], ReadResult]
    descriptor: int | None
    queued: bool = False
    paused: bool = False
    removed: bool = False


@define(eq=False)
class ReadScheduler:
    """Hears clients while `run` runs. `round_seconds` bounds a turn of the loop.

    Where the system has no epoll nobody is heard by their socket, and `listens` is false.
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
        """Whether sockets can be listened to."""
        return self._poll is not None

    async def serve_reads(
        self, read: Callable[[], ReadResult], descriptor: int | None = None
    ) -> None:
        """Have `hear` called in turn with others, until it is stuck; what it raises is raised here.

        With the descriptor of a socket it is called whenever there is something to read; without
        one it is heard out: until there is no more, or it is stuck.
        """
        speaker = _Registration(trio.lowlevel.current_task(), read, descriptor)
        if descriptor is not None:
            assert self._poll is not None, "nobody can be heard by a socket"
            self._poll.register(descriptor, select.EPOLLIN)
            self._registrations[descriptor] = speaker
        self._queue(speaker)
        self._sleep.cancel()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._remove(speaker)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def retry_throttled(self) -> None:
        """Those who would have been refused may not be now. A plain call."""
        if self._throttled:
            while self._throttled:
                self._queue(self._throttled.popleft()[1])
            self._sleep.cancel()

    async def run(self) -> None:
        """Hear whoever has something to say, until cancelled."""
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
                speaker = self._registrations[descriptor]
                # That it has hung up is told in any case.
                if not speaker.paused:
                    self._queue(speaker)
        # Whoever has more is heard again in the next round only.
        for _ in range(len(self._ready)):
            if self._ready:
                self._read_next()
            if self.clock() >= until:
                break

    def _read_next(self) -> None:
        speaker = self._ready.popleft()
        speaker.queued = False
        try:
            heard = speaker.read()
        except Exception as error:
            # It is its own task's, unless that has been cancelled by what it heard.
            if not self._finish(speaker, Error(error)):
                raise
            return
        if speaker.removed:
            return
        if heard is ReadResult.MORE:
            self._queue(speaker)
        elif heard is ReadResult.THROTTLED:
            self._set_paused(speaker, busy=True)
            self._throttled.append((trio.current_time() + RETRY_SECONDS, speaker))
        elif heard is ReadResult.BLOCKED or speaker.descriptor is None:
            self._finish(speaker, Value(None))
        else:
            self._set_paused(speaker, busy=False)

    def _set_paused(self, speaker: _Registration, *, busy: bool) -> None:
        """Look at its socket or not."""
        if speaker.paused is not busy:
            speaker.paused = busy
            if speaker.descriptor is not None and self._poll is not None:
                self._poll.modify(speaker.descriptor, 0 if busy else select.EPOLLIN)

    def _queue(self, speaker: _Registration) -> None:
        if not (speaker.queued or speaker.removed):
            speaker.queued = True
            self._ready.append(speaker)

    def _finish(self, speaker: _Registration, outcome: Outcome[None]) -> bool:
        """Wake its task, unless that has left; returns whether it was here."""
        here = self._remove(speaker)
        if here:
            trio.lowlevel.reschedule(speaker.task, outcome)
        return here

    def _remove(self, speaker: _Registration) -> bool:
        """Hear it no more; returns whether it was here."""
        if speaker.removed:
            return False
        speaker.removed = True
        if speaker.descriptor is not None and self._poll is not None:
            del self._registrations[speaker.descriptor]
            self._poll.unregister(speaker.descriptor)
        if speaker.queued:
            self._ready.remove(speaker)
        return True
