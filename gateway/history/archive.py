"""The venue's history in memory: trades, closed orders, settlements and daily statistics.

It is derived from events alone and may be lost: the core never reads it. All readers go through
the queries below, so that a database could serve them. The latest items of each kind are kept, for
each account and each instrument, which bounds its size.
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
    SettlementKind,
    Traded,
    TradeSide,
    Transferred,
)
from risk.market import Market
from risk.state import FIRST_CLIENT, State

# The largest page that a client can request has a thousand rows. The limits are small multiples of
# it: a busy account costs 3 MB, a busy instrument 10 MB. A longer history belongs on disk.

TRADES: Final = 10_000
"""Public trades of each instrument."""

OWN_TRADES: Final = 2_000
"""Trades of each account."""

FILLED_ORDERS: Final = 2_000
"""Closed orders with a trade, for each account."""

UNFILLED_ORDERS: Final = 1_000
"""Closed orders without a trade, for each account: market makers leave thousands."""

SETTLEMENTS: Final = 1_000
"""Settlements of each instrument and deliveries of each index: years of them."""

_OPEN: Final = OrderState.OPEN


class OwnTrade(msgspec.Struct, frozen=True, gc=False):
    """A trade and the account's side of it."""

    trade: Traded
    side: TradeSide


@define(eq=False)
class AccountHistory:
    """One account's history, oldest first.

    Orders are stored with their position in the order of closing. Those with a trade are indexed by
    id. Those without are many and rarely requested: they are in a list, and `closing_positions`
    holds their positions.
    """

    trades: deque[OwnTrade] = field(factory=lambda: deque(maxlen=OWN_TRADES))
    filled: OrderedDict[int, tuple[int, OrderRecord]] = field(factory=OrderedDict)
    unfilled: deque[OrderRecord] = field(factory=lambda: deque(maxlen=UNFILLED_ORDERS))
    closing_positions: deque[int] = field(factory=lambda: deque(maxlen=UNFILLED_ORDERS))
    closed_count: int = 0

    def close(self, order: OrderRecord) -> None:
        """Store an order that has ended, and drop the oldest one beyond the limit."""
        self.closed_count += 1
        if not order.filled:
            self.unfilled.append(order)
            self.closing_positions.append(self.closed_count)
            return
        self.filled[order.order_id] = (self.closed_count, order)
        if len(self.filled) > FILLED_ORDERS:
            self.filled.popitem(last=False)


@define(eq=False)
class InstrumentHistory:
    """One instrument's history, oldest first."""

    day: DayStats
    trades: deque[Traded] = field(factory=lambda: deque(maxlen=TRADES))
    settlements: deque[MarketSettled] = field(factory=lambda: deque(maxlen=SETTLEMENTS))
    funding: FundingSamples = field(factory=FundingSamples)


