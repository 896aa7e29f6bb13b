"""Orders over real sockets: what clients send, what they must get back, and the codes between."""

from __future__ import annotations

import pytest

from tests.system.schemas import ORDER, PLACED, mismatches
from tests.system.strict import BTC, ETH, Json, Socket, Web, limit

PRICES = {
    BTC: (10, 64_500),
    ETH: (1, 3_480),
    "BTC_USDC-PERPETUAL": (0.1, 64_500),
    "ETH_USDC-PERPETUAL": (1, 3_480),
    "SOL_USDC-PERPETUAL": (1, 149),
}


@pytest.mark.parametrize("name", PRICES)
async def test_orders_have_every_field(alice: Socket, bob: Socket, name: str) -> None:
    """Resting, filled, edited, cancelled, of either side and of every family."""
    amount, price = PRICES[name]
    terms = {"instrument_name": name, "amount": amount}
    placed = await alice.call("private/buy", **terms, price=price, label="x1")
    assert [] == mismatches(placed, PLACED)
    order = placed["order"]
    assert (order["order_state"], order["filled_amount"], order["average_price"]) == ("open", 0, 0)
    assert (order["label"], order["price"], order["amount"]) == ("x1", price, amount)
    assert placed["trades"] == []
    taken = await bob.call("private/sell", **terms, type="market")
    assert [] == mismatches(taken, PLACED)
    assert (taken["order"]["order_state"], taken["order"]["label"]) == ("filled", "")
    (trade,) = taken["trades"]
    assert (trade["direction"], trade["liquidity"], trade["state"]) == ("sell", "T", "filled")
    assert trade["order_id"] == taken["order"]["order_id"]
    assert trade["fee"] > 0
    closed = await alice.call("private/get_order_state", order_id=order["order_id"])
    assert [] == mismatches(closed, ORDER)
    assert (closed["order_state"], closed["average_price"]) == ("filled", price)
    ended = await alice.call(
        "private/close_position", instrument_name=name, type="limit", price=price
    )
    assert [] == mismatches(ended, PLACED)
    assert ended["order"]["reduce_only"]
    await bob.call("private/buy", **terms, type="limit", price=price)


@pytest.mark.parametrize("amount", ["10", "10.0", "1e1", "1E+1", "100e-1"])
def test_amounts_over_get_are_strings(http: Web, amount: str) -> None:
    """However it is written, ten is ten."""
    placed = http.call("private/buy", "alice", **limit(amount=amount, price="64500.0"))
    assert [] == mismatches(placed, PLACED)
    assert placed["order"]["amount"] == 10
    order = http.call("private/cancel", "alice", order_id=placed["order"]["order_id"])
    assert order["order_state"] == "cancelled"
    assert order["cancel_reason"] == "user_request"


@pytest.mark.parametrize(
    "amount",
    [
        {"amount": 10},
        {"amount": 10.0},
        {"amount": "10"},
        {"amount": None, "contracts": 1},
        {"contracts": 1.0},
        {"display_amount": 10},
        {"max_show": 10},
        {"foo": {"bar": []}},
    ],
)
async def test_amounts_over_json_are_numbers_or_strings(alice: Socket, amount: Json) -> None:
    """Contracts instead of an amount, or beside one that agrees; what is unknown is ignored."""
    order = (await alice.call("private/buy", **limit(**amount)))["order"]
    assert (order["amount"], order["contracts"]) == (10, 1)


