"""Which open order a client means by an id or a label, and what to say when there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from book.order import Order, OrderRecord, OrderState
from gateway.protocol import ids
from gateway.protocol.errors import ApiError, Code
from gateway.protocol.pending_request import Explain, plainly
from risk.events import Refused
from risk.reasons import Reason

if TYPE_CHECKING:
    from gateway.api.context import Call

Closed = Callable[[OrderRecord | None], Code]
"""The error code for something that cannot be done with a closed order, None when forgotten."""


def cancelling(order: OrderRecord | None) -> Code:  # noqa: ARG001 - whatever it was, it is not open
    """The code for cancelling a closed order."""
    return Code.NOT_OPEN_ORDER


def editing(order: OrderRecord | None) -> Code:
    """The code for editing a closed order."""
    filled = order is not None and order.state is OrderState.FILLED
    return Code.ALREADY_FILLED if filled else Code.ALREADY_CLOSED


def order_number(text: str) -> int:
    """Return the number in an order id. Raises ApiError 10025."""
    number = ids.number_of(text)
    if number is None:
        raise ApiError(Code.INVALID_ORDER_ID)
    return number


def find_order(call: Call, text: str, closed: Closed) -> Order:
    """The caller's open order of that id.

    Raises ApiError: 10025 for an id that cannot be one, 10004 for one that is not the caller's,
    whoever else's it may be, and what `closed` says for one that is no longer open.
    """
    number = order_number(text)
    order = call.venue.exchange.state.accounts[call.account].orders.get(number)
    if order is None:
        raise missing(call, text, closed)
    if ids.order_id(order.instrument, number) != text:
        raise ApiError(Code.ORDER_NOT_FOUND)
    return order


def find_closed(call: Call, text: str) -> OrderRecord | None:
    """The caller's closed order of that id, while it is kept. Raises ApiError 10025."""
    number = order_number(text)
    order = call.venue.archive.order(call.account, number)
    if order is None or ids.order_id(order.instrument, number) != text:
        return None
    return order


def find_by_label(call: Call, instrument: str, label: str) -> Order:
    """The caller's one open order of a label in an instrument. Raises ApiError 10004, 13032."""
    found = [
        order
        for order in call.venue.exchange.state.accounts[call.account].orders.values()
        if order.label == label and order.instrument == instrument
    ]
    if not found:
        raise ApiError(Code.ORDER_NOT_FOUND)
    if len(found) > 1:
        raise ApiError(Code.NON_UNIQUE_ORDER_LABEL)
    return found[0]


def missing(call: Call, text: str, closed: Closed) -> ApiError:
    """Why there is no such open order."""
    order = find_closed(call, text)
    return ApiError(Code.ORDER_NOT_FOUND if order is None else closed(order))


def explaining(call: Call, closed: Closed) -> Explain:
    """Words for a refusal where the order may have closed while the request was on its way.

    It was open when the request came, or that would not have reached the venue.
    """

    def explain(refused: Refused) -> ApiError:
        if refused.reason is Reason.ORDER_NOT_FOUND:
            return ApiError(closed(call.venue.archive.order(call.account, int(refused.detail))))
        return plainly(refused)

    return explain
