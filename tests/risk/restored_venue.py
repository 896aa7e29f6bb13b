"""A second venue that is restored from a snapshot after every entry, beside the original.

Events or states differ where `apply` depends on a fact, or an order of iteration, that is not in
the snapshot.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from attrs import define, field

from risk import snapshot
from risk.commands import Entry
from risk.events import Event
from risk.exchange import Exchange
from tests.risk.random_commands import ORDINARY, STORM, RandomCommands, small_venue
from tests.risk.venue import Venue

COMPARED = 8
"""Entries from one comparison of the states to the next; events are compared after each."""


@define(eq=False)
class Restored:
    """A follower of a venue. `seen` counts restarts by work in progress, and events by kind."""

    venue: Venue
    exchange: Exchange = field(init=False)
    seen: Counter[str] = field(factory=Counter)

    def __attrs_post_init__(self) -> None:
        self.exchange = Exchange(snapshot.load(snapshot.dump(self.venue.exchange.state)))
        self.venue.followers.append(self.follow)

    def follow(self, entry: Entry, events: list[Event]) -> None:
        """Apply an entry, restart, and fail with AssertionError where anything differs."""
        place = f"entry {entry.sequence} {entry.command}"
        assert events == self.exchange.apply(entry), place
        data = snapshot.dump(self.exchange.state)
        if entry.sequence % COMPARED == 0:
            assert snapshot.dump(self.venue.exchange.state) == data, place
            self.venue.exchange.check()
        self._count(events)
        self.exchange = Exchange(snapshot.load(data))

    def _count(self, events: list[Event]) -> None:
        for event in events:
            step = getattr(event, "step", None)
            self.seen[type(event).__name__ if step is None else step.name] += 1
        self.seen["amid a keyed request"] += bool(self.exchange.state.undecided)
        for phase in self.exchange.state.phases:
            self.seen[f"amid {type(phase).__name__}"] += 1


def run(seed: int, steps: int, weights: dict[str, int], **terms: Any) -> Restored:
    """Return the restored copy of a random run."""
    venue = small_venue(**({"slice": 2, "fills": 6} | terms))
    venue.checked = False
    restored = Restored(venue)
    random_commands = RandomCommands(venue, Random(seed), weights, keyed=True)
    for _ in range(steps):
        random_commands.step()
    assert venue.exchange.digest() == restored.exchange.digest()
    return restored


def weights_of(seed: int) -> dict[str, int]:
    """Return the weights of a seed: three storms, then one ordinary day."""
    return STORM if seed % 4 else ORDINARY
