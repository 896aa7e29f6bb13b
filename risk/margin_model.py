"""The margin model of a wallet: its total requirement and the contribution of each position.

The total need not be the sum over the positions: under scenario margin, a hedge reduces the
requirement of another position. Code outside a model therefore uses only this interface.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from risk.market import Market
    from risk.position import Position, Wallet
    from risk.state import State

Interval = tuple[str, str, int | None, int | None]
"""(instrument, "mark" | "funding" | "index", low, high). Ends are inclusive; None is unbounded."""


class MarginModel(Protocol):
    """Margin requirements in Money, rounded up, at the present marks.

    `measure` sets `initial` and `maintenance` of a wallet and of its positions. Those of a
    position are its contribution: the amount by which the requirement would fall without the
    position and its orders. Contributions need not add up to the total, and that of a hedge is
    negative. `initial` covers the worst case of the open orders and their reserves (see
    risk.order_costs).
    """

    def measure(self, state: State, wallet: Wallet) -> None:
        """Update profit, requirements and contributions.

        All are computed anew if the wallet is not at `State.marks`; otherwise only those that
        depend on positions with `initial_stale`.
        """
        ...

    def forget(self, position: Position) -> None:
        """Subtract a position that is about to be removed from the wallet's sums."""
        ...

    def requirement(self, wallet: Wallet, positions: Iterable[Position]) -> tuple[int, int]:
        """Return initial and maintenance margin if the wallet held only these positions."""
        ...

    def worst_case(self, wallet: Wallet, market: Market, low: int, high: int) -> int:
        """Return the contribution to initial margin of a position between `low` and `high`.

        These are the smallest and largest size that its orders can lead to. The reserves of the
        orders are not included.
        """
        ...

    def maintenance(self, wallet: Wallet, market: Market, size: int) -> int:
        """Return the contribution to maintenance margin of a position of that size."""
        ...

    def frees_most(self, positions: list[Position]) -> Position:
        """Return the open position that frees most maintenance margin when it is closed."""
        ...

    def intervals(self, positions: list[Position], slack: int) -> Iterator[Interval]:
        """Yield price intervals within which a wallet with these positions loses at most `slack`.

        The loss is the decrease of profit plus the increase of maintenance margin.
        """
        ...

    def liquidation_price(self, wallet: Wallet, position: Position) -> int | None:
        """Return the mark of this market alone that would start a liquidation, or None."""
        ...

    def liquidation_ratio(self, wallet: Wallet, positions: list[Position]) -> int | None:
        """Return the factor (1e-12) on the marks of these that would start a liquidation."""
        ...