REFUSED: list[tuple[Json, int]] = [
    ({"amount": 0}, 10002),
    ({"amount": -10}, 10002),
    ({"amount": 5}, 10002),
    ({"amount": 15}, 10021),
    ({"amount": 10.000000001}, 10021),
    ({"amount": 10**9}, 10018),
    ({"amount": 10**11}, -32602),
    ({"amount": 1e300}, -32602),
    ({"amount": "1e999999"}, -32602),
    ({"amount": "1e99999999999999999999"}, -32602),
    ({"amount": "NaN"}, -32602),
    ({"amount": "sNaN"}, -32602),
    ({"amount": "-Infinity"}, -32602),
    ({"amount": "0x10"}, -32602),
    ({"amount": ""}, -32602),
    ({"amount": []}, -32602),
    ({"amount": None}, -32602),
    ({"contracts": 2}, -32602),
    ({"contracts": 0.5, "amount": None}, 10027),
    ({"display_amount": "1e999999"}, 0),
    ({"max_show": "NaN"}, -32602),
    ({"display_amount": "1e-999999"}, 10033),
    ({"price": None}, -32602),
    ({"price": "market_price"}, -32602),
    ({"price": 0}, 10023),
    ({"price": -64_500}, 10023),
    ({"price": 64_500.3}, 10043),
    ({"price": "64500.000000001"}, 10026),
    ({"price": 70_000}, 10007),
    ({"price": 1e300}, -32602),
    ({"instrument_name": "BTC-NOTHING"}, 10020),
    ({"instrument_name": "btc-perpetual"}, 10020),
    ({"instrument_name": ""}, 10020),
    ({"instrument_name": None}, -32602),
    ({"type": "foo"}, -32602),
    ({"type": "stop_limit", "trigger": "mark_price", "trigger_price": 1}, 10033),
    ({"type": None}, 0),
    ({"time_in_force": "GTC"}, -32602),
    ({"time_in_force": None}, 0),
    ({"post_only": "maybe"}, -32602),
    ({"post_only": True, "time_in_force": "immediate_or_cancel"}, 11055),
    ({"post_only": True, "type": "market"}, 11055),
    ({"reduce_only": True}, 11030),
    ({"label": "x" * 64}, 0),
    ({"label": "x" * 65}, -32602),
    ({"label": "é\u0000\n🙂"}, 0),
    ({"label": None}, 0),
    ({"advanced": "usd"}, 11038),
    ({"mmp": True}, 13040),
    ({"valid_until": 1}, 13888),
    ({"valid_until": 1.7e12}, 13888),
    ({"valid_until": 2**52}, 0),
    ({"valid_until": -1}, -32602),
    ({"linked_order_type": "one_cancels_other"}, 10033),
]


async def test_bad_orders_are_refused_with_their_codes(alice: Socket) -> None:
    """Each mistake has its code; -32602 names the parameter. 0 is for what is no mistake."""
    for changes, code in REFUSED:
        reply = await alice.ask("private/buy", **limit(**changes))
        error = reply.get("error", {"code": 0})
        assert (error["code"], changes) == (code, changes)
        if code == -32602:
            assert error["message"] == "Invalid params"
            assert error["data"]["param"] in changes
            assert isinstance(error["data"]["reason"], str)


async def test_prices_beyond_the_band_name_it(alice: Socket) -> None:
    """The message holds the number that clients cut out of it."""
    error = await alice.error("private/buy", **limit(70_000))
    ticker = await alice.call("public/ticker", instrument_name=BTC)
    assert error["message"].split(" ")[0] == "price_too_high"
    assert float(error["message"].split(" ")[1]) == ticker["max_price"]
    error = await alice.error("private/sell", **limit(60_000))
    assert (error["code"], error["message"].split(" ")[0]) == (10005, "price_too_low")


async def test_post_only_slides_or_is_rejected(alice: Socket, bob: Socket) -> None:
    """One tick off the best opposite price, or 11054 exactly."""
    await bob.call("private/sell", **limit(65_000))
    order = (await alice.call("private/buy", **limit(65_100, post_only=True)))["order"]
    assert (order["price"], order["post_only"]) == (64_999.5, True)
    error = await alice.error("private/buy", **limit(65_100, post_only=True, reject_post_only=True))
    assert error["code"] == 11054
    assert error["message"] == "post_only_reject"
    assert error.get("data") is None


async def test_what_is_not_filled_at_once_is_cancelled(alice: Socket) -> None:
    """immediate_or_cancel and fill_or_kill in an empty book succeed, cancelled and untraded."""
    for time_in_force in ("immediate_or_cancel", "fill_or_kill"):
        placed = await alice.call("private/buy", **limit(time_in_force=time_in_force))
        assert [] == mismatches(placed, PLACED)
        assert placed["order"]["order_state"] == "cancelled"
        assert placed["trades"] == []
    error = await alice.error("private/buy", instrument_name=BTC, amount=10, type="market")
    assert error["code"] == 11030
    assert error["message"].startswith("other_reject ")


