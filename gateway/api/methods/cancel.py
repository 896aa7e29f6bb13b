"""Cancelling orders: one, all, by instrument, currency, kind, type or label."""

from __future__ import annotations

from gateway.access.rate_limits import Cost
from gateway.api.context import Call
from gateway.api.methods import reply_formats
from gateway.api.methods.order_lookup import cancel_error, find_order
from gateway.api.methods.parameters import ANY, CancelFilter, Kind, all_listed, listed
from gateway.api.methods.reply_formats import CancelManyParams
from gateway.api.registry import IdempotentParams, Submission, trading_method
from gateway.protocol.errors import invalid
from risk.commands import Cancel, CancelAll


class CancelParams(IdempotentParams, frozen=True):
    """Parameters of private/cancel."""

    order_id: str


class ByInstrument(CancelManyParams, frozen=True):
    """Parameters of private/cancel_all_by_instrument."""

    instrument_name: str
    type: CancelFilter = CancelFilter.ALL


class ByCurrency(CancelManyParams, frozen=True):
    """Parameters of private/cancel_all_by_currency."""

    currency: str
    kind: Kind = Kind.ANY
    type: CancelFilter = CancelFilter.ALL


class ByKindOrType(CancelManyParams, frozen=True):
    """Parameters of private/cancel_all_by_kind_or_type; several currencies, or `any`."""

    currency: str | list[str]
    kind: Kind = Kind.ANY
    type: CancelFilter = CancelFilter.ALL


class ByLabel(IdempotentParams, frozen=True):
    """Parameters of private/cancel_by_label."""

    label: str
    currency: str = ANY


@trading_method(
    "private/cancel", params=CancelParams, reply_format=reply_formats.cancelled, cacheable=True
)
def cancel(call: Call, params: CancelParams) -> Submission:
    """Cancel one order."""
    order = find_order(call, params.order_id, cancel_error)
    return Submission(Cancel(account=call.account, order_id=order.order_id))


@trading_method(
    "private/cancel_all",
    params=CancelManyParams,
    reply_format=reply_formats.cancelled_all,
    cost=Cost.CANCEL_ALL,
)
def cancel_all(call: Call, params: CancelManyParams) -> Submission:
    """Cancel every order of the account."""
    return Submission(CancelAll(account=call.account, detailed=params.detailed))


@trading_method(
    "private/cancel_all_by_instrument",
    params=ByInstrument,
    reply_format=reply_formats.cancelled_all,
    cost=Cost.CANCEL_ALL,
)
def cancel_all_by_instrument(call: Call, params: ByInstrument) -> object:
    """Cancel the orders in one instrument."""
    name = call.venue.market(params.instrument_name).name
    if not params.type.has_resting:
        return _none(detailed=params.detailed)
    command = CancelAll(account=call.account, instrument=name, detailed=params.detailed)
    return Submission(command)


@trading_method(
    "private/cancel_all_by_currency",
    params=ByCurrency,
    reply_format=reply_formats.cancelled_all,
    cost=Cost.CANCEL_ALL,
)
def cancel_all_by_currency(call: Call, params: ByCurrency) -> object:
    """Cancel the orders settled in one currency."""
    return _by_currencies(call, params, listed(call.venue, params.currency))


@trading_method(
    "private/cancel_all_by_kind_or_type",
    params=ByKindOrType,
    reply_format=reply_formats.cancelled_all,
    cost=Cost.CANCEL_ALL,
)
def cancel_all_by_kind_or_type(call: Call, params: ByKindOrType) -> object:
    """Cancel the orders of a kind and type that are settled in any of several currencies."""
    currencies = [params.currency] if isinstance(params.currency, str) else params.currency
    return _by_currencies(call, params, all_listed(call.venue, currencies))


@trading_method("private/cancel_by_label", params=ByLabel, reply_format=reply_formats.counted)
def cancel_by_label(call: Call, params: ByLabel) -> object:
    """Cancel the orders with a label; the result is their number."""
    if not params.label:
        # In CancelAll an empty label is no filter: this would cancel every order.
        raise invalid("label", "must not be empty")
    currencies = listed(call.venue, params.currency)
    if not currencies:
        return 0
    command = CancelAll(account=call.account, currencies=currencies, label=params.label)
    return Submission(command)


def _by_currencies(
    call: Call, params: ByCurrency | ByKindOrType, currencies: tuple[str, ...]
) -> object:
    # In CancelAll no currency means every currency: an empty selection must not be submitted.
    if not (currencies and params.kind.has_futures and params.type.has_resting):
        return _none(detailed=params.detailed)
    command = CancelAll(account=call.account, currencies=currencies, detailed=params.detailed)
    return Submission(command)


def _none(*, detailed: bool) -> object:
    return [] if detailed else 0