@define(eq=False)
class Archive:
    """The venue's history, as far back as the limits above reach.

    Pass it the events of every entry right after the entry was applied, because it reads `state`.
    `handlers` maps a type of event to what records it. `listed` holds the terms of every instrument
    ever seen, some hundreds a year; `deliveries` is by index.
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
            MarketSettled: self._market_settled,
            MarketChanged: self._market_changed,
        }

    def record(self, events: Iterable[Event]) -> None:
        """Record the events of one entry, right after it was applied."""
        handler_of = self.handlers.get
        for event in events:
            handler = handler_of(type(event))
            if handler is not None:
                handler(event)

    def trades(self, instruments: Iterable[str], range_: TradeRange) -> tuple[list[Traded], bool]:
        """Return public trades of these instruments, and whether there are more of them."""
        sequences = [
            self.instruments[name].trades for name in instruments if name in self.instruments
        ]
        merged = heapq.merge(
            *(in_range(trades, range_, lambda trade: trade) for trades in sequences),
            key=lambda trade: trade.trade_id,
            reverse=not range_.ascending,
        )
        return page(merged, range_.count)

    def own_trades(
        self, account: int, range_: TradeRange, matches: Callable[[str], bool]
    ) -> tuple[list[OwnTrade], bool]:
        """Return an account's trades in matching instruments, and whether there are more."""
        matching = [own for own in self._history(account).trades if matches(own.trade.instrument)]
        return page(in_range(matching, range_, lambda own: own.trade), range_.count)

    def order_trades(self, account: int, order_id: int) -> list[OwnTrade]:
        """Return the trades of one order, oldest first."""
        return [own for own in self._history(account).trades if own.side.order_id == order_id]

    def order(self, account: int, order_id: int) -> OrderRecord | None:
        """Return a closed order of the account, if it is still stored."""
        history = self._history(account)
        filled = history.filled.get(order_id)
        if filled is not None:
            return filled[1]
        # Newest first, because a client usually asks for an order that it closed a moment ago.
        unfilled = reversed(history.unfilled)
        return next((order for order in unfilled if order.order_id == order_id), None)

    def orders(
        self,
        account: int,
        matches: Callable[[str], bool],
        *,
        unfilled: bool,
        offset: int,
        count: int,
    ) -> list[OrderRecord]:
        """Return closed orders in matching instruments, the last one closed first.

        `unfilled` includes those that ended without a trade.
        """
        history = self._history(account)
        closed: Iterator[tuple[int, OrderRecord]] = reversed(history.filled.values())
        if unfilled:
            others = zip(
                reversed(history.closing_positions), reversed(history.unfilled), strict=True
            )
            closed = heapq.merge(closed, others, key=_closing_position, reverse=True)
        matching = (order for _, order in closed if matches(order.instrument))
        return list(islice(matching, offset, offset + count))

    def instrument(self, name: str) -> Instrument | None:
        """Return an instrument that is or was listed: history outlives its market."""
        known = self.listed.get(name)
        if known is None:
            market = find_market(self.state, name)
            if market is not None:
                known = self.listed[name] = market.instrument
        return known

    def delivered(self, index: str) -> Sequence[MarketSettled]:
        """Return the deliveries at an index's price, oldest first, one for each instrument."""
        return self.deliveries.get(index, ())

    def settlements(self, instrument: str) -> Sequence[MarketSettled]:
        """Return an instrument's settlements, oldest first."""
        history = self.instruments.get(instrument)
        return history.settlements if history is not None else ()

    def day(self, instrument: Instrument) -> DayStats:
        """Return the statistics of an instrument's last 24 hours."""
        history = self.instruments.get(instrument.name)
        return history.day if history is not None else DayStats(instrument)

    def funding(self, market: Market) -> int:
        """Return a perpetual's funding over the last 8 hours, in 1e-12."""
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
                own_history = self.accounts.get(account) or self._account(account)
                own_history.trades.append(OwnTrade(trade, side))

    def _transferred(self, event: Transferred) -> None:
        for account, own in transfer_as_trades(event, self.state):
            self._account(account).trades.append(own)

    def _market_settled(self, event: MarketSettled) -> None:
        history = self._instrument(event.instrument)
        if history is None:
            return
        history.settlements.append(event)
        if event.kind is SettlementKind.DELIVERY:
            index = self.listed[event.instrument].contract.index
            deliveries = self.deliveries.setdefault(index, deque(maxlen=SETTLEMENTS))
            deliveries.append(event)

    def _marks_changed(self, _: MarksChanged) -> None:
        for market in self.state.markets.values():
            history = self._instrument(market.name) if market.instrument.perpetual else None
            if history is not None:
                history.funding.note(market, self.state.time)

    def _market_changed(self, event: MarketChanged) -> None:
        """Store what is listed, and drop the history of instruments that the venue has dropped."""
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
        """Return an instrument's history; None where one entry both listed and removed it."""
        history = self.instruments.get(name)
        if history is None:
            instrument = self.instrument(name)
            if instrument is not None:
                history = self.instruments[name] = InstrumentHistory(DayStats(instrument))
        return history


def _closing_position(closed: tuple[int, OrderRecord]) -> int:
    return closed[0]


def find_market(state: State, name: str) -> Market | None:
    """Return a market by name, listed or recently expired."""
    market = state.markets.get(name)
    if market is None:
        market = next((gone for gone in state.expired if gone.name == name), None)
    return market


def transfer_as_trades(event: Transferred, state: State) -> list[tuple[int, OwnTrade]]:
    """Return a transfer outside the book as trades of the client accounts involved.

    Without it, the sum of a client's trades would differ from its position. There is no order,
    which number 0 expresses, and no fee.
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
