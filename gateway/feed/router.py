"""Route events to the channels that they concern. Events without subscriptions are not encoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final

from attrs import define, field

from gateway.feed.channel import ChannelStream
from gateway.feed.channel_names import ANY, Interval, Topic, subjects
from gateway.feed.event_channels import PortfolioStream
from gateway.feed.subscriptions import InstrumentStreams, Routes, Subscriptions
from gateway.history.archive import transfer_as_trades
from gateway.protocol.order_json import public_trade_text
from gateway.protocol.order_json_cache import OrderJsonCache
from risk.events import (
    BookChanged,
    Event,
    MarketChanged,
    MarketSettled,
    MarksChanged,
    OrderChanged,
    PositionChanged,
    Traded,
    TradeSide,
    Transferred,
    WalletChanged,
)

_KIND: Final = "future"
_RANK: Final = attrgetter("rank")
# Every order changes a wallet and every fill two positions; few clients subscribe to them.
_SOLE_TOPIC: Final = {WalletChanged: Topic.PORTFOLIO, PositionChanged: Topic.CHANGES}


@define(eq=False)
class Router:
    """Records events in the streams that they concern, and which streams have something to send.

    `handler` returns what to call for events of a type; `sequence` must be the number of their
    entry. `dirty` holds, for each interval, the streams with something to send;
    `stale_portfolios` the portfolios not refreshed since marks changed, oldest first.
    """

    subscriptions: Subscriptions
    json_cache: OrderJsonCache
    sequence: int = field(default=0, init=False)
    dirty: dict[str, dict[ChannelStream, None]] = field(
        factory=lambda: {interval.value: {} for interval in Interval}, init=False
    )
    dirty_raw: dict[ChannelStream, None] = field(init=False)
    stale_portfolios: dict[PortfolioStream, None] = field(factory=dict, init=False)
    # Read for every event, and therefore held here as well as in `subscriptions`.
    _public: Routes = field(init=False)
    _accounts: dict[int, Routes] = field(init=False)
    _change_ids: dict[str, int] = field(init=False)
    _subjects: dict[str, tuple[str, ...]] = field(factory=dict, init=False)
    _handlers: dict[type[Event], Callable[[Any], None]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.dirty_raw = self.dirty[Interval.RAW.value]
        self._change_ids = self.subscriptions.change_ids
        self._public, self._accounts = self.subscriptions.public, self.subscriptions.accounts
        self._handlers = {
            BookChanged: self._book_changed,
            OrderChanged: self._order_changed,
            Traded: self._traded,
            PositionChanged: self._position_changed,
            WalletChanged: self._wallet_changed,
            MarksChanged: self._marks_changed,
            Transferred: self._transferred,
            MarketChanged: self._market_changed,
            MarketSettled: self._market_changed,
        }

    def handler(self, kind: type[Event]) -> Callable[[Any], None] | None:
        """Return what to call for events of a type, or None without a subscription for them."""
        topic = _SOLE_TOPIC.get(kind)
        if topic is not None and not self.subscriptions.counts[topic]:
            return None
        return self._handlers.get(kind)

    def take_dirty(self, interval: str) -> Sequence[ChannelStream]:
        """Return the streams of an interval with something to send, in the order of delivery."""
        dirty = self.dirty[interval]
        if len(dirty) == 1:
            return dirty.popitem()[:1]
        streams = sorted(dirty, key=_RANK)
        dirty.clear()
        return streams

    def remove(self, stream: ChannelStream) -> None:
        """Remove a stream that has no subscriptions left."""
        self.dirty[stream.interval].pop(stream, None)
        if isinstance(stream, PortfolioStream):
            self.stale_portfolios.pop(stream, None)

    def _mark_dirty(self, stream: ChannelStream) -> None:
        self.dirty[stream.interval][stream] = None

    def _book_changed(self, event: BookChanged) -> None:
        name = event.instrument
        self._change_ids[name] = self.sequence
        streams = self._public.by_instrument.get(name) or self._find_streams(self._public, name)
        for book in streams.books:
            book.note(event, self.sequence)
            self._mark_dirty(book)
        for stream in streams.best_prices:
            if stream.best_prices_changed():
                self._mark_dirty(stream)

    def _order_changed(self, event: OrderChanged) -> None:
        order = event.order
        routes = self._accounts.get(order.account)
        if routes is None:
            return
        name = order.instrument
        streams = routes.by_instrument.get(name) or self._find_streams(routes, name)
        if streams.raw_orders or streams.orders:
            data = self.json_cache.order(order)
            for orders in streams.raw_orders:
                orders.push(data)
            for stream in streams.orders:
                stream.note_order(name, order.order_id, data)
                self._mark_dirty(stream)

    def _traded(self, trade: Traded) -> None:
        name = trade.instrument
        streams = self._public.by_instrument.get(name) or self._find_streams(self._public, name)
        if streams.trades:
            instrument = self.subscriptions.archive.instrument(trade.instrument)
            assert instrument is not None, "a trade is in an instrument that was listed"
            data = public_trade_text(trade, instrument)
            for stream in streams.trades:
                stream.note(data)
                self._mark_dirty(stream)
        for ticker in streams.tickers:
            self._mark_dirty(ticker)
        self._own_trade(trade, trade.taker)
        self._own_trade(trade, trade.maker)

    def _transferred(self, event: Transferred) -> None:
        self._mark_tickers_dirty(event.instrument)
        for _, own in transfer_as_trades(event, self.subscriptions.state):
            self._own_trade(own.trade, own.side)

    def _own_trade(self, trade: Traded, side: TradeSide) -> None:
        routes = self._accounts.get(side.account)
        if routes is None:
            return
        name = trade.instrument
        streams = routes.by_instrument.get(name) or self._find_streams(routes, name)
        if streams.own_trades:
            data = self.json_cache.own_trade(trade, side)
            for stream in streams.own_trades:
                stream.note_trade(name, data)
                self._mark_dirty(stream)

    def _position_changed(self, event: PositionChanged) -> None:
        routes = self._accounts.get(event.account)
        if routes is None:
            return
        name = event.instrument
        streams = routes.by_instrument.get(name) or self._find_streams(routes, name)
        for stream in streams.changes:
            stream.note_position(name)
            self._mark_dirty(stream)

    def _wallet_changed(self, event: WalletChanged) -> None:
        routes = self._accounts.get(event.account)
        if routes is None or not routes.portfolio:
            return
        for stream in _portfolios(routes, event.currency):
            stream.note(event.currency)
            self._mark_dirty(stream)

    def _marks_changed(self, _: MarksChanged) -> None:
        public = self.subscriptions.public
        for kind in (public.ticker, public.perpetual, public.index):
            for streams in kind.values():
                for stream in streams:
                    self._mark_dirty(stream)
        for portfolio in self.subscriptions.portfolios():
            self.stale_portfolios.setdefault(portfolio)

    def _market_changed(self, event: MarketChanged | MarketSettled) -> None:
        self._mark_tickers_dirty(event.instrument)

    def _mark_tickers_dirty(self, instrument: str) -> None:
        for ticker in self._public.ticker.get(instrument, ()):
            self._mark_dirty(ticker)

    def _find_streams(self, routes: Routes, instrument: str) -> InstrumentStreams:
        """Find the streams of an instrument, cached until the streams change."""
        return routes.find_streams(instrument, self._subjects_of(instrument))

    def _subjects_of(self, name: str) -> tuple[str, ...]:
        """Return every subject that covers an instrument; none where it was never listed."""
        covering = self._subjects.get(name)
        if covering is None:
            instrument = self.subscriptions.archive.instrument(name)
            if instrument is None:
                return ()
            covering = self._subjects[name] = subjects(name, _KIND, instrument.currency)
        return covering


def _portfolios(routes: Routes, currency: str) -> list[PortfolioStream]:
    return [*routes.portfolio.get(currency, ()), *routes.portfolio.get(ANY, ())]
