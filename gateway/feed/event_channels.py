"""Channels of events: trades, and an account's orders, trades, changes and portfolio."""

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
    """`trades.….{interval}`: the trades since the last notification, oldest first.

    A conflated channel holds the trades of one interval; the flush timer bounds it.
    """

    trades: list[bytes] = field(factory=list, init=False)

    def note(self, trade: bytes) -> None:
        """Add an encoded trade."""
        self.trades.append(trade)

    def take_due(self) -> list[bytes]:
        """Return one list of the trades, if there were any."""
        trades, self.trades = self.trades, []
        return [join(trades)] if trades else []


@define(eq=False)
class OrdersStream(PrivateStream):
    """`user.orders.….{interval}`: raw, one order for each message; else a list of changed orders.

    The router pushes to raw channels at once: the core emits order events after the answer, and
    no other notification precedes them. A list holds an order that changed twice once, as it was
    last.
    """

    orders: dict[int, bytes] = field(factory=dict, init=False)

    def note_order(self, instrument: str, order_id: int, order: bytes) -> None:  # noqa: ARG002
        """Record the present state of an order, encoded."""
        self.orders.pop(order_id, None)
        self.orders[order_id] = order

    def take_due(self) -> list[bytes]:
        """Return the changed orders, in the order of their last change."""
        orders, self.orders = list(self.orders.values()), {}
        return [join(orders)] if orders else []


@define(eq=False)
class OwnTradesStream(PrivateStream):
    """`user.trades.….{interval}`: an account's trades since the last notification."""

    trades: list[bytes] = field(factory=list, init=False)

    def note_trade(self, instrument: str, trade: bytes) -> None:  # noqa: ARG002
        """Add a trade from the account's side, encoded."""
        self.trades.append(trade)

    def take_due(self) -> list[bytes]:
        """Return one list of the trades, if there were any."""
        trades, self.trades = self.trades, []
        return [join(trades)] if trades else []


@define(eq=False)
class InstrumentChanges:
    """The changes of an account in one instrument."""

    orders: dict[int, bytes] = field(factory=dict)
    trades: list[bytes] = field(factory=list)


@define(eq=False)
class ChangesStream(PrivateStream):
    """`user.changes.….{interval}`: orders, trades and position, one message for each instrument.

    The position is always included: where only orders changed, its open-order margin did.
    """

    state: State
    changes: dict[str, InstrumentChanges] = field(factory=dict, init=False)

    def note_order(self, instrument: str, order_id: int, order: bytes) -> None:
        """Record the present state of an order, encoded."""
        self._of(instrument).orders[order_id] = order

    def note_trade(self, instrument: str, trade: bytes) -> None:
        """Add a trade from the account's side, encoded."""
        self._of(instrument).trades.append(trade)

    def note_position(self, instrument: str) -> None:
        """Record that the position changed."""
        self._of(instrument)

    def _of(self, instrument: str) -> InstrumentChanges:
        changes = self.changes.get(instrument)
        if changes is None:
            changes = self.changes[instrument] = InstrumentChanges()
        return changes

    def take_due(self) -> list[bytes]:
        """Return the changes since the last notification, with the present positions."""
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
        """Return the present position; none where the market is no longer known."""
        market = find_market(self.state, instrument)
        if market is None:
            return []
        view = views.position(self.state, self.account, market)
        return [jsonrpc.encode(account_json.position_json(view, market.instrument))]


@define(eq=False)
class PortfolioStream(StateStream):
    """`user.portfolio.{currency}`: an account's summary, one message for each currency.

    `last_published` holds the summary last sent for each currency.
    """

    sends_full_state: ClassVar[bool] = False

    state: State
    dirty: dict[str, None] = field(factory=dict, init=False)
    last_published: dict[str, Json] = field(factory=dict, init=False)

    def recipients(self) -> tuple[tuple[SubscriberGroup, tuple[Subscription, ...]], ...]:
        """Return the subscriptions whose log-in is still valid."""
        return tuple(
            (group, tuple(each for each in subscriptions if not each.ended))
            for group, subscriptions in super().recipients()
        )

    def send_snapshots(self, *, retry: bool = False) -> None:
        """Send the state to the subscriptions that need it and whose log-in is still valid."""
        for subscription in [each for each in self.needs_snapshot if each.ended]:
            del self.needs_snapshot[subscription]
        super().send_snapshots(retry=retry)

    def note(self, currency: str) -> None:
        """Record that the wallet of a currency changed."""
        self.dirty[currency] = None

    def note_marks(self) -> None:
        """Record that marks changed, on which every summary depends."""
        for currency in self._currencies():
            self.note(currency)

    def take_due(self) -> list[bytes]:
        """Return the summaries that differ from those last published."""
        news = []
        for currency in self.dirty:
            summary = self._summary(currency)
            if summary != self.last_published.get(currency):
                self.last_published[currency] = summary
                news.append(jsonrpc.encode(summary))
        self.dirty.clear()
        return news

    def snapshot(self) -> list[bytes]:
        """Return the summaries of all currencies."""
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
