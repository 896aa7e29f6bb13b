"""The feed: who is told what, in what order, and what happens to those who do not listen."""

from __future__ import annotations

import gc
import weakref

import msgspec
import pytest
from msgspec import Raw

from book.order import Side, TimeInForce
from book.units import DAY, SCALE
from gateway.api import wire
from gateway.feed import PORTFOLIOS_PER_FLUSH
from gateway.pending import Pending, Undecided
from gateway.stream import TOO_SLOW
from risk.commands import Cancel, CancelAll, OpenAccount, Origin, Place
from tests.gateway.desk import ALICE, BOB, BTC, SOL, Desk, Reader
from tests.gateway.harness import HandClock

OWN = ("user.orders.any.any.raw", "user.trades.any.any.raw", "user.changes.any.any.raw")


def ask(desk: Desk, reader: Reader, origin: Origin) -> Undecided:
    """Let the feed expect the answer to a request; returns the count of the undecided."""
    undecided = Undecided(None)
    undecided.take(ALICE)
    stamp = wire.Stamp(Raw(b"7"), 0, testnet=True)
    pending = Pending(stamp, HandClock(), ALICE, undecided, lambda _: "ok")
    desk.feed.expect(origin, pending, reader)
    return undecided


def test_a_reply_precedes_what_the_request_caused() -> None:
    """The answer goes first, to whoever asked, and frees the request's place."""
    desk = Desk()
    reader = desk.listen(1, *OWN)
    origin = Origin(request=1)
    undecided = ask(desk, reader, origin)
    desk.apply(place(), origin)
    first, *rest = reader.take()
    assert (7, "ok") == (first["id"], first["result"])
    assert ["user.orders.any.any.raw", "user.changes.any.any.raw"] == [
        push["params"]["channel"] for push in rest
    ]
    assert not undecided.counts


def test_an_answer_is_given_once_and_to_nobody_else() -> None:
    """Answers to requests of others, or to forgotten ones, are nobody's."""
    desk = Desk()
    reader = Reader(1)
    ask(desk, reader, Origin(request=1))
    ask(desk, reader, Origin(request=2))
    desk.feed.forget(Origin(request=2))
    for request in (2, 3, 1, 1):
        desk.apply(place(), Origin(request=request))
    assert 1 == len(reader.take())


def test_a_lost_connection_frees_its_undecided_requests() -> None:
    """Nobody reads the answers any more, but the account may ask anew."""
    desk = Desk()
    reader = Reader(1)
    undecided = ask(desk, reader, Origin(request=1))
    desk.feed.drop(reader)
    assert not undecided.counts
    desk.apply(place(), Origin(request=1))
    assert [] == reader.take()


def place() -> Place:
    """A small order of Alice's that rests."""
    return Place(
        account=ALICE,
        instrument=BTC,
        side=Side.BUY,
        amount=10 * SCALE,
        price=49_500 * SCALE,
    )


def test_within_an_entry_private_news_comes_first_and_the_portfolio_last() -> None:
    """user.orders, user.trades, user.changes, public, user.portfolio: in one line for each."""
    desk = Desk()
    desk.place(BOB, Side.SELL, 20, 50_000)
    reader = desk.listen(
        1, "user.portfolio.btc", f"trades.{BTC}.raw", f"book.{BTC}.raw", *reversed(OWN)
    )
    reader.take()
    desk.place(ALICE, Side.BUY, 10, 50_000)
    assert [*OWN, f"trades.{BTC}.raw", f"book.{BTC}.raw", "user.portfolio.btc"] == reader.channels()


def test_the_state_of_a_channel_follows_with_the_greeting() -> None:
    """Nothing comes before the client was greeted, so that the reply to subscribe goes first."""
    desk = Desk()
    reader = Reader(1)
    names = [f"ticker.{BTC}.100ms", f"quote.{BTC}", "deribit_price_index.btc_usd"]
    assert names == desk.feed.subscribe(reader, None, names)
    assert [] == reader.channels()
    desk.feed.greet(reader)
    assert names == reader.channels()
    desk.feed.greet(reader)
    assert [] == reader.channels()


def test_who_is_never_greeted_is_told_at_the_next_flush() -> None:
    """The state cannot get lost: the timer sends what nobody sent."""
    desk = Desk()
    reader = Reader(1)
    desk.feed.subscribe(reader, None, [f"quote.{BTC}"])
    desk.feed.flush("100ms")
    assert [f"quote.{BTC}"] == reader.channels()


