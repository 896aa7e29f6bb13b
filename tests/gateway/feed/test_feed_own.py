"""Tests of an account's private channels: orders, trades, changes, portfolio."""

from __future__ import annotations

from book.order import Side
from book.units import SCALE
from gateway.feed.feed import PORTFOLIOS_PER_FLUSH
from risk.commands import Cancel, CancelAll, Edit, OpenAccount
from tests.gateway.feed_fixture import ALICE, BOB, BTC, SOL, Desk


def test_private_channels_report_only_their_account() -> None:
    """Orders and trades of other accounts are not in private channels."""
    desk = Desk()
    alice = desk.listen(1, "user.orders.any.any.raw", account=ALICE)
    bob = desk.listen(2, "user.orders.any.any.raw", account=BOB)
    desk.place(ALICE, Side.BUY, 10, 49_000 + 500)
    assert (1, 0) == (len(alice.take()), len(bob.take()))


def test_a_subscription_under_a_new_log_in_reports_its_account() -> None:
    """After a log-in to another account and a new subscription, only that account is reported."""
    desk = Desk()
    name = "user.orders.any.any.raw"
    reader = desk.listen(1, name, account=ALICE)
    desk.feed.subscribe(reader, BOB, [name])
    desk.place(ALICE, Side.BUY, 10, 49_900)
    desk.place(BOB, Side.BUY, 10, 49_900)
    assert [BOB] == [order["user_id"] for order in reader.data(name)]


def test_raw_orders_are_sent_singly_and_conflated_ones_in_a_list() -> None:
    """A conflated list holds each order once, as it last was."""
    desk = Desk()
    raw = desk.listen(1, f"user.orders.{BTC}.raw")
    conflated = desk.listen(2, "user.orders.future.BTC.100ms")
    order = desk.place(ALICE, Side.BUY, 10, 49_900)
    desk.place(ALICE, Side.BUY, 10, 49_800)
    desk.apply(Cancel(account=ALICE, order_id=order.order_id))
    states = [
        (each["order_id"], each["order_state"]) for each in raw.data(f"user.orders.{BTC}.raw")
    ]
    assert [("1", "open"), ("2", "open"), ("1", "cancelled")] == states
    assert [] == conflated.take()
    desk.feed.flush("100ms")
    (listed,) = conflated.data("user.orders.future.BTC.100ms")
    assert [("2", "open"), ("1", "cancelled")] == [
        (each["order_id"], each["order_state"]) for each in listed
    ]
    desk.feed.flush("100ms")
    assert [] == conflated.take()


def test_raw_orders_of_one_entry_precede_its_trades() -> None:
    """The reply is first, then both orders of a trade, once each, then the trade."""
    desk = Desk()
    orders, trades = f"user.orders.{BTC}.raw", f"user.trades.{BTC}.raw"
    maker = desk.listen(1, trades, orders, account=ALICE)
    taker = desk.listen(2, trades, orders, account=BOB)
    desk.trade()
    assert [orders, orders, trades] == maker.channels()
    assert [orders, trades] == taker.channels()


def test_a_user_trade_has_the_users_side_and_the_public_id() -> None:
    """The public trade has the taker's side; each party sees its own, under the same id."""
    desk = Desk()
    alice = desk.listen(1, "user.trades.any.any.raw", f"trades.{BTC}.raw", account=ALICE)
    bob = desk.listen(2, "user.trades.any.any.100ms", account=BOB)
    desk.trade(amount=20)
    (own,), (public,) = (frame["params"]["data"] for frame in alice.take())
    desk.feed.flush("100ms")
    ((others,),) = bob.data("user.trades.any.any.100ms")
    published = [(each["trade_id"], each["direction"]) for each in (own, public, others)]
    assert [("1", "sell"), ("1", "buy"), ("1", "buy")] == published
    assert ("M", "T") == (own["liquidity"], others["liquidity"])
    assert (0.0, 2e-07) == (own["fee"], others["fee"]), "20 USD / 50,000 at 0.05 %"
    assert own["matching_id"] is None


def test_user_changes_combine_orders_trades_and_position() -> None:
    """There is one message for each instrument, with the position after the entry."""
    desk = Desk()
    reader = desk.listen(1, "user.changes.future.BTC.raw", account=BOB)
    desk.trade(amount=20)
    (changes,) = reader.data("user.changes.future.BTC.raw")
    assert BTC == changes["instrument_name"]
    assert ["filled"] == [order["order_state"] for order in changes["orders"]]
    assert ["1"] == [trade["trade_id"] for trade in changes["trades"]]
    assert [20.0] == [position["size"] for position in changes["positions"]]


def test_conflated_changes_are_one_message_for_each_instrument() -> None:
    """Changes since the last flush are grouped by instrument."""
    desk = Desk()
    reader = desk.listen(1, "user.changes.any.any.agg2")
    desk.trade()
    desk.place(ALICE, Side.BUY, 1, 149, SOL)
    desk.apply(CancelAll(account=ALICE))
    desk.feed.flush("agg2")
    published = [
        (each["instrument_name"], len(each["orders"]), len(each["trades"]), len(each["positions"]))
        for each in reader.data("user.changes.any.any.agg2")
    ]
    assert [(BTC, 1, 1, 1), (SOL, 1, 0, 1)] == published


def test_user_changes_include_the_position_when_only_orders_changed() -> None:
    """Open-order margin is part of the position: orders placed, changed and cancelled alter it."""
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


def test_the_next_flush_publishes_portfolios_after_a_mark() -> None:
    """Changes by the account's own entries are published at once, those by marks on the timer."""
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


def test_a_flush_refreshes_a_bounded_number_of_portfolios() -> None:
    """One flush refreshes a bounded number, and the next one continues."""
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


def test_a_client_that_missed_one_currency_gets_all_of_them() -> None:
    """A later summary of another currency does not replace the missed one."""
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
