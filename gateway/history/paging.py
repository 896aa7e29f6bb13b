"""Pages of trades: which are wanted, and in which direction."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import msgspec

from risk.events import Traded

T = TypeVar("T")


class TradeRange(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Which trades: bounds are inclusive, None is open. `ascending` is oldest first."""

    first_id: int | None = None
    last_id: int | None = None
    first_sequence: int | None = None
    last_sequence: int | None = None
    start: int | None = None
    end: int | None = None
    count: int = 10
    ascending: bool = False

    def before(self, trade: Traded) -> bool:
        """Whether the trade is older than all that is wanted."""
        return (
            (self.first_id is not None and trade.trade_id < self.first_id)
            or (self.first_sequence is not None and trade.sequence < self.first_sequence)
            or (self.start is not None and trade.time < self.start)
        )

    def after(self, trade: Traded) -> bool:
        """Whether the trade is newer than all that is wanted."""
        return (
            (self.last_id is not None and trade.trade_id > self.last_id)
            or (self.last_sequence is not None and trade.sequence > self.last_sequence)
            or (self.end is not None and trade.time > self.end)
        )


def in_range(kept: Sequence[T], wanted: TradeRange, trade_of: Callable[[T], Traded]) -> Iterator[T]:
    """What is in range, in the direction wanted; found by bisection, for lists may be long.

    `kept` is oldest first: numbers, sequences and times all ascend.
    """
    first = bisect_left(kept, True, key=lambda item: not wanted.before(trade_of(item)))  # noqa: FBT003
    last = bisect_left(kept, True, key=lambda item: wanted.after(trade_of(item)))  # noqa: FBT003
    if wanted.ascending:
        return islice(kept, first, last)
    return islice(reversed(kept), len(kept) - last, len(kept) - first)


def page(ordered: Iterable[T], count: int) -> tuple[list[T], bool]:
    """The first `count`, and whether another one follows."""
    found = list(islice(ordered, count + 1))
    return found[:count], len(found) > count
