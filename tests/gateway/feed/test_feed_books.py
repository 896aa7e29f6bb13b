"""Tests that a client can rebuild the book from snapshots and changes."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from book.depth import depth
from book.order import SelfTrading, Side, TimeInForce
from book.units import SCALE
from gateway.feed import book_side_view
from gateway.protocol.close_codes import TOO_SLOW
from gateway.protocol.large_results import EncodingJob
from risk.commands import CancelAll, SetSelfTrading
from tests.gateway.feed_fixture import ALICE, BOB, BTC, Desk, Reader
from tests.hypothesis_settings import thorough

INTERVALS = ("raw", "100ms", "agg2")


@define(eq=False)
class Follower:
    """A client that rebuilds one book channel, as strictly as the strictest client library."""

    channel: str
    reader: Reader
    bids: dict[float, float] = field(factory=dict)
    asks: dict[float, float] = field(factory=dict)
    change_id: int = 0
    snapshots: int = 0

    def read(self) -> None:
        """Process the notifications received since the last call."""
        for data in self.reader.data(self.channel):
            if data["type"] == "snapshot":
                assert "prev_change_id" not in data
                self.bids, self.asks = {}, {}
                self.snapshots += 1
            else:
                assert self.change_id == data["prev_change_id"]
                assert data["change_id"] > data["prev_change_id"]
                assert data["bids"] or data["asks"], "a change of nothing crashes clients"
            self.change_id = data["change_id"]
            for side, rows in ((self.bids, data["bids"]), (self.asks, data["asks"])):
                self._take(side, rows)

    def _take(self, side: dict[float, float], rows: list[Any]) -> None:
        for action, price, amount in rows:
            assert (action == "new") == (price not in side)
            assert (action == "delete") == (amount == 0)
            if action == "delete":
                del side[price]
            else:
                side[price] = amount


def depth_of(desk: Desk) -> tuple[dict[float, float], dict[float, float]]:
    """Return the live book in the form in which a client holds it."""
    book = desk.market().book
    bids, asks = (
        {price / SCALE: amount / SCALE for price, amount in depth(book, side, 1_000)}
        for side in (Side.BUY, Side.SELL)
    )
    return bids, asks


def follow(desk: Desk, number: int, interval: str) -> Follower:
    """Subscribe a new follower to an interval of the book."""
    channel = f"book.{BTC}.{interval}"
    return Follower(channel, desk.listen(number, channel))


def test_the_first_message_is_a_snapshot_then_changes_chain() -> None:
    """Each change names its predecessor, and says of each level whether it is new or deleted."""
    desk = Desk()
    desk.place(ALICE, Side.BUY, 10, 49_900)
    reader = desk.listen(1, f"book.{BTC}.raw")
    first = desk.sequence
    desk.place(ALICE, Side.BUY, 20, 49_900)
    desk.place(ALICE, Side.SELL, 30, 50_100)
    desk.place(BOB, Side.BUY, 40, 50_100)
    snapshot, *changes = reader.data(f"book.{BTC}.raw")
    assert {
        "type": "snapshot",
        "timestamp": desk.time,
        "instrument_name": BTC,
        "change_id": first,
        "bids": [["new", 49_900.0, 10.0]],
        "asks": [],
    } == snapshot
    assert [
        (first, first + 1, [["change", 49_900.0, 30.0]], []),
        (first + 1, first + 2, [], [["new", 50_100.0, 30.0]]),
        (first + 2, first + 3, [["new", 50_100.0, 10.0]], [["delete", 50_100.0, 0.0]]),
    ] == [
        (each["prev_change_id"], each["change_id"], each["bids"], each["asks"]) for each in changes
    ]


def test_entries_that_do_not_change_the_book_publish_nothing() -> None:
    """An order that neither trades nor rests publishes nothing."""
    desk = Desk()
    followers = [follow(desk, number, interval) for number, interval in enumerate(INTERVALS)]
    for follower in followers:
        follower.reader.take()
    desk.place(ALICE, Side.BUY, 10, 49_000, time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL)
    desk.tick()
    desk.feed.flush("100ms")
    desk.feed.flush("agg2")
    assert [[], [], []] == [follower.reader.take() for follower in followers]


def test_a_level_added_and_removed_between_flushes_is_not_published() -> None:
    """A conflated channel publishes net changes, and its chain continues."""
    desk = Desk()
    follower = follow(desk, 1, "100ms")
    follower.read()
    before = follower.change_id
    desk.place(ALICE, Side.BUY, 10, 49_900)
    desk.apply(CancelAll(account=ALICE))
    desk.feed.flush("100ms")
    assert [] == follower.reader.take()
    desk.place(ALICE, Side.BUY, 10, 49_800)
    desk.feed.flush("100ms")
    (change,) = follower.reader.data(follower.channel)
    assert (before, desk.sequence) == (change["prev_change_id"], change["change_id"])


def test_a_late_subscription_of_a_conflated_channel_gets_the_last_published_state() -> None:
    """The snapshot lacks what is not flushed yet; the next change brings it to both clients."""
    desk = Desk()
    early = follow(desk, 1, "agg2")
    desk.place(ALICE, Side.BUY, 10, 49_900)
    desk.feed.flush("agg2")
    desk.place(ALICE, Side.BUY, 20, 49_800)
    desk.apply(CancelAll(account=BOB))
    late = follow(desk, 2, "agg2")
    late.read()
    early.read()
    assert {49_900.0: 10.0} == late.bids == early.bids
    assert early.change_id == late.change_id
    desk.feed.flush("agg2")
    late.read()
    early.read()
    assert {49_900.0: 10.0, 49_800.0: 20.0} == late.bids == early.bids
    assert 1 == late.snapshots


def test_a_client_that_missed_a_change_gets_a_snapshot() -> None:
    """On a conflated channel, a snapshot replaces a missed change within a second."""
    desk = Desk()
    follower = follow(desk, 1, "100ms")
    follower.read()
    follower.reader.stalled = True
    desk.place(ALICE, Side.BUY, 10, 49_900)
    desk.feed.flush("100ms")
    desk.place(ALICE, Side.BUY, 10, 49_800)
    follower.reader.stalled = False
    desk.feed.flush("100ms")
    assert [] == follower.reader.take(), "it is tried again once a second"
    desk.feed.flush("agg2")
    follower.read()
    assert {49_900.0: 10.0, 49_800.0: 10.0} == follower.bids
    assert (2, None) == (follower.snapshots, follower.reader.end)


def test_a_raw_client_without_room_is_disconnected() -> None:
    """A raw channel is not conflated: a slow client is disconnected, and others lose nothing."""
    desk = Desk()
    slow, quick = follow(desk, 1, "raw"), follow(desk, 2, "raw")
    slow.reader.stalled = True
    desk.place(ALICE, Side.BUY, 10, 49_900)
    quick.read()
    assert TOO_SLOW == slow.reader.end
    assert (None, {49_900.0: 10.0}) == (quick.reader.end, quick.bids)


def test_subscribing_again_sends_a_new_snapshot() -> None:
    """A client that lost track may subscribe again, and gets the present state."""
    desk = Desk()
    follower = follow(desk, 1, "raw")
    desk.place(ALICE, Side.BUY, 10, 49_900)
    assert [follower.channel] == desk.feed.subscribe(follower.reader, ALICE, [follower.channel])
    desk.feed.send_initial_snapshots(follower.reader)
    follower.read()
    assert (2, {49_900.0: 10.0}) == (follower.snapshots, follower.bids)


def test_data_is_encoded_once_for_all_subscriptions() -> None:
    """Subscriptions of one channel share the same bytes object."""
    desk = Desk()
    readers = [desk.listen(number, f"book.{BTC}.raw") for number in (1, 2)]
    desk.place(ALICE, Side.BUY, 10, 49_900)
    assert readers[0].frames[-1] is readers[1].frames[-1]


def test_an_expired_book_ends_empty() -> None:
    """Expiry cancels resting orders: the last changes delete every level."""
    desk = Desk()
    name = next(name for name in desk.exchange.state.markets if name.startswith("BTC-2"))
    desk.place(ALICE, Side.BUY, 10, 49_900, name)
    follower = Follower(f"book.{name}.100ms", desk.listen(1, f"book.{name}.100ms"))
    follower.read()
    assert {49_900.0: 10.0} == follower.bids
    desk.tick(120 * 86_400)
    desk.settle()
    desk.feed.flush("100ms")
    follower.read()
    assert {} == follower.bids
    assert [] == desk.feed.subscribe(follower.reader, ALICE, [f"book.{name}.raw"])


PRICES = st.integers(min_value=-6, max_value=6).map(lambda ticks: 50_000 + 0.5 * ticks)
FOLLOWERS = st.integers(min_value=0, max_value=4)
STEPS = st.one_of(
    st.tuples(
        st.just("place"),
        st.sampled_from([ALICE, BOB]),
        st.sampled_from(list(Side)),
        PRICES,
        st.integers(min_value=1, max_value=3),
    ),
    st.tuples(st.just("cancel"), st.sampled_from([ALICE, BOB])),
    st.tuples(st.just("flush"), st.sampled_from(["100ms", "agg2"])),
    st.tuples(st.just("join"), st.sampled_from(INTERVALS), st.booleans()),
    st.tuples(st.just("leave"), FOLLOWERS),
    st.tuples(st.just("stall"), FOLLOWERS),
    st.tuples(st.just("resume"), FOLLOWERS),
)


@thorough(60)
@given(steps=st.lists(STEPS, min_size=50, max_size=100))
def test_random_subscriptions_and_stalls_still_give_the_book(steps: list[Any]) -> None:
    """Replaying the notifications of any interval rebuilds the book at any time."""
    rebuild(steps, flushes=1)


@thorough(60)
@given(steps=st.lists(STEPS, min_size=50, max_size=100), rows=st.integers(1, 4))
def test_a_snapshot_encoded_in_slices_is_the_book_of_its_end(steps: list[Any], rows: int) -> None:
    """This holds for any limit of rows, and for changes while the snapshot is encoded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(book_side_view, "BLOCK_TICKS", 2)
        patch.setattr(book_side_view, "ROWS_PER_CALL", rows)
        rebuild(steps, flushes=30)


