"""What must hold after every entry, proved from scratch. AssertionError names what does not."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from book.order import Side
from risk import ledger, margin
from risk.events import BookingKind
from risk.market import Market
from risk.position import Position, Wallet

if TYPE_CHECKING:
    from risk.state import State


def check(state: State) -> None:
    """Prove everything. Costs as much as the state is large; nothing but caches is touched."""
    for market in state.markets.values():
        market.book.check()
        _check_market(market)
    for currency in state.currencies():
        _check_money(state, currency)
    for account in state.accounts.values():
        for order in account.orders.values():
            assert state.markets[order.instrument].book.orders[order.order_id] is order, "orders"
        for wallet in account.wallets.values():
            _check_wallet(state, wallet)
    resting = sum(len(market.book.orders) for market in state.markets.values())
    assert resting == sum(len(account.orders) for account in state.accounts.values()), "orders"
    for session in state.sessions.values():
        for order in session.orders.values():
            assert order.session == session.number, "session orders"
            assert order.level is not None, "session orders rest"


def _check_money(state: State, currency: str) -> None:
    """Balance + session profit + carry, over all accounts, is deposits - withdrawals.

    What one account paid another got: those kinds of bookings sum to zero.
    """
    total, booked = 0, Counter[BookingKind]()
    for wallet in state.wallets[currency].values():
        total += wallet.balance + wallet.session_profit
        total += sum(position.carry for position in wallet.positions.values())
        booked.update(wallet.booked)
    assert total == state.deposited.get(currency, 0), f"money is conserved in {currency}"
    assert state.deficit(currency).balance <= 0, "a deficit is never positive"
    for kind in ledger.PAYMENTS:
        assert not booked[kind], f"{kind} is paid by one account to another in {currency}"
    deposits = booked[BookingKind.DEPOSIT] + booked[BookingKind.WITHDRAWAL]
    if BookingKind.BROUGHT_FORWARD not in booked:
        assert deposits == state.deposited.get(currency, 0), f"deposits in {currency}"


def _check_market(market: Market) -> None:
    positions = market.positions.values()
    assert sum(position.size for position in positions) == 0, f"sizes of {market.name}"
    # Closing moves carry to realised profit, and funding is the funding pool's affair.
    traded = sum(position.carry + position.realised - position.funding for position in positions)
    assert traded == 0, f"what trading brought in {market.name} sums to zero"
    long = sum(max(position.size, 0) for position in positions)
    assert long == market.open_interest, f"open interest of {market.name}"
    if market.mark:
        value = sum(market.instrument.value(p.size, market.mark) for p in positions)
        open_positions = sum(1 for position in positions if position.size)
        assert 2 * abs(value) <= open_positions, f"values of {market.name} sum to zero"
    for position in positions:
        _check_position(market, position)
    resting = sum(len(position.orders) for position in positions)
    assert resting == len(market.book.orders), f"orders of {market.name}"


def _check_position(market: Market, position: Position) -> None:
    sums = {Side.BUY: 0, Side.SELL: 0}
    for order in position.orders.values():
        assert market.book.orders[order.order_id] is order, "an open order rests"
        assert order.account == position.account, "an order is its account's"
        if not order.reduce_only:
            sums[order.side] += order.remaining
    assert (position.buys, position.sells) == (sums[Side.BUY], sums[Side.SELL]), "exposure"
    reducing = [order for order in position.orders.values() if order.reduce_only]
    assert {o.order_id for o in reducing} == set(position.reducing), "reduce-only orders"
    assert position.reduced == sum(order.remaining for order in reducing), "reduce-only amount"
    assert position.reduced <= abs(position.size), "reduce-only orders fit the position"
    assert all(order.side.sign * position.size < 0 for order in reducing), "they reduce"
    if not position.size:
        assert position.cost == 0, "a flat position has no cost"


def _check_wallet(state: State, wallet: Wallet) -> None:
    """The wallet's sums are those of its positions, and its cache is what a recount gives."""
    positions = wallet.positions.values()
    realised = sum(position.realised for position in positions)
    assert wallet.session_profit == realised, "session profit"
    assert wallet.balance == sum(wallet.booked.values()), "the balance is what was booked"
    for name, position in wallet.positions.items():
        assert state.markets[name].positions[wallet.account] is position, "positions"
    if wallet.marks != state.marks:
        return
    margin.refresh(state, wallet)
    cached = (wallet.profit, wallet.initial, wallet.maintenance)
    wallet.marks = -1
    for position in positions:
        position.reserves_at = -1
    margin.refresh(state, wallet)
    assert cached == (wallet.profit, wallet.initial, wallet.maintenance), "margin cache"
