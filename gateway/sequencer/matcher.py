"""The matcher: the only task that changes the venue's state, one durable entry after another."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import trio
from attrs import define, field
from trio.testing import wait_all_tasks_blocked

from gateway.log.errors import ApplyError
from gateway.sequencer.system_queue import SystemCommand
from risk.commands import Cancel, Continue, Edit, EndSession, Entry, Place
from risk.events import PLAIN_EVENTS, Event

Observer = Callable[[Entry, Sequence[Event]], None]

# A batch takes several milliseconds; between slices, sockets and timers get their turn. A slice is
# twice the read scheduler's, so that a flood of requests costs matching a third of the loop.
SLICE_SECONDS: Final = 0.002
_ORDERS: Final = frozenset((Place, Edit, Cancel))

# Only a single entry with a slice of some larger work takes this long.
LONG_SLICE_SECONDS: Final = 0.005


class StateMachine(Protocol):
    """What applies entries: risk.exchange.Exchange."""

    @property
    def busy(self) -> bool:
        """Whether work is left that did not fit into one entry."""
        ...

    def apply(self, entry: Entry) -> list[Event]:
        """Apply one entry and return its events."""
        ...


async def _yield_loop(held: float) -> None:
    """Yield the event loop for one turn, or for up to as long as a long entry held it.

    One turn is too short after a slice of a large cancellation: its hundreds of events for one
    client exceed the socket buffer, and a healthy client would seem not to read. The wait ends as
    soon as all other tasks are blocked.
    """
    if held < LONG_SLICE_SECONDS:
        await trio.lowlevel.checkpoint()
        return
    with trio.move_on_after(held):
        await wait_all_tasks_blocked()


@define(eq=False)
class Matcher:
    """Applies entries in order and passes the events of each to observers with a plain call.

    `observers` are called for every entry and its events, in this order. `notable_observers`
    follow, only for entries that did more than place, change or cancel a resting order, as nearly
    all do. `counts` holds the number of entries by type of command. `on_session_end` frees the slot
    of a session whose end is in the log; `propose` puts a command into the system queue.
    `on_slice_done` is called after each slice, before the matcher waits or yields, to send what
    observers have collected. None of these callbacks may wait or raise: an exception is a bug,
    after which the state cannot be trusted. `clock` measures how long the loop was held, in real
    seconds, also under a test's clock.
    """

    exchange: StateMachine
    propose: Callable[[SystemCommand], None]
    on_session_end: Callable[[int], None]
    observers: list[Observer] = field(factory=list)
    notable_observers: list[Observer] = field(factory=list)
    counts: defaultdict[type, int] = field(factory=lambda: defaultdict(int))
    on_slice_done: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.perf_counter
    _continue_proposed: bool = field(default=False, init=False)

    async def run(self, durable: trio.MemoryReceiveChannel[Sequence[Entry]]) -> None:
        """Apply entries until the log ends.

        Raises ApplyError if `apply` raises; no effect of that entry was published then.
        """
        with durable:
            async for batch in durable:
                decided = 0
                while decided < len(batch):
                    began = self.clock()
                    decided = self._apply_batch(batch, decided, began + SLICE_SECONDS)
                    held = self.clock() - began
                    self._finish_slice()
                    if held >= SLICE_SECONDS:
                        await _yield_loop(held)

    def _apply_batch(self, batch: Sequence[Entry], start: int, until: float) -> int:
        """Apply entries from `start` on until a time; return the index of the next one."""
        apply, clock = self.exchange.apply, self.clock
        observers, counts = self.observers, self.counts
        for number, entry in enumerate(batch[start:], start + 1):
            try:
                events = apply(entry)
            except Exception as error:
                raise ApplyError(entry) from error
            kind = type(entry.command)
            counts[kind] += 1
            for observe in observers:
                observe(entry, events)
            if len(events) > PLAIN_EVENTS or kind not in _ORDERS:
                self._handle_notable(entry, events)
            if clock() >= until:
                return number
        return len(batch)

    def _handle_notable(self, entry: Entry, events: Sequence[Event]) -> None:
        command = entry.command
        if isinstance(command, EndSession):
            self.on_session_end(command.session)
        elif isinstance(command, Continue):
            self._continue_proposed = False
        for observe in self.notable_observers:
            observe(entry, events)

    def _finish_slice(self) -> None:
        # One at a time, because each continues all unfinished work.
        if self.exchange.busy and not self._continue_proposed:
            self._continue_proposed = True
            self.propose(Continue())
        self.on_slice_done()
