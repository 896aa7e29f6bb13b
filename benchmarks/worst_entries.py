"""The longest entry that each command can bring about: none may take over 50 ms.

    python benchmarks/worst_entries.py [--quick] [CASE ...]

Every case builds a venue in which one command has as much to do as it ever can, with sizes that a
busy venue has (`--quick`: a tenth), then applies it and all Continue entries that it leaves. Shown
is the longest of these entries, by processor time. docs/ARCHITECTURE.md says what bounds each.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

# Python puts this file's own directory first, and there `book` would be a benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from attrs import define, field
from msgspec.structs import replace

from benchmarks.figures import Figure, show
from book.calendar import Period, next_settlement
from book.order import OrderType, SelfTrading, Side, TimeInForce
from book.units import DAY, HOUR, MONEY, SCALE, SECOND
from risk.commands import (
    Cancel,
    CancelAll,
    ClosePosition,
    Command,
    Continue,
    Deposit,
    Edit,
    EndSession,
    EndSessions,
    Entry,
    Liquidate,
    OpenAccount,
    Origin,
    Place,
    SetCancelOnDisconnect,
    SetParameters,
    SetProduct,
    SetSelfTrading,
    StartSession,
    Tick,
    Withdraw,
)
from risk.contract_specs import LEGACY_2025
from risk.events import Event, Refused
from risk.exchange import Exchange
from risk.liquidation import pending
from risk.market import Market
from risk.risk_terms import LossPolicy, Parameters
from risk.state import INSURANCE

MOST = 0.050
"""Seconds of processor that no entry may take."""

START = 1_780_401_600_000
BTC = "BTC-PERPETUAL"
PRICES = {"btc_usd": 50_000, "eth_usd": 2_500, "btc_usdc": 50_000, "eth_usdc": 2_500}
ORDERS = 9_990
"""Open orders of one account: just under what the house rules allow."""

TAKER, MAKER, FIRST = 101, 102, 103

RULES: dict[str, Any] = {}
"""House rules that are not the default ones: tests count the work of small slices."""


@define(eq=False)
class Venue:
    """An exchange with two rich accounts, and entries given to it one after another."""

    exchange: Exchange = field(factory=Exchange)
    time: int = START
    prices: dict[str, int] = field(factory=lambda: dict(PRICES) | {"sol_usdc": 150})
    parameters: dict[str, Any] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.do(SetParameters(parameters=Parameters(**(RULES | self.parameters))))
        for contract, terms in LEGACY_2025:
            self.do(SetProduct(contract=contract, terms=terms))
        self.do(Deposit(account=INSURANCE, currency="BTC", amount=MONEY // 1_000))
        for number in (TAKER, MAKER):
            self.open(number, 100_000)
        self.tick()

    @property
    def market(self) -> Market:
        """The market where everything happens."""
        return self.exchange.state.markets[BTC]

    def do(self, command: Command, session: int = 0) -> list[Event]:
        """Apply one command; AssertionError if it is refused: then a case is not what it says."""
        sequence = self.exchange.state.sequence + 1
        origin = Origin(1, 1, session, sequence)
        events = self.exchange.apply(Entry(sequence, self.time, origin, command))
        refused = [event for event in events if isinstance(event, Refused)]
        assert not refused, (command, refused)
        return events

    def open(self, number: int, coins: float) -> None:
        """Open an account with so many BTC."""
        self.do(OpenAccount(account=number, name=str(number)))
        amount = int(coins * 10_000) * (MONEY // 10_000)
        self.do(Deposit(account=number, currency="BTC", amount=amount))

    def crowd(self, count: int, coins: float = 1) -> range:
        """Open so many accounts."""
        numbers = range(FIRST, FIRST + count)
        for number in numbers:
            self.open(number, coins)
        return numbers

    def tick(self, **prices: int) -> None:
        """A second later."""
        self.time += SECOND
        self.do(self.heartbeat(**prices))

    def heartbeat(self, **prices: int) -> Tick:
        """The command, with all prices."""
        self.prices.update(prices)
        return Tick(prices=tuple((name, price * SCALE) for name, price in self.prices.items()))

    def order(
        self,
        account: int,
        side: Side,
        contracts: int,
        price: int,
        market: str = BTC,
        session: int = 0,
        **terms: Any,
    ) -> None:
        """An order of so many contracts."""
        self.do(place(account, side, contracts, price, market, **terms), session)

    def trade(self, buyer: int, seller: int, contracts: int, market: str = BTC) -> None:
        """Let two accounts trade at the mark."""
        found = self.exchange.state.markets[market]
        price = found.instrument.floor_to_tick(found.mark)
        for account, side in ((buyer, Side.BUY), (seller, Side.SELL)):
            amount = found.instrument.contract.contract_size * contracts
            order = Place(account=account, instrument=market, side=side, amount=amount, price=price)
            self.do(order)

    def hold(self, accounts: range, contracts: int, market: str = BTC) -> None:
        """Let the maker sell to each of them."""
        for account in accounts:
            self.trade(account, MAKER, contracts, market)

    def finish(self) -> None:
        """Do all work that is left."""
        while self.exchange.busy:
            self.do(Continue())

    def longest(self, command: Command, session: int = 0) -> float:
        """Seconds of the longest entry of a command and what it leaves to do."""
        gc.collect()
        gc.freeze()
        longest = measured(lambda: self.do(command, session))
        while self.exchange.busy:
            longest = max(longest, measured(lambda: self.do(Continue())))
        gc.unfreeze()
        return longest


def measured(step: Callable[[], object]) -> float:
    """Seconds of processor that a step takes."""
    start = process_time()
    step()
    return process_time() - start


def place(
    account: int, side: Side, contracts: int, price: int, market: str = BTC, **terms: Any
) -> Place:
    """The command; market orders have price 0."""
    return Place(
        account=account,
        instrument=market,
        side=side,
        amount=10 * contracts * SCALE,
        price=price * SCALE,
        **terms,
    )


def sweep(size: int, **terms: Any) -> float:
    """One order against many makers of many accounts, each with one order."""
    venue = Venue()
    for account in venue.crowd(size):
        venue.order(account, Side.SELL, 1, 50_000)
    price = 0 if terms.get("type") is OrderType.MARKET else 50_000
    return venue.longest(place(TAKER, Side.BUY, size, price, **terms))


def sweep_by_edit(size: int) -> float:
    """A resting order that is moved into many makers."""
    venue = Venue()
    for _ in range(size):
        venue.order(MAKER, Side.SELL, 1, 50_000)
    venue.order(TAKER, Side.BUY, size, 49_000)
    order = venue.exchange.state.orders
    return venue.longest(Edit(account=TAKER, order_id=order, price=50_000 * SCALE))


def close_by_sweep(size: int) -> float:
    """A position that is closed against many makers."""
    venue = Venue()
    venue.trade(TAKER, MAKER, size)
    for _ in range(size):
        venue.order(MAKER, Side.BUY, 1, 50_000)
    return venue.longest(ClosePosition(account=TAKER, instrument=BTC))


def own_orders(size: int) -> float:
    """An order that makes many of its own account's go."""
    venue = Venue()
    venue.do(SetSelfTrading(account=TAKER, mode=SelfTrading.CANCEL_MAKER))
    for _ in range(size):
        venue.order(TAKER, Side.SELL, 1, 50_000)
    return venue.longest(place(TAKER, Side.BUY, size, 50_000))


