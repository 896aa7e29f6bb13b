"""A cache of the JSON text of orders and trades, which reply and channels share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import define, field
from msgspec import Raw

from gateway.protocol.errors import ApiError, Code, key_of_other_request
from gateway.protocol.order_json import order_text, own_sides, own_trade_text
from risk.events import Cancelled, Ordered

if TYPE_CHECKING:
    from book.instrument import Instrument
    from book.order import OrderRecord
    from gateway.history.archive import Archive
    from risk.events import Answer, Traded, TradeSide

# The reply and each channel of either party need a trade right after its entry. Most entries make
# a few trades; with more than this, some are encoded again.
_CAPACITY: Final = 64


@define(eq=False)
class OrderJsonCache:
    """The JSON text of the latest orders and trades, and the results that are made of it.

    Records are looked up by identity: comparing their fields takes longer than encoding them. The
    cache holds on to the record, so that no other object can get its `id()`. Of orders it holds
    only the latest in a reply, which the order channels send once more.
    """

    archive: Archive
    _cached_order: OrderRecord | None = field(default=None, init=False)
    _cached_text: bytes = field(default=b"", init=False)
    _trades: dict[int, tuple[TradeSide, bytes]] = field(factory=dict, init=False)
    _listed: dict[str, Instrument] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._listed = self.archive.listed

    def order(self, order: OrderRecord) -> bytes:
        """Return an order's JSON. Raises ApiError 13020 if its instrument is no longer kept."""
        if order is self._cached_order:
            return self._cached_text
        name = order.instrument
        return order_text(order, self._listed.get(name) or self._instrument(name))

    def own_trade(self, trade: Traded, side: TradeSide) -> bytes:
        """Return a trade's JSON for one side of it. Raises ApiError 13020, as for orders."""
        trades, key = self._trades, id(side)
        cached = trades.get(key)
        if cached is not None:
            return cached[1]
        name = trade.instrument
        text = own_trade_text(trade, side, self._listed.get(name) or self._instrument(name))
        if len(trades) >= _CAPACITY:
            trades.clear()
        trades[key] = side, text
        return text

    def ordered(self, answer: Answer) -> Raw:
        """Return the result of a request that placed or changed an order: the order and its trades.

        Raises ApiError 13020, and -32602 if an idempotency key belongs to another request.
        """
        if not isinstance(answer, Ordered):
            raise key_of_other_request()
        trades = b""
        if answer.trades:
            sides = own_sides(answer.trades, answer.order.account)
            trades = b",".join([self.own_trade(trade, side) for trade, side in sides])
        order = self._cache_order(answer.order)
        return Raw(b"".join((b'{"order":', order, b',"trades":[', trades, b"]}")))

    def cancelled(self, answer: Answer) -> Raw:
        """Return the result of a request that cancelled an order. Raises as `ordered` does."""
        if not isinstance(answer, Cancelled):
            raise key_of_other_request()
        return Raw(self._cache_order(answer.order))

    def _cache_order(self, order: OrderRecord) -> bytes:
        text = self._cached_text = self.order(order)
        self._cached_order = order
        return text

    def _instrument(self, name: str) -> Instrument:
        instrument = self.archive.instrument(name)
        if instrument is None:
            raise ApiError(Code.NOT_FOUND)
        return instrument
