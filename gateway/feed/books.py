"""Book channels: for each interval a chain of changes from the state that was last published.

The state as last published is never copied: it is the live book with the levels that changed
since then set back. So a stream costs as much as what changed, and nothing while nobody listens.
"""

from __future__ import annotations

from typing import ClassVar

from attrs import define, field

from book.order import Side
from book.orderbook import BookSide
from gateway.api import wire
from gateway.feed.stream import StateStream
from risk.events import BookChanged
from risk.market import Market
from risk.state import State

Row = tuple[str, wire.Number, wire.Number]


@define(eq=False)
class Levels:
    """One side's levels that changed since the last publication: price to (before)."""

    side: Side
    moved: dict[int, tuple[int, int]] = field(factory=dict)

    def note(self, price: int, before: int, after: int) -> None:
        """A level went from one amount to another; 0 is no level."""
        earlier = self.moved.get(price)
        self.moved[price] = (before if earlier is None else earlier[0], after)

    def take(self) -> list[Row]:
        """The net changes, and a fresh start."""
        rows: list[Row] = []
        for price, (before, after) in self.moved.items():
            if before != after:
                action = "delete" if not after else "change" if before else "new"
                rows.append((action, wire.price(price), wire.amount(after)))
        self.moved.clear()
        return rows

    def published(self, live: BookSide) -> list[Row]:
        """All levels as last published, best first."""
        levels = {level.price: level.amount for level in live}
        if self.moved:
            levels |= {price: before for price, (before, _) in self.moved.items()}
            prices = sorted(levels, reverse=self.side is Side.BUY)
            levels = {price: levels[price] for price in prices if levels[price]}
        return [("new", wire.price(price), wire.amount(amount)) for price, amount in levels.items()]


@define(eq=False)
class BookStream(StateStream):
    """`book.{instrument}.{interval}`: a snapshot, then changes that name their predecessor.

    `change_id` is the entry that last changed what was published, `latest` the one that last
    changed the book. A listener who has not got the snapshot yet, or missed a change, gets a
    snapshot in place of the next one.
    """

    whole: ClassVar[bool] = False

    state: State
    market: Market
    change_id: int
    latest: int = field(init=False)
    time: int = field(init=False)
    bids: Levels = field(factory=lambda: Levels(Side.BUY), init=False)
    asks: Levels = field(factory=lambda: Levels(Side.SELL), init=False)
    _snapshot: bytes | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.latest, self.time = self.change_id, self.state.time

    def note(self, event: BookChanged, sequence: int) -> None:
        """Entry `sequence` changed the book. The live book must show this entry and no later."""
        for change in event.changes:
            levels = self.bids if change.side is Side.BUY else self.asks
            levels.note(change.price, change.before, change.after)
        self.latest, self.time = sequence, self.state.time

    def take(self) -> list[bytes]:
        """The change since the last publication; none where levels only moved to and fro."""
        bids, asks = self.bids.take(), self.asks.take()
        if not bids and not asks:
            return []
        previous, self.change_id, self._snapshot = self.change_id, self.latest, None
        change = {
            "type": "change",
            "timestamp": self.time,
            "instrument_name": self.market.name,
            "prev_change_id": previous,
            "change_id": self.change_id,
            "bids": bids,
            "asks": asks,
        }
        return [wire.encode(change)]

    def snapshot(self) -> list[bytes]:
        """The book as last published; kept until the next change, for all who want it."""
        if self._snapshot is None:
            self._snapshot = wire.encode(
                {
                    "type": "snapshot",
                    "timestamp": self.time,
                    "instrument_name": self.market.name,
                    "change_id": self.change_id,
                    "bids": self.bids.published(self.market.book.bids),
                    "asks": self.asks.published(self.market.book.asks),
                }
            )
        return [self._snapshot]
