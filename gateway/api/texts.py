"""Orders and trades as JSON text, written once for everybody who is told of the same one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import define, field

from gateway.api.errors import ApiError, Code
from gateway.api.forms import order_text, own_trade_text

if TYPE_CHECKING:
    from book.instrument import Instrument
    from book.order import OrderRecord
    from gateway.archive import Archive
    from risk.events import Traded, TradeSide

# What one entry tells of is asked for right after it, by the reply and by each channel; most
# entries tell of a few orders and trades, and a larger one only has some of them written again.
_KEPT: Final = 64


@define(eq=False)
class Texts:
    """The texts of the orders and trades that were asked for last.

    A record is known by itself, not by its fields, which take longer to compare than to write.
    It is kept with its text, so that nobody else can have its number.
    """

    archive: Archive
    _kept: dict[int, tuple[object, bytes]] = field(factory=dict, init=False)

    def order(self, order: OrderRecord) -> bytes:
        """An order. Raises ApiError 13020 where its instrument is long gone."""
        kept = self._kept.get(id(order))
        if kept is not None:
            return kept[1]
        return self._keep(order, order_text(order, self._instrument(order.instrument)))

    def own_trade(self, trade: Traded, side: TradeSide) -> bytes:
        """A trade as that side of it sees it. Raises ApiError 13020, as for orders."""
        kept = self._kept.get(id(side))
        if kept is not None:
            return kept[1]
        return self._keep(side, own_trade_text(trade, side, self._instrument(trade.instrument)))

    def _keep(self, record: object, text: bytes) -> bytes:
        if len(self._kept) >= _KEPT:
            self._kept.clear()
        self._kept[id(record)] = record, text
        return text

    def _instrument(self, name: str) -> Instrument:
        instrument = self.archive.instrument(name)
        if instrument is None:
            raise ApiError(Code.NOT_FOUND)
        return instrument
