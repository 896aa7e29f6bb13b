"""How the exchange's answers become results, at once and when a request is repeated.

A result depends on the answer and the parameters only: when the request is repeated, the order and
its instrument may be gone.
"""

from __future__ import annotations

from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

from gateway.api.methods.order_lookup import cancel_error, edit_error, explain_closed
from gateway.api.registry import IdempotentParams
from gateway.protocol import jsonrpc, large_results, order_json
from gateway.protocol.errors import ApiError, Code, key_of_other_request
from gateway.protocol.large_results import Listing
from gateway.protocol.pending_request import ReplyFormat
from risk.events import Answer, CancelledAll, Done

if TYPE_CHECKING:
    from book.instrument import Instrument
    from book.order import OrderRecord
    from gateway.api.context import Call, VenueContext

A = TypeVar("A", bound=Answer)


class CancelManyParams(IdempotentParams, frozen=True, kw_only=True):
    """Base of the parameters of cancel-all methods; `detailed` asks for the orders themselves."""

    detailed: bool = False


def ordered(call: Call, _: IdempotentParams) -> ReplyFormat:
    """The order and its trades."""
    return ReplyFormat(call.venue.feed.json_cache.ordered)


def edited(call: Call, _: IdempotentParams) -> ReplyFormat:
    """The order and its trades; the order may have closed before the edit."""
    return ReplyFormat(call.venue.feed.json_cache.ordered, explain_closed(call, edit_error))


def cancelled(call: Call, _: IdempotentParams) -> ReplyFormat:
    """The cancelled order; it may have closed before."""
    return ReplyFormat(call.venue.feed.json_cache.cancelled, explain_closed(call, cancel_error))


def cancelled_all(call: Call, params: CancelManyParams) -> ReplyFormat:
    """The cancelled orders, or their number."""
    if not params.detailed:
        return counted(call, params)
    return ReplyFormat(lambda answer: _reports(_expect(answer, CancelledAll), call.venue))


def counted(_call: Call, _: IdempotentParams) -> ReplyFormat:
    """The number of cancelled orders."""
    return ReplyFormat(lambda answer: _expect(answer, CancelledAll).count)


def done(_call: Call, _: IdempotentParams) -> ReplyFormat:
    """The result `ok`."""

    def ok(answer: Answer) -> str:
        _expect(answer, Done)
        return "ok"

    return ReplyFormat(ok)


def _expect(answer: Answer, kind: type[A]) -> A:
    """Return the answer. Raises ApiError -32602 if its key belongs to a request of another kind."""
    if not isinstance(answer, kind):
        raise key_of_other_request()
    return answer


def _reports(answer: CancelledAll, venue: VenueContext) -> object:
    if answer.count and not answer.orders:
        raise key_of_other_request()
    by_instrument = sorted(answer.orders, key=lambda order: order.instrument)
    parts: list[Listing | bytes] = []
    for name, orders in groupby(by_instrument, key=lambda order: order.instrument):
        instrument = _instrument(venue, name)
        report = {"currency": instrument.currency, "type": "limit", "instrument_name": name}
        shown = large_results.array(list(orders), partial(_text, instrument))
        head = jsonrpc.encode(report).removesuffix(b"}") + b',"result":'
        parts += (b"," if parts else b"", shown.within(head, b"}"))
    return large_results.joined((b"[", *parts, b"]"))


def _text(instrument: Instrument, order: OrderRecord) -> bytes:
    return order_json.order_text(order, instrument)


def _instrument(venue: VenueContext, name: str) -> Instrument:
    """Return an instrument. Raises ApiError 13020 if it is no longer kept."""
    instrument = venue.archive.instrument(name)
    if instrument is None:
        raise ApiError(Code.NOT_FOUND)
    return instrument
