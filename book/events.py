"""What a book reports of itself."""

import msgspec

from book.order import Side


class LevelChange(msgspec.Struct, frozen=True, gc=False):
    """A price level's total before and after; 0 means that there was, or is, no such level."""

    side: Side
    price: int
    before: int
    after: int
