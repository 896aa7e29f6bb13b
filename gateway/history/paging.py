"""Pages of trades: the requested range, and its direction."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import msgspec

from risk.events import Traded

T = TypeVar("T")


class TradeRange(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A range of trades: bounds are inclusive, None is open. `ascending` is oldest first."""

    first_id: int | None = None
    last_id: int | None = None
    first_sequence: int | None = None
    last_sequence: int | None = None
    start: int | None = None
    end: int | None = None
    count: int = 10
    ascending: bool = False

    def before(self, trade: Traded) -> bool:
        """Whether the trade is older than the range."""
        return (
            (self.first_id is not None and trade.trade_id < self.first_id)
            or (self.first_sequence is not None and trade.sequence < self.first_sequence)
            or (self.start is not None and trade.time < self.start)
        )

    def after(self, trade: Traded) -> bool:
        """Whether the trade is newer than the range."""
        return (
            (self.last_id is not None and trade.trade_id > self.last_id)
            or (self.last_sequence is not None and trade.sequence > self.last_sequence)
            or (self.end is not None and trade.time > self.end)
        )


def in_range(
    items: Sequence[T], range_: TradeRange, trade_of: Callable[[T], Traded]
) -> Iterator[T]:
    """Iterate over the items in range, in its direction, found by bisection.

    `items` is oldest first: ids, sequence numbers and times all ascend.
    """
    first = bisect_left(items, True, key=lambda item: not range_.before(trade_of(item)))  # noqa: FBT003
    last = bisect_left(items, True, key=lambda item: range_.after(trade_of(item)))  # noqa: FBT003
    if range_.ascending:
        return islice(items, first, last)
    return islice(reversed(items), len(items) - last, len(items) - first)


def page(ordered: Iterable[T], count: int) -> tuple[list[T], bool]:
    """Return the first `count` items, and whether another one follows."""
    items = list(islice(ordered, count + 1))
    return items[:count], len(items) > count
