"""The event of an order book."""

import msgspec

from book.order import Side


class LevelChange(msgspec.Struct, frozen=True, gc=False):
    """The amount at a price level before and after; 0 where there was, or is, no such level."""

    side: Side
    price: int
    before: int
    after: int
