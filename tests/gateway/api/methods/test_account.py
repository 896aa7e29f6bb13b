"""Positions, margins and summaries, and the identities between their numbers."""

import pytest

from tests.gateway.harness import Client, Harness, Json

BTC = "BTC-PERPETUAL"
UNIT = 1e-8

POSITION_NUMBERS = (
    "average_price",
    "mark_price",
    "index_price",
    "delta",
    "initial_margin",
    "maintenance_margin",
    "open_orders_margin",
    "total_profit_loss",
    "floating_profit_loss",
    "realized_profit_loss",
    "realized_funding",
    "settlement_price",
    "size",
    "size_currency",
)
SUMMARY_NUMBERS = (
    "balance",
    "equity",
    "margin_balance",
    "available_funds",
    "available_withdrawal_funds",
    "initial_margin",
    "maintenance_margin",
    "projected_initial_margin",
    "projected_maintenance_margin",
    "total_pl",
    "session_rpl",
    "session_upl",
    "futures_pl",
    "futures_session_rpl",
    "futures_session_upl",
    "options_pl",
    "options_session_rpl",
    "options_session_upl",
    "options_value",
    "options_delta",
    "delta_total",
    "projected_delta_total",
)


@pytest.fixture
def harness() -> Harness:
    """Alice is long and bob short 13,000 USD from 64,900; alice has sold 3,000 of them again."""
    made = Harness()
    alice, bob = made.connect("alice"), made.connect("bob")
    for buyer, seller, amount, price in ((alice, bob, 13_000, 64_900), (bob, alice, 3_000, 65_100)):
        buyer.call("private/buy", instrument_name=BTC, amount=amount, price=price)
        seller.call("private/sell", instrument_name=BTC, amount=amount, price=price)
    made.tick(btc_usd=66_000)
    return made


@pytest.fixture
def alice(harness: Harness) -> Client:
    return harness.connect("alice")


def test_a_position_has_all_its_numbers(harness: Harness, alice: Client) -> None:
    """The size is signed, both sides mirror each other, and required numbers are never null."""
    mine = alice.call("private/get_position", instrument_name=BTC)
    theirs = harness.connect("bob").call("private/get_position", instrument_name=BTC)
    assert (BTC, "future", "buy", 10_000.0) == tuple(
        mine[name] for name in ("instrument_name", "kind", "direction", "size")
    )
    assert ("sell", -10_000.0) == (theirs["direction"], theirs["size"])
    assert {float} == {type(mine[name]) for name in POSITION_NUMBERS}
    assert type(mine["leverage"]) is int


def test_the_numbers_of_a_position_are_consistent(alice: Client) -> None:
    """Golden formulas of an inverse contract: size x (1/average - 1/mark), delta, margins."""
    shown = alice.call("private/get_position", instrument_name=BTC)
    mark, size = shown["mark_price"], 10_000
    coins = size / mark
    assert pytest.approx(64_900, abs=UNIT) == shown["average_price"]
    assert pytest.approx(coins, abs=UNIT) == shown["delta"] == shown["size_currency"]
    profit = size * (1 / 64_900 - 1 / mark)
    assert pytest.approx(profit, abs=UNIT) == shown["total_profit_loss"]
    assert pytest.approx(profit, abs=UNIT) == shown["floating_profit_loss"]
    realised = 3_000 * (1 / 64_900 - 1 / 65_100)
    assert pytest.approx(realised, abs=UNIT) == shown["realized_profit_loss"]
    assert pytest.approx((0.02 + 0.00005 * coins) * coins, abs=UNIT) == shown["initial_margin"]
    assert pytest.approx((0.01 + 0.00005 * coins) * coins, abs=UNIT) == shown["maintenance_margin"]


def test_a_flat_position_is_zero_and_not_listed(alice: Client) -> None:
    """get_position returns direction zero, get_positions omits the position."""
    flat = alice.call("private/get_position", instrument_name="ETH-PERPETUAL")
    assert ("zero", 0.0, None) == tuple(
        flat[name] for name in ("direction", "size", "estimated_liquidation_price")
    )
    for params, names in (
        ({}, [BTC]),
        ({"currency": "any"}, [BTC]),
        ({"currency": "BTC", "kind": "future"}, [BTC]),
        ({"currency": "BTC", "kind": "option"}, []),
        ({"currency": "ETH"}, []),
        ({"currency": "SOL"}, []),
    ):
        listed = alice.call("private/get_positions", **params)
        assert names == [position["instrument_name"] for position in listed]


@pytest.mark.parametrize("currency", ["BTC", "ETH", "USDC"])
def test_the_numbers_of_a_summary_add_up(alice: Client, currency: str) -> None:
    """The identities of the API, each within the rounding of its terms."""
    alice.call("private/buy", instrument_name=BTC, amount=5_000, price=65_500)
    shown = alice.call("private/get_account_summary", currency=currency)
    number = {name: shown[name] for name in SUMMARY_NUMBERS}
    assert {float} == {type(each) for each in number.values()}
    for total, terms in (
        ("margin_balance", ("balance", "futures_session_rpl", "futures_session_upl")),
        ("equity", ("margin_balance", "options_value")),
        ("session_rpl", ("futures_session_rpl", "options_session_rpl")),
        ("session_upl", ("futures_session_upl", "options_session_upl")),
        ("total_pl", ("futures_pl", "options_pl")),
        ("margin_balance", ("available_funds", "initial_margin")),
    ):
        assert pytest.approx(sum(number[term] for term in terms), abs=2 * UNIT) == number[total]
    least = min(number["balance"], number["margin_balance"]) - number["initial_margin"]
    assert pytest.approx(max(0, least), abs=2 * UNIT) == number["available_withdrawal_funds"]
    deltas = sum(shown["delta_total_map"].values())
    assert pytest.approx(number["delta_total"], abs=5.1e-7) == deltas