@pytest.mark.parametrize("by", ["job", "flush"])
def test_no_call_encodes_more_rows_than_allowed(monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """The encoder or a flush completes it; later subscriptions get it at once."""
    monkeypatch.setattr(book_side_view, "BLOCK_TICKS", 2)
    monkeypatch.setattr(book_side_view, "ROWS_PER_CALL", 4)
    desk = Desk()
    for n in range(10):
        desk.place(ALICE, Side.BUY, 10, 49_000 + n)
    jobs: list[EncodingJob] = []
    desk.feed.encode = jobs.append
    first = follow(desk, 1, "100ms")
    (job,) = jobs
    calls = 0
    while not first.snapshots:
        calls += 1
        if by == "flush":
            desk.feed.flush("100ms")
        else:
            assert job() is (calls == 2)
        first.read()
    assert 2 == calls, "three calls, of four rows each"
    assert job(), "the snapshot is complete already"
    second = follow(desk, 2, "100ms")
    second.read()
    assert depth_of(desk) == (first.bids, first.asks) == (second.bids, second.asks)


def rebuild(steps: list[Any], flushes: int) -> None:
    """Follow the book through some steps, and flush a number of times at the end.

    A raw follower is checked after each step, a conflated one when it was flushed.
    """
    desk = Desk()
    for account in (ALICE, BOB):
        desk.apply(SetSelfTrading(account=account, mode=SelfTrading.CANCEL_MAKER))
    followers: list[Follower] = []
    for interval in INTERVALS:
        take_step(desk, followers, ("join", interval, True))
    for step in steps:
        take_step(desk, followers, step)
        for follower in followers:
            follower.read()
            if follower.channel.endswith("raw") and follower.snapshots:
                assert depth_of(desk) == (follower.bids, follower.asks)
    for follower in followers:
        follower.reader.stalled = False
    for _ in range(flushes):
        desk.feed.flush("100ms")
        desk.feed.flush("agg2")
    for follower in followers:
        follower.read()
        if follower.reader.end is None:
            assert depth_of(desk) == (follower.bids, follower.asks)


def take_step(desk: Desk, followers: list[Follower], step: Any) -> None:
    """Apply one random action of a trader, the timer or a client."""
    match step:
        case ("place", account, side, price, contracts):
            desk.place(account, side, 10 * contracts, price)
        case ("cancel", account):
            desk.apply(CancelAll(account=account))
        case ("flush", interval):
            desk.feed.flush(interval)
        case ("join", interval, greeted):
            channel = f"book.{BTC}.{interval}"
            reader = Reader(100 + desk.joined())
            desk.feed.subscribe(reader, ALICE, [channel])
            if greeted:
                desk.feed.send_initial_snapshots(reader)
            followers.append(Follower(channel, reader))
        case ("leave", number) if number < len(followers):
            desk.feed.remove_connection(followers.pop(number).reader)
        case ("stall", number) if number < len(followers):
            # Raw clients would be disconnected, which another test covers.
            follower = followers[number]
            follower.reader.stalled = not follower.channel.endswith("raw")
        case ("resume", number) if number < len(followers):
            followers[number].reader.stalled = False
        case _:
            pass
