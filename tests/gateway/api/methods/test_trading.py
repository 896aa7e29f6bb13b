"""Placing orders: accepted parameters, results, and every rejection with its message."""

import pytest

from tests.gateway.harness import PRICES, Client, Harness, Json

PERPETUAL = "BTC-PERPETUAL"

# Own type for each field that strict parsers insist on.
ORDER_FIELDS = {
    "order_id": str,
    "order_state": str,
    "order_type": str,
    "time_in_force": str,
    "instrument_name": str,
    "creation_timestamp": int,
    "last_update_timestamp": int,
    "direction": str,
    "price": float,
    "label": str,
    "post_only": bool,
    "reject_post_only": bool,
    "api": bool,
    "amount": float,
    "filled_amount": float,
    "average_price": float,
    "reduce_only": bool,
    "contracts": float,
    "replaced": bool,
    "is_liquidation": bool,
    "web": bool,
}
TRADE_FIELDS = {
    "trade_id": str,
    "trade_seq": int,
    "instrument_name": str,
    "timestamp": int,
    "order_id": str,
    "matching_id": type(None),
    "direction": str,
    "tick_direction": int,
    "index_price": float,
    "mark_price": float,
    "price": float,
    "amount": float,
    "fee": float,
    "fee_currency": str,
    "state": str,
    "order_type": str,
    "liquidity": str,
}


@pytest.fixture
def harness() -> Harness:
    return Harness()


@pytest.fixture
def alice(harness: Harness) -> Client:
    return harness.connect("alice")


@pytest.fixture
def bob(harness: Harness) -> Client:
    return harness.connect("bob")


def buy(client: Client, **params: object) -> Json:
    """Place a buy order, by default at 64,500, and return it."""
    asked = {"instrument_name": PERPETUAL, "amount": 100, "price": 64_500} | params
    order: Json = client.call("private/buy", **asked)["order"]
    return order


def refusal(client: Client, **params: object) -> tuple[int, str]:
    """Return code and message of a rejected buy order."""
    asked = {"instrument_name": PERPETUAL, "amount": 100, "price": 64_500} | params
    error = client.error("private/buy", **asked)
    return error["code"], error["message"]


def complaint(client: Client, **params: object) -> tuple[object, object]:
    """Return parameter and reason of a buy order rejected with -32602."""
    asked = {"instrument_name": PERPETUAL, "amount": 100, "price": 64_500} | params
    error = client.error(
        "private/buy", **{key: value for key, value in asked.items() if value is not None}
    )
    assert -32602 == error["code"]
    return error["data"]["param"], error["data"]["reason"]


def types(shape: Json, fields: dict[str, type]) -> dict[str, type]:
    return {name: type(shape[name]) for name in fields}


def test_an_order_has_every_field_that_strict_clients_require(alice: Client) -> None:
    """All fields are present and of the right type from the first reply on."""
    order = buy(alice, label="x1")
    assert ORDER_FIELDS == types(order, ORDER_FIELDS)
    shown = ("1", "open", "limit", "buy", "x1", 64_500.0, 100.0, 10.0, 0.0)
    names = ("order_id", "order_state", "order_type", "direction", "label", "price", "amount")
    assert shown == tuple(order[name] for name in (*names, "contracts", "average_price"))


def test_each_party_gets_its_own_side_of_a_trade(alice: Client, bob: Client) -> None:
    """With the party's direction and fee; M for the maker, T for the taker."""
    buy(alice)
    sold = bob.call("private/sell", instrument_name=PERPETUAL, amount=40, type="market")
    (taken,) = sold["trades"]
    assert TRADE_FIELDS == types(taken, TRADE_FIELDS)
    result = ("sell", "T", 64_500.0, 40.0, "BTC", "filled")
    names = ("direction", "liquidity", "price", "amount", "fee_currency", "state")
    assert result == tuple(taken[name] for name in names)
    assert pytest.approx(40 / 64_500 * 0.0005, abs=1e-8) == taken["fee"]
    assert "filled" == sold["order"]["order_state"]
    mine = alice.call("private/get_order_state", order_id="1")
    assert ("open", 40.0, 64_500.0) == (
        mine["order_state"],
        mine["filled_amount"],
        mine["average_price"],
    )


