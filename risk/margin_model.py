"""The margin model of a wallet: what its positions need together, and what one of them adds to it.

Requirements of positions need not add up: under scenario margin a hedge takes away from what the
other position needs. Code outside a model therefore asks only what this interface offers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from risk.market import Market
    from risk.position import Position, Wallet
    from risk.state import State

Interval = tuple[str, str, int | None, int | None]
"""(instrument, "mark" | "funding" | "index", low, high); ends are inclusive, None where none is."""


class MarginModel(Protocol):
    """All in Money, rounded up, at the present marks.

    `measure` keeps `initial` and `maintenance` of a wallet, and as a position's `initial` and
    `maintenance` its contributions: by how much less the wallet would need without the position
    and its orders. Contributions need not add up, and that of a hedge is negative. `initial`
    includes what open orders may make of positions, and what they reserve (see risk.margin).
    """

    def measure(self, state: State, wallet: Wallet) -> None:
        """Bring profit, requirements and contributions up to date.

        All of them where the wallet is not at `State.marks`; otherwise only what depends on the
        positions that are `behind`.
        """
        ...

    def forget(self, position: Position) -> None:
        """Take a position that is about to go out of the wallet's profit and requirements."""
        ...

    def requirement(self, wallet: Wallet, positions: Iterable[Position]) -> tuple[int, int]:
        """Initial and maintenance margin if the wallet held only these of its positions."""
        ...

    def worst_case(self, wallet: Wallet, market: Market, low: int, high: int) -> int:
        """What a position would add to initial margin whose orders can make it `low` or `high`.

        Without what these orders reserve.
        """
        ...

    def maintenance(self, wallet: Wallet, market: Market, size: int) -> int:
        """What a position of that size would add to maintenance margin."""
        ...

    def frees_most(self, positions: list[Position]) -> Position:
        """Which of a wallet's open positions frees most maintenance margin when it is closed."""
        ...

    def intervals(self, positions: list[Position], slack: int) -> Iterator[Interval]:
        """Prices within which a wallet with these open positions loses at most `slack`.

        To lose is the fall of profit and the rise of maintenance margin, together.
        """
        ...

    def liquidation_price(self, wallet: Wallet, position: Position) -> int | None:
        """The mark at which this market alone would bring the wallet to its maintenance margin."""
        ...

    def liquidation_ratio(self, wallet: Wallet, positions: list[Position]) -> int | None:
        """The factor (1e-12) by which the marks of these would have to move together for that."""
        ...
