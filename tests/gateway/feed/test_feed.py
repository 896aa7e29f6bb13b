"""Tests of the feed: recipients, order of delivery, and what remains after a disconnect."""

from __future__ import annotations

import gc
import weakref

import msgspec
import pytest
from msgspec import Raw

from book.order import Side, TimeInForce
from book.units import DAY, SCALE
from gateway.protocol import jsonrpc
from gateway.protocol.pending_request import InFlightLimiter, PendingRequest
from risk.commands import Origin, Place
from tests.gateway.feed_fixture import ALICE, BOB, BTC, SOL, Desk, Reader
from tests.gateway.harness import HandClock

OWN = ("user.orders.any.any.raw", "user.trades.any.any.raw", "user.changes.any.any.raw")


def ask(desk: Desk, reader: Reader, origin: Origin) -> InFlightLimiter:
    """Register a request with the feed; return its in-flight limiter."""
    limiter = InFlightLimiter(None)
    limiter.acquire(ALICE)
    meta = jsonrpc.RequestMeta(Raw(b"7"), 0, testnet=True)
    pending = PendingRequest(meta, HandClock(), ALICE, limiter, lambda _: "ok")
    desk.feed.register_request(origin, pending, reader)
    return limiter


def test_a_reply_precedes_what_the_request_caused() -> None:
    """The reply goes first, to the client of the request, and frees its place in flight."""
    desk = Desk()
    reader = desk.listen(1, *OWN)
    origin = Origin(request=1)
    limiter = ask(desk, reader, origin)
    desk.apply(place(), origin)
    first, *rest = reader.take()
    assert (7, "ok") == (first["id"], first["result"])
    assert ["user.orders.any.any.raw", "user.changes.any.any.raw"] == [
        push["params"]["channel"] for push in rest
    ]
    assert not limiter.counts


def test_an_answer_is_sent_once_and_only_to_its_client() -> None:
    """Answers to requests of other sessions, or to unregistered ones, are dropped."""
    desk = Desk()
    reader = Reader(1)
    ask(desk, reader, Origin(request=1))
    ask(desk, reader, Origin(request=2))
    desk.feed.unregister_request(Origin(request=2))
    for request in (2, 3, 1, 1):
        desk.apply(place(), Origin(request=request))
    assert 1 == len(reader.take())


def test_an_answer_of_another_origin_is_dropped() -> None:
    """Sessions of another node or an earlier start may have the same numbers."""
    desk = Desk()
    reader = Reader(1)
    limiter = ask(desk, reader, Origin(start=2, request=1))
    for origin in (Origin(start=1, request=1), Origin(node=1, start=2, request=1)):
        desk.apply(place(), origin)
        desk.feed.unregister_request(origin)
    assert [] == reader.take()
    desk.apply(place(), Origin(start=2, request=1))
    assert 1 == len(reader.take())
    assert not limiter.counts


def test_a_lost_connection_frees_its_requests_in_flight() -> None:
    """No client reads the answers, and the account may send new requests."""
    desk = Desk()
    reader = Reader(1)
    limiter = ask(desk, reader, Origin(request=1))
    desk.feed.remove_connection(reader)
    assert not limiter.counts
    desk.apply(place(), Origin(request=1))
    assert [] == reader.take()


def place() -> Place:
    """Return a small order of Alice's that rests."""
    return Place(
        account=ALICE,
        instrument=BTC,
        side=Side.BUY,
        amount=10 * SCALE,
        price=49_500 * SCALE,
    )


def test_an_entry_is_published_on_private_channels_first_and_portfolios_last() -> None:
    """The order is user.orders, user.trades, user.changes, public channels, user.portfolio."""
    desk = Desk()
    desk.place(BOB, Side.SELL, 20, 50_000)
    reader = desk.listen(
        1, "user.portfolio.btc", f"trades.{BTC}.raw", f"book.{BTC}.raw", *reversed(OWN)
    )
    reader.take()
    desk.place(ALICE, Side.BUY, 10, 50_000)
    assert [*OWN, f"trades.{BTC}.raw", f"book.{BTC}.raw", "user.portfolio.btc"] == reader.channels()


