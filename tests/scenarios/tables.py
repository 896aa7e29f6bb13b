"""What a scenario's tables show: each column one number of the venue, as people write it.

Two kinds: of things as they stand (accounts, positions, markets), whose rows say which are
meant; and of events, all that happened since the table was last asked for, in order.
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
from tests.scenarios.desk import Desk

Row = dict[str, str]
Table = Callable[[Desk, list[Row]], list[Row]]
"""From a desk and the rows expected to the rows that it shows, with more columns than those."""

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


def _account(desk: Desk, row: Row) -> Row:
    summary = views.summary(desk.state, desk.people[row["account"]], row["currency"])
    cells = {title: text(getattr(summary, field), MONEY) for title, field in _ACCOUNT.items()}
    return {"account": row["account"], "currency": row["currency"], **cells}


def _position(desk: Desk, row: Row) -> Row:
    market = desk.market(row["instrument"])
    view = views.position(desk.state, desk.people[row["account"]], market)
    cells = {
        title: text(getattr(view, field) or 0, scale) for title, (field, scale) in _POSITION.items()
    }
    return {"account": row["account"], "instrument": row["instrument"], **cells}


def _market(desk: Desk, row: Row) -> Row:
    market = desk.market(row["instrument"])
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


def _each(cells: Callable[[Desk, Row], Row]) -> Table:
    """A table of things as they stand."""
    return lambda desk, expected: [cells(desk, row) for row in expected]


def _listed(desk: Desk, _: list[Row]) -> list[Row]:
    """The dated inverse bitcoin futures that trade now, by their end."""
    dated = [
        market.instrument
        for name, market in desk.state.markets.items()
        if name.startswith("BTC-") and not market.instrument.perpetual
    ]
    dated.sort(key=lambda instrument: instrument.expiry or 0)
    return [{"instrument": each.name, "period": each.period.value} for each in dated]


def _take(desk: Desk, kind: type[E]) -> list[E]:
    """The events of a type since they were last asked for."""
    taken = of_type(desk.unread, kind)
    desk.unread = [event for event in desk.unread if not isinstance(event, kind)]
    return taken


def _happened(kind: type[E], cells: Callable[[Desk, E], Row]) -> Table:
    """A table of events."""
    return lambda desk, _: [cells(desk, event) for event in _take(desk, kind)]


def _trade(desk: Desk, trade: Traded) -> Row:
    buyer, seller = trade.maker, trade.taker
    if trade.taker.side is Side.BUY:
        buyer, seller = seller, buyer
    return {
        "instrument": trade.instrument,
        "buyer": desk.name(buyer.account),
        "seller": desk.name(seller.account),
        "amount": text(trade.amount),
        "price": text(trade.price),
        "buyer's profit": text(buyer.profit, MONEY),
        "seller's profit": text(seller.profit, MONEY),
        "buyer's fee": text(buyer.fee, MONEY),
        "seller's fee": text(seller.fee, MONEY),
    }


def _liquidation(desk: Desk, event: Liquidated) -> Row:
    return {
        "account": desk.name(event.account),
        "step": event.step.value,
        "instrument": event.instrument,
        "amount": text(event.amount) if event.amount else "",
        "price": text(event.price) if event.price else "",
    }


def _transfer(desk: Desk, event: Transferred) -> Row:
    return {
        "from": desk.name(event.account),
        "to": desk.name(event.counterparty),
        "instrument": event.instrument,
        "side": event.side.value,
        "amount": text(event.amount),
        "price": text(event.price),
        "profit": text(event.profit, MONEY),
        "other's profit": text(event.counterparty_profit, MONEY),
    }


def _settlement(desk: Desk, event: PositionSettled) -> Row:
    return {
        "account": desk.name(event.account),
        "kind": event.kind.value,
        "instrument": event.instrument,
        "size": text(event.size),
        "price": text(event.price),
        "index": text(event.index),
        "profit": text(event.profit, MONEY),
        "funding": text(event.funding, MONEY),
    }


def _settled_markets(desk: Desk, expected: list[Row]) -> list[Row]:
    """Settlements and deliveries of the markets named."""
    named = {row["instrument"] for row in expected}
    return [
        {
            "kind": event.kind.value,
            "instrument": event.instrument,
            "price": text(event.price),
            "open interest": text(event.open_interest),
        }
        for event in _take(desk, MarketSettled)
        if event.instrument in named
    ]


def _shared_loss(_: Desk, event: LossShared) -> Row:
    return {
        "currency": event.currency,
        "deficit": text(event.deficit, MONEY),
        "profits": text(event.profits, MONEY),
        "taxed": text(event.taxed, MONEY),
    }


def _ended_orders(desk: Desk, _: list[Row]) -> list[Row]:
    """How many orders ended for which reason."""
    reasons = [event.order.cancel_reason for event in _take(desk, OrderChanged)]
    counted = Counter(reason.value for reason in reasons if reason is not None)
    return [{"reason": reason, "count": str(count)} for reason, count in sorted(counted.items())]


TABLES: dict[str, Table] = {
    "accounts": _each(_account),
    "positions": _each(_position),
    "markets": _each(_market),
    "listed": _listed,
    "trades": _happened(Traded, _trade),
    "cancellations": _happened(CancelledAll, lambda _, answer: {"count": str(answer.count)}),
    "ended orders": _ended_orders,
    "liquidations": _happened(Liquidated, _liquidation),
    "transfers": _happened(Transferred, _transfer),
    "settlements": _happened(PositionSettled, _settlement),
    "settled markets": _settled_markets,
    "shared losses": _happened(LossShared, _shared_loss),
}