@pytest.mark.parametrize(
    ("account", "name"),
    [
        (ALICE, "book.DOGE-PERPETUAL.raw"),
        (ALICE, "trades.future.SOL.100ms"),
        (ALICE, "user.portfolio.EURR"),
        (ALICE, "deribit_price_index.doge_usd"),
        (ALICE, f"book.{BTC}.none.10.100ms"),
        (None, "user.orders.any.any.raw"),
        (None, f"book.{BTC}.raw"),
    ],
)
def test_what_is_not_to_be_had_is_left_out(account: int | None, name: str) -> None:
    """Unknown instruments, currencies and indices, and what needs a log-in, are not accepted."""
    desk = Desk()
    assert [f"quote.{BTC}"] == desk.feed.subscribe(Reader(1), account, [name, f"quote.{BTC}"])


def test_a_perpetual_channel_is_for_perpetuals() -> None:
    """A dated future has no funding to tell."""
    desk = Desk()
    dated = next(name for name in desk.exchange.state.markets if "PERPETUAL" not in name)
    names = [f"perpetual.{BTC}.100ms", f"perpetual.{dated}.100ms"]
    assert names[:1] == desk.feed.subscribe(Reader(1), None, names)


def test_subscriptions_of_one_connection_are_bounded() -> None:
    """What goes beyond the limit is left out; what is listened to already does not count twice."""
    desk = Desk(most=2)
    reader = Reader(1)
    names = [f"quote.{BTC}", f"quote.{SOL}", "quote.ETH-PERPETUAL"]
    assert names[:2] == desk.feed.subscribe(reader, None, names)
    assert names[:1] == desk.feed.subscribe(reader, None, names[:1])
    desk.feed.unsubscribe(reader, names[:1])
    assert names[2:] == desk.feed.subscribe(reader, None, names[2:])


def test_unsubscribing_names_what_was_subscribed() -> None:
    """The rest is left out, and nothing comes from then on."""
    desk = Desk()
    reader = desk.listen(1, f"quote.{BTC}", f"trades.{BTC}.raw")
    reader.take()
    ended = desk.feed.unsubscribe(reader, [f"quote.{BTC}", f"quote.{SOL}"])
    assert [f"quote.{BTC}"] == ended
    assert [f"trades.{BTC}.raw"] == desk.feed.subscribed(reader)
    desk.feed.unsubscribe_all(reader)
    desk.trade()
    assert ([], []) == (desk.feed.subscribed(reader), reader.channels())


def test_a_channel_is_spelled_as_it_was_asked_for() -> None:
    """Clients match the name that they sent; two spellings are told both."""
    desk = Desk()
    names = ["user.portfolio.btc", "user.portfolio.BTC", "user.portfolio.any"]
    reader = desk.listen(1, *names)
    reader.take()
    desk.deposit(ALICE, "BTC", 1)
    pushes = [frame["params"] for frame in reader.take()]
    assert names == [push["channel"] for push in pushes]
    assert 1 == len({msgspec.json.encode(push["data"]) for push in pushes})
    desk.deposit(ALICE, "ETH", 1)
    assert ["user.portfolio.any"] == reader.channels()


def test_an_account_hears_of_itself_alone() -> None:
    """Orders and trades of others are not in private channels."""
    desk = Desk()
    alice = desk.listen(1, "user.orders.any.any.raw", account=ALICE)
    bob = desk.listen(2, "user.orders.any.any.raw", account=BOB)
    desk.place(ALICE, Side.BUY, 10, 49_000 + 500)
    assert (1, 0) == (len(alice.take()), len(bob.take()))


def test_the_same_name_follows_a_new_account() -> None:
    """A connection that logs in as another account and subscribes again hears of that one only."""
    desk = Desk()
    name = "user.orders.any.any.raw"
    reader = desk.listen(1, name, account=ALICE)
    desk.feed.subscribe(reader, BOB, [name])
    desk.place(ALICE, Side.BUY, 10, 49_900)
    desk.place(BOB, Side.BUY, 10, 49_900)
    assert [BOB] == [order["user_id"] for order in reader.data(name)]


