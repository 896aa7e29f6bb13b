"""Orders and trades as JSON text, written once for everybody who is told of the same one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import define, field
from msgspec import Raw

from gateway.protocol.errors import ApiError, Code, other_request
from gateway.protocol.order_json import order_text, own_sides, own_trade_text
from risk.events import Cancelled, Ordered

if TYPE_CHECKING:
    from book.instrument import Instrument
    from book.order import OrderRecord
    from gateway.history.archive import Archive
    from risk.events import Answer, Traded, TradeSide

# A trade is told to either party by the reply and by each channel, and all of them ask right after
# the entry; most make a few, and of more than this only some are written again.
_KEPT: Final = 64


@define(eq=False)
class OrderJsonCache:
    """The texts of what entries tell of, and the results of requests, which are made of them.

    A record is known by itself, not by its fields, which take longer to compare than to write.
    It is kept with its text, so that nobody else can have its number. Of orders that is the one
    that was answered with last: it is told once more, to those who listen, as are all others.
    """

    archive: Archive
    _answered: OrderRecord | None = field(default=None, init=False)
    _answer: bytes = field(default=b"", init=False)
    _trades: dict[int, tuple[TradeSide, bytes]] = field(factory=dict, init=False)
    _listed: dict[str, Instrument] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._listed = self.archive.listed

    def order(self, order: OrderRecord) -> bytes:
        """An order. Raises ApiError 13020 where its instrument is long gone."""
        if order is self._answered:
            return self._answer
        name = order.instrument
        return order_text(order, self._listed.get(name) or self._instrument(name))

    def own_trade(self, trade: Traded, side: TradeSide) -> bytes:
        """A trade as that side of it sees it. Raises ApiError 13020, as for orders."""
        kept, key = self._trades, id(side)
        known = kept.get(key)
        if known is not None:
            return known[1]
        name = trade.instrument
        text = own_trade_text(trade, side, self._listed.get(name) or self._instrument(name))
        if len(kept) >= _KEPT:
            kept.clear()
        kept[key] = side, text
        return text

    def ordered(self, answer: Answer) -> Raw:
        """The result of a request that entered or changed an order: it, and its trades.

        Raises ApiError 13020, and -32602 where a key brought the answer to another request.
        """
        if not isinstance(answer, Ordered):
            raise other_request()
        trades = b""
        if answer.trades:
            sides = own_sides(answer.trades, answer.order.account)
            trades = b",".join([self.own_trade(trade, side) for trade, side in sides])
        order = self._answering(answer.order)
        return Raw(b"".join((b'{"order":', order, b',"trades":[', trades, b"]}")))

    def cancelled(self, answer: Answer) -> Raw:
        """The result of a request that ended an order. Raises as `ordered` does."""
        if not isinstance(answer, Cancelled):
            raise other_request()
        return Raw(self._answering(answer.order))

    def _answering(self, order: OrderRecord) -> bytes:
        text = self._answer = self.order(order)
        self._answered = order
        return text

    def _instrument(self, name: str) -> Instrument:
        instrument = self.archive.instrument(name)
        if instrument is None:
            raise ApiError(Code.NOT_FOUND)
        return instrument
