"""What the demo shows: books and trades from the API, liquidations from the entries of the log."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import trio
from attrs import define, field

from book.units import MONEY, SCALE
from gateway.demo.bots import MARKETS
from gateway.server.server import Running
from risk import views
from risk.commands import Cancel, CancelAll, ClosePosition, Edit, Entry, Place
from risk.events import Event, Liquidated, LiquidationStep, Traded
from risk.state import INSURANCE
from tidegate.client import Client, Feed

DEPTH: Final = 10
KEPT: Final = 200
_ORDERS: Final = (Place, Edit, Cancel, CancelAll, ClosePosition)


class Trade(msgspec.Struct, frozen=True, gc=False):
    """A public trade. `liquidation` is "T", "M", "MT" or empty."""

    timestamp: int
    instrument_name: str
    direction: str
    price: float
    amount: float
    liquidation: str = ""


class Book(msgspec.Struct, frozen=True, gc=False):
    """A market: its mark and index price and its best levels, as (price, amount)."""

    instrument_name: str
    mark_price: float
    index_price: float
    open_interest: float
    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]


class Round(msgspec.Struct, frozen=True, gc=False):
    """One step of a liquidation. `amount` is in the instrument's units."""

    timestamp: int
    name: str
    step: LiquidationStep
    instrument: str
    amount: float
    price: float


class Picture(msgspec.Struct, frozen=True, gc=False):
    """The view at one moment. Rates are those of the last second; lists are newest first."""

    books: tuple[Book, ...]
    trades: tuple[Trade, ...]
    rounds: tuple[Round, ...]
    funds: dict[str, float]
    connections: int
    orders_rate: float
    trades_rate: float
    steps: dict[LiquidationStep, int]
    note: str


@define(eq=False)
class ActivityLog:
    """Collects a Picture. `observe` is an observer of the matcher: it neither waits nor raises.

    `note` describes the last shock of the index.
    """

    running: Running
    trades: deque[Trade] = field(factory=lambda: deque(maxlen=KEPT), init=False)
    rounds: deque[Round] = field(factory=lambda: deque(maxlen=KEPT), init=False)
    steps: dict[LiquidationStep, int] = field(factory=dict, init=False)
    note: str = field(default="", init=False)
    _orders: int = field(default=0, init=False)
    _fills: int = field(default=0, init=False)
    _rates: tuple[float, float] = field(default=(0.0, 0.0), init=False)

    def observe(self, entry: Entry, events: Sequence[Event]) -> None:
        """Count an entry and its events."""
        self._orders += isinstance(entry.command, _ORDERS)
        for event in events:
            if isinstance(event, Traded):
                self._fills += 1
            elif isinstance(event, Liquidated):
                self.steps[event.step] = self.steps.get(event.step, 0) + 1
                self.rounds.appendleft(self._round(entry.time, event))

    def _round(self, now: int, event: Liquidated) -> Round:
        account = self.running.venue.exchange.state.accounts[event.account]
        return Round(
            now,
            account.name,
            event.step,
            event.instrument,
            event.amount / SCALE,
            event.price / SCALE,
        )

    async def follow(self, trades: Feed) -> None:
        """Collect public trades until cancelled."""
        async for batch in trades:
            self.trades.extendleft(msgspec.convert(batch, list[Trade]))

    async def count(self) -> None:
        """Measure the rates once a second until cancelled."""
        while True:
            began, orders, fills = trio.current_time(), self._orders, self._fills
            await trio.sleep(1)
            seconds = trio.current_time() - began
            self._rates = (self._orders - orders) / seconds, (self._fills - fills) / seconds

    async def picture(self, client: Client) -> Picture:
        """Return the present state."""
        books = [await _book(client, market.name) for market in MARKETS]
        connections = self.running.metrics.registry.get_sample_value("tidegate_connections")
        return Picture(
            books=tuple(books),
            trades=tuple(self.trades),
            rounds=tuple(self.rounds),
            funds=dict(self._funds()),
            connections=int(connections or 0),
            orders_rate=self._rates[0],
            trades_rate=self._rates[1],
            steps=dict(self.steps),
            note=self.note,
        )

    def _funds(self) -> Iterator[tuple[str, float]]:
        state = self.running.venue.exchange.state
        for currency, wallets in state.wallets.items():
            if INSURANCE in wallets:
                fund = views.summary(state, INSURANCE, currency)
                yield currency, fund.margin_balance / MONEY


async def _book(client: Client, name: str) -> Book:
    book: Any = await client.call(
        "public/get_order_book", {"instrument_name": name, "depth": DEPTH}
    )
    return msgspec.convert(book, Book)
