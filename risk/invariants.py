"""Invariants of the state after every entry. An AssertionError names the one that is violated."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from book.order import Side
from risk import consistency, ledger, margin_cache
from risk.events import BookingKind
from risk.market import Market
from risk.position import FUNDED, Position, Wallet
from risk.state import ROUNDING

if TYPE_CHECKING:
    from risk.state import State


def check(state: State) -> None:
    """Check all invariants. The cost is proportional to the state; only caches are changed."""
    for market in state.markets.values():
        market.book.check()
        _check_market(market)
    for currency in state.currencies():
        _check_money(state, currency)
    consistency.check(state)
    for account in state.accounts.values():
        for order in account.orders.values():
            assert state.markets[order.instrument].book.orders[order.order_id] is order, "orders"
        for wallet in account.wallets.values():
            _check_wallet(state, wallet)
    resting = sum(len(market.book.orders) for market in state.markets.values())
    assert resting == sum(len(account.orders) for account in state.accounts.values()), "orders"


def _check_money(state: State, currency: str) -> None:
    """The sum of balance, session profit and carry over all accounts is deposits - withdrawals.

    Bookings of payments between accounts sum to zero.
    """
    total, booked = 0, Counter[BookingKind]()
    for wallet in state.wallets[currency].values():
        total += wallet.balance + wallet.session_profit
        total += sum(position.carry for position in wallet.positions.values())
        booked.update(wallet.booked)
    assert total == state.deposited.get(currency, 0), f"money is conserved in {currency}"
    assert state.deficit(currency).balance <= 0, "a deficit is never positive"
    _check_funding(state, currency)
    for kind in ledger.PAYMENTS:
        assert not booked[kind], f"{kind} is paid by one account to another in {currency}"
    deposits = booked[BookingKind.DEPOSIT] + booked[BookingKind.WITHDRAWAL]
    if BookingKind.BROUGHT_FORWARD not in booked:
        assert deposits == state.deposited.get(currency, 0), f"deposits in {currency}"


def _check_funding(state: State, currency: str) -> None:
    """The funding pool equals the exact sum of funding bookings, within their rounding."""
    markets = [market for market in state.markets.values() if market.currency == currency]
    exact = sum(market.funded for market in markets)
    difference = abs(state.funding_pool(currency).balance * FUNDED - exact)
    bookings = sum(market.bookings for market in markets)
    assert 2 * difference <= bookings * FUNDED, f"the funding pool of {currency}"


def _check_market(market: Market) -> None:
    positions = market.positions.values()
    assert sum(position.size for position in positions) == 0, f"sizes of {market.name}"
    # Closing a position turns carry into realised profit. Realised profit includes funding, whose
    # other side is the funding pool.
    traded = sum(position.carry + position.realised - position.funding for position in positions)
    assert traded == 0, f"trading results in {market.name} sum to zero"
    assert sum(position.cost for position in positions) == market.cost, f"costs in {market.name}"
    assert market.funded + market.accrued() == 0, f"funding in {market.name} sums to zero"
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
        assert order.account == position.account, "an order is listed with its account"
        if not order.reduce_only:
            sums[order.side] += order.remaining
    assert (position.buys, position.sells) == (sums[Side.BUY], sums[Side.SELL]), "exposure"
    reducing = [order for order in position.orders.values() if order.reduce_only]
    assert {o.order_id for o in reducing} == set(position.reducing), "reduce-only orders"
    assert position.reduced == sum(order.remaining for order in reducing), "reduce-only amount"
    assert position.reduced <= abs(position.size), "reduce-only orders fit the position"
    assert all(order.side.sign * position.size < 0 for order in reducing), "reduce-only side"
    if position.account != ROUNDING:
        assert (position.cost > 0) == (position.size != 0), "an open position has a cost"
        assert position.size or not position.carry, "a flat position has no carry"


def _check_wallet(state: State, wallet: Wallet) -> None:
    """The sums of a wallet equal those over its positions, and its cache a new measurement."""
    positions = wallet.positions.values()
    realised = sum(position.realised for position in positions)
    assert wallet.session_profit == realised, "session profit"
    assert wallet.balance == sum(wallet.booked.values()), "the balance is the sum of bookings"
    for name, position in wallet.positions.items():
        assert state.markets[name].positions[wallet.account] is position, "positions"
    initial_stale = [position for position in positions if position.initial_stale]
    assert len(initial_stale) == len(wallet.stale_positions), "stale positions"
    assert all(position.initial_stale for position in wallet.stale_positions), "stale positions"
    margin_stale = [position for position in positions if position.margin_stale]
    assert all(position.initial_stale for position in margin_stale), "stale margins"
    assert wallet.stale or not margin_stale, "whether margins are stale"
    _check_reserves(state, wallet)
    if wallet.marks != state.marks:
        return
    margin_cache.refresh(state, wallet)
    cached = _measured(wallet)
    wallet.marks = -1
    for position in positions:
        position.reserves_at = -1
    margin_cache.refresh(state, wallet)
    assert cached == _measured(wallet), "margin cache"


def _check_reserves(state: State, wallet: Wallet) -> None:
    """Cached reserves of open orders equal a new computation, where they are at present marks."""
    for position in wallet.positions.values():
        assert position.reserved == sum(position.reserves.values()), "the sum of reserves"
        if position.reserves_at == state.marks:
            cached = {number: amount for number, amount in position.reserves.items() if amount}
            position.reserves_at = -1
            margin_cache.reserves(state, position)
            fresh = {number: amount for number, amount in position.reserves.items() if amount}
            assert cached == fresh, "reserves"


def _measured(wallet: Wallet) -> list[tuple[int, int, int]]:
    """Return the cached sums of a wallet and of each of its positions."""
    whole = [(wallet.profit, wallet.initial, wallet.maintenance)]
    return whole + [(p.profit, p.initial, p.maintenance) for p in wallet.positions.values()]