def test_ids_have_the_family_prefix_and_are_accepted_back(alice: Client) -> None:
    """ETH-2 is found as ETH-2, not as 2 and not under another family."""
    buy(alice)
    ether = buy(alice, instrument_name="ETH-PERPETUAL", price=3_480)["order_id"]
    sol = buy(alice, instrument_name="SOL_USDC-PERPETUAL", price=149, amount=1)["order_id"]
    assert ["ETH-2", "SOL_USDC-3"] == [ether, sol]
    for wrong in ("2", "BTC-2", "SOL_USDC-2", "ETH-99", "ETH-SLTS-2"):
        assert 10004 == alice.error("private/cancel", order_id=wrong)["code"]
    for broken in ("", "ETH-", "two", "-2", "2 ", "1" * 40):
        assert 10025 == alice.error("private/cancel", order_id=broken)["code"]
    assert "cancelled" == alice.call("private/cancel", order_id=ether)["order_state"]


@pytest.mark.parametrize(
    ("params", "amount"),
    [
        ({"amount": 100}, 100.0),
        ({"amount": None, "contracts": 10}, 100.0),
        ({"amount": 100, "contracts": 10}, 100.0),
        ({"amount": "100.0"}, 100.0),
        ({"instrument_name": "SOL_USDC-PERPETUAL", "price": 149, "amount": 0.3}, 0.3),
        (
            {"instrument_name": "ETH_USDC-PERPETUAL", "price": 3_480, "amount": None}
            | {"contracts": 3},
            0.003,
        ),
    ],
)
def test_an_amount_is_given_in_units_or_in_contracts(
    alice: Client, params: Json, amount: float
) -> None:
    """Both may be sent if they agree."""
    assert amount == buy(alice, **params)["amount"]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"amount": None}, ("amount", "must not be null")),
        ({"contracts": 9}, ("contracts", "does not agree with amount")),
        ({"price": None}, ("price", "must not be null")),
        ({"type": "sometimes"}, ("type", "value not in list")),
        ({"time_in_force": "good_til_tomorrow"}, ("time_in_force", "value not in list")),
        ({"label": "x" * 65}, ("label", "length must be <= 64")),
        ({"valid_until": -1}, ("valid_until", "must be >= 0")),
        ({"amount": "much"}, ("amount", "wrong format")),
        ({"amount": 1e300}, ("amount", "must be below 10000000000")),
        ({"amount": 10**10}, ("amount", "must be below 10000000000")),
        ({"price": -(10**10)}, ("price", "must be above -10000000000")),
        ({"contracts": 10**10}, ("contracts", "must be below 10000000000")),
        ({"type": "market", "price": "65_000"}, ("price", "wrong format")),
        ({"max_show": "ten"}, ("max_show", "wrong format")),
        ({"instrument_name": None}, ("instrument_name", "must not be null")),
        ({"instrument_name": 5}, ("instrument_name", "wrong format")),
    ],
)
def test_an_invalid_parameter_is_named(
    alice: Client, params: Json, expected: tuple[str, str]
) -> None:
    """-32602 with the parameter and the reason."""
    assert expected == complaint(alice, **params)


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        ({"instrument_name": "BTC-PERP"}, 10020, "invalid_or_unsupported_instrument"),
        ({"amount": 5}, 10002, "qty_too_low"),
        ({"amount": -10}, 10002, "qty_too_low"),
        ({"amount": 0}, 10002, "qty_too_low"),
        ({"amount": 105}, 10021, "invalid_amount"),
        ({"amount": 10.123456789}, 10021, "invalid_amount"),
        ({"contracts": 1.5, "amount": None}, 10027, "non_integer_contract_amount"),
        ({"price": 64_500.25}, 10043, "price_wrong_tick"),
        ({"price": 64_500.000000001}, 10026, "price_precision_exceeded"),
        ({"price": 0}, 10023, "invalid_price"),
        ({"price": -1}, 10023, "invalid_price"),
        ({"price": 66_000}, 10007, "price_too_high 65975"),
        ({"post_only": True, "time_in_force": "fill_or_kill"}, 11055, "post_only_not_allowed"),
        ({"amount": 1_000_000_000}, 10018, "non_pme_max_future_position_size 50000000"),
        (
            {"instrument_name": "SOL_USDC-PERPETUAL", "amount": 100_000, "price": 149},
            10009,
            "not_enough_funds",
        ),
        ({"reduce_only": True}, 11030, "other_reject nothing_to_reduce"),
        ({"type": "market"}, 11030, "other_reject no_liquidity"),
        ({"valid_until": 1_760_000_000_000}, 13888, "timed_out"),
        ({"type": "stop_limit", "trigger_price": 1, "trigger": "last_price"}, 10033, None),
        ({"type": "trailing_stop", "trigger_offset": 1}, 10033, None),
        ({"linked_order_type": "one_cancels_other"}, 10033, None),
        ({"display_amount": 50}, 10033, None),
        ({"max_show": 0}, 10033, None),
        ({"advanced": "usd"}, 11038, "no_adv_for_futures"),
        ({"mmp": True}, 13040, "mmp_required"),
    ],
)
def test_every_rejection_has_its_code_and_message(
    alice: Client, params: Json, code: int, message: str | None
) -> None:
    """Unsupported parameters are rejected by name."""
    asked = {"instrument_name": PERPETUAL, "amount": 100, "price": 64_500} | params
    error = alice.error(
        "private/buy", **{key: value for key, value in asked.items() if value is not None}
    )
    assert (code, message or "not_implemented") == (error["code"], error["message"])
    assert [] == alice.call("private/get_open_orders")