def test_raw_orders_come_one_by_one_and_thinned_ones_in_a_list() -> None:
    """A thinned list holds each order once, as it last was."""
    desk = Desk()
    raw = desk.listen(1, f"user.orders.{BTC}.raw")
    thinned = desk.listen(2, "user.orders.future.BTC.100ms")
    order = desk.place(ALICE, Side.BUY, 10, 49_900)
    desk.place(ALICE, Side.BUY, 10, 49_800)
    desk.apply(Cancel(account=ALICE, order_id=order.order_id))
    states = [
        (each["order_id"], each["order_state"]) for each in raw.data(f"user.orders.{BTC}.raw")
    ]
    assert [("1", "open"), ("2", "open"), ("1", "cancelled")] == states
    assert [] == thinned.take()
    desk.feed.flush("100ms")
    (listed,) = thinned.data("user.orders.future.BTC.100ms")
    assert [("2", "open"), ("1", "cancelled")] == [
        (each["order_id"], each["order_state"]) for each in listed
    ]
    desk.feed.flush("100ms")
    assert [] == thinned.take()


def test_a_user_trade_has_the_users_side_and_the_public_id() -> None:
    """The public trade shows the taker's side; each party sees its own, under the same id."""
    desk = Desk()
    alice = desk.listen(1, "user.trades.any.any.raw", f"trades.{BTC}.raw", account=ALICE)
    bob = desk.listen(2, "user.trades.any.any.100ms", account=BOB)
    desk.trade(amount=20)
    (own,), (public,) = (frame["params"]["data"] for frame in alice.take())
    desk.feed.flush("100ms")
    ((others,),) = bob.data("user.trades.any.any.100ms")
    told = [(each["trade_id"], each["direction"]) for each in (own, public, others)]
    assert [("1", "sell"), ("1", "buy"), ("1", "buy")] == told
    assert ("M", "T") == (own["liquidity"], others["liquidity"])
    assert (0.0, 2e-07) == (own["fee"], others["fee"]), "20 USD / 50,000 at 0.05 %"
    assert own["matching_id"] is None


def test_changes_bring_orders_trades_and_position_together() -> None:
    """One message for each instrument, with the position as it is afterwards."""
    desk = Desk()
    reader = desk.listen(1, "user.changes.future.BTC.raw", account=BOB)
    desk.trade(amount=20)
    (changes,) = reader.data("user.changes.future.BTC.raw")
    assert BTC == changes["instrument_name"]
    assert ["filled"] == [order["order_state"] for order in changes["orders"]]
    assert ["1"] == [trade["trade_id"] for trade in changes["trades"]]
    assert [20.0] == [position["size"] for position in changes["positions"]]


def test_thinned_changes_are_one_message_for_each_instrument() -> None:
    """What happened since the last flush is gathered by instrument; a cancel moves no position."""
    desk = Desk()
    reader = desk.listen(1, "user.changes.any.any.agg2")
    desk.trade()
    desk.place(ALICE, Side.BUY, 1, 149, SOL)
    desk.apply(CancelAll(account=ALICE))
    desk.feed.flush("agg2")
    told = [
        (each["instrument_name"], len(each["orders"]), len(each["trades"]), len(each["positions"]))
        for each in reader.data("user.changes.any.any.agg2")
    ]
    assert [(BTC, 1, 1, 1), (SOL, 1, 0, 0)] == told


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
    assert (1008, TOO_SLOW) == reader.end


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
    assert ((1008, TOO_SLOW), None) == (raw.end, thinned.end)


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


def test_a_mark_moves_portfolios_with_the_next_flush() -> None:
    """Own entries are told at once, marks by the timer."""
    desk = Desk()
    reader = desk.listen(1, "user.portfolio.BTC")
    desk.trade(amount=50_000)
    reader.take()
    desk.tick(btc_usd=50_100)
    assert [] == reader.take()
    desk.feed.flush("100ms")
    (summary,) = reader.data("user.portfolio.BTC")
    assert -0.00199601 == summary["session_upl"], "50,000 x (1/50,100 - 1/50,000)"
    desk.tick(btc_usd=50_100)
    desk.feed.flush("100ms")
    assert [] == reader.take(), "a mark that stays is no news"


def test_many_portfolios_take_turns() -> None:
    """One flush refreshes a bounded number, the next one goes on with the rest."""
    desk = Desk()
    accounts = range(1_001, 1_001 + PORTFOLIOS_PER_FLUSH + 3)
    readers = []
    for account in accounts:
        desk.apply(OpenAccount(account=account, name=f"client {account}"))
        desk.deposit(account, "BTC", 1)
        desk.place(account, Side.BUY, 10, 50_000)
        readers.append(desk.listen(account, "user.portfolio.BTC", account=account))
    desk.place(ALICE, Side.SELL, 10 * len(accounts), 50_000)
    for reader in readers:
        reader.take()
    desk.tick(btc_usd=50_100)
    desk.feed.flush("100ms")
    assert PORTFOLIOS_PER_FLUSH == sum(1 for reader in readers if reader.take())
    desk.feed.flush("100ms")
    assert 3 == sum(1 for reader in readers if reader.take())


