"""Standard margin: each position needs margin by itself, and a wallet the sum of them.

Initial margin of n base coins is (base + slope * n) * n, maintenance likewise with its own
base; inverse contracts are margined in the coin itself, linear ones at the index (API
reference, standard margin, `legacy-2025`). Every requirement is rounded up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import isqrt
from typing import TYPE_CHECKING, Final

from book.units import FUNDING, MONEY, RATE, SCALE, ceil_div
from risk import margin_cache
from risk.margin_model import Interval, MarginModel
from risk.market import Market

if TYPE_CHECKING:
    from risk.position import Position, Wallet
    from risk.state import State

_CACHED = 256
"""Maximum size of a market's cache of requirements, more than the sizes of its busiest accounts."""

_PAD = 16
"""Money units subtracted per interval for the rounding of values and requirements."""

_FUNDING_PART = 16
_INDEX_PART = 8
"""One part in so many of a position's share is for funding, and (linear) for its index."""


def base_size(market: Market, size: int) -> int:
    """Return the unsigned base coins of a size, in 1e-12; inverse sizes convert at the mark."""
    if market.instrument.contract.inverse:
        return ceil_div(abs(size) * MONEY, market.mark)
    return abs(size) * (MONEY // SCALE)


def initial(market: Market, size: int) -> int:
    """Return the initial margin of a signed size, in Money.

    It is needed repeatedly at the same prices, so the market caches the latest ones.
    """
    key = (size, market.mark, market.index.price)
    requirement = market.initials.get(key)
    if requirement is None:
        terms = market.terms
        requirement = _requirement(market, size, terms.initial_base, terms.initial_slope)
        if len(market.initials) >= _CACHED:
            market.initials.clear()
        market.initials[key] = requirement
    return requirement


def maintenance(market: Market, size: int) -> int:
    """Return the maintenance margin of a signed size, in Money."""
    terms = market.terms
    return _requirement(market, size, terms.maintenance_base, terms.maintenance_slope)


def _requirement(market: Market, size: int, base: int, slope: int) -> int:
    if not size:
        return 0
    coins = base_size(market, size)
    weighted = coins * (base * MONEY + slope * coins)
    if market.instrument.contract.inverse:
        return ceil_div(weighted, RATE * MONEY)
    return ceil_div(weighted * market.index.price, RATE * MONEY * SCALE)


class StandardMargin:
    """The margin model whose requirement is the sum over the positions; see `MarginModel`."""

    def measure(self, state: State, wallet: Wallet) -> None:
        """Sum over all positions, or update the parts of the stale ones."""
        if wallet.marks != state.marks:
            wallet.marks = state.marks
            wallet.profit = wallet.initial = wallet.maintenance = 0
            for position in wallet.positions.values():
                _measure(state, position)
                wallet.profit += position.profit
                wallet.initial += position.initial
                wallet.maintenance += position.maintenance
            return
        for position in wallet.stale_positions:
            before = position.initial
            if position.margin_stale:
                profit, needed = position.profit, position.maintenance
                _measure(state, position)
                wallet.profit += position.profit - profit
                wallet.maintenance += position.maintenance - needed
            else:
                position.initial = _initial(state, position)
            wallet.initial += position.initial - before

    def forget(self, position: Position) -> None:
        """Subtract the position's parts from the sums."""
        wallet = position.wallet
        wallet.profit -= position.profit
        wallet.initial -= position.initial
        wallet.maintenance -= position.maintenance

    def requirement(self, wallet: Wallet, positions: Iterable[Position]) -> tuple[int, int]:  # noqa: ARG002 (protocol)
        """Return the sums of the positions' parts."""
        initials, maintenances = 0, 0
        for position in positions:
            initials += position.initial
            maintenances += position.maintenance
        return initials, maintenances

    def worst_case(self, wallet: Wallet, market: Market, low: int, high: int) -> int:  # noqa: ARG002 (protocol)
        """Return the initial margin of the larger of two sizes."""
        return initial(market, low if -low > high else high)

    def maintenance(self, wallet: Wallet, market: Market, size: int) -> int:  # noqa: ARG002 (protocol)
        """Return the maintenance margin of a size, which other positions do not affect."""
        return maintenance(market, size)

    def frees_most(self, positions: list[Position]) -> Position:
        """Return the position with the largest maintenance margin."""
        return max(positions, key=lambda position: position.maintenance)

    def intervals(self, positions: list[Position], slack: int) -> Iterator[Interval]:
        """Divide the slack among the positions by notional, and each share by coordinate."""
        weights = [
            position.market.instrument.notional(position.size, position.market.mark)
            for position in positions
        ]
        total = sum(weights) or 1
        for position, weight in zip(positions, weights, strict=True):
            for kind, low, high in intervals(position, slack * weight // total):
                yield position.market.name, kind, low, high

    def liquidation_price(self, wallet: Wallet, position: Position) -> int | None:
        """Return the price with everything else unchanged; see `liquidation_price`."""
        return liquidation_price(wallet, position)

    def liquidation_ratio(self, wallet: Wallet, positions: list[Position]) -> int | None:
        """Return the ratio with everything else unchanged; see `liquidation_ratio`."""
        return liquidation_ratio(wallet, positions)


STANDARD: Final[MarginModel] = StandardMargin()


def _measure(state: State, position: Position) -> None:
    market = position.market
    if not market.mark:
        return
    size = position.size
    position.profit = position.maintenance = 0
    if size:
        position.profit = position.unrealised_profit()
        position.maintenance = maintenance(market, size)
    position.initial = _initial(state, position)


def _initial(state: State, position: Position) -> int:
    low, high = position.size - position.sells, position.size + position.buys
    if position.reduced:
        low, high = position.worst_case_sizes()
    reserved = position.reserved
    if position.reserves_at != state.marks:
        reserved = margin_cache.reserves(state, position)
    return initial(position.market, low if -low > high else high) + reserved


def intervals(position: Position, share: int) -> Iterator[tuple[str, int | None, int | None]]:
    """Yield (kind of coordinate, low, high) within which a position loses at most `share`.

    Ends are inclusive; None is unbounded. The loss is the decrease of profit plus the increase of
    maintenance margin, in Money.
    """
    market, size = position.market, position.size
    if market.instrument.perpetual:
        part = share // _FUNDING_PART
        share -= part
        reach = max(0, part - _PAD) * (SCALE * FUNDING // MONEY) // abs(size)
        now = market.funding_index
        yield ("funding", None, now + reach) if size > 0 else ("funding", now - reach, None)
    if market.instrument.contract.inverse:
        yield ("mark", *_inverse(market, size, share - _PAD))
        return
    part = share // _INDEX_PART
    coins = base_size(market, size)
    rate = market.terms.maintenance_base * MONEY + market.terms.maintenance_slope * coins
    reach = max(0, part - _PAD) * RATE * MONEY * SCALE // max(1, coins * rate)
    yield "index", None, market.index.price + reach
    reach = max(0, share - part - _PAD) * (SCALE * SCALE // MONEY) // abs(size)
    yield (("mark", market.mark - reach, None) if size > 0 else ("mark", None, market.mark + reach))


def _inverse(market: Market, size: int, share: int) -> tuple[int | None, int | None]:
    """Return the mark interval of an inverse position, from its size in base coins n = |S| / M.

    A long loses n' - n as n rises, and its maintenance margin a*n + b*n*n rises too. While n at
    most doubles, each additional coin costs at most 1 + a + 3*b*n. A short loses n - n' as n
    falls, and its maintenance margin falls too. As n rises, a short gains 1 per coin, against an
    increase of maintenance of at most a + 3*b*n. Without a positive share there is no allowance
    for rounding, so the interval ends at the present mark.
    """
    if share <= 0:
        return market.mark, None if size > 0 else market.mark
    terms = market.terms
    coins = base_size(market, size)
    rate = terms.maintenance_base + ceil_div(3 * terms.maintenance_slope * coins, MONEY)
    if size > 0:
        most = min(2 * coins, coins + share * RATE // (RATE + rate))
        return min(ceil_div(size * MONEY, most), market.mark), None
    low = market.mark // 2 + 1 if rate < RATE else market.mark
    least = coins - share
    high = max(-size * MONEY // least, market.mark) if least > 0 else None
    return low, high


def liquidation_price(wallet: Wallet, position: Position) -> int | None:
    """Return the mark at which the wallet is at its maintenance margin, or None.

    It solves margin balance = maintenance margin with everything else unchanged; for inverse
    positions in n = |size| / price, where the maintenance margin is a*n + b*n*n.
    """
    market, size = position.market, position.size
    if not size:
        return None
    slack = wallet.margin_balance - (wallet.maintenance - position.maintenance)
    coins = base_size(market, size)
    if not market.instrument.contract.inverse:
        return _linear_liquidation(market, size, coins, slack)
    terms = market.terms
    sign = 1 if size > 0 else -1
    linear = RATE * sign + terms.maintenance_base
    constant = slack + sign * coins
    root = _positive_root(terms.maintenance_slope, linear, constant)
    return abs(size) * MONEY // root if root else None


def liquidation_ratio(wallet: Wallet, positions: list[Position]) -> int | None:
    """Return the factor (1e-12) on the marks at which the wallet is at its maintenance margin.

    The marks and indices of the given positions change by the same factor; everything else is
    unchanged. For a single position it is `liquidation_price` over the mark. None where no factor
    leads to a liquidation.
    """
    open_positions = [p for p in positions if p.size and p.market.mark]
    if not open_positions:
        return None
    slack = wallet.margin_balance - wallet.maintenance + sum(p.maintenance for p in open_positions)
    inverse = {p.market.instrument.contract.inverse for p in open_positions}
    assert len(inverse) == 1, "a currency settles inverse contracts or linear ones"
    if inverse == {False}:
        return _linear_ratio(open_positions, slack)
    slope = linear = signed = 0
    for position in open_positions:
        coins, terms = base_size(position.market, position.size), position.market.terms
        sign = 1 if position.size > 0 else -1
        # In x = 1 / ratio: maintenance is base * n * x + slope * n * n * x * x.
        slope += terms.maintenance_slope * coins // MONEY * coins // MONEY
        linear += sign * coins + terms.maintenance_base * coins // RATE
        signed += sign * coins
    root = _positive_root(slope, linear, slack + signed)
    return RATE * RATE // root if root else None


def _linear_ratio(positions: list[Position], slack: int) -> int | None:
    """Solve slack + V * (ratio - 1) = W * ratio for values V and maintenance margins W."""
    value = owed = 0
    for position in positions:
        market, terms = position.market, position.market.terms
        coins = base_size(market, position.size)
        rate = terms.maintenance_base + terms.maintenance_slope * coins // MONEY
        worth = coins * market.mark // SCALE
        value += worth if position.size > 0 else -worth
        owed += worth * rate // RATE
    if value == owed:
        return None
    ratio = (value - slack) * RATE // (value - owed)
    return ratio if ratio > 0 else None


def _positive_root(slope: int, linear: int, constant: int) -> int:
    """Return n (1e-12) with slope*n*n + linear*n = constant, 0 if there is none.

    `slope` is 1e-12 per coin, `linear` 1e-12. A short (linear < 0) is liquidated when n falls
    below the smaller root, a long when n rises above the only positive root.
    """
    square = linear * linear + 4 * slope * constant * RATE // MONEY
    if square < 0:
        return 0
    # The usual difference of the square root and `linear` would lose half the digits.
    divisor = linear + isqrt(square) if linear > 0 else linear - isqrt(square)
    return max(0, 2 * constant * RATE // divisor) if divisor else 0


def _linear_liquidation(market: Market, size: int, coins: int, slack: int) -> int | None:
    """Solve slack + Q * (P - mark) = |Q| * P * rate; the index changes with the mark."""
    terms = market.terms
    rate = terms.maintenance_base + terms.maintenance_slope * coins // MONEY
    fixed = size * market.mark * (MONEY // SCALE) // SCALE - slack
    per_price = size * RATE - abs(size) * rate
    price = fixed * RATE * SCALE // (per_price * (MONEY // SCALE)) if per_price else 0
    return price if price > 0 else None
