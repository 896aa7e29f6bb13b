"""Channels that tell a state anew each time: ticker, quote, funding rate, index price."""

from __future__ import annotations

from abc import abstractmethod

from attrs import define, field

from gateway.feed.channel import StateStream
from gateway.history.archive import Archive
from gateway.protocol import jsonrpc, market_json
from gateway.protocol.account_json import Json
from risk.market import Index, Market
from risk.state import State


@define(eq=False)
class JsonStateStream(StateStream):
    """A state that is one JSON object with a time. It is told only when more than the time moved.

    `told` is what was published last, without its time.
    """

    state: State
    last_published: Json | None = field(default=None, init=False)

    @abstractmethod
    def state_json(self) -> Json:
        """The state as it is, without its time."""

    def time(self) -> int:
        """The time of the state."""
        return self.state.time

    def take_due(self) -> list[bytes]:
        """The state, if it is news."""
        shape = self.state_json()
        if shape == self.last_published:
            return []
        self.last_published = shape
        return [self._encode(shape)]

    def snapshot(self) -> list[bytes]:
        """The state as it is."""
        shape = self.state_json()
        if self.last_published is None:
            self.last_published = shape
        return [self._encode(shape)]

    def _encode(self, shape: Json) -> bytes:
        return jsonrpc.encode({**shape, "timestamp": self.time()})


@define(eq=False)
class BestPricesStream(JsonStateStream):
    """A state that depends on a book only through its best prices."""

    market: Market
    best_prices: market_json.Top = field(default=(0, 0, 0, 0), init=False)

    def best_prices_changed(self) -> bool:
        """Whether the best prices are others than when this was last asked."""
        before, self.best_prices = self.best_prices, market_json.top(self.market)
        return self.best_prices != before


@define(eq=False)
class QuoteStream(BestPricesStream):
    """`quote.{instrument}`: the best prices."""

    def state_json(self) -> Json:
        """The state as it is, without its time."""
        return market_json.quote_json(self.market)


@define(eq=False)
class TickerStream(BestPricesStream):
    """`ticker.{instrument}.{interval}`: everything about a market's prices."""

    archive: Archive

    def state_json(self) -> Json:
        """The state as it is, without its time."""
        return market_json.ticker_json(self.market, self.archive, self.state.time)


@define(eq=False)
class PerpetualStream(JsonStateStream):
    """`perpetual.{instrument}.{interval}`: the funding rate."""

    market: Market

    def state_json(self) -> Json:
        """The state as it is, without its time."""
        return market_json.perpetual_json(self.market)


@define(eq=False)
class IndexStream(JsonStateStream):
    """`deribit_price_index.{index}`: told with each price that arrives, also where it is equal."""

    index: Index

    def state_json(self) -> Json:
        """The state as it is; its time is part of the news."""
        return {
            "index_name": self.index.name,
            "price": jsonrpc.price(self.index.price),
            "timestamp": self.index.updated,
        }

    def time(self) -> int:
        """When the price arrived."""
        return self.index.updated
