"""Market data by request: each field that strict clients parse, in empty and in busy markets."""

from __future__ import annotations

from typing import Any

import pytest

from tests.system.schemas import (
    CURRENCY,
    FUNDING,
    INSTRUMENT,
    ORDER_BOOK,
    PERPETUAL_TICKER,
    SUMMARY_OF_BOOK,
    TICKER,
    TRADES,
    mismatches,
    number,
)
from tests.system.strict import BTC, ETH, Json, Socket, Web, limit

SOL = "SOL_USDC-PERPETUAL"


def instruments(http: Web, **query: Any) -> list[Json]:
    """What is listed."""
    listed: list[Json] = http.call("public/get_instruments", **query)
    return listed


def test_instruments_are_listed_without_parameters(http: Web) -> None:
    """All of them, each with every field; one by one they are the same."""
    listed = instruments(http)
    assert [] == mismatches(listed, [INSTRUMENT])
    names = [each["instrument_name"] for each in listed]
    assert {BTC, ETH, SOL, "BTC_USDC-PERPETUAL", "ETH_USDC-PERPETUAL"} <= set(names)
    assert len(set(names)) == len(names)
    assert len({each["instrument_id"] for each in listed}) == len(names)
    for name in names[:3] + names[-3:]:
        one = http.call("public/get_instrument", instrument_name=name)
        assert one == next(each for each in listed if each["instrument_name"] == name)


def test_terms_make_sense_together(http: Web) -> None:
    """Inverse contracts are quoted in USD and settled in their base, linear ones in USDC."""
    listed = instruments(http)
    assert listed
    for each in listed:
        inverse = each["instrument_type"] == "reversed"
        perpetual = each["settlement_period"] == "perpetual"
        quote = "USD" if inverse else "USDC"
        assert each["quote_currency"] == each["counter_currency"] == quote
        assert each["settlement_currency"] == (each["base_currency"] if inverse else "USDC")
        assert (each["expiration_timestamp"] == 32503708800000) is perpetual
        assert each["instrument_name"].endswith("-PERPETUAL") is perpetual
        assert each["price_index"] == f"{each['base_currency']}_{quote}".lower()
        assert each["is_active"]
        assert each["min_trade_amount"] >= each["contract_size"] > 0


SELECTIONS: list[tuple[Json, set[str]]] = [
    ({"currency": "any"}, {"BTC", "ETH", "USDC"}),
    ({"currency": "BTC"}, {"BTC"}),
    ({"currency": "USDC", "kind": "future", "expired": "false"}, {"USDC"}),
    ({"currency": "ETH", "kind": "any", "include_old": "true"}, {"ETH"}),
    ({"currency": "BTC", "kind": "option"}, set()),
    ({"kind": "spot"}, set()),
    ({"currency": "USDT"}, set()),
    ({"currency": "EURR"}, set()),
    ({"currency": "SOL"}, set()),
    ({"expired": "true"}, set()),
]


@pytest.mark.parametrize(("query", "currencies"), SELECTIONS)
def test_instruments_are_selected(http: Web, query: Json, currencies: set[str]) -> None:
    """A currency that we do not list is empty, not a mistake."""
    assert {each["settlement_currency"] for each in instruments(http, **query)} == currencies


@pytest.mark.parametrize(
    ("method", "query", "code"),
    [
        ("get_instruments", {"currency": "XYZ"}, -32602),
        ("get_instruments", {"kind": "futures"}, -32602),
        ("get_instruments", {"expired": "perhaps"}, -32602),
        ("get_instrument", {}, -32602),
        ("get_instrument", {"instrument_name": "BTC-NOTHING"}, 13020),
        ("ticker", {"instrument_name": "BTC-NOTHING"}, 13020),
        ("ticker", {"instrument_name": ""}, 13020),
        ("ticker", {}, -32602),
        ("get_order_book", {"instrument_name": "BTC-1JAN20"}, 13020),
        ("get_order_book", {"instrument_name": BTC, "depth": "0"}, -32602),
        ("get_order_book", {"instrument_name": BTC, "depth": "10001"}, -32602),
        ("get_contract_size", {"instrument_name": "X"}, 13020),
        ("get_book_summary_by_instrument", {"instrument_name": "X"}, 13020),
        ("get_book_summary_by_currency", {"currency": "XYZ"}, -32602),
        ("get_book_summary_by_currency", {}, -32602),
        ("get_last_trades_by_instrument", {"instrument_name": "X"}, 13020),
        ("get_last_trades_by_instrument", {"instrument_name": BTC, "count": "1001"}, -32602),
        ("get_last_trades_by_instrument", {"instrument_name": BTC, "sorting": "up"}, -32602),
        ("get_last_trades_by_currency", {"currency": "BTC", "start_id": "x"}, -32602),
        ("get_index_price", {"index_name": "xyz_usd"}, -32602),
        ("get_index_price", {}, -32602),
    ],
)
def test_bad_questions_are_refused(http: Web, method: str, query: Json, code: int) -> None:
    """-32602 for parameters that cannot be, 13020 for an instrument that is not."""
    assert http.code(f"public/{method}", **query) == code


