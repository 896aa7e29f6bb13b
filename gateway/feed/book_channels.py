"""Book channels: for each interval, a chain of changes since the state last published.

The cost of a stream grows with what changed, not with the size of the book. A book without
subscriptions costs nothing.
"""

from __future__ import annotations

from typing import ClassVar

from attrs import define, field
from msgspec import Raw

from book.order import Side
from gateway.feed.book_side_view import BookSideView
from gateway.feed.channel import StateStream
from gateway.protocol import jsonrpc
from risk.events import BookChanged
from risk.market import Market
from risk.state import State


@define(eq=False)
class BookStream(StateStream):
    """`book.{instrument}.{interval}`: a snapshot, then changes that name their predecessor.

    `change_id` is the entry that last changed the published state, `latest_change_id` the entry
    that last changed the book. A new subscription, or one that missed a change, gets a snapshot
    instead of the next change. The snapshot of a very large book is encoded over several calls:
    one for each flush, and one for each change of a raw channel.
    """

    sends_full_state: ClassVar[bool] = False

    state: State
    market: Market
    change_id: int
    latest_change_id: int = field(init=False)
    time: int = field(init=False)
    bids: BookSideView = field(init=False)
    asks: BookSideView = field(init=False)
    _snapshot: bytes | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.latest, self.time = self.change_id, self.state.time
        book, tick = self.market.book, self.market.instrument.contract.tick
        self.bids, self.asks = BookSideView(book.bids, tick), BookSideView(book.asks, tick)

    def note(self, event: BookChanged, sequence: int) -> None:
        """Record that entry `sequence` changed the book, whose state must be that of this entry."""
        for change in event.changes:
            levels = self.bids if change.side is Side.BUY else self.asks
            levels.note(change.price, change.before, change.after)
        self.latest, self.time = sequence, self.state.time

    def take_due(self) -> list[bytes]:
        """Return the change since the last publication; none where all levels are as before."""
        bids, asks = self.bids.take_changes(), self.asks.take_changes()
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
        return [jsonrpc.encode(change)]

    def snapshot(self) -> list[bytes]:
        """Return the book as last published; the text is cached until the next change."""
        if self._snapshot is None:
            bids, asks = self.bids.snapshot(), self.asks.snapshot()
            if bids is None or asks is None:
                return []
            self._snapshot = jsonrpc.encode(
                {
                    "type": "snapshot",
                    "timestamp": self.time,
                    "instrument_name": self.market.name,
                    "change_id": self.change_id,
                    "bids": Raw(bids),
                    "asks": Raw(asks),
                }
            )
        return [self._snapshot]
