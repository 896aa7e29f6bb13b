"""Channels that tell what happens: trades, and an account's orders, trades, changes and margin."""

from __future__ import annotations

from typing import ClassVar

from attrs import define, field

from gateway.feed.channel import (
    LosslessStream,
    PrivateStream,
    StateStream,
    SubscriberGroup,
    Subscription,
    join,
)
from gateway.feed.channel_names import ANY
from gateway.history.archive import find_market
from gateway.protocol import account_json, jsonrpc
from gateway.protocol.account_json import Json
from risk import views
from risk.state import State


@define(eq=False)
class TradesStream(LosslessStream):
    """`trades.….{interval}`: the trades since last time, oldest first.

    A thinned one holds what its interval traded, which the timer bounds.
    """

    trades: list[bytes] = field(factory=list, init=False)

    def note(self, trade: bytes) -> None:
        """A trade, encoded."""
        self.trades.append(trade)

    def take_due(self) -> list[bytes]:
        """One list of trades, if there were any."""
        trades, self.trades = self.trades, []
        return [join(trades)] if trades else []


@define(eq=False)
class OrdersStream(PrivateStream):
    """`user.orders.….{interval}`: raw, one order a message; else a list of what changed.

    A raw one is pushed each order at once: the core tells of orders once an entry, after the
    answer, and nothing else is to go before them. In a list an order that changed twice is there
    once, as it was last.
    """

    orders: dict[int, bytes] = field(factory=dict, init=False)

    def note_order(self, instrument: str, order_id: int, order: bytes) -> None:  # noqa: ARG002
        """An order as it now stands, encoded."""
        self.orders.pop(order_id, None)
        self.orders[order_id] = order

    def take_due(self) -> list[bytes]:
        """The orders that changed, in the order of their last change."""
        orders, self.orders = list(self.orders.values()), {}
        return [join(orders)] if orders else []


@define(eq=False)
class OwnTradesStream(PrivateStream):
    """`user.trades.….{interval}`: an account's trades since last time, oldest first."""

    trades: list[bytes] = field(factory=list, init=False)

    def note_trade(self, instrument: str, trade: bytes) -> None:  # noqa: ARG002
        """A trade from the account's side, encoded."""
        self.trades.append(trade)

    def take_due(self) -> list[bytes]:
        """One list of trades, if there were any."""
        trades, self.trades = self.trades, []
        return [join(trades)] if trades else []


@define(eq=False)
class InstrumentChanges:
    """What happened to an account in one instrument."""

    orders: dict[int, bytes] = field(factory=dict)
    trades: list[bytes] = field(factory=list)


@define(eq=False)
class ChangesStream(PrivateStream):
    """`user.changes.….{interval}`: orders, trades and position, one message an instrument.

    The position is always there: where only orders changed, it is their margin that did.
    """

    state: State
    changes: dict[str, InstrumentChanges] = field(factory=dict, init=False)

    def note_order(self, instrument: str, order_id: int, order: bytes) -> None:
        """An order as it now stands, encoded."""
        self._of(instrument).orders[order_id] = order

    def note_trade(self, instrument: str, trade: bytes) -> None:
        """A trade from the account's side, encoded."""
        self._of(instrument).trades.append(trade)

    def note_position(self, instrument: str) -> None:
        """The position is no longer what it was."""
        self._of(instrument)

    def _of(self, instrument: str) -> InstrumentChanges:
        changes = self.changes.get(instrument)
        if changes is None:
            changes = self.changes[instrument] = InstrumentChanges()
        return changes

    def take_due(self) -> list[bytes]:
        """The changes since last time, with each position as it is now."""
        noted, self.changes = self.changes, {}
        return [self._encode(name, changes) for name, changes in noted.items()]

    def _encode(self, instrument: str, changes: InstrumentChanges) -> bytes:
        return b"".join(
            (
                b'{"instrument_name":',
                jsonrpc.encode(instrument),
                b',"orders":',
                join(list(changes.orders.values())),
                b',"trades":',
                join(changes.trades),
                b',"positions":',
                join(self._positions(instrument)),
                b"}",
            )
        )

    def _positions(self, instrument: str) -> list[bytes]:
        """The position as it is; none in a market that has been gone for long."""
        market = find_market(self.state, instrument)
        if market is None:
            return []
        view = views.position(self.state, self.account, market)
        return [jsonrpc.encode(account_json.position_json(view, market.instrument))]


@define(eq=False)
class PortfolioStream(StateStream):
    """`user.portfolio.{currency}`: an account's summary, one message a currency.

    `told` is what was published last of each currency.
    """

    sends_full_state: ClassVar[bool] = False

    state: State
    dirty: dict[str, None] = field(factory=dict, init=False)
    last_published: dict[str, Json] = field(factory=dict, init=False)

    def recipients(self) -> tuple[tuple[SubscriberGroup, tuple[Subscription, ...]], ...]:
        """Those whose log-in counts."""
        return tuple(
            (group, tuple(each for each in subscriptions if not each.ended))
            for group, subscriptions in super().recipients()
        )

    def send_snapshots(self, *, retry: bool = False) -> None:
        """Send the state to those who are behind and whose log-in counts."""
        for subscription in [each for each in self.needs_snapshot if each.ended]:
            del self.needs_snapshot[subscription]
        super().send_snapshots(retry=retry)

    def note(self, currency: str) -> None:
        """The wallet of that currency moved."""
        self.dirty[currency] = None

    def note_marks(self) -> None:
        """Marks moved, and with them what every wallet is worth."""
        for currency in self._currencies():
            self.note(currency)

    def take_due(self) -> list[bytes]:
        """The summaries that are news."""
        news = []
        for currency in self.dirty:
            summary = self._summary(currency)
            if summary != self.last_published.get(currency):
                self.last_published[currency] = summary
                news.append(jsonrpc.encode(summary))
        self.dirty.clear()
        return news

    def snapshot(self) -> list[bytes]:
        """The summaries of all its currencies."""
        summaries = {currency: self._summary(currency) for currency in self._currencies()}
        for currency, summary in summaries.items():
            self.last_published.setdefault(currency, summary)
        return [jsonrpc.encode(summary) for summary in summaries.values()]

    def _summary(self, currency: str) -> Json:
        return account_json.summary_json(views.summary(self.state, self.account, currency))

    def _currencies(self) -> list[str]:
        if self.channel.subject != ANY:
            return [self.channel.subject]
        return list(self.state.accounts[self.account].wallets)