def far_reduce_only(size: int) -> float:
    """Many fills of an account that holds many reduce-only orders, far away."""
    venue = Venue()
    venue.trade(TAKER, MAKER, 2 * size)
    for _ in range(size):
        venue.order(TAKER, Side.SELL, 1, 50_700, reduce_only=True)
    for _ in range(size):
        venue.order(MAKER, Side.BUY, 1, 50_000)
    return venue.longest(place(TAKER, Side.SELL, size, 50_000))


def cut_reduce_only(size: int, **terms: Any) -> float:
    """Fills each of which would cut many reduce-only orders, on both sides."""
    venue = Venue()
    makers = venue.crowd(3, 1_000)
    venue.trade(TAKER, makers[0], size)
    venue.trade(makers[1], makers[2], size)
    for _ in range(size):
        venue.order(TAKER, Side.SELL, 1, 50_700, reduce_only=True)
        venue.order(makers[0], Side.BUY, 1, 49_300, reduce_only=True)
    venue.order(makers[0], Side.BUY, size, 50_000)
    return venue.longest(place(TAKER, Side.SELL, size, 50_000, **terms))


def fill_reduce_only(size: int) -> float:
    """Many reduce-only orders of one account, filled by one order."""
    venue = Venue()
    venue.trade(TAKER, MAKER, size)
    for _ in range(size):
        venue.order(TAKER, Side.SELL, 1, 50_000, reduce_only=True)
    return venue.longest(place(MAKER, Side.BUY, size, 50_000))


