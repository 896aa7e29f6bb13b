"""What every method has in common: who may call it, and what it says to those who may not."""

from __future__ import annotations

import pytest

from tests.system.process import Addresses
from tests.system.strict import BTC, Json, Socket, Web, limit, socket

READ = """
    get_account_summaries get_account_summary get_margins get_open_orders
    get_open_orders_by_currency get_open_orders_by_instrument get_open_orders_by_label
    get_order_history_by_currency get_order_history_by_instrument get_order_margin_by_ids
    get_order_state get_order_state_by_label get_position get_positions get_subaccounts
    get_user_trades_by_currency get_user_trades_by_currency_and_time
    get_user_trades_by_instrument get_user_trades_by_instrument_and_time
    get_user_trades_by_order get_cancel_on_disconnect
"""
WRITE = """
    buy sell edit edit_by_label cancel cancel_all cancel_all_by_currency
    cancel_all_by_instrument cancel_all_by_kind_or_type cancel_by_label close_position
    set_self_trading_config enable_cancel_on_disconnect disable_cancel_on_disconnect
"""
SOCKET = "subscribe unsubscribe unsubscribe_all logout"
PUBLIC = """
    auth test get_time status get_instruments get_instrument get_currencies get_contract_size
    get_index_price get_index_price_names ticker get_order_book get_last_trades_by_instrument
    get_last_trades_by_instrument_and_time get_last_trades_by_currency
    get_last_trades_by_currency_and_time get_book_summary_by_currency
    get_book_summary_by_instrument
"""
LATER = """
    public/get_funding_rate_value public/get_tradingview_chart_data public/get_volatility_index_data
    public/get_last_settlements_by_instrument public/exchange_token public/fork_token
    private/mass_quote private/get_transaction_log private/get_deposits private/withdraw
    private/get_settlement_history_by_instrument private/create_api_key private/set_mmp_config
    private/submit_transfer_to_user private/execute_block_trade private/pme/simulate
"""
NEVER = "public/nothing private/nothing public/get_positions private/ticker nothing public public/"


def names(words: str, side: str = "private") -> list[str]:
    """Full names of methods."""
    return [f"{side}/{word}" for word in words.split()]


def test_private_methods_ask_who_it_is_over_http(http: Web) -> None:
    """10000 and 401, before anything is said about parameters."""
    for method in names(READ + WRITE):
        assert (http.get(method)["error"]["code"], method) == (10000, method)
        assert http.status == 401
        reply = http.post(f"/api/v2/{method}", {"id": 1, "params": {"order_id": []}})
        assert reply["error"] == {"code": 10000, "message": "authorization_required"}
        assert reply["id"] == 1


async def test_private_methods_ask_who_it_is_over_websocket(addresses: Addresses) -> None:
    """10000 as well."""
    async with socket(addresses.websocket) as client:
        for method in names(READ + WRITE + SOCKET):
            assert (await client.code(method), method) == (10000, method)


async def test_public_methods_ask_nobody(addresses: Addresses, http: Web) -> None:
    """They answer, or name the parameter that they miss; nothing else."""
    async with socket(addresses.websocket) as client:
        for method in names(PUBLIC, "public"):
            for reply in (http.get(method), await client.ask(method)):
                if "error" in reply:
                    assert (reply["error"]["code"], method) == (-32602, method)
                    assert reply["error"]["data"]["param"]


async def test_scopes_are_required(addresses: Addresses) -> None:
    """Who may only read changes nothing: 13021. Who may nothing reads nothing either."""
    async with socket(addresses.websocket) as client:
        granted = await client.log_in("alice", scope="trade:read account:read")
        assert "trade:read" in granted["scope"].split()
        assert "trade:read_write" not in granted["scope"].split()
        for method in names(WRITE):
            assert (await client.code(method), method) == (13021, method)
        for method in names(READ):
            reply = await client.ask(method)
            assert reply.get("error", {"code": 0})["code"] in (0, -32602), method
        await client.log_in("alice", scope="trade:none account:none wallet:read")
        for method in names(READ + WRITE):
            assert (await client.code(method), method) == (13021, method)


async def test_methods_that_are_not_there_say_so(alice: Socket, http: Web) -> None:
    """10033 for what the API has and we do not yet; -32601 for what nobody has."""
    for words, code in ((LATER, 10033), (NEVER, -32601)):
        for method in words.split():
            assert (await alice.code(method), method) == (code, method)
            assert (http.get(method)["error"]["code"], method) == (code, method)
            assert http.status == 400


ODD: list[object] = [
    [],
    {},
    "\u0000é",
    -1,
    1e300,
    True,
    "1e999999",
    "NaN",
    "x" * 5_000,
    2**70,
    None,
]
PARAMETERS: dict[str, Json] = {
    "private/buy": limit(),
    "private/sell": limit(price=65_500),
    "private/edit": {"order_id": "1", "amount": 10, "price": 64_000, "valid_until": 2**50},
    "private/edit_by_label": {"label": "x", "instrument_name": BTC, "amount": 10},
    "private/close_position": {"instrument_name": BTC, "type": "limit", "price": 65_000},
    "private/cancel_all": {"detailed": True},
    "private/cancel_all_by_kind_or_type": {"currency": "BTC", "kind": "any", "type": "all"},
    "private/get_margins": limit(),
    "private/get_order_margin_by_ids": {"ids": ["1"]},
    "private/get_order_history_by_currency": {"currency": "BTC", "count": 1, "offset": 0},
    "private/get_user_trades_by_currency": {"currency": "BTC", "start_id": "1", "end_id": "9"},
    "private/get_user_trades_by_instrument": {"instrument_name": BTC, "start_seq": 1, "end_seq": 2},
    "private/get_positions": {"currency": "BTC", "kind": "any"},
    "public/get_instruments": {"currency": "BTC", "kind": "any", "expired": False},
    "public/get_order_book": {"instrument_name": BTC, "depth": 5},
    "public/get_index_price": {"index_name": "btc_usd"},
    "public/set_heartbeat": {"interval": 60},
    "public/auth": {"grant_type": "refresh_token", "refresh_token": "x", "scope": "expires:5"},
    "public/subscribe": {"channels": ["quote.BTC-PERPETUAL"]},
}


@pytest.mark.parametrize("method", PARAMETERS)
async def test_odd_values_are_answered_whatever_they_are(alice: Socket, method: str) -> None:
    """In place of any parameter; a bug would end the venue, which runs in strict mode."""
    for name in PARAMETERS[method]:
        for value in ODD:
            reply = await alice.ask(method, **PARAMETERS[method] | {name: value})
            error = reply.get("error", {"code": 1, "message": "-"})
            assert error["message"], (method, name, value)
            if error["code"] == -32602:
                assert error["data"]["reason"], (method, name, value)
