"""Queries for orders."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Final

from msgspec import Meta, Raw

from book.order import Order, OrderRecord
from gateway.api.context import Call
from gateway.api.methods.order_lookup import find_closed, order_number
from gateway.api.methods.parameters import Kind, OpenFilter, settled_in
from gateway.api.registry import Params, method
from gateway.history.archive import find_market
from gateway.protocol import ids, jsonrpc, large_results, order_json
from gateway.protocol.errors import ApiError, Code
from gateway.protocol.large_results import Listing
from risk import views

# One page of history: a larger search would make one request cost as much as many.
CLOSED_SEARCHED: Final = 1_000
Ids = Annotated[list[str], Meta(max_length=CLOSED_SEARCHED)]


class OpenOrders(Params, frozen=True):
    """Parameters of private/get_open_orders."""

    kind: Kind = Kind.ANY
    type: OpenFilter = OpenFilter.ALL


class ByCurrency(OpenOrders, frozen=True, kw_only=True):
    """Parameters of private/get_open_orders_by_currency."""

    currency: str


class ByInstrument(Params, frozen=True):
    """Parameters of private/get_open_orders_by_instrument."""

    instrument_name: str
    type: OpenFilter = OpenFilter.ALL


class ByLabel(Params, frozen=True):
    """Parameters of private/get_open_orders_by_label and get_order_state_by_label."""

    currency: str
    label: str = ""


class OrderId(Params, frozen=True):
    """Parameters of private/get_order_state."""

    order_id: str


class OrderIds(Params, frozen=True):
    """Parameters of private/get_order_margin_by_ids."""

    ids: Ids


@method("private/get_open_orders", params=OpenOrders, scope="trade:read")
def get_open_orders(call: Call, params: OpenOrders) -> object:
    """Return all open orders, oldest first."""
    return _selected(call, params.kind, params.type, lambda _: True)


@method("private/get_open_orders_by_currency", params=ByCurrency, scope="trade:read")
def get_open_orders_by_currency(call: Call, params: ByCurrency) -> object:
    """Return the open orders settled in a currency."""
    fits, markets = settled_in(call.venue, params.currency), call.venue.exchange.state.markets
    return _selected(call, params.kind, params.type, lambda order: fits(markets[order.instrument]))


@method("private/get_open_orders_by_instrument", params=ByInstrument, scope="trade:read")
def get_open_orders_by_instrument(call: Call, params: ByInstrument) -> object:
    """Return the open orders in an instrument. Raises ApiError 13020 for an unknown one."""
    name = call.venue.market(params.instrument_name).name
    return _selected(call, Kind.ANY, params.type, lambda order: order.instrument == name)


@method("private/get_open_orders_by_label", params=ByLabel, scope="trade:read")
def get_open_orders_by_label(call: Call, params: ByLabel) -> object:
    """Return the open orders with a label; an empty label selects those without one."""
    fits, markets = settled_in(call.venue, params.currency), call.venue.exchange.state.markets
    labelled = (order for order in _open(call) if order.label == params.label)
    return _copied(call, (order for order in labelled if fits(markets[order.instrument])))


@method("private/get_order_state", params=OrderId, scope="trade:read")
def get_order_state(call: Call, params: OrderId) -> object:
    """Return one order, open or recently closed."""
    order = _find_open(call, params.order_id)
    record = find_closed(call, params.order_id) if order is None else order.record()
    if record is None:
        raise ApiError(Code.ORDER_NOT_FOUND)
    return Raw(order_json.order_text(record, call.venue.market(record.instrument).instrument))


@method("private/get_order_state_by_label", params=ByLabel, scope="trade:read")
def get_order_state_by_label(call: Call, params: ByLabel) -> object:
    """Return the orders with a label: open ones, then those among the latest closed ones."""
    fits = settled_in(call.venue, params.currency)
    open_orders = [order.record() for order in _open(call) if order.label == params.label]
    closed = call.venue.archive.orders(
        call.account, lambda _: True, unfilled=True, offset=0, count=CLOSED_SEARCHED
    )
    records = []
    for record in (*open_orders, *(each for each in closed if each.label == params.label)):
        market = find_market(call.venue.exchange.state, record.instrument)
        if market is not None and fits(market):
            records.append(record)
    return _orders_json(call, records)


@method("private/get_order_margin_by_ids", params=OrderIds, scope="trade:read")
def get_order_margin_by_ids(call: Call, params: OrderIds) -> object:
    """Return the margin of each of the open orders by itself; other ids are left out."""
    state = call.venue.exchange.state
    margins = []
    for text in params.ids:
        order = _find_open(call, text)
        if order is None:
            continue
        market = state.markets[order.instrument]
        margin = views.order_margin(
            state, call.account, market, order.side, order.remaining, order.price
        )
        margins.append(
            {
                "order_id": text,
                "initial_margin": jsonrpc.money(margin),
                "initial_margin_currency": market.currency,
            }
        )
    return large_results.array(margins, jsonrpc.encode)


def _open(call: Call) -> Iterable[Order]:
    return call.venue.exchange.state.accounts[call.account].orders.values()


def _find_open(call: Call, text: str) -> Order | None:
    order = call.venue.exchange.state.accounts[call.account].orders.get(order_number(text))
    if order is None or ids.order_id(order.instrument, order.order_id) != text:
        return None
    return order


def _selected(
    call: Call, kind: Kind, order_type: OpenFilter, fits: Callable[[Order], bool]
) -> object:
    if not (kind.has_futures and order_type.has_resting):
        return []
    return _copied(call, filter(fits, _open(call)))


def _copied(call: Call, orders: Iterable[Order]) -> Listing:
    # Records only, which the GC does not track; thousands of tuples would trigger a collection.
    return _orders_json(call, [order.record() for order in orders])


def _orders_json(call: Call, records: list[OrderRecord]) -> Listing:
    """Return orders in instruments that are listed or were recently."""
    state = call.venue.exchange.state
    instruments = {
        market.name: market.instrument for market in (*state.expired, *state.markets.values())
    }
    return large_results.array(
        records, lambda order: order_json.order_text(order, instruments[order.instrument])
    )
