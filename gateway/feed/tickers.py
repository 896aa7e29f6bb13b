"""Channels that tell a state anew each time: ticker, quote, funding rate, index price."""

from __future__ import annotations

from abc import abstractmethod

from attrs import define, field

from gateway.api import quotes, wire
from gateway.api.shapes import Json
from gateway.archive import Archive
from gateway.feed.stream import StateStream
from risk.market import Index, Market
from risk.state import State


@define(eq=False)
class ShapeStream(StateStream):
    """A state that is one JSON object with a time. It is told only when more than the time moved.

    `told` is what was published last, without its time.
    """

    state: State
    told: Json | None = field(default=None, init=False)

    @abstractmethod
    def shape(self) -> Json:
        """The state as it is, without its time."""

    def time(self) -> int:
        """The time of the state."""
        return self.state.time

    def take(self) -> list[bytes]:
        """The state, if it is news."""
        shape = self.shape()
        if shape == self.told:
            return []
        self.told = shape
        return [self._encode(shape)]

    def snapshot(self) -> list[bytes]:
        """The state as it is."""
        shape = self.shape()
        if self.told is None:
            self.told = shape
        return [self._encode(shape)]

    def _encode(self, shape: Json) -> bytes:
        return wire.encode({**shape, "timestamp": self.time()})


@define(eq=False)
class TopStream(ShapeStream):
    """A state that depends on a book only through its best prices."""

    market: Market
    top: quotes.Top = field(default=(0, 0, 0, 0), init=False)

    def moved(self) -> bool:
        """Whether the best prices are others than when this was last asked."""
        before, self.top = self.top, quotes.top(self.market)
        return self.top != before


@define(eq=False)
class QuoteStream(TopStream):
    """`quote.{instrument}`: the best prices."""

    def shape(self) -> Json:
        """The state as it is, without its time."""
        return quotes.quote_json(self.market)


@define(eq=False)
class TickerStream(TopStream):
    """`ticker.{instrument}.{interval}`: everything about a market's prices."""

    archive: Archive

    def shape(self) -> Json:
        """The state as it is, without its time."""
        return quotes.ticker_json(self.market, self.archive, self.state.time)


@define(eq=False)
class PerpetualStream(ShapeStream):
    """`perpetual.{instrument}.{interval}`: the funding rate."""

    market: Market

    def shape(self) -> Json:
        """The state as it is, without its time."""
        return quotes.perpetual_json(self.market)


@define(eq=False)
class IndexStream(ShapeStream):
    """`deribit_price_index.{index}`: told with each price that arrives, also where it is equal."""

    index: Index

    def shape(self) -> Json:
        """The state as it is; its time is part of the news."""
        return {
            "index_name": self.index.name,
            "price": wire.price(self.index.price),
            "timestamp": self.index.updated,
        }

    def time(self) -> int:
        """When the price arrived."""
        return self.index.updated
