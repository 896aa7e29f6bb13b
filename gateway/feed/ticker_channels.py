"""Channels that publish a full state each time: ticker, quote, funding rate, index price."""

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
    """A state as one JSON object with a timestamp, published when more than the time changed.

    `last_published` is the state last sent, without its timestamp.
    """

    state: State
    last_published: Json | None = field(default=None, init=False)

    @abstractmethod
    def state_json(self) -> Json:
        """Return the present state without its timestamp."""

    def time(self) -> int:
        """Return the timestamp of the state."""
        return self.state.time

    def take_due(self) -> list[bytes]:
        """Return the state, if it differs from the one last published."""
        state = self.state_json()
        if state == self.last_published:
            return []
        self.last_published = state
        return [self._encode(state)]

    def snapshot(self) -> list[bytes]:
        """Return the present state."""
        state = self.state_json()
        if self.last_published is None:
            self.last_published = state
        return [self._encode(state)]

    def _encode(self, state: Json) -> bytes:
        return jsonrpc.encode({**state, "timestamp": self.time()})


@define(eq=False)
class BestPricesStream(JsonStateStream):
    """A state that depends on a book only by its best prices."""

    market: Market
    best_prices: market_json.Top = field(default=(0, 0, 0, 0), init=False)

    def best_prices_changed(self) -> bool:
        """Whether the best prices differ from those of the last call."""
        before, self.best_prices = self.best_prices, market_json.top(self.market)
        return self.best_prices != before


@define(eq=False)
class QuoteStream(BestPricesStream):
    """`quote.{instrument}`: the best prices."""

    def state_json(self) -> Json:
        """Return the present state without its timestamp."""
        return market_json.quote_json(self.market)


@define(eq=False)
class TickerStream(BestPricesStream):
    """`ticker.{instrument}.{interval}`: all prices of a market."""

    archive: Archive

    def state_json(self) -> Json:
        """Return the present state without its timestamp."""
        return market_json.ticker_json(self.market, self.archive, self.state.time)


@define(eq=False)
class PerpetualStream(JsonStateStream):
    """`perpetual.{instrument}.{interval}`: the funding rate."""

    market: Market

    def state_json(self) -> Json:
        """Return the present state without its timestamp."""
        return market_json.perpetual_json(self.market)


@define(eq=False)
class IndexStream(JsonStateStream):
    """`deribit_price_index.{index}`: published for each price that arrives, also an equal one."""

    index: Index

    def state_json(self) -> Json:
        """Return the present state; its time is included, so that each price differs."""
        return {
            "index_name": self.index.name,
            "price": jsonrpc.price(self.index.price),
            "timestamp": self.index.updated,
        }

    def time(self) -> int:
        """Return the time when the price arrived."""
        return self.index.updated