async def test_a_market_limit_order_rests_where_it_traded(alice: Socket, bob: Socket) -> None:
    """It becomes a limit order at the best opposite price, and says what it was."""
    await bob.call("private/sell", **limit(65_000))
    placed = await alice.call("private/buy", instrument_name=BTC, amount=30, type="market_limit")
    order = placed["order"]
    assert [] == mismatches(placed, PLACED)
    assert (order["order_type"], order["original_order_type"]) == ("limit", "market_limit")
    assert (order["order_state"], order["price"], order["filled_amount"]) == ("open", 65_000, 10)
    await bob.call("private/sell", **limit(65_000, amount=20))


async def test_own_orders_do_not_meet(alice: Socket) -> None:
    """By default the taker is refused with 10003."""
    await alice.call("private/buy", **limit())
    assert await alice.code("private/sell", **limit()) == 10003


async def test_edits_keep_the_id(alice: Socket, bob: Socket) -> None:
    """`amount` is the new total; what was filled stays filled; `replaced` is set."""
    order = (await alice.call("private/buy", **limit(amount=30)))["order"]
    identity = {"order_id": order["order_id"]}
    await bob.call("private/sell", **limit())
    edited = await alice.call("private/edit", **identity, amount="50", price=64_400)
    assert [] == mismatches(edited, PLACED)
    assert edited["order"]["order_id"] == order["order_id"]
    assert (edited["order"]["amount"], edited["order"]["filled_amount"]) == (50, 10)
    assert edited["order"]["replaced"]
    kept = (await alice.call("private/edit", **identity))["order"]
    assert (kept["amount"], kept["price"]) == (50, 64_400)
    error = await alice.error("private/edit", **identity, mmp=True)
    assert error["data"] == {"param": "mmp", "reason": "editing mmp flag is not supported"}
    assert await alice.code("private/edit", **identity, price=64_400.3) == 10043
    assert await bob.code("private/edit", **identity, price=64_300) == 10004
    assert await alice.code("private/edit", order_id="999999", amount=10) == 10004
    assert await alice.code("private/edit", amount=10) == -32602
    await alice.call("private/cancel", **identity)
    assert await alice.code("private/edit", **identity, amount=10) in (10010, 11044)


async def test_a_filled_order_can_be_neither_edited_nor_cancelled(
    alice: Socket, bob: Socket
) -> None:
    """11008 and 11044."""
    order = (await alice.call("private/buy", **limit(label="once")))["order"]
    await bob.call("private/sell", **limit())
    assert await alice.code("private/edit", order_id=order["order_id"], amount=20) == 11008
    assert await alice.code("private/cancel", order_id=order["order_id"]) == 11044
    assert await alice.call("private/cancel_by_label", label="once") == 0


async def test_an_order_is_edited_by_its_label(alice: Socket) -> None:
    """Where the label is nobody's, 10004; where it is two orders', 13032."""
    await alice.call("private/buy", **limit(label="mine"))
    named = {"label": "mine", "instrument_name": BTC}
    edited = await alice.call("private/edit_by_label", **named, amount=40, price=64_400)
    assert (edited["order"]["amount"], edited["order"]["label"]) == (40, "mine")
    await alice.call("private/buy", **limit(label="mine"))
    assert await alice.code("private/edit_by_label", **named, amount=10) == 13032
    named["label"] = "yours"
    assert await alice.code("private/edit_by_label", **named, amount=10) == 10004


@pytest.mark.parametrize("order_id", ["999999", "ETH-1", "USDC-7", "SLTS-1234"])
@pytest.mark.parametrize("method", ["private/cancel", "private/edit", "private/get_order_state"])
async def test_unknown_orders_are_10004(alice: Socket, method: str, order_id: str) -> None:
    """Whatever was to be done with them."""
    assert await alice.code(method, order_id=order_id, amount=10, price=64_000) == 10004


async def test_an_order_is_cancelled_once(alice: Socket, bob: Socket) -> None:
    """The second time it is not open any more; another account's is not found."""
    order = (await alice.call("private/buy", **limit()))["order"]
    assert await bob.code("private/cancel", order_id=order["order_id"]) == 10004
    cancelled = await alice.call("private/cancel", order_id=order["order_id"])
    assert [] == mismatches(cancelled, ORDER)
    assert cancelled["order_state"] == "cancelled"
    assert await alice.code("private/cancel", order_id=order["order_id"]) == 11044
