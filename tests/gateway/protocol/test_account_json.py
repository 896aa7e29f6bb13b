"""What strict clients insist on in orders, positions and summaries."""

from __future__ import annotations

import msgspec
import pytest

from book.instrument import Instrument
from book.order import CancelReason, OrderRecord, OrderState, OrderType, Side, TimeInForce
from book.units import MONEY, SCALE
from gateway.protocol import account_json, order_json
from risk.views import PositionView, Summary
from tests.gateway.feed_fixture import ALICE, BTC, SOL, START, Desk

ORDER = OrderRecord(
    order_id=17,
    account=ALICE,
    instrument=BTC,
    side=Side.BUY,
    type=OrderType.LIMIT,
    original_type=None,
    time_in_force=TimeInForce.GOOD_TIL_CANCELLED,
    price=50_000 * SCALE,
    amount=20 * SCALE,
    filled=0,
    average_price=0,
    label="",
    post_only=True,
    reject_post_only=False,
    reduce_only=False,
    risk_reducing=False,
    replaced=False,
    liquidation=False,
    state=OrderState.OPEN,
    cancel_reason=None,
    created=START,
    updated=START,
    session=0,
)
POSITION = PositionView(
    instrument=BTC,
    size=-20 * SCALE,
    delta=-MONEY // 2_500,
    average_price=50_000 * SCALE,
    mark=50_000 * SCALE,
    index=50_001 * SCALE,
    settlement_price=0,
    floating=0,
    realised=0,
    funding=0,
    interest=0,
    total=0,
    initial=8_000_000,
    maintenance=4_000_000,
    open_orders_margin=0,
    leverage=50,
    liquidation_price=None,
)


def order(record: OrderRecord, instrument: Instrument) -> account_json.Json:
    """An order as a client reads it."""
    result: account_json.Json = msgspec.json.decode(order_json.order_text(record, instrument))
    return result


def test_an_open_order_has_every_field() -> None:
    """The label is there when empty, prices and amounts are numbers, the api flag is set."""
    instrument = Desk().market().instrument
    assert {
        "order_id": "17",
        "order_state": "open",
        "order_type": "limit",
        "time_in_force": "good_til_cancelled",
        "instrument_name": BTC,
        "direction": "buy",
        "label": "",
        "price": 50_000.0,
        "amount": 20.0,
        "contracts": 2.0,
        "filled_amount": 0.0,
        "average_price": 0.0,
        "max_show": 20.0,
        "creation_timestamp": START,
        "last_update_timestamp": START,
        "post_only": True,
        "reject_post_only": False,
        "reduce_only": False,
        "risk_reducing": False,
        "replaced": False,
        "is_liquidation": False,
        "mmp": False,
        "api": True,
        "web": False,
        "user_id": ALICE,
    } == order(ORDER, instrument)


def test_original_type_and_cancel_reason_are_present_only_with_a_value() -> None:
    """Optional fields are there when they say something."""
    ended = msgspec.structs.replace(
        ORDER,
        original_type=OrderType.MARKET_LIMIT,
        state=OrderState.CANCELLED,
        cancel_reason=CancelReason.CANCEL_ON_DISCONNECT,
    )
    result = order(ended, Desk().market().instrument)
    assert ("market_limit", "cancelled", "cancel_on_disconnect") == (
        result["original_order_type"],
        result["order_state"],
        result["cancel_reason"],
    )


def test_the_price_of_a_market_order_is_a_number() -> None:
    """The average price, or 0.0 if nothing was filled."""
    instrument = Desk().market().instrument
    market = msgspec.structs.replace(ORDER, type=OrderType.MARKET, price=0)
    assert 0.0 == order(market, instrument)["price"]
    filled = msgspec.structs.replace(market, average_price=49_999 * SCALE)
    assert 49_999.0 == order(filled, instrument)["price"]


@pytest.mark.parametrize(
    ("size", "direction"), [(20 * SCALE, "buy"), (-20 * SCALE, "sell"), (0, "zero")]
)
def test_the_direction_of_a_position_follows_its_size(size: int, direction: str) -> None:
    """The size is signed, and a flat position is `zero`."""
    view = msgspec.structs.replace(POSITION, size=size)
    result = account_json.position_json(view, Desk().market().instrument)
    assert (direction, size / SCALE) == (result["direction"], result["size"])


def test_a_position_has_every_field() -> None:
    """Only perpetuals have funding; the liquidation price may be null."""
    desk = Desk()
    result = account_json.position_json(POSITION, desk.market().instrument)
    assert {
        "instrument_name": BTC,
        "kind": "future",
        "direction": "sell",
        "size": -20.0,
        "size_currency": -0.0004,
        "average_price": 50_000.0,
        "mark_price": 50_000.0,
        "index_price": 50_001.0,
        "settlement_price": 0.0,
        "floating_profit_loss": 0.0,
        "realized_profit_loss": 0.0,
        "total_profit_loss": 0.0,
        "initial_margin": 0.000008,
        "maintenance_margin": 0.000004,
        "open_orders_margin": 0.0,
        "delta": -0.0004,
        "leverage": 50,
        "estimated_liquidation_price": None,
        "realized_funding": 0.0,
        "interest_value": 0.0,
    } == result
    dated = next(m for m in desk.exchange.state.markets.values() if m.instrument.expiry)
    shown = account_json.position_json(POSITION, dated.instrument)
    assert result.keys() - shown.keys() == {"realized_funding", "interest_value"}


def test_a_summary_has_every_field_of_the_portfolio_channel() -> None:
    """Options are there with zeros, because clients read them."""
    summary = Summary(
        currency="BTC",
        balance=3 * MONEY,
        realised=MONEY,
        unrealised=-MONEY,
        margin_balance=3 * MONEY,
        available=2 * MONEY,
        withdrawable=2 * MONEY,
        initial=MONEY,
        maintenance=MONEY // 2,
        projected_initial=MONEY,
        projected_maintenance=MONEY // 2,
        profit=MONEY // 4,
        fees=0,
        delta=5 * MONEY,
        deltas=(("btc_usd", 5 * MONEY),),
    )
    result = account_json.summary_json(summary)
    kinds = ("pl", "session_rpl", "session_upl")
    greeks = ("delta", "gamma", "theta", "vega", "value")
    required = {
        *("currency", "equity", "balance", "margin_balance", "available_funds", "total_pl"),
        *("available_withdrawal_funds", "initial_margin", "maintenance_margin", "margin_model"),
        *("session_upl", "session_rpl", "projected_delta_total", "projected_maintenance_margin"),
        *("portfolio_margining_enabled", "cross_collateral_enabled", "delta_total_map"),
        *(f"options_{name}" for name in (*kinds, *greeks)),
        *(f"futures_{name}" for name in kinds),
        *(f"options_{name}_map" for name in ("gamma", "theta", "vega")),
    }
    assert set() == required - set(result)
    assert (3.0, 2.0, 1.0, 0.5, 0.25, {"btc_usd": 5.0}) == (
        result["equity"],
        result["available_funds"],
        result["initial_margin"],
        result["maintenance_margin"],
        result["total_pl"],
        result["delta_total_map"],
    )


def test_ids_have_a_family_prefix_except_for_bitcoin() -> None:
    """As the API writes them, so that clients that sort by prefix find theirs."""
    desk = Desk()
    linear = msgspec.structs.replace(ORDER, instrument=SOL)
    result = order(linear, desk.market(SOL).instrument)
    assert ("SOL_USDC-17", 200.0) == (result["order_id"], result["contracts"])
