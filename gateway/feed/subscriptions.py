"""All subscriptions, and the streams where each kind of event finds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from attrs import define, field

from gateway.feed.book_channels import BookStream
from gateway.feed.channel import ChannelStream
from gateway.feed.channel_names import ANY, PRIVATE, Channel, Interval, Topic, parse
from gateway.feed.event_channels import (
    ChangesStream,
    OrdersStream,
    OwnTradesStream,
    PortfolioStream,
    TradesStream,
)
from gateway.feed.ticker_channels import IndexStream, PerpetualStream, QuoteStream, TickerStream
from gateway.history.archive import Archive
from gateway.protocol.message_sink import MessageSink
from risk.state import State

S = TypeVar("S", bound=ChannelStream)

_RAW: Final = Interval.RAW.value


@define(frozen=True, eq=False)
class InstrumentStreams:
    """The streams that concern one instrument, under whichever subject.

    `raw_orders` are pushed at once. `best_prices` publish only when the best prices change;
    tickers are among them.
    """

    raw_orders: tuple[OrdersStream, ...]
    orders: tuple[OrdersStream | ChangesStream, ...]
    own_trades: tuple[OwnTradesStream | ChangesStream, ...]
    changes: tuple[ChangesStream, ...]
    trades: tuple[TradesStream, ...]
    books: tuple[BookStream, ...]
    best_prices: tuple[QuoteStream | TickerStream, ...]
    tickers: tuple[TickerStream, ...]


@define(eq=False)
class Routes:
    """Streams by topic and subject: the public ones, or those of one account.

    `by_instrument` caches `find_streams` until streams are added or removed.
    """

    orders: dict[str, list[OrdersStream]] = field(factory=dict)
    own_trades: dict[str, list[OwnTradesStream]] = field(factory=dict)
    changes: dict[str, list[ChangesStream]] = field(factory=dict)
    trades: dict[str, list[TradesStream]] = field(factory=dict)
    book: dict[str, list[BookStream]] = field(factory=dict)
    quote: dict[str, list[QuoteStream]] = field(factory=dict)
    ticker: dict[str, list[TickerStream]] = field(factory=dict)
    index: dict[str, list[IndexStream]] = field(factory=dict)
    perpetual: dict[str, list[PerpetualStream]] = field(factory=dict)
    portfolio: dict[str, list[PortfolioStream]] = field(factory=dict)
    by_instrument: dict[str, InstrumentStreams] = field(factory=dict, init=False)

    def find_streams(self, instrument: str, subjects: Sequence[str]) -> InstrumentStreams:
        """Find and cache the streams of an instrument, which is covered by these subjects."""
        orders, changes = _under(self.orders, subjects), _under(self.changes, subjects)
        tickers = _under(self.ticker, [instrument])
        streams = self.by_instrument[instrument] = InstrumentStreams(
            raw_orders=tuple(each for each in orders if each.interval == _RAW),
            orders=(*(each for each in orders if each.interval != _RAW), *changes),
            own_trades=(*_under(self.own_trades, subjects), *changes),
            changes=changes,
            trades=_under(self.trades, subjects),
            books=_under(self.book, [instrument]),
            best_prices=(*_under(self.quote, [instrument]), *tickers),
            tickers=tickers,
        )
        return streams

    def add(self, stream: ChannelStream) -> None:
        """Route events to a stream."""
        self.by_instrument.clear()
        self._of(stream).setdefault(stream.channel.subject, []).append(stream)

    def remove(self, stream: ChannelStream) -> None:
        """Stop routing events to a stream."""
        self.by_instrument.clear()
        routes = self._of(stream)
        streams = routes[stream.channel.subject]
        streams.remove(stream)
        if not streams:
            del routes[stream.channel.subject]

    def _of(self, stream: ChannelStream) -> dict[str, list[Any]]:
        routes: dict[str, list[Any]] = getattr(self, stream.channel.topic.name.lower())
        return routes

    @property
    def empty(self) -> bool:
        """Whether there are no streams."""
        return not any(getattr(self, topic.name.lower()) for topic in Topic)


def _under(streams: dict[str, list[S]], subjects: Sequence[str]) -> tuple[S, ...]:
    return tuple(stream for subject in subjects for stream in streams.get(subject, ()))


@define(eq=False)
class Subscriptions:
    """All subscriptions of all connections.

    A stream exists while it has a subscription. `change_ids` holds the entry that last changed
    each book since the process began; `initial_change_id` stands in for the others, as at least 1,
    because clients test ids for truth. `on_streams_changed` is called when a stream begins or
    ends; `counts` holds the number of streams of each topic.
    """

    state: State
    archive: Archive
    max_per_connection: int
    initial_change_id: int
    on_streams_changed: Callable[[], None]
    counts: Counter[Topic] = field(factory=Counter, init=False)
    public: Routes = field(factory=Routes, init=False)
    accounts: dict[int, Routes] = field(factory=dict, init=False)
    change_ids: dict[str, int] = field(factory=dict, init=False)
    _streams: dict[tuple[Channel, int], ChannelStream] = field(factory=dict, init=False)
    _of_sink: dict[int, dict[str, ChannelStream]] = field(factory=dict, init=False)

    def subscribe(self, sink: MessageSink, account: int | None, name: str) -> ChannelStream | None:
        """Subscribe to a channel, anew if need be; return None where it is not available."""
        channel = parse(name)
        if channel is None or not self._admits(channel, account):
            return None
        owner = account if account is not None and channel.topic in PRIVATE else 0
        mine = self._of_sink.setdefault(sink.number, {})
        stream = self._streams.get((channel, owner))
        if mine.get(name, stream) is not stream:
            # The connection acts for another account than when it subscribed.
            self.unsubscribe(sink, name)
        if name not in mine and len(mine) >= self.max_per_connection:
            return None
        if stream is None:
            stream = self._streams[channel, owner] = self._make(channel, owner)
            self._routes(owner).add(stream)
            self.counts[channel.topic] += 1
            self.on_streams_changed()
        mine[name] = stream
        stream.add(sink, name)
        return stream

    def unsubscribe(self, sink: MessageSink, name: str) -> ChannelStream | None:
        """Unsubscribe from a channel; return None where the connection was not subscribed."""
        stream = self._of_sink.get(sink.number, {}).pop(name, None)
        if stream is not None:
            stream.remove(sink, name)
            if stream.unsubscribed:
                self._end(stream)
        return stream

    def has_ended(self, sink: MessageSink, name: str) -> bool:
        """Whether a subscription exists whose log-in has ended."""
        stream = self.of(sink).get(name)
        return stream is not None and stream.subscription(sink, name).ended

    def of(self, sink: MessageSink) -> dict[str, ChannelStream]:
        """Return the subscriptions of a connection by name, oldest first."""
        return self._of_sink.get(sink.number, {})

    def remove_connection(self, sink: MessageSink) -> list[ChannelStream]:
        """End all subscriptions of a connection; return their streams."""
        ended = [self.unsubscribe(sink, name) for name in list(self.of(sink))]
        self._of_sink.pop(sink.number, None)
        return [stream for stream in ended if stream is not None]

    def change_id(self, instrument: str) -> int:
        """Return the entry that last changed a book."""
        return self.change_ids.get(instrument, max(1, self.initial_change_id))

    def portfolios(self) -> Iterator[PortfolioStream]:
        """Iterate over the portfolio streams of all accounts."""
        for routes in self.accounts.values():
            for streams in routes.portfolio.values():
                yield from streams

    def _admits(self, channel: Channel, account: int | None) -> bool:
        if account is None and (channel.topic in PRIVATE or channel.needs_login):
            return False
        if channel.currency:
            return channel.currency == ANY or channel.currency in self.state.currencies()
        if channel.topic is Topic.INDEX:
            return channel.subject in self.state.indices
        market = self.state.markets.get(channel.subject)
        if market is None:
            return False
        return channel.topic is not Topic.PERPETUAL or market.instrument.perpetual

    def _routes(self, owner: int) -> Routes:
        return self.accounts.setdefault(owner, Routes()) if owner else self.public

    def _end(self, stream: ChannelStream) -> None:
        routes = self._routes(stream.account)
        routes.remove(stream)
        if stream.account and routes.empty:
            del self.accounts[stream.account]
        del self._streams[stream.channel, stream.account]
        self.counts[stream.channel.topic] -= 1
        self.on_streams_changed()

    def _make(self, channel: Channel, owner: int) -> ChannelStream:
        state = self.state
        match channel.topic:
            case Topic.ORDERS:
                return OrdersStream(channel, owner)
            case Topic.OWN_TRADES:
                return OwnTradesStream(channel, owner)
            case Topic.CHANGES:
                return ChangesStream(channel, owner, state)
            case Topic.PORTFOLIO:
                return PortfolioStream(channel, owner, state)
            case Topic.TRADES:
                return TradesStream(channel, owner)
            case Topic.INDEX:
                return IndexStream(channel, owner, state, state.indices[channel.subject])
            case _:
                return self._make_of_market(channel, owner)

    def _make_of_market(self, channel: Channel, owner: int) -> ChannelStream:
        state, market = self.state, self.state.markets[channel.subject]
        match channel.topic:
            case Topic.BOOK:
                return BookStream(channel, owner, state, market, self.change_id(market.name))
            case Topic.QUOTE:
                return QuoteStream(channel, owner, state, market)
            case Topic.TICKER:
                return TickerStream(channel, owner, state, market, self.archive)
            case _:
                return PerpetualStream(channel, owner, state, market)
