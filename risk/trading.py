"""Order requests: check an order, match it, and add what can rest to the book."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from msgspec.structs import replace

from book.matching import Holding, MatchEnd, fillable
from book.order import (
    CANCELLED,
    FILL_OR_KILL,
    FILLED,
    LIMIT,
    MARKET,
    SELL,
    CancelReason,
    Order,
)
from risk import background_work, margin, orders, pretrade
from risk.commands import Cancel, CancelAll, ClosePosition, Edit, Place
from risk.events import Cancelled, Ordered, Traded
from risk.execution import Execution
from risk.market import Market
from risk.position import Position
from risk.pretrade import Refusal
from risk.reasons import Reason

if TYPE_CHECKING:
    from risk.state import State


_T = TypeVar("_T")

_USER_REQUEST: Final = CancelReason.USER_REQUEST


def place(state: State, command: Place) -> None:
    """Place a new order."""
    account = state.accounts.get(command.account)
    market = state.markets.get(command.instrument)
    if market is None and any(ended.name == command.instrument for ended in state.expired):
        return state.refuse(Reason.INSTRUMENT_CLOSED)
    refusal = pretrade.check_tradable(state, account, market, command.valid_until)
    if refusal is not None:
        return state.refuse(*refusal)
    assert account is not None
    assert market is not None
    if len(account.orders) >= state.parameters.open_orders and (
        command.type is not MARKET and command.time_in_force.rests
    ):
        return state.refuse(Reason.ORDERS_OVER_LIMIT, str(state.parameters.open_orders))
    # At most fifteen keywords: with more, Python 3.11 first builds a dict of them, which takes
    # longer than creating the Order.
    order = Order(
        order_id=0,
        account=command.account,
        instrument=command.instrument,
        side=command.side,
        type=command.type,
        time_in_force=command.time_in_force,
        price=command.price,
        amount=command.amount,
        label=command.label,
        post_only=command.post_only,
        reject_post_only=command.reject_post_only,
        reduce_only=command.reduce_only,
        created=state.time,
        updated=state.time,
        session=state.origin.session,
    )
    return _answer(state, order, _enter(state, market, order))


def close_position(state: State, command: ClosePosition) -> None:
    """Place a reduce-only order for the whole position."""
    market = state.markets.get(command.instrument)
    position = market.positions.get(command.account) if market is not None else None
    if market is not None and (position is None or position.side is None):
        return state.refuse(Reason.NO_POSITION)
    side = position.side.opposite if position is not None and position.side else SELL
    return place(
        state,
        Place(
            account=command.account,
            instrument=command.instrument,
            side=side,
            amount=abs(position.size) if position is not None else 0,
            type=LIMIT if command.price else MARKET,
            price=command.price,
            reduce_only=True,
        ),
    )


def edit(state: State, command: Edit) -> None:
    """Change an open order.

    A lower amount keeps the queue position; a higher amount or another price loses it. An amount
    that is already filled ends the order as filled.
    """
    account = state.accounts.get(command.account)
    order = account.orders.get(command.order_id) if account is not None else None
    if order is None:
        return state.refuse(Reason.ORDER_NOT_FOUND, str(command.order_id))
    market = state.markets[order.instrument]
    refusal = pretrade.check_tradable(state, account, market, command.valid_until)
    if refusal is not None:
        return state.refuse(*refusal)
    changed = replace(
        order,
        price=_or(command.price, order.price),
        amount=_or(command.amount, order.amount),
        post_only=_or(command.post_only, order.post_only),
        reject_post_only=_or(command.reject_post_only, order.reject_post_only),
        reduce_only=_or(command.reduce_only, order.reduce_only),
        replaced=True,
        updated=state.time,
        level=None,
        previous=None,
        next=None,
    )
    if order.filled and changed.amount <= order.filled:
        return _finish_filled(state, order)
    same_place = changed.price == order.price and changed.amount <= order.amount
    if same_place and changed.reduce_only == order.reduce_only:
        return _edit_in_place(state, market, order, changed)
    outcome = _enter(state, market, changed, replaces=order)
    if isinstance(outcome, Refusal) and outcome.reason is Reason.POST_ONLY_REJECT:
        orders.cancel(state, order, CancelReason.EDIT_POST_ONLY_REJECT)
    return _answer(state, changed, outcome)


def _or(new: _T | None, old: _T) -> _T:
    return old if new is None else new


def _edit_in_place(state: State, market: Market, order: Order, changed: Order) -> None:
    refusal = pretrade.check_terms(market, changed)
    if refusal is not None:
        return state.refuse(*refusal)
    order.post_only, order.reject_post_only = changed.post_only, changed.reject_post_only
    order.replaced, order.updated = True, state.time
    state.report.orders[order.order_id] = order
    if changed.amount < order.amount:
        orders.shrink(state, order, order.amount - changed.amount)
    return state.emit(Ordered(state.origin, order.record(), ()))


def _finish_filled(state: State, order: Order) -> None:
    orders.cancel(state, order, None)
    order.amount = order.filled
    order.state = FILLED
    order.replaced = True
    state.emit(Ordered(state.origin, order.record(), ()))


def cancel(state: State, command: Cancel) -> None:
    """Cancel one order by request."""
    account = state.accounts.get(command.account)
    order = account.orders.get(command.order_id) if account is not None else None
    if order is None:
        return state.refuse(Reason.ORDER_NOT_FOUND, str(command.order_id))
    market = state.markets[order.instrument]
    position = market.positions[order.account]
    if margin.is_locked(state, position.wallet):
        return state.refuse(Reason.ACCOUNT_LOCKED)
    orders.end(state, market, position, order, _USER_REQUEST)
    return state.emit(Cancelled(state.origin, order.record()))


def cancel_all(state: State, command: CancelAll) -> None:
    """Cancel all matching orders, except in currencies in which the account is in liquidation.

    The request is refused if all matching orders are in such currencies, or if without a match
    all currencies of the filter are.
    """
    account = state.accounts.get(command.account)
    if account is None:
        return state.refuse(Reason.ACCOUNT_UNKNOWN)
    free = {
        currency
        for currency, wallet in account.wallets.items()
        if not margin.is_locked(state, wallet)
    }
    matching = [
        (order.order_id, state.markets[order.instrument].currency)
        for order in account.orders.values()
        if _matches(state, command, order)
    ]
    selected = [order_id for order_id, currency in matching if currency in free]
    currencies = {currency for _, currency in matching} or _filtered(state, command) or free
    if len(free) < len(account.wallets) and not free.intersection(currencies):
        return state.refuse(Reason.ACCOUNT_LOCKED)
    phase = background_work.CancelOrders(
        account=command.account,
        order_ids=selected,
        reason=_USER_REQUEST,
        origin=state.origin,
        detailed=command.detailed,
    )
    return background_work.begin(state, phase)


def _filtered(state: State, command: CancelAll) -> set[str]:
    """Return the currencies of the request's filters: by name or of its instrument."""
    if command.instrument:
        market = state.markets.get(command.instrument)
        return {market.currency} if market is not None else set()
    return set(command.currencies)


