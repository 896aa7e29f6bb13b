"""Tables of a scenario: each column is one value of the venue, as a decimal number.

There are two kinds: tables of present state (accounts, positions, markets), whose rows name the
object; and tables of events, with all events since the table was last shown, in order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from book.depth import depth
from book.order import Side
from book.units import MONEY, RATE, SCALE, text
from risk import views
from risk.events import (
    CancelledAll,
    Event,
    Liquidated,
    LossShared,
    MarketSettled,
    OrderChanged,
    PositionSettled,
    Traded,
    Transferred,
)
from tests.risk.venue import of_type
from tests.scenarios.scenario import Scenario

Row = dict[str, str]
Table = Callable[[Scenario, list[Row]], list[Row]]
"""From a scenario and the rows expected to the rows that it shows, with more columns than those."""

E = TypeVar("E", bound=Event)

_ACCOUNT = {
    "balance": "balance",
    "session": "realised",
    "floating": "unrealised",
    "margin balance": "margin_balance",
    "initial": "initial",
    "maintenance": "maintenance",
    "available": "available",
    "withdrawable": "withdrawable",
    "fees": "fees",
}
_POSITION = {
    "size": ("size", SCALE),
    "coins": ("delta", MONEY),
    "average": ("average_price", SCALE),
    "settled at": ("settlement_price", SCALE),
    "floating": ("floating", MONEY),
    "realised": ("realised", MONEY),
    "funding": ("funding", MONEY),
    "total": ("total", MONEY),
    "initial": ("initial", MONEY),
    "maintenance": ("maintenance", MONEY),
    "leverage": ("leverage", 1),
    "liquidated at": ("liquidation_price", SCALE),
}


def _account(scenario: Scenario, row: Row) -> Row:
    summary = views.summary(scenario.state, scenario.accounts[row["account"]], row["currency"])
    cells = {title: text(getattr(summary, field), MONEY) for title, field in _ACCOUNT.items()}
    return {"account": row["account"], "currency": row["currency"], **cells}


def _position(scenario: Scenario, row: Row) -> Row:
    market = scenario.market(row["instrument"])
    view = views.position(scenario.state, scenario.accounts[row["account"]], market)
    cells = {
        title: text(getattr(view, field) or 0, scale) for title, (field, scale) in _POSITION.items()
    }
    return {"account": row["account"], "instrument": row["instrument"], **cells}


def _market(scenario: Scenario, row: Row) -> Row:
    market = scenario.market(row["instrument"])
    best = {side: depth(market.book, side, 1) for side in Side}
    quotes = {
        side: " ".join(f"{text(amount)} @ {text(price)}" for price, amount in best[side])
        for side in Side
    }
    return {
        "instrument": market.name,
        "state": market.state.value,
        "index": text(market.index.price),
        "mark": text(market.mark),
        "low": text(market.low),
        "high": text(market.high),
        "funding": f"{text(100 * market.funding_rate, RATE)} %",
        "open interest": text(market.open_interest),
        "orders": str(len(market.book.orders)),
        "bid": quotes[Side.BUY],
        "ask": quotes[Side.SELL],
    }


def _states(cells: Callable[[Scenario, Row], Row]) -> Table:
    """Make a table of present state."""
    return lambda scenario, expected: [cells(scenario, row) for row in expected]


def _listed(scenario: Scenario, _: list[Row]) -> list[Row]:
    """Return the listed dated inverse bitcoin futures, by expiry."""
    dated = [
        market.instrument
        for name, market in scenario.state.markets.items()
        if name.startswith("BTC-") and not market.instrument.perpetual
    ]
    dated.sort(key=lambda instrument: instrument.expiry or 0)
    return [{"instrument": each.name, "period": each.period.value} for each in dated]


def _take(scenario: Scenario, kind: type[E]) -> list[E]:
    """Remove and return the events of a type since the last call."""
    taken = of_type(scenario.unread_events, kind)
    scenario.unread_events = [
        event for event in scenario.unread_events if not isinstance(event, kind)
    ]
    return taken


def _events(kind: type[E], cells: Callable[[Scenario, E], Row]) -> Table:
    """Make a table of events."""
    return lambda scenario, _: [cells(scenario, event) for event in _take(scenario, kind)]


def _trade(scenario: Scenario, trade: Traded) -> Row:
    buyer, seller = trade.maker, trade.taker
    if trade.taker.side is Side.BUY:
        buyer, seller = seller, buyer
    return {
        "instrument": trade.instrument,
        "buyer": scenario.name(buyer.account),
        "seller": scenario.name(seller.account),
        "amount": text(trade.amount),
        "price": text(trade.price),
        "buyer's profit": text(buyer.profit, MONEY),
        "seller's profit": text(seller.profit, MONEY),
        "buyer's fee": text(buyer.fee, MONEY),
        "seller's fee": text(seller.fee, MONEY),
    }


def _liquidation(scenario: Scenario, event: Liquidated) -> Row:
    return {
        "account": scenario.name(event.account),
        "step": event.step.value,
        "instrument": event.instrument,
        "amount": text(event.amount) if event.amount else "",
        "price": text(event.price) if event.price else "",
    }


def _transfer(scenario: Scenario, event: Transferred) -> Row:
    return {
        "from": scenario.name(event.account),
        "to": scenario.name(event.counterparty),
        "instrument": event.instrument,
        "side": event.side.value,
        "amount": text(event.amount),
        "price": text(event.price),
        "profit": text(event.profit, MONEY),
        "other's profit": text(event.counterparty_profit, MONEY),
    }


def _settlement(scenario: Scenario, event: PositionSettled) -> Row:
    return {
        "account": scenario.name(event.account),
        "kind": event.kind.value,
        "instrument": event.instrument,
        "size": text(event.size),
        "price": text(event.price),
        "index": text(event.index),
        "profit": text(event.profit, MONEY),
        "funding": text(event.funding, MONEY),
    }


def _settled_markets(scenario: Scenario, expected: list[Row]) -> list[Row]:
    """Return settlements and deliveries of the markets in the expected rows."""
    named = {row["instrument"] for row in expected}
    return [
        {
            "kind": event.kind.value,
            "instrument": event.instrument,
            "price": text(event.price),
            "open interest": text(event.open_interest),
        }
        for event in _take(scenario, MarketSettled)
        if event.instrument in named
    ]


def _shared_loss(_: Scenario, event: LossShared) -> Row:
    return {
        "currency": event.currency,
        "deficit": text(event.deficit, MONEY),
        "profits": text(event.profits, MONEY),
        "taxed": text(event.taxed, MONEY),
    }


def _ended_orders(scenario: Scenario, _: list[Row]) -> list[Row]:
    """Count the ended orders by reason."""
    reasons = [event.order.cancel_reason for event in _take(scenario, OrderChanged)]
    counted = Counter(reason.value for reason in reasons if reason is not None)
    return [{"reason": reason, "count": str(count)} for reason, count in sorted(counted.items())]


TABLES: dict[str, Table] = {
    "accounts": _states(_account),
    "positions": _states(_position),
    "markets": _states(_market),
    "listed": _listed,
    "trades": _events(Traded, _trade),
    "cancellations": _events(CancelledAll, lambda _, answer: {"count": str(answer.count)}),
    "ended orders": _ended_orders,
    "liquidations": _events(Liquidated, _liquidation),
    "transfers": _events(Transferred, _transfer),
    "settlements": _events(PositionSettled, _settlement),
    "settled markets": _settled_markets,
    "shared losses": _events(LossShared, _shared_loss),
}
