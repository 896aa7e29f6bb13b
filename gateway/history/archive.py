"""What has happened: trades, closed orders, settlements, the day's statistics. All in memory.

It is derived from events alone and may be lost: nothing in the core reads it. Everything that
reads it goes through the queries below, so that a database can stand behind them. It keeps the
latest of each kind, per account or per instrument, so that its size is bounded by theirs.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import msgspec
from attrs import define, field
from msgspec.structs import replace

from book.instrument import Instrument
from book.order import OrderRecord, OrderState, OrderType
from gateway.history.paging import TradeRange, in_range, page
from gateway.history.rolling_stats import DayStats, FundingSamples
from risk.events import (
    Event,
    MarketChanged,
    MarketSettled,
    MarketState,
    MarksChanged,
    OrderChanged,
    PositionSettled,
    SettlementKind,
    Traded,
    TradeSide,
    Transferred,
)
from risk.market import Market
from risk.state import FIRST_CLIENT, State

# The largest page that a client can ask for has a thousand. The limits are a few of these: a client
# that pages finds what it did lately, and a busy account costs 3 MB, a busy instrument 10 MB.
# Whoever wants more of the past wants it on disk.

TRADES: Final = 10_000
"""Public trades per instrument."""

OWN_TRADES: Final = 2_000
"""Trades per account."""

FILLED_ORDERS: Final = 2_000
"""Closed orders per account that traded."""

UNFILLED_ORDERS: Final = 1_000
"""Closed orders per account that did not: market makers leave thousands, and few ask for them."""

SETTLEMENTS: Final = 1_000
"""Settlements per instrument and per account, and deliveries per index: years of them."""

_OPEN: Final = OrderState.OPEN


class OwnTrade(msgspec.Struct, frozen=True, gc=False):
    """A trade and the side of it that is the account's."""

    trade: Traded
    side: TradeSide


@define(eq=False)
class AccountHistory:
    """One account's past, oldest first.

    Orders are kept with their place in the order in which they were closed: by number those that
    traded, and in a row those that did not, which are many and whom hardly anybody asks for; their
    `places` stand in another row.
    """

    trades: deque[OwnTrade] = field(factory=lambda: deque(maxlen=OWN_TRADES))
    filled: OrderedDict[int, tuple[int, OrderRecord]] = field(factory=OrderedDict)
    unfilled: deque[OrderRecord] = field(factory=lambda: deque(maxlen=UNFILLED_ORDERS))
    places: deque[int] = field(factory=lambda: deque(maxlen=UNFILLED_ORDERS))
    closed_count: int = 0
    settlements: deque[PositionSettled] = field(factory=lambda: deque(maxlen=SETTLEMENTS))

    def close(self, order: OrderRecord) -> None:
        """Keep an order that has ended, and let the oldest go."""
        self.closed_count += 1
        if not order.filled:
            self.unfilled.append(order)
            self.places.append(self.closed_count)
            return
        self.filled[order.order_id] = (self.closed_count, order)
        if len(self.filled) > FILLED_ORDERS:
            self.filled.popitem(last=False)


@define(eq=False)
class InstrumentHistory:
    """One instrument's past, oldest first."""

    day: DayStats
    trades: deque[Traded] = field(factory=lambda: deque(maxlen=TRADES))
    settlements: deque[MarketSettled] = field(factory=lambda: deque(maxlen=SETTLEMENTS))
    funding: FundingSamples = field(factory=FundingSamples)


