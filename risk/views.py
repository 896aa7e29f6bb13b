"""Views of an account: summaries and positions, computed on request.

Views change nothing but caches, and no command depends on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from book.instrument import Instrument
from book.order import Side
from book.units import MONEY, RATE, round_half_even
from risk import ledger, margin, margin_cache, order_costs
from risk.market import Market
from risk.position import Position, Wallet
from risk.standard_margin import base_size

if TYPE_CHECKING:
    from risk.state import State


class Summary(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An account in one currency. All in Money (1e-12 of the currency).

    margin_balance = balance + realised + unrealised; available = margin_balance - initial;
    withdrawable = max(0, min(balance, margin_balance) - initial). `initial` includes open
    orders. `projected_*` leave out the nearest expiry. `profit` is since each position was
    opened. `deltas` holds (index name, delta) with base coins in 1e-12. `ratios` holds (index
    name, ratio) in 1e-12 for each index whose positions alone could lead to a liquidation, and
    `ratio` is that of all positions together, None where there is none.
    """

    currency: str
    balance: int
    realised: int
    unrealised: int
    margin_balance: int
    available: int
    withdrawable: int
    initial: int
    maintenance: int
    projected_initial: int
    projected_maintenance: int
    profit: int
    fees: int
    delta: int
    deltas: tuple[tuple[str, int], ...]
    ratio: int | None = None
    ratios: tuple[tuple[str, int], ...] = ()


class PositionView(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A position with its margin and profit. Size is signed, 1e-8; prices 1e-8; the rest 1e-12.

    `delta` is the size in base coins. `floating` is unrealised profit of the session,
    `realised` its realised profit including `funding`, `total` the profit since the average
    price. `interest` is the market's funding per unit of size since listing. `leverage` is the
    leverage that initial margin allows, rounded to a whole number. `liquidation_price` is None
    where no price of this market alone leads to a liquidation.
    """

    instrument: str
    size: int
    delta: int
    average_price: int
    mark: int
    index: int
    settlement_price: int
    floating: int
    realised: int
    funding: int
    interest: int
    total: int
    initial: int
    maintenance: int
    open_orders_margin: int
    leverage: int
    liquidation_price: int | None


def summary(state: State, account: int, currency: str) -> Summary:
    """Return the summary of an account in one currency, at the present marks."""
    wallet = _wallet(state, account, currency)
    margin_cache.refresh(state, wallet)
    held = list(wallet.positions.values())
    accrued = sum(p.accrued_funding(p.market.funding_index) for p in held)
    realised = wallet.session_profit + accrued
    unrealised = wallet.profit - accrued
    nearest = _nearest_expiry(held)
    later = [p for p in held if p.market.instrument.expiry != nearest or nearest is None]
    projected_initial, projected_maintenance = wallet.model.requirement(wallet, later)
    deltas: dict[str, int] = {}
    for position in held:
        name = position.market.index.name
        deltas[name] = deltas.get(name, 0) + delta(position.market, position.size)
    ratio, ratios = _ratios(wallet, held, sorted(deltas))
    return Summary(
        currency=currency,
        balance=wallet.balance,
        realised=realised,
        unrealised=unrealised,
        margin_balance=wallet.margin_balance,
        available=wallet.margin_balance - wallet.initial,
        withdrawable=margin.withdrawable(state, wallet),
        initial=wallet.initial,
        maintenance=wallet.maintenance,
        projected_initial=projected_initial,
        projected_maintenance=projected_maintenance,
        profit=sum(lifetime_profit(p) for p in held),
        fees=ledger.fees_paid(wallet),
        delta=sum(deltas.values()),
        deltas=tuple(sorted(deltas.items())),
        ratio=ratio,
        ratios=ratios,
    )


def _ratios(
    wallet: Wallet, held: list[Position], indices: list[str]
) -> tuple[int | None, tuple[tuple[str, int], ...]]:
    """Return the liquidation ratio of all positions together, and of those on each index alone."""
    together = wallet.model.liquidation_ratio(wallet, held)
    if len(indices) == 1:
        return together, () if together is None else ((indices[0], together),)
    ratios = []
    for name in indices:
        on_index = [position for position in held if position.market.index.name == name]
        ratio = wallet.model.liquidation_ratio(wallet, on_index)
        if ratio is not None:
            ratios.append((name, ratio))
    return together, tuple(ratios)


def position(state: State, account: int, market: Market) -> PositionView:
    """Return a position at the present marks; all zero where the account has none."""
    held: Position | None = market.positions.get(account)
    wallet = _wallet(state, account, market.currency)
    margin_cache.refresh(state, wallet)
    if held is None:
        held = Position(wallet, market, funding_index=market.funding_index)
    accrued = held.accrued_funding(market.funding_index)
    alone = wallet.model.worst_case(wallet, market, held.size, held.size)
    return PositionView(
        instrument=market.name,
        size=held.size,
        delta=delta(market, held.size),
        average_price=held.average_price,
        mark=market.mark,
        index=market.index.price,
        settlement_price=market.settlement_price,
        floating=held.profit - accrued,
        realised=held.realised + accrued,
        funding=held.funding + accrued,
        interest=round_half_even(market.funding_index, RATE),
        total=lifetime_profit(held),
        initial=alone,
        maintenance=held.maintenance,
        open_orders_margin=max(0, held.initial - alone),
        leverage=_leverage(market, held.size),
        liquidation_price=wallet.model.liquidation_price(wallet, held),
    )


def _wallet(state: State, account: int, currency: str) -> Wallet:
    """Return an account's wallet, or an empty one that is not added to the state."""
    return state.accounts[account].wallets.get(currency) or Wallet(account, currency)


def order_margin(
    state: State, account: int, market: Market, side: Side, amount: int, price: int
) -> int:
    """Return the initial margin in Money that a new order would need, with fee and loss."""
    wallet = _wallet(state, account, market.currency)
    size, worst_case = side.sign * amount, wallet.model.worst_case
    loss = order_costs.loss_at_mark(market, side, amount, price)
    fee = order_costs.fee(market, amount, price, market.instrument.taker_rate)
    held: Position | None = market.positions.get(account)
    low, high = held.worst_case_sizes() if held is not None else (0, 0)
    before = worst_case(wallet, market, low, high)
    after = worst_case(wallet, market, low + min(size, 0), high + max(size, 0))
    return max(0, after - before) + loss + fee


def delta(market: Market, size: int) -> int:
    """Convert a signed size to base coins, in 1e-12."""
    if not size:
        return 0
    coins = base_size(market, size)
    return coins if size > 0 else -coins


def lifetime_profit(position: Position) -> int:
    """Return the profit at the mark since the average price, regardless of settlements."""
    if not position.size:
        return 0
    instrument: Instrument = position.market.instrument
    mark, average = position.market.mark, position.average_price
    return instrument.value(position.size, average) - instrument.value(position.size, mark)


def _leverage(market: Market, size: int) -> int:
    """Return the leverage that initial margin allows at this size, to the nearest whole number.

    It is 0 where the initial margin is zero.
    """
    coins = base_size(market, size) if size and market.mark else 0
    terms = market.terms
    rate = terms.initial_base * MONEY + terms.initial_slope * coins
    return round_half_even(RATE * MONEY, rate) if rate else 0


def _nearest_expiry(positions: list[Position]) -> int | None:
    expiries = [
        p.market.instrument.expiry for p in positions if p.market.instrument.expiry is not None
    ]
    return min(expiries, default=None)
