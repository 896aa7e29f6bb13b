"""The insurance fund: it takes over positions of failed liquidations at the bankruptcy price."""

from __future__ import annotations

from typing import TYPE_CHECKING

from book.order import Side
from book.units import MONEY, SCALE, ceil_div, round_half_even
from risk import funding, ledger, margin, margin_cache, orders
from risk.events import BookingKind, Liquidated, LiquidationStep, Transferred
from risk.execution import book_funding
from risk.market import Market
from risk.position import Position, Wallet
from risk.state import INSURANCE

if TYPE_CHECKING:
    from risk.state import State


def bankruptcy_shares(wallet: Wallet) -> dict[str, int]:
    """Divide the margin balance among the open positions; return Money by instrument.

    Shares are proportional to each position's contribution to maintenance margin, or equal where
    no contribution is positive. They are rounded down and the last position takes the remainder,
    so that an account whose positions all close at their bankruptcy prices ends at exactly zero.
    A hedge reduces the maintenance margin and has a share of zero.
    """
    held = [position for position in wallet.positions.values() if position.size]
    weights = [max(0, position.maintenance) for position in held]
    if not any(weights):
        weights = [1] * len(held)
    left, total = wallet.margin_balance, sum(weights)
    shares = {}
    for position, weight in zip(held, weights, strict=True):
        share = wallet.margin_balance * weight // total
        shares[position.market.name] = share
        left -= share
    if held:
        shares[held[-1].market.name] += left
    return shares


def bankruptcy_price(market: Market, size: int, share: int) -> int | None:
    """Return the price at which closing `size` loses `share` against the mark, on the tick.

    For share B and mark M: inverse long S / (S/M + B), inverse short |S| / (|S|/M - B), linear
    M -/+ B / |Q|. Rounded in the account's favour: up for a sale, down for a purchase. None where
    no price loses that much.
    """
    instrument, held = market.instrument, abs(size)
    tick = instrument.contract.tick
    if instrument.contract.inverse:
        coins = held * MONEY + (share if size > 0 else -share) * market.mark
        if coins <= 0:
            return None
        if size > 0:
            return max(tick, instrument.ceil_to_tick(ceil_div(held * MONEY * market.mark, coins)))
        return max(tick, instrument.floor_to_tick(held * MONEY * market.mark // coins))
    distance = share * (SCALE * SCALE // MONEY)
    if size > 0:
        price = market.mark - distance // held
        return max(tick, instrument.ceil_to_tick(price))
    return max(tick, instrument.floor_to_tick(market.mark + distance // held))


def transfer_position(
    state: State, giver: Position, taker: Position, amount: int, share: int
) -> int:
    """Transfer `amount` of a position to another account and `share` from giver to taker.

    `share` is in Money, relative to the mark. A negative share is a loss of the taker. Both sides
    book the same trade value, so money and carry are conserved exactly. Return the price that
    corresponds to this value, in 1e-8, not rounded to the tick.
    """
    market = giver.market
    signed = -amount if giver.size > 0 else amount
    value = market.instrument.value(signed, market.mark) - share
    price = implied_price(market, signed, value)
    cost = market.instrument.cost(amount, price)
    market.open_interest -= max(giver.size, 0) + max(taker.size, 0)
    index = funding.index_at(market, state.time)
    profits, paid = [], []
    for position, sign in ((giver, 1), (taker, -1)):
        wallet = position.wallet
        paid.append(book_funding(state, position, index))
        profits.append(position.trade(sign * signed, price, sign * value, cost))
        margin_cache.mark_stale(position)
        state.report.wallets[wallet] = None
        state.watch.mark_dirty(wallet)
        state.report.positions[wallet.account, market.name] = position
    market.open_interest += max(giver.size, 0) + max(taker.size, 0)
    for position in (giver, taker):
        orders.fit_reduce_only(state, position)
    state.trades += 1
    state.emit(
        Transferred(
            state.trades,
            giver.account,
            taker.account,
            market.name,
            Side.SELL if signed < 0 else Side.BUY,
            amount,
            price,
            profits[0],
            profits[1],
            state.time,
            paid[0],
            paid[1],
            giver.size,
            taker.size,
        )
    )
    return price


def implied_price(market: Market, size: int, value: int) -> int:
    """Return the price in 1e-8 at which a signed size has this trade value, or else the mark."""
    if market.instrument.contract.inverse:
        price = round_half_even(abs(size) * MONEY, abs(value)) if value * size > 0 else 0
    else:
        scaled = -value * (SCALE * SCALE // MONEY)
        price = round_half_even(scaled if size > 0 else -scaled, abs(size))
    return price if price > 0 else market.mark


def accepts(state: State, position: Position, share: int) -> bool:
    """Return whether the fund would still meet its initial margin after taking the position."""
    market = position.market
    fund = state.insurance(market.currency)
    margin_cache.refresh(state, fund)
    held = market.positions.get(INSURANCE)
    size = held.size if held is not None else 0
    needed = fund.initial - (held.initial if held is not None else 0)
    size += position.size
    needed += fund.model.worst_case(fund, market, size, size)
    return fund.margin_balance + share >= needed


def take_over(state: State, position: Position, share: int) -> None:
    """Transfer a whole position to the fund at its bankruptcy price."""
    market, amount = position.market, abs(position.size)
    fund = state.position(INSURANCE, market)
    price = transfer_position(state, position, fund, amount, share)
    state.emit(
        Liquidated(
            position.account,
            market.currency,
            LiquidationStep.TAKEN_OVER,
            market.name,
            amount,
            price,
        )
    )


def cover(state: State, wallet: Wallet) -> None:
    """Pay an account's negative margin balance out of the insurance fund.

    The fund keeps its own initial margin. The part that it cannot pay is added to the deficit.
    """
    margin_cache.refresh(state, wallet)
    owed = -wallet.margin_balance
    if owed <= 0:
        return
    fund = state.insurance(wallet.currency)
    paid = max(0, min(owed, margin.spare(state, fund))) if wallet is not fund else 0
    kind, entry = BookingKind.INSURANCE, state.sequence
    ledger.book(state, fund, -paid, kind, entry)
    ledger.book(state, state.deficit(wallet.currency), paid - owed, kind, entry)
    ledger.book(state, wallet, owed, kind, entry)


def repay(state: State, currency: str) -> None:
    """Repay as much of the deficit as the fund can afford. Clients share only the rest."""
    fund, deficit = state.insurance(currency), state.deficit(currency)
    paid = min(-deficit.balance, margin.spare(state, fund))
    if paid > 0:
        ledger.book(state, fund, -paid, BookingKind.INSURANCE, state.sequence)
        ledger.book(state, deficit, paid, BookingKind.INSURANCE, state.sequence)