@define(eq=False)
class Archive:
    """The venue's past, as far back as the limits above reach.

    Feed it every entry's events, right after the entry was applied: `state` is read then.
    `handlers` says what it does with an event of each type.
    `listed` holds the terms of every instrument ever seen, some hundreds a year; `deliveries`
    is by index.
    """

    state: State
    listed: dict[str, Instrument] = field(init=False)
    instruments: dict[str, InstrumentHistory] = field(factory=dict, init=False)
    accounts: dict[int, AccountHistory] = field(factory=dict, init=False)
    deliveries: dict[str, deque[MarketSettled]] = field(factory=dict, init=False)
    handlers: dict[type[Event], Callable[[Any], None]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.listed = {name: market.instrument for name, market in self.state.markets.items()}
        self.handlers = {
            OrderChanged: self._order_changed,
            Traded: self._traded,
            MarksChanged: self._marks_changed,
            Transferred: self._transferred,
            PositionSettled: self._position_settled,
            MarketSettled: self._market_settled,
            MarketChanged: self._market_changed,
        }

    def record(self, events: Iterable[Event]) -> None:
        """Take in the events of one entry, right after it was applied."""
        handler_of = self.handlers.get
        for event in events:
            handler = handler_of(type(event))
            if handler is not None:
                handler(event)

    def trades(self, instruments: Iterable[str], wanted: TradeRange) -> tuple[list[Traded], bool]:
        """Public trades of these instruments, and whether there are more of them."""
        kept = [self.instruments[name].trades for name in instruments if name in self.instruments]
        merged = heapq.merge(
            *(in_range(trades, wanted, lambda trade: trade) for trades in kept),
            key=lambda trade: trade.trade_id,
            reverse=not wanted.ascending,
        )
        return page(merged, wanted.count)

    def own_trades(
        self, account: int, wanted: TradeRange, fits: Callable[[str], bool]
    ) -> tuple[list[OwnTrade], bool]:
        """An account's trades in the instruments that fit, and whether there are more of them."""
        matching = [own for own in self._history(account).trades if fits(own.trade.instrument)]
        return page(in_range(matching, wanted, lambda own: own.trade), wanted.count)

    def order_trades(self, account: int, order_id: int) -> list[OwnTrade]:
        """The trades of one order, oldest first."""
        return [own for own in self._history(account).trades if own.side.order_id == order_id]

    def order(self, account: int, order_id: int) -> OrderRecord | None:
        """A closed order of the account, while it is kept."""
        past = self._history(account)
        kept = past.filled.get(order_id)
        if kept is not None:
            return kept[1]
        # Whoever asks has most likely heard of it a moment ago.
        unfilled = reversed(past.unfilled)
        return next((order for order in unfilled if order.order_id == order_id), None)

    def orders(
        self,
        account: int,
        fits: Callable[[str], bool],
        *,
        unfilled: bool,
        offset: int,
        count: int,
    ) -> list[OrderRecord]:
        """Closed orders in the instruments that fit, the last to close first.

        `unfilled` includes those that ended without a trade.
        """
        past = self._history(account)
        closed: Iterator[tuple[int, OrderRecord]] = reversed(past.filled.values())
        if unfilled:
            others = zip(reversed(past.places), reversed(past.unfilled), strict=True)
            closed = heapq.merge(closed, others, key=_place, reverse=True)
        matching = (order for _, order in closed if fits(order.instrument))
        return list(islice(matching, offset, offset + count))

    def instrument(self, name: str) -> Instrument | None:
        """An instrument that is or was listed: histories name it long after its market is gone."""
        known = self.listed.get(name)
        if known is None:
            market = find_market(self.state, name)
            if market is not None:
                known = self.listed[name] = market.instrument
        return known

    def delivered(self, index: str) -> Sequence[MarketSettled]:
        """Deliveries at an index's price, oldest first, one for each instrument."""
        return self.deliveries.get(index, ())

    def settlements(self, instrument: str) -> Sequence[MarketSettled]:
        """An instrument's settlements, oldest first."""
        history = self.instruments.get(instrument)
        return history.settlements if history is not None else ()

    def own_settlements(self, account: int) -> Sequence[PositionSettled]:
        """An account's settlements, oldest first."""
        return self._history(account).settlements

    def day(self, instrument: Instrument) -> DayStats:
        """The statistics of an instrument's last 24 hours."""
        history = self.instruments.get(instrument.name)
        return history.day if history is not None else DayStats(instrument)

    def funding(self, market: Market) -> int:
        """What a perpetual's funding came to in the last 8 hours, in 1e-12."""
        history = self.instruments.get(market.name)
        return history.funding.rate_sum(market, self.state.time) if history is not None else 0

    def _order_changed(self, event: OrderChanged) -> None:
        order = event.order
        account = order.account
        if order.state is not _OPEN and account >= FIRST_CLIENT:
            (self.accounts.get(account) or self._account(account)).close(order)

    def _traded(self, trade: Traded) -> None:
        history = self._instrument(trade.instrument)
        if history is not None:
            history.trades.append(trade)
            history.day.note(trade)
        for side in (trade.taker, trade.maker):
            account = side.account
            if account >= FIRST_CLIENT:
                past = self.accounts.get(account) or self._account(account)
                past.trades.append(OwnTrade(trade, side))

    def _transferred(self, event: Transferred) -> None:
        for account, own in transfer_as_trades(event, self.state):
            self._account(account).trades.append(own)

    def _position_settled(self, event: PositionSettled) -> None:
        if event.account >= FIRST_CLIENT:
            self._account(event.account).settlements.append(event)

    def _market_settled(self, event: MarketSettled) -> None:
        history = self._instrument(event.instrument)
        if history is None:
            return
        history.settlements.append(event)
        if event.kind is SettlementKind.DELIVERY:
            index = self.listed[event.instrument].contract.index
            kept = self.deliveries.setdefault(index, deque(maxlen=SETTLEMENTS))
            kept.append(event)

    def _marks_changed(self, _: MarksChanged) -> None:
        for market in self.state.markets.values():
            history = self._instrument(market.name) if market.instrument.perpetual else None
            if history is not None:
                history.funding.note(market, self.state.time)

    def _market_changed(self, event: MarketChanged) -> None:
        """Remember what is listed; let go of histories that the venue itself has let go."""
        self.instrument(event.instrument)
        if event.state is MarketState.DELIVERED:
            known = {market.name for market in self.state.expired}.union(self.state.markets)
            for name in [name for name in self.instruments if name not in known]:
                del self.instruments[name]

    def _account(self, account: int) -> AccountHistory:
        return self.accounts.setdefault(account, AccountHistory())

    def _history(self, account: int) -> AccountHistory:
        return self.accounts.get(account) or AccountHistory()

    def _instrument(self, name: str) -> InstrumentHistory | None:
        """An instrument's history; None where one entry both listed it and forgot it again."""
        history = self.instruments.get(name)
        if history is None:
            instrument = self.instrument(name)
            if instrument is not None:
                history = self.instruments[name] = InstrumentHistory(DayStats(instrument))
        return history


def _place(closed: tuple[int, OrderRecord]) -> int:
    return closed[0]


def find_market(state: State, name: str) -> Market | None:
    """A market by name: listed, or expired not long ago."""
    market = state.markets.get(name)
    if market is None:
        market = next((gone for gone in state.expired if gone.name == name), None)
    return market


def transfer_as_trades(event: Transferred, state: State) -> list[tuple[int, OwnTrade]]:
    """A transfer outside the book as trades of the client accounts that it concerns.

    Without it a client who adds up its own trades would not arrive at its position. There is no
    order behind it, which number 0 says, and no fee.
    """
    market = find_market(state, event.instrument)
    if market is None:
        return []
    taker = TradeSide(
        event.account,
        0,
        OrderType.MARKET,
        OrderState.FILLED,
        event.side,
        "",
        0,
        event.profit,
        post_only=False,
        reduce_only=False,
        liquidation=True,
        position=event.position,
        funding=event.funding,
    )
    maker = replace(
        taker,
        account=event.counterparty,
        side=event.side.opposite,
        profit=event.counterparty_profit,
        liquidation=False,
        position=event.counterparty_position,
        funding=event.counterparty_funding,
    )
    trade = Traded(
        event.trade_id,
        market.trades,
        event.instrument,
        event.time,
        event.price,
        event.amount,
        market.last_tick,
        market.index.price,
        market.mark,
        maker,
        taker,
    )
    return [
        (side.account, OwnTrade(trade, side))
        for side in (taker, maker)
        if side.account >= FIRST_CLIENT
    ]
