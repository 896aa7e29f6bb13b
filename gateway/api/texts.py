"""Orders and trades as JSON text, written once for everybody who is told of the same one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import define, field
from msgspec import Raw

from gateway.api.errors import ApiError, Code, other_request
from gateway.api.forms import order_text, own_sides, own_trade_text
from risk.events import Cancelled, Ordered

if TYPE_CHECKING:
    from book.instrument import Instrument
    from book.order import OrderRecord
    from gateway.archive import Archive
    from risk.events import Answer, Traded, TradeSide

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

    def ordered(self, answer: Answer) -> Raw:
        """The result of a request that entered or changed an order: it, and its trades.

        Raises ApiError 13020, and -32602 where a key brought the answer to another request.
        """
        if not isinstance(answer, Ordered):
            raise other_request()
        order, trades = answer.order, b""
        if answer.trades:
            sides = own_sides(answer.trades, order.account)
            trades = b",".join([self.own_trade(trade, side) for trade, side in sides])
        return Raw(b'{"order":' + self.order(order) + b',"trades":[' + trades + b"]}")

    def cancelled(self, answer: Answer) -> Raw:
        """The result of a request that ended an order. Raises as `ordered` does."""
        if not isinstance(answer, Cancelled):
            raise other_request()
        return Raw(self.order(answer.order))

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
