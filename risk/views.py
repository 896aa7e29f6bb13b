"""What an account looks like from outside: summaries and positions, computed when asked.

Views change nothing but caches, and are never part of a decision.
"""

from __future__ import annotations

import msgspec


class Summary(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An account in one currency. All in Money (1e-12 of the currency).

    margin_balance = balance + realised + unrealised; available = margin_balance - initial;
    withdrawable = max(0, min(balance, margin_balance) - initial). `initial` includes open
    orders. `projected_*` leave out the nearest expiry. `profit` is since each position was
    opened. `deltas` holds (index name, delta) with base coins in 1e-12.
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


class PositionView(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A position as its holder sees it. Size is signed, 1e-8; prices 1e-8; the rest 1e-12.

    `delta` is the size in base coins. `floating` is unrealised profit of the session,
    `realised` its realised profit including `funding`, `total` the profit since the average
    price. `liquidation_price` is None where no price of this market alone would liquidate.
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
    total: int
    initial: int
    maintenance: int
    open_orders_margin: int
    leverage: int
    liquidation_price: int | None
