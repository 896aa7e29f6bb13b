"""Tests of the archive: what it stores of trades, orders and settlements, and its queries."""

from __future__ import annotations

import msgspec
import pytest

from book.order import OrderState, Side, TimeInForce
from book.units import DAY, HOUR, MINUTE, MONEY, SCALE
from gateway.history import archive
from gateway.history.paging import TradeRange
from gateway.protocol import order_json
from risk.commands import CancelAll, Liquidate, OpenAccount
from risk.events import Traded, Transferred
from risk.liquidation import pending
from risk.state import INSURANCE
from tests.gateway.feed_fixture import ALICE, BOB, BTC, SOL, Desk

VICTIM = 201


def every_instrument(_: str) -> bool:
    """Match every instrument."""
    return True


def five_trades() -> Desk:
    """Return a venue with trades 1 to 5, a second apart, every other one in SOL."""
    desk = Desk()
    for number in range(5):
        desk.tick()
        if number % 2:
            desk.trade(150, 1, SOL)
        else:
            desk.trade()
    return desk


@pytest.mark.parametrize(
    ("wanted", "numbers", "more"),
    [
        (TradeRange(), [5, 4, 3, 2, 1], False),
        (TradeRange(count=2), [5, 4], True),
        (TradeRange(count=5), [5, 4, 3, 2, 1], False),
        (TradeRange(count=2, ascending=True), [1, 2], True),
        (TradeRange(first_id=2, last_id=4, ascending=True), [2, 3, 4], False),
        (TradeRange(first_id=2, last_id=4), [4, 3, 2], False),
        (TradeRange(first_id=4, count=1, ascending=True), [4], True),
        (TradeRange(last_id=0), [], False),
        (TradeRange(first_id=4, last_id=2), [], False),
        (TradeRange(first_id=4, last_id=2, ascending=True), [], False),
        (TradeRange(first_id=6, ascending=True), [], False),
    ],
)
def test_trades_are_paged_in_either_direction(
    wanted: TradeRange, numbers: list[int], more: bool
) -> None:
    """Bounds are inclusive; the first `count` in the direction are returned, and if more exist."""
    desk = five_trades()
    trades, has_more = desk.archive.trades([BTC, SOL], wanted)
    assert (numbers, more) == ([trade.trade_id for trade in trades], has_more)
    own, has_more = desk.archive.own_trades(ALICE, wanted, every_instrument)
    assert (numbers, more) == ([each.trade.trade_id for each in own], has_more)


def test_trades_are_bounded_by_time_and_by_sequence() -> None:
    """Times are inclusive; sequence numbers belong to one instrument."""
    desk = five_trades()
    trades, _ = desk.archive.trades(
        [BTC, SOL], TradeRange(start=desk.time - 2_000, end=desk.time - 1_000)
    )
    assert [4, 3] == [trade.trade_id for trade in trades]
    trades, _ = desk.archive.trades([BTC], TradeRange(first_sequence=2, ascending=True))
    assert [3, 5] == [trade.trade_id for trade in trades]


def test_the_oldest_trades_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each instrument stores a bounded number of trades, the newest."""
    monkeypatch.setattr(archive, "TRADES", 3)
    desk = Desk()
    for _ in range(5):
        desk.trade()
    trades, more = desk.archive.trades([BTC], TradeRange())
    assert ([5, 4, 3], False) == ([trade.trade_id for trade in trades], more)


def test_closed_orders_come_latest_first_with_offset_and_count() -> None:
    """Orders without a trade are omitted unless requested; offset and count select a page."""
    desk = Desk()
    desk.trade()
    unfilled = desk.place(
        ALICE, Side.BUY, 10, 49_500, time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL
    )
    desk.tick()
    desk.trade(149, 1, SOL)
    desk.place(ALICE, Side.BUY, 10, 49_500)

    def orders(*, unfilled: bool, offset: int = 0, count: int = 20) -> list[int]:
        kept = desk.archive.orders(
            ALICE, every_instrument, unfilled=unfilled, offset=offset, count=count
        )
        return [order.order_id for order in kept]

    assert [4, 1] == orders(unfilled=False)
    assert [4, 3, 1] == orders(unfilled=True)
    assert [3] == orders(unfilled=True, offset=1, count=1)
    assert [] == orders(unfilled=True, offset=3)
    assert unfilled == desk.archive.order(ALICE, unfilled.order_id)
    assert desk.archive.order(BOB, unfilled.order_id) is None


def test_orders_without_a_trade_do_not_displace_filled_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A market maker cancels thousands of orders, and its filled ones stay."""
    monkeypatch.setattr(archive, "UNFILLED_ORDERS", 2)
    desk = Desk()
    desk.trade()
    for _ in range(5):
        desk.place(ALICE, Side.BUY, 10, 49_500)
        desk.apply(CancelAll(account=ALICE))
    kept = desk.archive.orders(ALICE, every_instrument, unfilled=True, offset=0, count=20)
    assert [7, 6, 1] == [order.order_id for order in kept]