def test_references(http: Web) -> None:
    """Currencies, contract sizes and indices."""
    currencies = http.call("public/get_currencies")
    assert [] == mismatches(currencies, [CURRENCY])
    assert {"BTC", "ETH", "USDC"} == {each["currency"] for each in currencies}
    for name, size in ((BTC, 10), (ETH, 1)):
        told = http.call("public/get_contract_size", instrument_name=name)
        assert told == {"contract_size": size}
        assert isinstance(told["contract_size"], int)
    names = http.call("public/get_index_price_names")
    assert {"btc_usd", "eth_usd"} <= set(names)
    extended = http.call("public/get_index_price_names", extended="true")
    assert [each["name"] for each in extended] == names
    told = http.call("public/get_index_price", index_name="btc_usd")
    assert [] == mismatches(told, {"index_price": number, "estimated_delivery_price": number})
    assert told["index_price"] == 65_000


def test_an_empty_market_has_zeros_and_nulls(http: Web) -> None:
    """Best prices are 0 in the ticker and null in summaries; nothing else is missing."""
    name = "ETH_USDC-PERPETUAL"
    for method in ("public/ticker", "public/get_order_book"):
        shown = http.call(method, instrument_name=name)
        assert [] == mismatches(shown, PERPETUAL_TICKER)
        for key in ("best_bid_price", "best_bid_amount", "best_ask_price", "best_ask_amount"):
            assert (shown[key], key) == (0, key)
        assert (shown["last_price"], shown["stats"]["high"], shown["stats"]["low"]) == (None,) * 3
        assert shown["stats"]["volume"] == 0
        assert shown["mark_price"] == shown["index_price"] == 3_500
    assert (shown["bids"], shown["asks"]) == ([], [])
    (summary,) = http.call("public/get_book_summary_by_instrument", instrument_name=name)
    assert [] == mismatches(summary, SUMMARY_OF_BOOK)
    for key in ("bid_price", "ask_price", "mid_price", "last", "high", "low", "price_change"):
        assert (summary[key], key) == (None, key)
    trades = http.call("public/get_last_trades_by_instrument", instrument_name=name)
    assert trades == {"trades": [], "has_more": False}


def test_dated_futures_have_no_funding(http: Web) -> None:
    """Every other field, but none of the perpetuals'."""
    dated = next(
        each["instrument_name"]
        for each in instruments(http, currency="BTC")
        if each["settlement_period"] != "perpetual"
    )
    shown = http.call("public/ticker", instrument_name=dated)
    assert [] == mismatches(shown, TICKER)
    assert not set(FUNDING) & set(shown)


async def test_a_busy_market(http: Web, alice: Socket, bob: Socket) -> None:
    """Book, ticker, summary and trades tell of the same orders."""
    for price in (64_500, 64_499.5, 64_000.5):
        await alice.call("private/buy", **limit(price, amount=100))
    await bob.call("private/sell", **limit(65_010, amount=50))
    await bob.call("private/sell", **limit(64_500, amount=40))
    book = http.call("public/get_order_book", instrument_name=BTC, depth="2")
    assert [] == mismatches(book, ORDER_BOOK)
    assert book["bids"] == [[64_500, 60], [64_499.5, 100]]
    assert book["asks"] == [[65_010, 50]]
    top = {
        "best_bid_price": 64_500,
        "best_bid_amount": 60,
        "best_ask_price": 65_010,
        "best_ask_amount": 50,
    }
    ticker = http.call("public/ticker", instrument_name=BTC)
    for shown in (book, ticker):
        assert [] == mismatches(shown, PERPETUAL_TICKER)
        assert {key: shown[key] for key in top} == top
        assert (shown["last_price"], shown["open_interest"]) == (64_500, 40)
        assert shown["stats"]["high"] == shown["stats"]["low"] == 64_500
        assert shown["stats"]["volume"] == pytest.approx(40 / 64_500, abs=1e-8)
        assert shown["stats"]["volume_usd"] == 40
        assert shown["min_price"] < shown["mark_price"] < shown["max_price"]
    for query in ({"currency": "BTC"}, {"currency": "BTC", "kind": "future"}):
        summaries = http.call("public/get_book_summary_by_currency", **query)
        assert [] == mismatches(summaries, [SUMMARY_OF_BOOK])
        summary = next(each for each in summaries if each["instrument_name"] == BTC)
        assert (summary["bid_price"], summary["ask_price"]) == (64_500, 65_010)
        assert (summary["mid_price"], summary["last"]) == (64_755, 64_500)
    assert http.call("public/get_book_summary_by_currency", currency="BTC", kind="option") == []
    for method, query in (
        ("instrument", {"instrument_name": BTC}),
        ("currency", {"currency": "BTC"}),
        ("currency", {"currency": "any", "kind": "any"}),
    ):
        trades = http.call(f"public/get_last_trades_by_{method}", include_old="true", **query)
        assert [] == mismatches(trades, TRADES)
        (trade,) = trades["trades"]
        assert (trade["price"], trade["amount"], trade["contracts"]) == (64_500, 40, 4)
        assert (trade["direction"], trade["trade_seq"]) == ("sell", 1)
        assert not {"order_id", "fee", "user_id", "label"} & set(trade)
