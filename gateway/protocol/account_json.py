"""Positions and account summaries in the API's JSON.

Pure functions from the clearing house's views to JSON objects. Fields that strict clients require
are always present; a field that has no meaning for an instrument is left out.
"""

from book.instrument import Instrument
from book.order import Side
from gateway.protocol import jsonrpc
from risk.views import PositionView, Summary

Json = dict[str, object]

_DIRECTIONS = {None: "zero", Side.BUY: "buy", Side.SELL: "sell"}


def position_json(position: PositionView, instrument: Instrument) -> Json:
    """Return a position's JSON; `size` is signed, and `direction` is `zero` when it is flat."""
    tick = instrument.contract.tick
    shape: Json = {
        "instrument_name": position.instrument,
        "kind": "future",
        "direction": _DIRECTIONS[_side(position.size)],
        "size": jsonrpc.amount(position.size),
        "size_currency": jsonrpc.margin(position.delta),
        "average_price": jsonrpc.average(position.average_price, tick),
        "mark_price": jsonrpc.price(position.mark),
        "index_price": jsonrpc.price(position.index),
        "settlement_price": jsonrpc.price(position.settlement_price),
        "floating_profit_loss": jsonrpc.margin(position.floating),
        "realized_profit_loss": jsonrpc.margin(position.realised),
        "total_profit_loss": jsonrpc.margin(position.total),
        "initial_margin": jsonrpc.margin(position.initial),
        "maintenance_margin": jsonrpc.margin(position.maintenance),
        "open_orders_margin": jsonrpc.margin(position.open_orders_margin),
        "delta": jsonrpc.margin(position.delta),
        "leverage": position.leverage,
        "estimated_liquidation_price": (
            None
            if position.liquidation_price is None
            else jsonrpc.average(position.liquidation_price, tick)
        ),
    }
    if instrument.perpetual:
        shape["interest_value"] = jsonrpc.rate(position.interest)
        shape["realized_funding"] = jsonrpc.money(position.funding)
    return shape


def _side(size: int) -> Side | None:
    if not size:
        return None
    return Side.BUY if size > 0 else Side.SELL


def summary_json(summary: Summary) -> Json:
    """Return an account's JSON in one currency, without the fields of the extended form.

    All contracts are futures: the options' figures are zero, and the futures' figures are those of
    the account.
    """
    return {
        "currency": summary.currency,
        "balance": jsonrpc.money(summary.balance),
        "equity": jsonrpc.money(summary.margin_balance),
        "margin_balance": jsonrpc.money(summary.margin_balance),
        "available_funds": jsonrpc.money(summary.available),
        "available_withdrawal_funds": jsonrpc.money(summary.withdrawable),
        "initial_margin": jsonrpc.money(summary.initial),
        "maintenance_margin": jsonrpc.money(summary.maintenance),
        "projected_initial_margin": jsonrpc.money(summary.projected_initial),
        "projected_maintenance_margin": jsonrpc.money(summary.projected_maintenance),
        "spot_reserve": 0.0,
        "additional_reserve": 0.0,
        "fee_balance": 0.0,
        "locked_balance": 0.0,
        "total_pl": jsonrpc.money(summary.profit),
        "session_rpl": jsonrpc.money(summary.realised),
        "session_upl": jsonrpc.money(summary.unrealised),
        "futures_pl": jsonrpc.money(summary.profit),
        "futures_session_rpl": jsonrpc.money(summary.realised),
        "futures_session_upl": jsonrpc.money(summary.unrealised),
        **_NO_OPTIONS,
        "delta_total": jsonrpc.coins(summary.delta),
        "projected_delta_total": jsonrpc.coins(summary.delta),
        "delta_total_map": {index: jsonrpc.margin(delta) for index, delta in summary.deltas},
        # Zero stands for none, because typed clients expect a number.
        "estimated_liquidation_ratio": 0.0
        if summary.ratio is None
        else jsonrpc.rate(summary.ratio),
        "estimated_liquidation_ratio_map": {
            index: jsonrpc.rate(ratio) for index, ratio in summary.ratios
        },
        "portfolio_margining_enabled": False,
        "cross_collateral_enabled": False,
        "margin_model": "segregated_sm",
    }


_NO_OPTIONS: Json = {
    "options_pl": 0.0,
    "options_session_rpl": 0.0,
    "options_session_upl": 0.0,
    "options_value": 0.0,
    "options_delta": 0.0,
    "options_gamma": 0.0,
    "options_vega": 0.0,
    "options_theta": 0.0,
    "options_gamma_map": {},
    "options_vega_map": {},
    "options_theta_map": {},
}
