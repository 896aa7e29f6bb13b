"""Finding an open order by id or label, and the error if there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from book.order import Order, OrderRecord, OrderState
from gateway.protocol import ids
from gateway.protocol.errors import ApiError, Code
from gateway.protocol.pending_request import Explain, explain_rejection
from risk.events import Refused
from risk.reasons import Reason

if TYPE_CHECKING:
    from gateway.api.context import Call

ClosedError = Callable[[OrderRecord | None], Code]
"""Returns the error code for a closed order; None is an order that is no longer kept."""


def cancel_error(order: OrderRecord | None) -> Code:  # noqa: ARG001 - see ClosedError
    """Return the code for cancelling a closed order."""
    return Code.NOT_OPEN_ORDER


def edit_error(order: OrderRecord | None) -> Code:
    """Return the code for editing a closed order."""
    filled = order is not None and order.state is OrderState.FILLED
    return Code.ALREADY_FILLED if filled else Code.ALREADY_CLOSED


def order_number(text: str) -> int:
    """Return the number in an order id. Raises ApiError 10025."""
    number = ids.number_of(text)
    if number is None:
        raise ApiError(Code.INVALID_ORDER_ID)
    return number


def find_order(call: Call, text: str, closed_error: ClosedError) -> Order:
    """Return the account's open order with this id.

    Raises ApiError: 10025 for a malformed id, 10004 for an order that is unknown or of another
    account, and the code of `closed_error` for a closed order.
    """
    number = order_number(text)
    order = call.venue.exchange.state.accounts[call.account].orders.get(number)
    if order is None:
        raise missing(call, text, closed_error)
    if ids.order_id(order.instrument, number) != text:
        raise ApiError(Code.ORDER_NOT_FOUND)
    return order


def find_closed(call: Call, text: str) -> OrderRecord | None:
    """Return the account's closed order with this id, while it is kept. Raises ApiError 10025."""
    number = order_number(text)
    order = call.venue.archive.order(call.account, number)
    if order is None or ids.order_id(order.instrument, number) != text:
        return None
    return order


def find_by_label(call: Call, instrument: str, label: str) -> Order:
    """Return the account's only open order with a label in an instrument.

    Raises ApiError 10004 if there is none, 13032 if there are several.
    """
    orders = [
        order
        for order in call.venue.exchange.state.accounts[call.account].orders.values()
        if order.label == label and order.instrument == instrument
    ]
    if not orders:
        raise ApiError(Code.ORDER_NOT_FOUND)
    if len(orders) > 1:
        raise ApiError(Code.NON_UNIQUE_ORDER_LABEL)
    return orders[0]


def missing(call: Call, text: str, closed_error: ClosedError) -> ApiError:
    """Return the error for an id that belongs to no open order."""
    order = find_closed(call, text)
    return ApiError(Code.ORDER_NOT_FOUND if order is None else closed_error(order))


def explain_closed(call: Call, closed_error: ClosedError) -> Explain:
    """Explain rejections of requests whose order closed while the command was in flight.

    The order was open when the request arrived; otherwise `find_order` would have raised.
    """

    def explain(refused: Refused) -> ApiError:
        if refused.reason is Reason.ORDER_NOT_FOUND:
            return ApiError(
                closed_error(call.venue.archive.order(call.account, int(refused.detail)))
            )
        return explain_rejection(refused)

    return explain