def many_orders(size: int) -> Venue:
    """An account with many open orders, half of them worse than the mark, and a new Tick."""
    venue = Venue()
    for number in range(size):
        venue.order(TAKER, Side.BUY, 1, 49_500 + number % 900)
    venue.tick(btc_usd=50_001)
    return venue


def first_order_after_a_tick(size: int) -> float:
    """What many open orders of the account reserve is worked out anew."""
    return many_orders(size).longest(place(TAKER, Side.BUY, 1, 49_400))


def cancel(size: int) -> float:
    """The same for a cancellation."""
    venue = many_orders(size)
    return venue.longest(Cancel(account=TAKER, order_id=venue.exchange.state.orders))


def withdraw(size: int) -> float:
    """The same for money out."""
    return many_orders(size).longest(Withdraw(account=TAKER, currency="BTC", amount=MONEY))


def cancel_all(size: int) -> float:
    """Every open order of an account, each listed in the answer."""
    return many_orders(size).longest(CancelAll(account=TAKER, detailed=True))


def session_with_orders(venue: Venue, session: int, account: int, orders: int) -> None:
    """A session that cancels on disconnect."""
    venue.do(StartSession(session=session, account=account))
    venue.do(SetCancelOnDisconnect(account=account, session=session, enabled=True))
    for _ in range(orders):
        venue.order(account, Side.BUY, 1, 49_500, session=session)


def end_session(size: int) -> float:
    """All orders of one session."""
    venue = Venue()
    session_with_orders(venue, 1, TAKER, size)
    return venue.longest(EndSession(session=1))


def end_sessions(size: int) -> float:
    """A restart: many sessions with some orders each."""
    venue = Venue()
    for session, account in enumerate(venue.crowd(size), 1):
        session_with_orders(venue, session, account, 2)
    return venue.longest(EndSessions(before=2**32))


def held_everywhere(size: int) -> Venue:
    """Accounts that hold something in every market of a currency, with orders for the day."""
    venue = Venue()
    markets = [m.name for m in venue.exchange.state.markets.values() if m.currency == "BTC"]
    for account in venue.crowd(size):
        for name in markets:
            venue.trade(account, MAKER, 1, name)
            venue.order(account, Side.BUY, 1, 49_000, name, time_in_force=TimeInForce.GOOD_TIL_DAY)
    return venue


def settlement(size: int) -> float:
    """The end of a day."""
    venue = held_everywhere(size)
    venue.time = next_settlement(venue.time)
    return venue.longest(venue.heartbeat())


def expiry(size: int) -> float:
    """The end of a future that all accounts hold, with its orders and all other settlements."""
    venue = held_everywhere(size)
    ends = [m.instrument.expiry for m in venue.exchange.state.markets.values()]
    venue.time = min(end for end in ends if end is not None)
    return venue.longest(venue.heartbeat())


