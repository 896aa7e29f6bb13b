"""What an account is told of itself: orders, trades, changes, portfolio."""

from __future__ import annotations

from book.order import Side
from book.units import SCALE
from gateway.feed.feed import PORTFOLIOS_PER_FLUSH
from risk.commands import Cancel, CancelAll, Edit, OpenAccount
from tests.gateway.feed_fixture import ALICE, BOB, BTC, SOL, Desk


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


def test_raw_orders_of_one_entry_precede_its_trades() -> None:
    """Both of a trade's orders, each told once, and only then the trade; the reply is first."""
    desk = Desk()
    orders, trades = f"user.orders.{BTC}.raw", f"user.trades.{BTC}.raw"
    maker = desk.listen(1, trades, orders, account=ALICE)
    taker = desk.listen(2, trades, orders, account=BOB)
    desk.trade()
    assert [orders, orders, trades] == maker.channels()
    assert [orders, trades] == taker.channels()


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
    """What happened since the last flush is gathered by instrument."""
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
    assert [(BTC, 1, 1, 1), (SOL, 1, 0, 1)] == told


def test_changes_bring_the_position_when_only_orders_changed() -> None:
    """What orders would need is a part of it: placed, changed and cancelled."""
    desk = Desk()
    name = f"user.changes.{BTC}.raw"
    reader = desk.listen(1, name)
    order = desk.place(ALICE, Side.BUY, 10_000, 49_900)
    desk.apply(Edit(account=ALICE, order_id=order.order_id, amount=20_000 * SCALE))
    desk.apply(Cancel(account=ALICE, order_id=order.order_id))
    margins = []
    for changes in reader.data(name):
        assert (1, 0) == (len(changes["orders"]), len(changes["trades"]))
        (position,) = changes["positions"]
        assert ("zero", 0.0) == (position["direction"], position["size"])
        margins.append(position["open_orders_margin"])
    placed, doubled, cancelled = margins
    assert 0 < placed < doubled
    assert 0 == cancelled


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
