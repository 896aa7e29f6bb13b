"""Orders as JSON text, written once for everybody who is told of the same state of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import define, field

from gateway.api import wire
from gateway.api.errors import ApiError, Code
from gateway.api.shapes import order_json

if TYPE_CHECKING:
    from book.order import OrderRecord
    from gateway.archive import Archive

# What one entry tells of is asked for right after it, by the reply and by each channel; most
# entries tell of one order or a few, and a larger one only has some of its orders written again.
_KEPT: Final = 64


@define(eq=False)
class OrderTexts:
    """The texts of the orders that were asked for last.

    A record is known by itself, not by its fields, which take longer to compare than to write.
    """

    archive: Archive
    _texts: dict[int, tuple[OrderRecord, bytes]] = field(factory=dict, init=False)

    def of(self, order: OrderRecord) -> bytes:
        """An order as JSON. Raises ApiError 13020 where its instrument is long gone."""
        known = self._texts.get(id(order))
        if known is not None:
            return known[1]
        instrument = self.archive.instrument(order.instrument)
        if instrument is None:
            raise ApiError(Code.NOT_FOUND)
        if len(self._texts) >= _KEPT:
            self._texts.clear()
        text = wire.encode(order_json(order, instrument))
        # With the record, which so lives on, and whose number nobody else can have.
        self._texts[id(order)] = order, text
        return text