def test_a_connection_that_is_gone_is_told_nothing() -> None:
    """Its subscriptions end; who remains is served as before."""
    desk = Desk()
    gone, here = (desk.listen(number, *OWN, f"book.{BTC}.100ms") for number in (1, 2))
    gone.take()
    here.take()
    desk.place(ALICE, Side.BUY, 10, 49_900)
    gone.take()
    desk.feed.drop(gone)
    desk.place(ALICE, Side.BUY, 10, 49_900, time_in_force=TimeInForce.GOOD_TIL_DAY)
    desk.feed.flush("100ms")
    assert [] == gone.take()
    assert [*OWN[::2], *OWN[::2], f"book.{BTC}.100ms"] == here.channels()


def test_a_reader_that_missed_one_of_several_currencies_gets_them_all() -> None:
    """A later summary of another currency does not make good the one that was missed."""
    desk = Desk()
    name = "user.portfolio.any"
    reader = desk.listen(1, name)
    reader.take()
    reader.stalled = True
    desk.deposit(ALICE, "BTC", 1)
    reader.stalled = False
    desk.deposit(ALICE, "ETH", 1)
    assert [] == reader.take()
    desk.feed.flush("agg2")
    assert {"BTC": 1_000_001.0, "ETH": 1_000_001.0, "USDC": 1_000_000.0} == {
        each["currency"]: each["balance"] for each in reader.data(name)
    }


def test_a_year_in_one_entry_reaches_every_listener() -> None:
    """More markets end than the venue remembers: orders and positions in them are told as ended."""
    desk = Desk()
    dated = next(name for name in desk.exchange.state.markets if name.startswith("BTC-2"))
    desk.trade(instrument=dated)
    desk.place(ALICE, Side.BUY, 10, 49_900, dated)
    own = (*OWN, "user.changes.any.any.agg2", "user.portfolio.any")
    reader = desk.listen(1, *own, f"book.{dated}.raw", f"ticker.{dated}.100ms", f"book.{BTC}.agg2")
    reader.take()
    desk.tick(400 * DAY // 1_000)
    desk.settle()
    desk.feed.flush("100ms")
    desk.feed.flush("agg2")
    pushed = [frame["params"] for frame in reader.take()]
    orders = [each["data"] for each in pushed if each["channel"] == "user.orders.any.any.raw"]
    assert ["settlement"] == [order["cancel_reason"] for order in orders]
    tickers = [each["data"] for each in pushed if each["channel"] == f"ticker.{dated}.100ms"]
    assert ["delivered"] == [each["state"] for each in tickers]
    changes = [each["data"] for each in pushed if each["channel"] == "user.changes.any.any.agg2"]
    assert ["cancelled"] == [
        order["order_state"]
        for each in changes
        if each["instrument_name"] == dated
        for order in each["orders"]
    ]


def test_a_connection_that_is_gone_is_remembered_nowhere() -> None:
    """Whatever it listened to, waited for or was behind with: nothing keeps hold of it."""
    desk = Desk()
    names = [
        *OWN,
        "user.changes.future.BTC.100ms",
        "user.portfolio.any",
        f"book.{BTC}.raw",
        f"book.{BTC}.100ms",
        f"ticker.{BTC}.agg2",
        f"quote.{BTC}",
        f"trades.{BTC}.100ms",
        f"perpetual.{BTC}.100ms",
        "deribit_price_index.btc_usd",
    ]
    for greeted, stalled in ((True, False), (True, True), (False, False)):
        reader = Reader(desk.joined(), stalled=stalled)
        assert names == desk.feed.subscribe(reader, ALICE, names)
        ask(desk, reader, Origin(request=reader.number))
        if greeted:
            desk.feed.greet(reader)
        desk.trade()
        desk.tick(btc_usd=50_100)
        desk.feed.drop(reader)
        trace = weakref.ref(reader)
        del reader
        gc.collect()
        assert trace() is None
        desk.trade(50_100)
        desk.feed.flush("100ms")
        desk.feed.flush("agg2")