def expiry_with_orders(size: int) -> float:
    """The end of a future that is held by accounts with many orders elsewhere."""
    # An hour before a month's end: no fee is taken of weeklies.
    venue = Venue(time=START + 23 * DAY + 19 * HOUR)
    market = next(
        market
        for market in venue.exchange.state.markets.values()
        if market.currency == "BTC" and market.instrument.period is Period.MONTH
    )
    for account in venue.crowd(40):
        venue.trade(account, MAKER, 1, market.name)
        for number in range(size):
            venue.order(account, Side.BUY, 1, 49_300 + number % 600)
    assert market.instrument.expiry is not None
    venue.tick(btc_usd=50_001)
    venue.finish()
    venue.time = market.instrument.expiry
    # No Tick, and so no look at these accounts before the delivery.
    venue.do(Continue())
    return venue.longest(Continue())


def jump(size: int) -> float:
    """The clock goes on by so many days."""
    venue = held_everywhere(100)
    venue.time += size * DAY
    return venue.longest(venue.heartbeat())


def shared_loss(size: int) -> float:
    """A settlement whose loss is shared among many winners."""
    venue = Venue(parameters={"loss_policy": LossPolicy.SOCIALISE})
    winners = venue.crowd(size)
    loser = winners.stop
    venue.open(loser, 0.01 * size)
    for account in winners:
        venue.trade(loser, account, 400)
    venue.tick(btc_usd=35_000)
    venue.finish()
    venue.do(Liquidate(account=loser, currency="BTC"))
    venue.finish()
    assert venue.exchange.state.deficit("BTC").balance < 0
    venue.time = next_settlement(venue.time)
    return venue.longest(venue.heartbeat())


def endangered(size: int, *, deep: bool = False) -> float:
    """A Tick that endangers all accounts, or (`deep`) one over books of the smallest orders."""
    venue = Venue()
    venue.hold(venue.crowd(size, 0.005), 400)
    if deep:
        for market in venue.exchange.state.markets.values():
            fill_thinly(venue, market)
    venue.tick()
    venue.finish()
    venue.time += SECOND
    return venue.longest(venue.heartbeat(btc_usd=47_500 if not deep else 50_001))


def fill_thinly(venue: Venue, market: Market) -> None:
    """Levels of one contract each, until there is enough on both sides for a fair price."""
    contract, tick = market.instrument.contract, market.instrument.contract.tick
    levels = market.terms.impact_amount // contract.contract_size
    best = market.instrument.floor_to_tick(market.mark)
    currency = contract.currency
    for account in (TAKER, MAKER):
        venue.do(Deposit(account=account, currency=currency, amount=10**9 * MONEY))
    for number in range(1, min(levels, 2_000) + 1):
        for account, side in ((TAKER, Side.BUY), (MAKER, Side.SELL)):
            price = best - side.sign * number * tick
            if market.low <= price <= market.high:
                command = Place(
                    account=account,
                    instrument=market.name,
                    side=side,
                    amount=contract.contract_size,
                    price=price,
                )
                venue.do(command)


def liquidate(size: int) -> float:
    """A round for an account with many open orders."""
    venue = Venue()
    venue.open(FIRST, 0.35)
    venue.trade(FIRST, MAKER, 20_000)
    for _ in range(size):
        venue.order(FIRST, Side.BUY, 1, 49_500)
    venue.tick(btc_usd=46_000)
    venue.finish()
    return venue.longest(Liquidate(account=FIRST, currency="BTC"))


def deleverage(size: int, *, ready: bool = True, reduce_only: int = 0) -> float:
    """A bankrupt position that is closed against the best of many winners.

    `ready` is what the supervisor sees to before it proposes a round: that the ranking is known.
    """
    venue = Venue()
    winners, contracts = venue.crowd(size, 1), max(10, reduce_only)
    loser = winners.stop
    venue.open(loser, 0.06 * size * contracts * 10 / 50_000)
    for account in winners:
        venue.trade(loser, account, contracts)
        for _ in range(reduce_only):
            venue.order(account, Side.BUY, 1, 49_500, reduce_only=True)
    venue.tick(btc_usd=45_000)
    venue.finish()
    if ready:
        ranked(venue)
    return venue.longest(Liquidate(account=loser, currency="BTC"))


