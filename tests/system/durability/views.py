"""What the venue should have told, rendered from a replay: answers, reads, trades, books."""

from __future__ import annotations

import json
from typing import Any, Final

from msgspec import Raw

from book.events import LevelChange
from book.order import Side
from gateway.protocol import jsonrpc, order_json
from risk import views
from risk.events import Answer, Cancelled, CancelledAll, Done, Ordered, Traded
from risk.state import State
from tests.system.durability.client_history import Json
from tests.system.durability.workload import BTC

CURRENCY: Final = "BTC"


def plain(value: object) -> Any:
    """A value as a client has it, decoded from the venue's own encoding."""
    return json.loads(jsonrpc.encode(value))


def result(state: State, answer: Answer) -> Any:
    """The `result` of the reply to an answer that is no refusal."""
    match answer:
        case Ordered(order=order, trades=trades):
            instrument = state.markets[order.instrument].instrument
            own = [
                Raw(order_json.own_trade_text(trade, side, instrument))
                for trade, side in order_json.own_sides(trades, order.account)
            ]
            return plain({"order": Raw(order_json.order_text(order, instrument)), "trades": own})
        case Cancelled(order=order):
            return plain(
                Raw(order_json.order_text(order, state.markets[order.instrument].instrument))
            )
        case CancelledAll(count=count):
            return count
        case Done():
            return "ok"
    raise AssertionError(f"no client asks for this: {answer}")


def reads(state: State, account: int) -> dict[str, Any]:
    """What of each read can only change with an entry about the account."""
    market = state.markets[BTC]
    orders = [
        Raw(order_json.order_text(order.record(), market.instrument))
        for order in state.accounts[account].orders.values()
    ]
    position = views.position(state, account, market)
    return {
        "private/get_open_orders": plain(orders),
        "private/get_position": plain(jsonrpc.amount(position.size)),
        "private/get_account_summary": plain(
            jsonrpc.money(views.summary(state, account, CURRENCY).balance)
        ),
    }


_PART: Final = {"private/get_position": "size", "private/get_account_summary": "balance"}


def read(method: str, answered: Any) -> Any:
    """The same part of what a client was told."""
    return answered[_PART[method]] if method in _PART else answered


def own_trades(state: State, trade: Traded) -> dict[tuple[int, str], Json]:
    """A trade as each of its parties is told, by account and trade."""
    instrument = state.markets[trade.instrument].instrument
    told = {}
    for side in (trade.taker, trade.maker):
        shape: Json = plain(Raw(order_json.own_trade_text(trade, side, instrument)))
        told[side.account, shape["trade_id"]] = shape
    return told


def changes(events: tuple[LevelChange, ...], side: Side) -> list[Any]:
    """What a raw book channel says of one side, in any order."""
    told = []
    for change in events:
        if change.side is side:
            word = "new" if not change.before else "change" if change.after else "delete"
            told.append(plain([word, jsonrpc.price(change.price), jsonrpc.amount(change.after)]))
    return sorted(told)


def levels(state: State, side: Side) -> list[Any]:
    """One side of the book as a snapshot of its channel lists it."""
    market = state.markets.get(BTC)
    book = market.book.side(side) if market is not None else ()
    return sorted(
        plain(["new", jsonrpc.price(level.price), jsonrpc.amount(level.amount)]) for level in book
    )
