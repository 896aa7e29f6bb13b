"""What the venue's answers are to clients, at once and whenever a request is repeated.

A result is made of the answer and the parameters alone: by the time it is told again, the order
may be gone, and its instrument too.
"""

from __future__ import annotations

from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

from gateway.api.methods.order_lookup import cancelling, editing, explaining
from gateway.api.registry import IdempotentParams
from gateway.protocol import jsonrpc, large_results, order_json
from gateway.protocol.errors import ApiError, Code, other_request
from gateway.protocol.large_results import Listing
from gateway.protocol.pending_request import ReplyFormat
from risk.events import Answer, CancelledAll, Done

if TYPE_CHECKING:
    from book.instrument import Instrument
    from book.order import OrderRecord
    from gateway.api.context import Call, VenueContext

A = TypeVar("A", bound=Answer)


class CancelManyParams(IdempotentParams, frozen=True, kw_only=True):
    """Base of parameters that end many orders; `detailed` wants them rather than their number."""

    detailed: bool = False


def ordered(call: Call, _: IdempotentParams) -> ReplyFormat:
    """An order and its trades."""
    return ReplyFormat(call.venue.feed.json_cache.ordered)


def edited(call: Call, _: IdempotentParams) -> ReplyFormat:
    """An order that may have closed before it could be changed, and its trades."""
    return ReplyFormat(call.venue.feed.json_cache.ordered, explaining(call, editing))


def cancelled(call: Call, _: IdempotentParams) -> ReplyFormat:
    """An order that has ended, or had ended before."""
    return ReplyFormat(call.venue.feed.json_cache.cancelled, explaining(call, cancelling))


def cancelled_all(call: Call, params: CancelManyParams) -> ReplyFormat:
    """The orders that have ended, or their number."""
    if not params.detailed:
        return counted(call, params)
    return ReplyFormat(lambda answer: _reports(_expect(answer, CancelledAll), call.venue))


def counted(_call: Call, _: IdempotentParams) -> ReplyFormat:
    """The number of orders that have ended."""
    return ReplyFormat(lambda answer: _expect(answer, CancelledAll).count)


def done(_call: Call, _: IdempotentParams) -> ReplyFormat:
    """That it took effect."""

    def told(answer: Answer) -> str:
        _expect(answer, Done)
        return "ok"

    return ReplyFormat(told)


def _expect(answer: Answer, kind: type[A]) -> A:
    """The answer. Raises ApiError -32602 where a key brought that of a request of another kind."""
    if not isinstance(answer, kind):
        raise other_request()
    return answer


def _reports(answer: CancelledAll, venue: VenueContext) -> object:
    if answer.count and not answer.orders:
        raise other_request()
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
    """The terms of an instrument. Raises ApiError 13020 for one that is long gone."""
    instrument = venue.archive.instrument(name)
    if instrument is None:
        raise ApiError(Code.NOT_FOUND)
    return instrument
