"""Positions, margins and summaries."""

from __future__ import annotations

import msgspec

from book.order import Side
from gateway.api.context import Call
from gateway.api.methods.account_settings import fees_json, limits_json, profile_json
from gateway.api.methods.parameters import ANY, InstrumentParams, Kind, listed
from gateway.api.registry import Params, method
from gateway.protocol import account_json, jsonrpc, large_results
from gateway.protocol.amounts import amount_of, price_of
from gateway.protocol.errors import ApiError, Code, invalid
from gateway.protocol.jsonrpc import Exact
from risk import views


class PositionsParams(Params, frozen=True):
    """Parameters of private/get_positions."""

    currency: str = ANY
    kind: Kind = Kind.ANY


class SummaryParams(Params, frozen=True):
    """Parameters of private/get_account_summary."""

    currency: str
    extended: bool = False


class SummariesParams(Params, frozen=True):
    """Parameters of private/get_account_summaries."""

    extended: bool = False


class MarginsParams(Params, frozen=True):
    """Parameters of private/get_margins."""

    instrument_name: str
    amount: Exact | None
    price: Exact | None


class SubaccountsParams(Params, frozen=True):
    """Parameters of private/get_subaccounts."""

    with_portfolio: bool = False


@method("private/get_position", params=InstrumentParams, scope="trade:read")
def get_position(call: Call, params: InstrumentParams) -> object:
    """Return the account's position in an instrument, which may be flat."""
    market = call.venue.market(params.instrument_name)
    view = views.position(call.venue.exchange.state, call.account, market)
    return account_json.position_json(view, market.instrument)


@method("private/get_positions", params=PositionsParams, scope="trade:read")
def get_positions(call: Call, params: PositionsParams) -> object:
    """Return the positions that are not flat, by currency and instrument."""
    state = call.venue.exchange.state
    currencies = listed(call.venue, params.currency) if params.kind.has_futures else ()
    positions = [
        (views.position(state, call.account, position.market), position.market.instrument)
        for currency in currencies
        if currency in state.accounts[call.account].wallets
        for position in state.accounts[call.account].wallets[currency].positions.values()
        if position.size
    ]
    return large_results.array(
        positions, lambda row: jsonrpc.encode(account_json.position_json(*row))
    )


@method("private/get_account_summary", params=SummaryParams, scope="account:read")
def get_account_summary(call: Call, params: SummaryParams) -> object:
    """Return the account's summary in one currency: zeros if the venue does not settle in it."""
    if params.currency == ANY:
        raise invalid("currency", "invalid currency")
    listed(call.venue, params.currency)
    summary = _summary(call, params.currency, extended=params.extended)
    return summary | profile_json(call) if params.extended else summary


@method("private/get_account_summaries", params=SummariesParams, scope="account:read")
def get_account_summaries(call: Call, params: SummariesParams) -> object:
    """Return the account's summaries in all settlement currencies."""
    state = call.venue.exchange.state
    account = state.accounts[call.account]
    shape: account_json.Json = {
        "id": account.number,
        "type": "main",
        "username": account.name,
        "summaries": [
            _summary(call, currency, extended=params.extended) for currency in state.currencies()
        ],
    }
    return shape | profile_json(call) if params.extended else shape


@method("private/get_margins", params=MarginsParams, scope="trade:read")
def get_margins(call: Call, params: MarginsParams) -> object:
    """Return the margin of an order on either side, and the bounds of limit prices."""
    state = call.venue.exchange.state
    market = state.markets.get(params.instrument_name)
    if market is None:
        raise ApiError(Code.INVALID_OR_UNSUPPORTED_INSTRUMENT)
    amount = amount_of(market.instrument.contract, params.amount, None)
    if amount is None:
        raise invalid("amount", "must not be null")
    if amount <= 0:
        raise invalid("amount", "must be above 0")
    price = price_of(params.price)
    if not market.mark:
        raise ApiError(Code.TEMPORARILY_UNAVAILABLE)
    needed = {
        side.value: jsonrpc.money(
            views.order_margin(state, call.account, market, side, amount, price)
        )
        for side in (Side.BUY, Side.SELL)
    }
    return {
        **needed,
        "min_price": jsonrpc.price(market.low),
        "max_price": jsonrpc.price(market.high),
    }


@method("private/get_subaccounts", params=SubaccountsParams, scope="account:read")
def get_subaccounts(call: Call, params: SubaccountsParams) -> object:
    """Return the account itself: the venue has no subaccounts."""
    state = call.venue.exchange.state
    account = state.accounts[call.account]
    shape: account_json.Json = {
        "id": account.number,
        "type": "main",
        "username": account.name,
        "system_name": account.name,
        "email": "",
        "is_password": False,
        "login_enabled": True,
        "receive_notifications": False,
        "security_keys_enabled": False,
        "security_keys_assignments": [],
        "margin_model": "segregated_sm",
    }
    if params.with_portfolio:
        shape["portfolio"] = {
            currency.lower(): {key: _summary(call, currency)[key] for key in _PORTFOLIO}
            for currency in state.currencies()
        }
    return [shape]


_PORTFOLIO = (
    "currency",
    "balance",
    "equity",
    "margin_balance",
    "initial_margin",
    "maintenance_margin",
    "available_funds",
    "available_withdrawal_funds",
    "additional_reserve",
    "spot_reserve",
)


def _zero_summary(currency: str) -> views.Summary:
    amounts = dict.fromkeys(views.Summary.__struct_fields__, 0)
    none = {"currency": currency, "deltas": (), "ratio": None, "ratios": ()}
    return msgspec.convert(amounts | none, views.Summary)


def _summary(call: Call, currency: str, *, extended: bool = False) -> account_json.Json:
    state = call.venue.exchange.state
    # `views.summary` would create a missing wallet, and a query must change nothing.
    has_wallet = currency in state.accounts[call.account].wallets
    summary = (
        views.summary(state, call.account, currency) if has_wallet else _zero_summary(currency)
    )
    shape = account_json.summary_json(summary)
    shape["limits"] = limits_json(call.venue)
    if extended:
        shape["fees"] = fees_json(call.venue, currency)
    return shape