def test_a_partly_filled_order_is_stored_with_its_fills() -> None:
    """A cancelled order with a fill is in the filled history, with its trades."""
    desk = Desk()
    order = desk.place(ALICE, Side.SELL, 30, 50_000)
    desk.place(BOB, Side.BUY, 10, 50_000)
    desk.place(BOB, Side.BUY, 10, 50_000)
    desk.apply(CancelAll(account=ALICE))
    (kept,) = desk.archive.orders(ALICE, every_instrument, unfilled=False, offset=0, count=20)
    assert (OrderState.CANCELLED, 20 * SCALE) == (kept.state, kept.filled)
    trades = desk.archive.order_trades(ALICE, order.order_id)
    assert [1, 2] == [each.trade.trade_id for each in trades]


def test_statistics_cover_24_hours_of_trades() -> None:
    """Volume in base and quote, extremes and change; each trade is dropped after 24 hours."""
    desk = Desk()
    instrument = desk.market().instrument

    def figures() -> tuple[int, int, int | None, int | None, int | None]:
        day = desk.archive.day(instrument).summary(desk.time)
        return day.base, day.quote, day.high, day.low, day.change

    assert (0, 0, None, None, None) == figures()
    desk.trade(50_600, 50_600)
    desk.tick(12 * 3_600)
    desk.settle()
    desk.trade(49_500, 49_500)
    desk.trade(50_500, 50_500)
    change = -1_976
    assert (3 * MONEY, 150_600 * MONEY, 50_600 * SCALE, 49_500 * SCALE, change) == figures()
    desk.tick(12 * 3_600 + 60)
    desk.settle()
    change = 20_202
    assert (2 * MONEY, 100_000 * MONEY, 50_500 * SCALE, 49_500 * SCALE, change) == figures()
    desk.tick(12 * 3_600)
    desk.settle()
    assert (0, 0, None, None, None) == figures()


def test_linear_volume_is_counted_in_coins() -> None:
    """The amount is in base coins already, and the quote volume is its value."""
    desk = Desk()
    desk.trade(150, 10, SOL)
    day = desk.archive.day(desk.market(SOL).instrument).summary(desk.time)
    assert (10 * MONEY, 1_500 * MONEY) == (day.base, day.quote)


def test_funding_of_8_hours_is_the_rate_over_that_time() -> None:
    """A rate that applied for two of the last eight hours counts a quarter."""
    desk = Desk()
    market = desk.market()
    for _ in range(9 * 60):
        desk.tick(60)
    assert 0 == desk.archive.funding(market)
    desk.place(ALICE, Side.BUY, 100_000, 50_200)
    for _ in range(60):
        desk.tick(20)
    paid = market.rate_integral
    assert paid > 0
    assert round(paid / (8 * HOUR)) == desk.archive.funding(market)
    desk.apply(CancelAll(account=ALICE))
    for _ in range(9 * 60):
        desk.tick(60)
    assert 0 <= desk.archive.funding(market) < paid / (8 * HOUR) / 100


def test_funding_of_8_hours_does_not_depend_on_how_often_it_is_sampled() -> None:
    """A constant rate is the result, however rare the ticks."""
    desk = Desk()
    desk.place(ALICE, Side.BUY, 100_000, 50_200)
    for hours in (1, 2, 3, 4, 5, 48):
        desk.tick(hours * 3_600)
        desk.settle()
    assert 0 < desk.market().funding_rate == desk.archive.funding(desk.market())


def test_settlements_of_an_instrument_are_stored() -> None:
    """The daily settlement is recorded once for each market."""
    desk = Desk()
    desk.trade(50_000, 50_000)
    desk.tick(24 * 3_600, btc_usd=51_000)
    desk.settle()
    settled = desk.archive.settlements(BTC)
    assert [50_000 * SCALE] == [event.open_interest for event in settled]


