"""What everybody is told of a market: trades, quotes, tickers, indices, funding."""

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
    told = [
        (frame["params"]["channel"], [each["instrument_name"] for each in frame["params"]["data"]])
        for frame in reader.take()
    ]
    assert [("trades.future.USDC.raw", [SOL]), ("trades.any.BTC.100ms", [BTC])] == told


def test_trades_are_never_thinned() -> None:
    """A reader without room for trades is cut, under whatever interval."""
    desk = Desk()
    reader = desk.listen(1, f"trades.{BTC}.100ms")
    reader.stalled = True
    desk.trade()
    assert reader.end is None
    desk.feed.flush("100ms")
    assert TOO_SLOW == reader.end


def test_a_quote_is_told_when_the_top_of_the_book_changes() -> None:
    """Deeper levels are no news of it."""
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


def test_a_reader_that_missed_a_quote_gets_the_newest() -> None:
    """A quote is a state: what was missed is not repeated, what holds now is told."""
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


def test_a_raw_ticker_without_room_is_cut() -> None:
    """Whoever asked for every ticker and cannot take them is told so."""
    desk = Desk()
    raw = desk.listen(1, f"ticker.{BTC}.raw")
    thinned = desk.listen(2, f"ticker.{BTC}.100ms")
    raw.stalled = thinned.stalled = True
    desk.tick(btc_usd=50_100)
    desk.feed.flush("100ms")
    assert (TOO_SLOW, None) == (raw.end, thinned.end)


def test_a_ticker_is_told_only_when_something_in_it_changed() -> None:
    """Time alone is no news; an index, a trade or a best price is."""
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
    told = [
        (each["index_price"], each["last_price"], each["open_interest"])
        for each in reader.data(f"ticker.{BTC}.100ms")
    ]
    assert [(50_100.0, None, 0.0), (50_100.0, 50_100.0, 10.0)] == told


def test_an_index_is_told_with_every_tick() -> None:
    """Also an equal price is news: that it still holds."""
    desk = Desk()
    reader = desk.listen(1, "deribit_price_index.btc_usd")
    reader.take()
    desk.tick()
    desk.tick(btc_usd=50_001)
    assert [
        {"index_name": "btc_usd", "price": 50_000.0, "timestamp": desk.time - 1_000},
        {"index_name": "btc_usd", "price": 50_001.0, "timestamp": desk.time},
    ] == reader.data("deribit_price_index.btc_usd")


def test_funding_is_told_when_it_changes() -> None:
    """perpetual.{instrument}: the rate now in force, with the index."""
    desk = Desk()
    reader = desk.listen(1, f"perpetual.{BTC}.raw")
    reader.take()
    desk.place(ALICE, Side.BUY, 100_000, 50_200)
    desk.tick(30)
    (data,) = reader.data(f"perpetual.{BTC}.raw")
    assert {"interest", "index_price", "timestamp"} == set(data)
    assert data["interest"] > 0
