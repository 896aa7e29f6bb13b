"""What a scenario's tables show: each column one number of the venue, as people write it."""

from __future__ import annotations

from collections.abc import Callable

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
    TradeSide,
    Transferred,
)
from risk.state import INSURANCE
from tests.scenarios.desk import Desk

Row = dict[str, str]

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


def _name(desk: Desk, account: int) -> str:
    if account == INSURANCE:
        return "fund"
    return next(name for name, number in desk.people.items() if number == account)


def accounts(desk: Desk, expected: list[Row], columns: list[str]) -> list[Row]:
    """Money of the accounts named, by currency."""
    rows = []
    for row in expected:
        account, currency = desk.people[row["account"]], row["currency"]
        summary = views.summary(desk.state, account, currency)
        values = {title: getattr(summary, field) for title, field in _ACCOUNT.items()}
        rows.append(
            {
                title: text(values[title], MONEY) if title in values else row[title]
                for title in columns
            }
        )
    return rows


def positions(desk: Desk, expected: list[Row], columns: list[str]) -> list[Row]:
    """Positions of the accounts named, as their holders see them."""
    rows = []
    for row in expected:
        market = desk.market(row["instrument"])
        view = views.position(desk.state, desk.people[row["account"]], market)
        cells = {
            title: text(getattr(view, field) or 0, scale)
            for title, (field, scale) in _POSITION.items()
        }
        rows.append({title: cells.get(title, row[title]) for title in columns})
    return rows


def markets(desk: Desk, expected: list[Row], columns: list[str]) -> list[Row]:
    """The markets named: prices, state, best bid and ask as amount @ price."""
    rows = []
    for row in expected:
        market = desk.market(row["instrument"])
        cells = {
            "instrument": market.name,
            "state": market.state.value,
            "index": text(market.index.price),
            "mark": text(market.mark),
            "low": text(market.low),
            "high": text(market.high),
            "funding": f"{text(100 * market.funding_rate, RATE)} %",
            "open interest": text(market.open_interest),
            "orders": str(len(market.book.orders)),
        }
        for side, title in ((Side.BUY, "bid"), (Side.SELL, "ask")):
            best = depth(market.book, side, 1)
            cells[title] = f"{text(best[0][1])} @ {text(best[0][0])}" if best else ""
        rows.append({title: cells[title] for title in columns})
    return rows


def listed(desk: Desk, expected: list[Row], columns: list[str]) -> list[Row]:
    """The dated inverse bitcoin futures that trade now, by their end."""
    dated = [
        market.instrument
        for name, market in desk.state.markets.items()
        if name.startswith("BTC-") and not market.instrument.perpetual
    ]
    dated.sort(key=lambda instrument: instrument.expiry or 0)
    return [{"instrument": each.name, "period": each.period.value} for each in dated]


def cancellations(desk: Desk, expected: list[Row], columns: list[str]) -> list[Row]:
    """Answers to requests to cancel many orders since this was last asked."""
    answers = _take(desk, CancelledAll)
    return [{"count": str(answer.count)} for answer in answers if isinstance(answer, CancelledAll)]


def ended_orders(desk: Desk, expected: list[Row], columns: list[str]) -> list[Row]:
    """How many orders ended for which reason since this was last asked."""
    reasons: dict[str, int] = {}
    for event in _take(desk, OrderChanged):
        assert isinstance(event, OrderChanged)
        if event.order.cancel_reason is not None:
            reason = event.order.cancel_reason.value
            reasons[reason] = reasons.get(reason, 0) + 1
    return [{"reason": reason, "count": str(count)} for reason, count in sorted(reasons.items())]


def _take(desk: Desk, *kinds: type[Event]) -> list[Event]:
    """The events of these kinds since they were last asked for."""
    taken = [event for event in desk.unread if isinstance(event, kinds)]
    desk.unread = [event for event in desk.unread if not isinstance(event, kinds)]
    return taken


def _sides(trade: Traded) -> tuple[TradeSide, TradeSide]:
    pair = (trade.maker, trade.taker)
    return pair if trade.maker.side is Side.BUY else (pair[1], pair[0])


