"""The matcher: the only task that changes the venue, one durable entry after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import trio
from attrs import define, field

from gateway.lane import Urgent
from gateway.log.errors import ApplyError
from risk.commands import Continue, EndSession, Entry
from risk.events import Event

Observer = Callable[[Entry, Sequence[Event]], None]

# A batch of 256 entries takes several milliseconds; sockets and timers get their turn in between.
SLICE_SECONDS: Final = 0.001
# Trio runs the tasks of a turn in random order, forwards or backwards, so that half the time we
# come before those who want to run, and see nobody. Eight times in a row there is nobody.
IDLE_TURNS: Final = 8


class Applier(Protocol):
    """What decides: risk.exchange.Exchange."""

    @property
    def busy(self) -> bool:
        """Whether work is left that one entry could not hold."""
        ...

    def apply(self, entry: Entry) -> list[Event]:
        """The events of one entry."""
        ...


async def _rest(seconds: float) -> None:
    """Leave the loop to others for as long as we held it, if there is anybody who wants it.

    One turn would not do after a slice of a large cancellation: its writer has hundreds of
    events to send by then, and a healthy client would be taken for one that does not read.
    """
    until = time.perf_counter() + seconds
    idle = 0
    await trio.lowlevel.checkpoint()
    while idle < IDLE_TURNS and time.perf_counter() < until:
        idle = 0 if trio.lowlevel.current_statistics().tasks_runnable else idle + 1
        await trio.lowlevel.checkpoint()


@define(eq=False)
class Matcher:
    """Applies entries in their order and hands each one's events on with a plain call.

    Before it waits it calls `settled`: what observers have collected meanwhile can go out.

    `observers` are told of every entry and its events, in this order; `ended` frees the slot of a
    session whose end is in the log; `propose` is the lane's put. None of them waits, and none may
    raise: an exception here is a bug of the venue, whose state nobody may trust then.
    """

    exchange: Applier
    propose: Callable[[Urgent], None]
    ended: Callable[[int], None]
    observers: list[Observer] = field(factory=list)
    settled: Callable[[], None] = lambda: None
    _continuing: bool = field(default=False, init=False)

    async def run(self, durable: trio.MemoryReceiveChannel[Sequence[Entry]]) -> None:
        """Apply what comes until the log ends.

        Raises ApplyError, before any effect of an entry on which `apply` raised.
        """
        with durable:
            async for batch in durable:
                # The real time that passed, also under a test's clock: it is the loop's.
                began = time.perf_counter()
                for entry in batch:
                    self._apply(entry)
                    spent = time.perf_counter() - began
                    if spent >= SLICE_SECONDS:
                        self.settled()
                        await _rest(spent)
                        began = time.perf_counter()
                self.settled()

    def _apply(self, entry: Entry) -> None:
        try:
            events = self.exchange.apply(entry)
        except Exception as error:
            raise ApplyError(entry) from error
        command = entry.command
        if isinstance(command, EndSession):
            self.ended(command.session)
        elif isinstance(command, Continue):
            self._continuing = False
        # One at a time: each continues all that is begun.
        if self.exchange.busy and not self._continuing:
            self._continuing = True
            self.propose(Continue())
        for observe in self.observers:
            observe(entry, events)