def deleverage_cutting(size: int) -> float:
    """Winners who hold many reduce-only orders each."""
    return deleverage(3, reduce_only=size)


def crash(size: int, orders: int = 0) -> tuple[Venue, int]:
    """A venue with many winners, who have so many open orders each, and one bankrupt loser."""
    venue = Venue()
    winners = venue.crowd(size, 10)
    loser = winners.stop
    venue.open(loser, 0.06 * size * 10 * 10 / 50_000)
    for account in winners:
        venue.trade(loser, account, 10)
    venue.tick(btc_usd=45_000)
    venue.finish()
    for account in winners:
        for _ in range(orders):
            venue.order(account, Side.SELL, 1, 44_700)
    return venue, loser


def ranked(venue: Venue) -> float:
    """Seconds of the longest step until all is ranked that liquidation will want."""
    longest, found = 0.0, False

    def ask() -> None:
        nonlocal found
        found = bool(pending(venue.exchange.state))

    for _ in range(10_000):
        longest = max(longest, measured(ask))
        if found:
            return longest
        longest = max(longest, measured(lambda: venue.do(Continue())))
    raise AssertionError("liquidation is never proposed")


def deleverage_everywhere(size: int) -> float:
    """A bankrupt account that holds something in so many markets, with many winners in each."""
    venue = Venue()
    contract, terms = LEGACY_2025[0]
    for number in range(size // 5):
        # Each brings a perpetual and four dated futures.
        family = replace(contract, family=f"B{number}", dated=True)
        venue.do(SetProduct(contract=family, terms=terms))
    venue.tick()
    markets = [m.name for m in venue.exchange.state.markets.values() if m.currency == "BTC"]
    winners = venue.crowd(20, 1_000)
    loser = winners.stop
    venue.open(loser, 0.06 * len(winners) * len(markets) * 100 / 50_000)
    for account in winners:
        for name in markets:
            venue.trade(loser, account, 10, name)
    venue.tick(btc_usd=45_000)
    venue.finish()
    longest = ranked(venue)
    return max(longest, venue.longest(Liquidate(account=loser, currency="BTC")))


def choose_next(size: int) -> float:
    """Seconds that the choice takes of who is liquidated next, among accounts with many orders."""
    venue = Venue()
    accounts = venue.crowd(40, 0.05)
    venue.hold(accounts, 4_000)
    for account in accounts:
        for _ in range(size):
            venue.order(account, Side.SELL, 1, 50_700, reduce_only=True)
    venue.tick(btc_usd=45_100)
    venue.finish()
    venue.tick(btc_usd=45_101)
    return measured(lambda: pending(venue.exchange.state))


def deleverage_with_orders(size: int) -> float:
    """Winners with many open orders each, which are worth something else after a Tick."""
    venue, loser = crash(20, size)
    venue.time += SECOND
    longest = venue.longest(venue.heartbeat(btc_usd=45_001))
    longest = max(longest, ranked(venue))
    return max(longest, venue.longest(Liquidate(account=loser, currency="BTC")))


def deleverage_after_settlement(size: int) -> float:
    """Winners who have been ranked, and are then settled."""
    venue, loser = crash(size)
    ranked(venue)
    for standing in venue.exchange.state.watch.rankings.by_side.values():
        standing.used = True
    venue.time = next_settlement(venue.time)
    longest = venue.longest(venue.heartbeat())
    longest = max(longest, ranked(venue))
    return max(longest, venue.longest(Liquidate(account=loser, currency="BTC")))


def set_product(size: int) -> float:
    """New terms for a product that all accounts hold."""
    venue = Venue()
    venue.hold(venue.crowd(size), 1)
    contract, terms = LEGACY_2025[0]
    return venue.longest(SetProduct(contract=contract, terms=terms))


def add_currency(size: int) -> float:
    """The first product in a currency, with many accounts."""
    venue = Venue(exchange=Exchange())
    venue.crowd(size)
    contract, terms = LEGACY_2025[0]
    new = {"family": "XRP", "base": "XRP", "currency": "XRP", "index": "xrp_usd"}
    fields = {name: getattr(contract, name) for name in contract.__struct_fields__} | new
    return venue.longest(SetProduct(contract=type(contract)(**fields), terms=terms))


FOK: dict[str, Any] = {"time_in_force": TimeInForce.FILL_OR_KILL}
CASES: dict[str, tuple[Callable[[int], float], int]] = {
    "limit order through many makers": (sweep, 20_000),
    "fill-or-kill order through many makers": (partial(sweep, **FOK), 20_000),
    "market order through many makers": (
        partial(sweep, type=OrderType.MARKET),
        20_000,
    ),
    "edit into many makers": (sweep_by_edit, ORDERS),
    "close_position through many makers": (close_by_sweep, ORDERS),
    "order that cancels own orders": (own_orders, ORDERS),
    "fills beside far reduce-only orders": (far_reduce_only, ORDERS),
    "a fill that cuts reduce-only orders": (cut_reduce_only, ORDERS),
    "fill-or-kill that cuts reduce-only orders": (partial(cut_reduce_only, **FOK), ORDERS),
    "fills of reduce-only orders": (fill_reduce_only, ORDERS),
    "first order of an account after a Tick": (first_order_after_a_tick, ORDERS),
    "cancel after a Tick": (cancel, ORDERS),
    "withdraw after a Tick": (withdraw, ORDERS),
    "cancel_all, detailed": (cancel_all, ORDERS),
    "end of a session with orders": (end_session, ORDERS),
    "end of all sessions of a process": (end_sessions, 10_000),
    "daily settlement": (settlement, 10_000),
    "expiry": (expiry, 10_000),
    "expiry for accounts with many orders": (expiry_with_orders, 2_000),
    "jump of the clock, days": (jump, 3_650),
    "loss shared at settlement": (shared_loss, 10_000),
    "Tick that endangers all accounts": (endangered, 10_000),
    "Tick over thin books": (partial(endangered, deep=True), 100),
    "liquidation of an account with orders": (liquidate, ORDERS),
    "deleveraging": (deleverage, 10_000),
    "deleveraging that was not foreseen": (partial(deleverage, ready=False), 5_000),
    "deleveraging that cuts reduce-only orders": (deleverage_cutting, ORDERS),
    "deleveraging in many markets": (deleverage_everywhere, 45),
    "choice of whom to liquidate": (choose_next, 2_000),
    "deleveraging of accounts with many orders": (deleverage_with_orders, 2_000),
    "deleveraging after a settlement": (deleverage_after_settlement, 20_000),
    "new terms for a product": (set_product, 10_000),
    "first product in a currency": (add_currency, 50_000),
}
"""Builders and their sizes: makers, orders of one account, accounts or days."""


def figures(quick: bool, names: list[str] | None = None) -> list[Figure]:
    """The longest entry of each case."""
    found = []
    for name, (measure, size) in CASES.items():
        if names and not any(wanted in name for wanted in names):
            continue
        scaled = max(3, size // 10) if quick else size
        seconds = measure(scaled)
        print(f"{name}: {seconds * 1e3:.1f} ms", flush=True)
        figure = f"worst entry: {name}, {scaled:,}"
        aim = f"≤ {MOST * 1e3:.0f} ms"
        found.append(Figure(figure, aim, f"{seconds * 1e3:.1f} ms", seconds <= MOST))
    return found


def main() -> None:
    """Measure what is asked for, and show it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of each size")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="parts of their names")
    options = parser.parse_args()
    show(figures(options.quick, options.cases))


if __name__ == "__main__":
    main()