def trades(desk: Desk, expected: list[Row], columns: list[str]) -> list[Row]:
    """All trades since this was last asked."""
    rows = []
    for trade in _take(desk, Traded):
        assert isinstance(trade, Traded)
        buyer, seller = _sides(trade)
        cells = {
            "instrument": trade.instrument,
            "buyer": _name(desk, buyer.account),
            "seller": _name(desk, seller.account),
            "amount": text(trade.amount),
            "price": text(trade.price),
            "buyer's profit": text(buyer.profit, MONEY),
            "seller's profit": text(seller.profit, MONEY),
            "buyer's fee": text(buyer.fee, MONEY),
            "seller's fee": text(seller.fee, MONEY),
        }
        rows.append({title: cells[title] for title in columns})
    return rows


def liquidations(desk: Desk, expected: list[Row], columns: list[str]) -> list[Row]:
    """All steps of liquidations since this was last asked."""
    rows = []
    for event in _take(desk, Liquidated):
        assert isinstance(event, Liquidated)
        cells = {
            "account": _name(desk, event.account),
            "step": event.step.value,
            "instrument": event.instrument,
            "amount": text(event.amount) if event.amount else "",
            "price": text(event.price) if event.price else "",
        }
        rows.append({title: cells[title] for title in columns})
    return rows


def transfers(desk: Desk, expected: list[Row], columns: list[str]) -> list[Row]:
    """All positions that passed outside the book since this was last asked."""
    rows = []
    for event in _take(desk, Transferred):
        assert isinstance(event, Transferred)
        cells = {
            "from": _name(desk, event.account),
            "to": _name(desk, event.counterparty),
            "instrument": event.instrument,
            "side": event.side.value,
            "amount": text(event.amount),
            "price": text(event.price),
            "profit": text(event.profit, MONEY),
            "other's profit": text(event.counterparty_profit, MONEY),
        }
        rows.append({title: cells[title] for title in columns})
    return rows


def settlements(desk: Desk, expected: list[Row], columns: list[str]) -> list[Row]:
    """What each client's and the fund's positions were paid since this was last asked."""
    rows = []
    for event in _take(desk, PositionSettled):
        assert isinstance(event, PositionSettled)
        cells = {
            "account": _name(desk, event.account),
            "kind": event.kind.value,
            "instrument": event.instrument,
            "size": text(event.size),
            "price": text(event.price),
            "index": text(event.index),
            "profit": text(event.profit, MONEY),
            "funding": text(event.funding, MONEY),
        }
        rows.append({title: cells[title] for title in columns})
    return rows


def settled_markets(desk: Desk, expected: list[Row], columns: list[str]) -> list[Row]:
    """Settlements and deliveries of the markets named in the rows since this was last asked."""
    named = {row["instrument"] for row in expected}
    rows = []
    for event in _take(desk, MarketSettled):
        assert isinstance(event, MarketSettled)
        cells = {
            "kind": event.kind.value,
            "instrument": event.instrument,
            "price": text(event.price),
            "open interest": text(event.open_interest),
        }
        if event.instrument in named:
            rows.append({title: cells[title] for title in columns})
    return rows


def shared_losses(desk: Desk, expected: list[Row], columns: list[str]) -> list[Row]:
    """Deficits that were spread over the session's winners since this was last asked."""
    rows = []
    for event in _take(desk, LossShared):
        assert isinstance(event, LossShared)
        cells = {
            "currency": event.currency,
            "deficit": text(event.deficit, MONEY),
            "profits": text(event.profits, MONEY),
            "taxed": text(event.taxed, MONEY),
        }
        rows.append({title: cells[title] for title in columns})
    return rows


TABLES: dict[str, Callable[[Desk, list[Row], list[str]], list[Row]]] = {
    "accounts": accounts,
    "positions": positions,
    "markets": markets,
    "listed": listed,
    "cancellations": cancellations,
    "ended orders": ended_orders,
    "trades": trades,
    "liquidations": liquidations,
    "transfers": transfers,
    "settlements": settlements,
    "settled markets": settled_markets,
    "shared losses": shared_losses,
}