def _matches(state: State, command: CancelAll, order: Order) -> bool:
    if command.instrument and order.instrument != command.instrument:
        return False
    currency = state.markets[order.instrument].currency
    if command.currencies and currency not in command.currencies:
        return False
    if command.type is not None and order.type is not command.type:
        return False
    return not command.label or order.label == command.label


def _answer(state: State, order: Order, outcome: Refusal | tuple[Traded, ...]) -> None:
    if isinstance(outcome, Refusal):
        state.refuse(*outcome)
    else:
        state.events.append(Ordered(state.origin, order.record(), outcome))


def _enter(
    state: State, market: Market, order: Order, replaces: Order | None = None
) -> Refusal | tuple[Traded, ...]:
    """Check an order, match it and add what can rest to the book; return its trades."""
    position = state.position(order.account, market)
    refusal = (
        pretrade.check_terms(market, order)
        or pretrade.check_price(market, order)
        or (pretrade.check_reduce_only(position, order, replaces) if order.reduce_only else None)
        or pretrade.check_margin(state, position, order, replaces)
    )
    if refusal is not None:
        position.drop_if_idle()
        return refusal
    if replaces is not None:
        orders.withdraw(state, market, position, replaces)
    if order.time_in_force is FILL_OR_KILL and not _fillable(state, market, order):
        return _end(state, order, None)
    if not order.order_id:
        state.orders += 1
        order.order_id = state.orders
    if not market.book.crosses(order.side, order.price):
        return _leave(state, market, position, order, ())
    execution = Execution(state, market, order, position)
    mode = state.accounts[order.account].self_trading
    end = execution.match(order.price, mode)
    trades = tuple(execution.trades)
    if end is MatchEnd.FILLED:
        order.state = FILLED
        state.report.orders[order.order_id] = order
        return trades
    if end is MatchEnd.NO_PRICE:
        return _leave(state, market, position, order, trades)
    if end is MatchEnd.LIMIT:
        return _end(state, order, CancelReason.FILL_LIMIT, trades)
    if not trades and replaces is None:
        position.drop_if_idle()
        return Refusal(Reason.ORDER_OVERLAP)
    return _end(state, order, CancelReason.SELF_TRADE, trades)


def _leave(
    state: State, market: Market, position: Position, order: Order, trades: tuple[Traded, ...]
) -> tuple[Traded, ...]:
    """Add the unfilled rest of an order to the book if it can rest; return its trades."""
    if not order.time_in_force.rests:
        return _end(state, order, None, trades)
    orders.rest(state, market, position, order)
    return trades


def _fillable(state: State, market: Market, order: Order) -> bool:
    """Return whether the book can fill the whole order within the limit of fills."""

    def holding(account: int) -> Holding:
        position = market.positions[account]
        return Holding(position.size, position.reduced, reversed(position.reducing.values()))

    mode = state.accounts[order.account].self_trading
    return fillable(market.book, order, order.price, mode, holding, state.parameters.fills)


def _end(
    state: State, order: Order, reason: CancelReason | None, trades: tuple[Traded, ...] = ()
) -> tuple[Traded, ...]:
    """End an order that does not rest; return its trades."""
    if not order.order_id:
        state.orders += 1
        order.order_id = state.orders
    order.state = CANCELLED
    order.cancel_reason = reason
    state.report.orders[order.order_id] = order
    return trades