def test_a_summary_agrees_with_its_positions(alice: Client) -> None:
    """With one position and no order, margins and profits are those of the position."""
    summary = alice.call("private/get_account_summary", currency="BTC")
    position = alice.call("private/get_position", instrument_name=BTC)
    for of_account, of_position in (
        ("initial_margin", "initial_margin"),
        ("maintenance_margin", "maintenance_margin"),
        ("session_upl", "floating_profit_loss"),
        ("session_rpl", "realized_profit_loss"),
        ("total_pl", "total_profit_loss"),
    ):
        assert pytest.approx(position[of_position], abs=5.1e-9) == summary[of_account], of_account
    assert pytest.approx(position["delta"], abs=5.1e-7) == summary["delta_total"]
    assert {"btc_usd": position["delta"]} == summary["delta_total_map"]


def test_summaries_hold_every_currency(alice: Client) -> None:
    """ccxt reads balances from this method."""
    shown = alice.call("private/get_account_summaries")
    assert ("alice", ["BTC", "ETH", "USDC"]) == (
        shown["username"],
        [each["currency"] for each in shown["summaries"]],
    )
    assert alice.call("private/get_account_summary", currency="BTC") == shown["summaries"][0]


def test_a_summary_in_an_unlisted_currency_is_zero_and_creates_no_wallet(
    harness: Harness, alice: Client
) -> None:
    """A query for an unlisted currency must not change the state."""
    digest = harness.exchange.digest()
    shown = alice.call("private/get_account_summary", currency="EURR")
    assert ("EURR", 0.0, 0.0) == (shown["currency"], shown["equity"], shown["available_funds"])
    for wrong in ("SHELLS", "any"):
        error = alice.error("private/get_account_summary", currency=wrong)
        assert {"reason": "invalid currency", "param": "currency"} == error["data"]
    alice.call("private/get_account_summaries", extended=True)
    alice.call("private/get_positions")
    alice.call("private/get_subaccounts", with_portfolio=True)
    assert digest == harness.exchange.digest()


def test_the_extended_summary_has_the_profile(alice: Client) -> None:
    """Name, settings, limits and fees; fee_group is a string."""
    shown = alice.call("private/get_account_summary", currency="BTC", extended=True)
    expected = (101, "main", "alice", "reject_taker")
    names = ("id", "type", "username", "self_trading_reject_mode")
    assert expected == tuple(shown[name] for name in names)
    assert isinstance(shown["fee_group"], str)
    assert {"rate": 20, "burst": 100} == shown["limits"]["non_matching_engine"]
    rates = {each["index_name"]: each["value"]["default"]["taker"] for each in shown["fees"]}
    assert {"btc_usd": 0.0005} == rates


@pytest.mark.parametrize(
    ("instrument", "amount", "price", "needed"),
    [
        ("ETH-PERPETUAL", 3_500, 3_500, (0.02 + 0.000004) + 0.0005),
        ("SOL_USDC-PERPETUAL", 10, 150, (0.04 + 0.000005 * 10) * 1_500 + 0.75),
    ],
)
def test_get_margins_returns_the_margin_of_either_side(
    alice: Client, instrument: str, amount: float, price: float, needed: float
) -> None:
    """Initial margin and fee in the settlement currency for either side, and the price band."""
    shown = alice.call(
        "private/get_margins", instrument_name=instrument, amount=amount, price=price
    )
    assert pytest.approx(needed, abs=1e-6) == shown["buy"]
    assert pytest.approx(needed, abs=1e-6) == shown["sell"]
    assert shown["min_price"] < price < shown["max_price"]


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"instrument_name": "X", "amount": 10, "price": 65_000}, 10020),
        ({"instrument_name": BTC, "amount": 10, "price": 0}, 10023),
        ({"instrument_name": BTC, "amount": 0, "price": 65_000}, -32602),
        ({"instrument_name": BTC, "amount": 10}, -32602),
    ],
)
def test_get_margins_needs_an_instrument_an_amount_and_a_price(
    alice: Client, params: Json, code: int
) -> None:
    """Each of the three must be valid."""
    assert code == alice.error("private/get_margins", **params)["code"]


def test_an_account_is_listed_as_its_only_subaccount(alice: Client) -> None:
    """The portfolio is included on request."""
    (plain,) = alice.call("private/get_subaccounts")
    assert (101, "main", "alice") == (plain["id"], plain["type"], plain["username"])
    assert "portfolio" not in plain
    (full,) = alice.call("private/get_subaccounts", with_portfolio=True)
    assert {"btc", "eth", "usdc"} == full["portfolio"].keys()
    assert full["portfolio"]["btc"]["equity"] > 99