def test_the_initial_snapshot_follows_the_reply() -> None:
    """No state is sent before `send_initial_snapshots`, so that the subscribe reply goes first."""
    desk = Desk()
    reader = Reader(1)
    names = [f"ticker.{BTC}.100ms", f"quote.{BTC}", "deribit_price_index.btc_usd"]
    assert names == desk.feed.subscribe(reader, None, names)
    assert [] == reader.channels()
    desk.feed.send_initial_snapshots(reader)
    assert names == reader.channels()
    desk.feed.send_initial_snapshots(reader)
    assert [] == reader.channels()


def test_the_next_flush_sends_a_missing_initial_snapshot() -> None:
    """If `send_initial_snapshots` is never called, the timer sends the state."""
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
def test_unavailable_channels_are_omitted(account: int | None, name: str) -> None:
    """Unknown instruments, currencies and indices are rejected, and so is what needs a log-in."""
    desk = Desk()
    assert [f"quote.{BTC}"] == desk.feed.subscribe(Reader(1), account, [name, f"quote.{BTC}"])


def test_only_perpetuals_have_a_perpetual_channel() -> None:
    """A dated future has no funding rate."""
    desk = Desk()
    dated = next(name for name in desk.exchange.state.markets if "PERPETUAL" not in name)
    names = [f"perpetual.{BTC}.100ms", f"perpetual.{dated}.100ms"]
    assert names[:1] == desk.feed.subscribe(Reader(1), None, names)


def test_subscriptions_of_one_connection_are_bounded() -> None:
    """Channels beyond the limit are omitted; subscribed ones do not count twice."""
    desk = Desk(most=2)
    reader = Reader(1)
    names = [f"quote.{BTC}", f"quote.{SOL}", "quote.ETH-PERPETUAL"]
    assert names[:2] == desk.feed.subscribe(reader, None, names)
    assert names[:1] == desk.feed.subscribe(reader, None, names[:1])
    desk.feed.unsubscribe(reader, names[:1])
    assert names[2:] == desk.feed.subscribe(reader, None, names[2:])


def test_unsubscribe_returns_the_subscribed_channels() -> None:
    """The reply omits other names, and no notification follows."""
    desk = Desk()
    reader = desk.listen(1, f"quote.{BTC}", f"trades.{BTC}.raw")
    reader.take()
    ended = desk.feed.unsubscribe(reader, [f"quote.{BTC}", f"quote.{SOL}"])
    assert [f"quote.{BTC}"] == ended
    assert [f"trades.{BTC}.raw"] == desk.feed.subscribed(reader)
    desk.feed.unsubscribe_all(reader)
    desk.trade()
    assert ([], []) == (desk.feed.subscribed(reader), reader.channels())


def test_notifications_spell_the_channel_as_the_client_did() -> None:
    """Clients match the name that they sent; two spellings are two subscriptions."""
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


def test_a_removed_connection_receives_nothing() -> None:
    """Its subscriptions end; other connections are served as before."""
    desk = Desk()
    gone, here = (desk.listen(number, *OWN, f"book.{BTC}.100ms") for number in (1, 2))
    gone.take()
    here.take()
    desk.place(ALICE, Side.BUY, 10, 49_900)
    gone.take()
    desk.feed.remove_connection(gone)
    desk.place(ALICE, Side.BUY, 10, 49_900, time_in_force=TimeInForce.GOOD_TIL_DAY)
    desk.feed.flush("100ms")
    assert [] == gone.take()
    assert [*OWN[::2], *OWN[::2], f"book.{BTC}.100ms"] == here.channels()


def test_an_entry_that_spans_a_year_reaches_every_subscription() -> None:
    """More markets end than the venue remembers: their orders and positions are still reported."""
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


def test_a_removed_connection_leaves_no_reference() -> None:
    """No reference to it is left, whatever it subscribed to, awaited or had missed."""
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
            desk.feed.send_initial_snapshots(reader)
        desk.trade()
        desk.tick(btc_usd=50_100)
        desk.feed.remove_connection(reader)
        trace = weakref.ref(reader)
        del reader
        gc.collect()
        assert trace() is None
        desk.trade(50_100)
        desk.feed.flush("100ms")
        desk.feed.flush("agg2")