def test_a_sell_below_the_price_band_names_the_lowest_price(alice: Client) -> None:
    """The message ends in the number, which some clients read."""
    error = alice.error("private/sell", instrument_name=PERPETUAL, amount=10, price=60_000)
    assert (10005, "price_too_low 64025") == (error["code"], error["message"])


@pytest.mark.parametrize(
    "params",
    [
        {"mmp": False, "advanced": "", "display_amount": 100, "max_show": 100},
        {"direction": "buy", "code": "x", "linked_order_type": ""},
        {"time_in_force": "good_til_day"},
        {"reject_post_only": True},
        {"valid_until": 1_760_000_001_000},
        {"label": "ü" * 64},
    ],
)
def test_parameters_without_effect_are_accepted(alice: Client, params: Json) -> None:
    """Clients send defaults, unknown keys, and a display amount of the whole order."""
    assert "open" == buy(alice, **params)["order_state"]


@pytest.mark.parametrize("time_in_force", ["good_til_cancelled", "fill_or_kill"])
def test_a_market_order_may_have_a_time_in_force(
    alice: Client, bob: Client, time_in_force: str
) -> None:
    """Market orders fill what is available with any time in force."""
    buy(alice)
    sold = bob.call(
        "private/sell",
        instrument_name=PERPETUAL,
        amount=100,
        type="market",
        time_in_force=time_in_force,
    )
    assert ("filled", "market") == (sold["order"]["order_state"], sold["order"]["order_type"])


def test_a_market_limit_order_rests_at_its_trade_price(alice: Client, bob: Client) -> None:
    """The remainder is a limit order with its original type."""
    buy(alice, amount=50)
    order = bob.call("private/sell", instrument_name=PERPETUAL, amount=80, type="market_limit")[
        "order"
    ]
    shown = ("open", "limit", "market_limit", 64_500.0, 50.0)
    names = ("order_state", "order_type", "original_order_type", "price", "filled_amount")
    assert shown == tuple(order[name] for name in names)


@pytest.mark.parametrize("time_in_force", ["fill_or_kill", "immediate_or_cancel"])
def test_an_order_without_a_counterparty_is_cancelled_without_an_error(
    alice: Client, time_in_force: str
) -> None:
    """The call succeeds; the order is over, and nothing traded."""
    result = alice.call(
        "private/buy",
        instrument_name=PERPETUAL,
        amount=100,
        price=64_500,
        time_in_force=time_in_force,
    )
    assert ("cancelled", []) == (result["order"]["order_state"], result["trades"])


