"""Tests of public channels: trades, quotes, tickers, indices, funding."""

from __future__ import annotations

from book.order import Side
from gateway.protocol.close_codes import TOO_SLOW
from tests.gateway.feed_fixture import ALICE, BTC, SOL, Desk


def test_trades_of_a_currency_are_those_settled_in_it() -> None:
    """USDC is the currency of linear contracts, whatever their base."""
    desk = Desk()
    reader = desk.listen(
        1, "trades.future.USDC.raw", "trades.any.BTC.100ms", "trades.option.any.raw"
    )
    desk.trade()
    desk.trade(150, 1, SOL)
    desk.feed.flush("100ms")
    published = [
        (frame["params"]["channel"], [each["instrument_name"] for each in frame["params"]["data"]])
        for frame in reader.take()
    ]
    assert [("trades.future.USDC.raw", [SOL]), ("trades.any.BTC.100ms", [BTC])] == published


def test_trades_are_never_dropped() -> None:
    """A client without room for trades is disconnected, at any interval."""
    desk = Desk()
    reader = desk.listen(1, f"trades.{BTC}.100ms")
    reader.stalled = True
    desk.trade()
    assert reader.end is None
    desk.feed.flush("100ms")
    assert TOO_SLOW == reader.end


def test_a_quote_is_published_when_the_best_prices_change() -> None:
    """Changes of deeper levels publish no quote."""
    desk = Desk()
    reader = desk.listen(1, f"quote.{BTC}")
    reader.take()
    desk.place(ALICE, Side.BUY, 10, 49_900)
    desk.place(ALICE, Side.BUY, 10, 49_800)
    desk.place(ALICE, Side.BUY, 10, 49_900)
    tops = [
        (each["best_bid_price"], each["best_bid_amount"], each["best_ask_price"])
        for each in reader.data(f"quote.{BTC}")
    ]
    assert [(49_900.0, 10.0, 0.0), (49_900.0, 20.0, 0.0)] == tops


def test_a_client_that_missed_a_quote_gets_the_newest() -> None:
    """A quote is a state: a missed one is not repeated, the present one is sent."""
    desk = Desk()
    reader = desk.listen(1, f"quote.{BTC}")
    reader.take()
    reader.stalled = True
    desk.place(ALICE, Side.BUY, 10, 49_900)
    desk.place(ALICE, Side.BUY, 10, 49_950)
    reader.stalled = False
    desk.feed.flush("agg2")
    assert [49_950.0] == [each["best_bid_price"] for each in reader.data(f"quote.{BTC}")]
    desk.feed.flush("agg2")
    assert ([], None) == (reader.take(), reader.end)


def test_a_raw_ticker_client_without_room_is_disconnected() -> None:
    """The raw ticker publishes every state, so a client without room for one is disconnected."""
    desk = Desk()
    raw = desk.listen(1, f"ticker.{BTC}.raw")
    conflated = desk.listen(2, f"ticker.{BTC}.100ms")
    raw.stalled = conflated.stalled = True
    desk.tick(btc_usd=50_100)
    desk.feed.flush("100ms")
    assert (TOO_SLOW, None) == (raw.end, conflated.end)


def test_a_ticker_is_published_only_when_it_changed() -> None:
    """Time alone publishes nothing; an index, a trade or a best price does."""
    desk = Desk()
    reader = desk.listen(1, f"ticker.{BTC}.100ms")
    reader.take()
    desk.tick()
    desk.feed.flush("100ms")
    assert [] == reader.take()
    desk.tick(btc_usd=50_100)
    desk.feed.flush("100ms")
    desk.trade(50_100)
    desk.feed.flush("100ms")
    published = [
        (each["index_price"], each["last_price"], each["open_interest"])
        for each in reader.data(f"ticker.{BTC}.100ms")
    ]
    assert [(50_100.0, None, 0.0), (50_100.0, 50_100.0, 10.0)] == published


def test_an_index_is_published_with_every_tick() -> None:
    """An equal price is published too."""
    desk = Desk()
    reader = desk.listen(1, "deribit_price_index.btc_usd")
    reader.take()
    desk.tick()
    desk.tick(btc_usd=50_001)
    assert [
        {"index_name": "btc_usd", "price": 50_000.0, "timestamp": desk.time - 1_000},
        {"index_name": "btc_usd", "price": 50_001.0, "timestamp": desk.time},
    ] == reader.data("deribit_price_index.btc_usd")


def test_funding_is_published_when_it_changes() -> None:
    """perpetual.{instrument} has the present rate and the index."""
    desk = Desk()
    reader = desk.listen(1, f"perpetual.{BTC}.raw")
    reader.take()
    desk.place(ALICE, Side.BUY, 100_000, 50_200)
    desk.tick(30)
    (data,) = reader.data(f"perpetual.{BTC}.raw")
    assert {"interest", "index_price", "timestamp"} == set(data)
    assert data["interest"] > 0