def test_deliveries_are_stored_by_index() -> None:
    """The delivery price is stored, and the instrument stays known."""
    desk = Desk()
    name = next(name for name in desk.exchange.state.markets if name.startswith("BTC-2"))
    desk.trade(instrument=name)
    expiry = desk.market(name).instrument.expiry
    assert expiry is not None
    desk.tick((expiry - desk.time) // 1_000 + 1)
    desk.settle()
    (delivered,) = [each for each in desk.archive.delivered("btc_usd") if each.instrument == name]
    assert 50_000 * SCALE == delivered.price
    instrument = desk.archive.instrument(name)
    assert instrument is not None
    assert expiry == instrument.expiry
    trades, _ = desk.archive.trades([name], TradeRange())
    assert 1 == len(trades)


def test_an_entry_that_spans_a_year_is_recorded() -> None:
    """More instruments are listed and expire than the venue remembers."""
    desk = Desk()
    desk.tick(400 * DAY // 1_000)
    desk.settle()
    desk.trade()
    trades, _ = desk.archive.trades([BTC], TradeRange())
    assert 1 == len(trades)
    assert len(desk.archive.instruments) <= len(desk.exchange.state.markets) + 100


def test_system_accounts_leave_no_history() -> None:
    """Only client accounts have a history."""
    desk, _ = take_over()
    assert INSURANCE not in desk.archive.accounts


def take_over() -> tuple[Desk, list[Transferred]]:
    """Return a venue where the insurance fund takes over a long position without a buyer."""
    desk = Desk()
    desk.deposit(INSURANCE, "BTC", 1_000)
    desk.apply(OpenAccount(account=VICTIM, name="victim"))
    desk.deposit(VICTIM, "BTC", 1)
    desk.place(ALICE, Side.SELL, 1_000_000, 50_000)
    desk.place(VICTIM, Side.BUY, 1_000_000, 50_000)
    transfers = []
    for step in range(30):
        desk.tick(btc_usd=50_000 - 100 * step)
        for account, currency in pending(desk.exchange.state):
            events = desk.apply(Liquidate(account=account, currency=currency))
            transfers += [event for event in events if isinstance(event, Transferred)]
            desk.settle()
    assert transfers
    return desk, transfers


def test_a_position_taken_over_is_a_trade_of_the_client() -> None:
    """The sum of its trades is its position, zero; the last trade is a liquidation."""
    desk, (transfer,) = take_over()
    own, _ = desk.archive.own_trades(
        VICTIM, TradeRange(count=100, ascending=True), every_instrument
    )
    assert 0 == sum(each.side.side.sign * each.trade.amount for each in own)
    trade, side = own[-1].trade, own[-1].side
    assert (transfer.trade_id, transfer.price) == (trade.trade_id, trade.price)
    instrument = desk.market().instrument
    decoded = msgspec.json.decode(order_json.own_trade_text(trade, side, instrument))
    assert ("liquidation", "T", "sell", "T") == (
        decoded["order_type"],
        decoded["liquidity"],
        decoded["direction"],
        decoded["liquidation"],
    )
    public, _ = desk.archive.trades([BTC], TradeRange(count=100))
    assert transfer.trade_id not in {trade.trade_id for trade in public}


def test_a_liquidation_through_the_book_marks_its_public_trade() -> None:
    """The taker was liquidated: `liquidation` is T, and its own trade is of that type."""
    desk = Desk()
    desk.deposit(INSURANCE, "BTC", 1_000)
    desk.apply(OpenAccount(account=VICTIM, name="victim"))
    desk.deposit(VICTIM, "BTC", 1)
    desk.place(ALICE, Side.SELL, 1_000_000, 50_000)
    desk.place(VICTIM, Side.BUY, 1_000_000, 50_000)
    desk.place(BOB, Side.BUY, 2_000_000, 49_300)
    public = desk.listen(1, f"trades.{BTC}.raw")
    own = desk.listen(2, "user.trades.any.any.raw", account=VICTIM)
    fills: list[Traded] = []
    for step in range(30):
        desk.tick(btc_usd=50_000 - 100 * step)
        for account, currency in pending(desk.exchange.state):
            events = desk.apply(Liquidate(account=account, currency=currency))
            fills += [event for event in events if isinstance(event, Traded)]
    assert fills
    decoded = [trade for trades in public.data(f"trades.{BTC}.raw") for trade in trades]
    assert ["T"] * len(fills) == [trade["liquidation"] for trade in decoded]
    mine = [trade for trades in own.data("user.trades.any.any.raw") for trade in trades]
    assert ["liquidation"] * len(fills) == [trade["order_type"] for trade in mine]
    assert [trade["trade_id"] for trade in decoded] == [trade["trade_id"] for trade in mine]


def test_minutes_of_statistics_are_bounded() -> None:
    """When prices only fall, a window stores no more than its minutes."""
    desk = Desk()
    for step in range(3):
        desk.trade(50_000 - step)
        desk.tick(MINUTE // 1_000)
    day = desk.archive.day(desk.market().instrument)
    assert (3, 3, 1) == (len(day.minutes), len(day.high.minutes), len(day.low.minutes))
