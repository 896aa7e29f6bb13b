"""Applying the entries of a log to an exchange."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, field

from gateway.log.errors import ApplyError
from gateway.log.event_hash import EventHash
from risk.commands import Checkpoint, Entry
from risk.events import Event
from risk.exchange import Exchange


@define(eq=False)
class LogReplayer:
    """An exchange on its way through a log, and the event hash of what was applied so far.

    `skips` are the entries to leave out, with the reasons. `observers` get every entry that was
    applied, with its events.
    """

    exchange: Exchange = field(factory=Exchange)
    event_hash: EventHash = field(factory=EventHash)
    skips: dict[int, str] = field(factory=dict)
    observers: list[Callable[[Entry, Sequence[Event]], None]] = field(factory=list)

    def apply(self, entry: Entry) -> Sequence[Event]:
        """Apply one entry and return its events, none if it is to be left out.

        Raises ApplyError, and DivergenceError at a checkpoint that differs.
        """
        if self.skips and entry.sequence in self.skips:
            return []
        if type(entry.command) is Checkpoint:
            self.event_hash.compare(entry.command)
        try:
            events = self.exchange.apply(entry)
        except Exception as error:
            raise ApplyError(entry) from error
        self.event_hash.observe(entry, events)
        for observe in self.observers:
            observe(entry, events)
        return events