def test_post_only_slides_and_reject_post_only_is_rejected(alice: Client, bob: Client) -> None:
    """A tick from the other side, or 11054 with this message and no data."""
    bob.call("private/sell", instrument_name=PERPETUAL, amount=10, price=65_000)
    assert 64_999.5 == buy(alice, price=65_100, post_only=True)["price"]
    error = alice.error(
        "private/buy",
        instrument_name=PERPETUAL,
        amount=10,
        price=65_000,
        post_only=True,
        reject_post_only=True,
    )
    assert {"code": 11054, "message": "post_only_reject"} == error


def test_an_order_that_would_match_the_accounts_own_is_an_overlap(alice: Client) -> None:
    """10003, until the account wants its resting orders cancelled instead."""
    buy(alice)
    sale = {"instrument_name": PERPETUAL, "amount": 10, "price": 64_500}
    assert 10003 == alice.error("private/sell", **sale)["code"]
    mode = {"mode": "cancel_maker", "extended_to_subaccounts": False}
    assert "ok" == alice.call("private/set_self_trading_config", **mode)
    assert "open" == alice.call("private/sell", **sale)["order"]["order_state"]
    assert "cancelled" == alice.call("private/get_order_state", order_id="1")["order_state"]
    summary = alice.call("private/get_account_summary", currency="BTC", extended=True)
    assert "cancel_maker" == summary["self_trading_reject_mode"]
    mode["extended_to_subaccounts"] = True
    assert 10033 == alice.error("private/set_self_trading_config", **mode)["code"]


def test_orders_are_rejected_before_the_first_index_price(harness: Harness) -> None:
    """Without a mark there is no margin: 13028, which clients try again."""
    harness.clock.time += 10_000
    client = harness.connect("alice")
    assert (13028, "temporarily_unavailable") == refusal(client)
    harness.tick()
    assert "open" == buy(client)["order_state"]


def test_every_listed_perpetual_can_be_traded(harness: Harness, alice: Client) -> None:
    """With an empty book the mark is the index, so that a limit near it is in the band."""
    markets = harness.exchange.state.markets
    assert markets
    for name, market in markets.items():
        price = PRICES[market.index.name]
        contracts = 10
        order = alice.call("private/buy", instrument_name=name, contracts=contracts, price=price)[
            "order"
        ]
        assert (name, "open", 10.0) == (
            order["instrument_name"],
            order["order_state"],
            order["contracts"],
        )
    harness.exchange.check()


CAROL = """
[[account]]
name = "carol"
client_id = "carol-key"
client_secret = "carol-secret"
deposits = { BTC = 1, USDC = 1000 }
"""


def test_an_account_in_liquidation_is_locked_in_that_currency() -> None:
    """11098 for every command about it; reads, and its other currencies, stay open."""
    harness = Harness(CAROL)
    carol, bob = harness.connect("carol"), harness.connect("bob")
    bob.call("private/sell", instrument_name=PERPETUAL, amount=1_300_000, price=65_000)
    buy(carol, amount=1_300_000, price=65_000)
    resting = buy(carol, amount=10, price=64_500)["order_id"]
    harness.tick(btc_usd=62_000)
    asked = [
        ("private/buy", {"instrument_name": PERPETUAL, "amount": 10, "price": 62_000}),
        ("private/sell", {"instrument_name": PERPETUAL, "amount": 10, "price": 62_000}),
        ("private/edit", {"order_id": resting, "amount": 20}),
        ("private/cancel", {"order_id": resting}),
        ("private/cancel_all_by_currency", {"currency": "BTC"}),
        ("private/close_position", {"instrument_name": PERPETUAL, "type": "market"}),
    ]
    errors = [carol.error(method, **params) for method, params in asked]
    assert [{"code": 11098, "message": "account_locked"}] * len(asked) == errors
    summary = carol.call("private/get_account_summary", currency="BTC")
    assert summary["margin_balance"] < summary["maintenance_margin"]
    assert (
        "open"
        == buy(carol, instrument_name="SOL_USDC-PERPETUAL", amount=1, price=149)["order_state"]
    )
