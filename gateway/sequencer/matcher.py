"""The matcher: the only task that changes the venue, one durable entry after the other."""

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

# A batch takes several milliseconds; sockets and timers get their turn in between. Twice what
# hearing clients takes of a turn of the loop: a flood shall cost the decisions of a third.
SLICE_SECONDS: Final = 0.002
_ORDERS: Final = frozenset((Place, Edit, Cancel))

# So long takes only a single entry that carries a slice of some larger work.
LONG_SLICE_SECONDS: Final = 0.005


class StateMachine(Protocol):
    """What decides: risk.exchange.Exchange."""

    @property
    def busy(self) -> bool:
        """Whether work is left that one entry could not hold."""
        ...

    def apply(self, entry: Entry) -> list[Event]:
        """The events of one entry."""
        ...


async def _yield_loop(held: float) -> None:
    """Leave the loop to others, for a turn, or for as long as a long entry held it.

    One turn would not do after a slice of a large cancellation: it has hundreds of events for one
    client, more than the kernel takes at once, and a healthy client would be taken for one that
    does not read. Where nobody wants the loop it ends at once.
    """
    if held < LONG_SLICE_SECONDS:
        await trio.lowlevel.checkpoint()
        return
    with trio.move_on_after(held):
        await wait_all_tasks_blocked()


@define(eq=False)
class Matcher:
    """Applies entries in their order and hands each one's events on with a plain call.

    Before it waits it calls `settled`: what observers have collected meanwhile can go out.

    `observers` are told of every entry and its events, in this order, and then `attendants` of
    those that did more than to let an order rest, change or leave, which nearly all do; `counts`
    are entries by the type of their command. `ended` frees the slot of a session whose end is in
    the log; `propose` is the lane's put. None of them waits, and none may raise: an exception here
    is a bug of the venue, whose state nobody may trust then.
    `clock` measures how long the loop was held, in seconds: real ones, also under a test's clock.
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
        """Apply what comes until the log ends.

        Raises ApplyError, before any effect of an entry on which `apply` raised.
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
        """Apply a batch from an entry on, for some time; returns where to go on."""
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
        # One at a time: each continues all that is begun.
        if self.exchange.busy and not self._continue_proposed:
            self._continue_proposed = True
            self.propose(Continue())
        self.on_slice_done()
