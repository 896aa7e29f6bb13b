"""What the clearing house costs: a Tick among many accounts, an order, a violent move.

    python benchmarks/margin.py [--quick]

Accounts hold one to three instruments, inverse and linear, opened by real trades against one
maker. All times are those of whole entries (`Exchange.apply`), and every work that is too large
for one entry is carried on by Continue entries, as the venue does it. They are processor time, so
that what else runs on the machine does not count.

- A quiet tick moves prices by a few hundredths of a percent and endangers no account; a moving tick
  moves them by up to two percent and puts some accounts up for a look. Beside them stands a scan of
  all accounts, which is what a Tick would cost without the watch.
- An order is measured by how many open orders its account holds, in calm: between two Ticks.
- The violent move takes a fifth off every price in ten steps; of all its entries the longest
  counts. So does the longest of the daily settlement that follows.

The garbage collector is frozen over what was built before the clock starts, as a venue does; what
a full collection would cost is shown.
"""

from __future__ import annotations

import argparse
import gc
import random
import resource
import statistics
import sys
from pathlib import Path
from time import process_time

# Python puts this file's own directory first, and there `book` would be another benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from book.calendar import next_settlement
from book.order import Side, TimeInForce
from book.units import MONEY, SCALE, SECOND
from risk import liquidation, margin, order_costs, standard_margin
from risk.commands import (
    Cancel,
    CancelAll,
    Command,
    Continue,
    Deposit,
    Entry,
    OpenAccount,
    Origin,
    Place,
    SetProduct,
    Tick,
)
from risk.contract_specs import LEGACY_2025
from risk.events import Event, Ordered
from risk.exchange import Exchange
from risk.market import Market

START = 1_750_000_000_000
MAKER, TRADER, FIRST = 101, 102, 1000
INSTRUMENTS = ("BTC-PERPETUAL", "ETH-PERPETUAL", "BTC_USDC-PERPETUAL", "SOL_USDC-PERPETUAL")
CONTRACTS = 500
BATCH = 1000
"""No position is larger, in contracts; and so many accounts are opened between two Ticks."""

CURRENCIES = ("BTC", "ETH", "USDC")
PRICES = {
    "btc_usd": 100_000,
    "eth_usd": 4_000,
    "btc_usdc": 100_000,
    "eth_usdc": 4_000,
    "sol_usdc": 200,
}


class Venue:
    """An exchange, its clock, and how long its last entry took."""

    def __init__(self, start: int = START) -> None:
        self.exchange = Exchange()
        self.time = start
        self.sequence = 0
        self.seconds = 0.0
        self.prices = {name: price * SCALE for name, price in PRICES.items()}

    def apply(self, command: Command) -> list[Event]:
        """Apply one command, and keep what it took."""
        self.sequence += 1
        entry = Entry(self.sequence, self.time, Origin(), command)
        start = process_time()
        events = self.exchange.apply(entry)
        self.seconds = process_time() - start
        return events

    def tick(self) -> None:
        """A second later, the prices as they now are."""
        self.time += SECOND
        self.apply(Tick(prices=tuple(self.prices.items())))

    def finish(self) -> list[float]:
        """Carry on what is in progress; returns the seconds of each entry."""
        taken = []
        while self.exchange.busy:
            self.apply(Continue())
            taken.append(self.seconds)
        return taken

    def market(self, name: str) -> Market:
        return self.exchange.state.markets[name]

    def place(
        self,
        account: int,
        name: str,
        side: Side,
        amount: int,
        price: int = 0,
        time_in_force: TimeInForce = TimeInForce.GOOD_TIL_CANCELLED,
    ) -> int:
        """Place an order, at the mark unless another price is given; returns its number."""
        market = self.market(name)
        order = Place(
            account=account,
            instrument=name,
            side=side,
            amount=amount,
            price=price or market.instrument.floor_to_tick(market.mark),
            time_in_force=time_in_force,
        )
        for event in self.apply(order):
            if isinstance(event, Ordered):
                return event.order.order_id
        raise RuntimeError(f"refused: {order}")


def venue_with(accounts: int, start: int = START) -> Venue:
    """That many accounts with one to three positions each, at leverages of 2 to 45.

    It takes the venue a second for each BATCH of them, and a few more.
    """
    venue = Venue(start)
    for contract, terms in LEGACY_2025:
        venue.apply(SetProduct(contract=contract, terms=terms))
    venue.tick()
    for account in (MAKER, TRADER):
        venue.apply(OpenAccount(account=account, name=str(account)))
        for currency in CURRENCIES:
            venue.apply(Deposit(account=account, currency=currency, amount=10**10 * MONEY))
    chance = random.Random(1)
    for number in range(accounts):
        if number % BATCH == 0:
            quote(venue)
        account = FIRST + number
        venue.apply(OpenAccount(account=account, name=str(account)))
        for name in chance.sample(INSTRUMENTS, chance.choice((1, 1, 2, 3))):
            open_position(venue, account, name, chance)
    venue.apply(CancelAll(account=MAKER))
    venue.tick()
    venue.finish()
    return venue


def quote(venue: Venue) -> None:
    """Let the maker quote, a tick off the mark, what the next batch of accounts may take."""
    venue.apply(CancelAll(account=MAKER))
    for name in INSTRUMENTS:
        instrument = venue.market(name).instrument
        amount = BATCH * CONTRACTS * instrument.contract.contract_size
        for side in Side:
            venue.place(MAKER, name, side, amount, taking_price(venue, name, side.opposite))
    venue.tick()
    venue.finish()


def taking_price(venue: Venue, name: str, side: Side) -> int:
    """What a taker on that side pays to the maker: a tick more, or gets less, than the mark."""
    market = venue.market(name)
    tick = market.instrument.contract.tick
    return market.instrument.floor_to_tick(market.mark) + side.sign * tick


def open_position(venue: Venue, account: int, name: str, chance: random.Random) -> None:
    """Deposit a random multiple of the initial margin, and trade with the maker."""
    market = venue.market(name)
    amount = chance.randint(1, CONTRACTS) * market.instrument.contract.contract_size
    times = chance.choice((chance.uniform(1.1, 2), chance.uniform(1.1, 20)))
    fee = order_costs.fee(market, amount, market.mark, market.instrument.taker_rate)
    deposit = int(standard_margin.initial(market, amount) * times) + 2 * fee
    venue.apply(Deposit(account=account, currency=market.currency, amount=deposit))
    side = chance.choice((Side.BUY, Side.SELL))
    venue.place(account, name, side, amount, taking_price(venue, name, side))


def scan(venue: Venue) -> float:
    """Seconds to look at every wallet after a Tick."""
    state = venue.exchange.state
    start = process_time()
    found = sum(
        margin.is_locked(state, wallet)
        for currency in CURRENCIES
        for wallet in state.wallets[currency].values()
    )
    assert found >= 0
    return process_time() - start


def ticks(venue: Venue, step: float, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of each Tick, its Continue entries included, and of the longest entry in each."""
    chance = random.Random(2)
    whole, longest = [], []
    start = dict(venue.prices)
    for number in range(rounds):
        for name, price in start.items():
            # To and fro, so that a long run does not become one large move.
            way = 1 if number % 2 else -1
            venue.prices[name] = int(price * (1 + way * step * chance.random()))
        venue.tick()
        entries = [venue.seconds, *venue.finish()]
        whole.append(sum(entries))
        longest.append(max(entries))
    venue.prices = start
    venue.tick()
    venue.finish()
    return whole, longest


def fall(venue: Venue) -> tuple[int, list[float], float]:
    """A fifth off in ten steps; returns (endangered, seconds of each entry, to rank them)."""
    entries = []
    start = dict(venue.prices)
    for step in range(1, 11):
        venue.prices = {name: price * (100 - 2 * step) // 100 for name, price in start.items()}
        venue.tick()
        entries += [venue.seconds, *venue.finish()]
    begin = process_time()
    # No account is listed before the rankings are known, which Continue entries compute.
    while not liquidation.pending(venue.exchange.state):
        assert venue.exchange.busy
        venue.finish()
    return len(venue.exchange.state.watch.endangered), entries, process_time() - begin


def settle(venue: Venue) -> list[float]:
    """Seconds of each entry of a daily settlement and of the Tick after it."""
    venue.time = next_settlement(venue.time)
    venue.apply(Continue())
    entries = [venue.seconds, *venue.finish()]
    venue.tick()
    return [*entries, venue.seconds, *venue.finish()]


def milliseconds(seconds: list[float]) -> str:
    """Median, 99th percentile and longest."""
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    return f"{statistics.median(ordered) * 1e3:9.3f} {p99 * 1e3:9.3f} {ordered[-1] * 1e3:9.3f}"


def freeze() -> float:
    """Take what is built out of the collector's reach; returns the seconds of one collection."""
    start = process_time()
    gc.collect()
    taken = process_time() - start
    gc.freeze()
    return taken


def show_accounts(accounts: int, rounds: int) -> None:
    """Print what Ticks cost among that many accounts."""
    gc.disable()
    start = process_time()
    venue = venue_with(accounts)
    built = process_time() - start
    collection = freeze()
    gc.enable()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"\n{accounts:,} accounts: built in {built:.1f} s ({venue.sequence:,} entries), "
        f"{memory:.0f} MB at most, a full collection {collection * 1e3:.0f} ms"
    )
    print(f"{'milliseconds':<34}{'median':>9} {'p99':>9} {'longest':>9}")
    watch = venue.exchange.state.watch
    for title, step, times in (("quiet", 0.0003, rounds), ("moving", 0.02, rounds // 10)):
        before = watch.measurements
        whole, longest = ticks(venue, step, times)
        looks = (watch.measurements - before) / times
        print(f"{f'{title} tick, {looks:.1f} looks':<34}{milliseconds(whole)}")
        print(f"{'  its longest entry':<34}{milliseconds(longest)}")
    scans = []
    for _ in range(3):
        venue.tick()
        scans.append(scan(venue))
    print(f"{'full scan':<34}{milliseconds(scans)}")
    endangered, entries, ranked = fall(venue)
    print(f"{f'-20 % in 10 steps, {len(entries):,} entries':<34}{milliseconds(entries)}")
    print(f"{f'  {endangered:,} endangered, to rank them':<34}{ranked * 1e3:9.3f}")
    entries = settle(venue)
    print(f"{f'settlement, {len(entries):,} entries':<34}{milliseconds(entries)}")
    kept = sum(len(ends.fresh) + len(ends.older) for ends in watch.ends.values())
    print(f"{'interval ends kept':<34}{kept:>9,}", flush=True)
    gc.unfreeze()


def show_orders(sizes: list[int], rounds: int) -> None:
    """Print what an order costs by the number of open orders its account holds."""
    print(f"\n{'microseconds, by open orders':<34}", *(f"{size:>9,}" for size in sizes))
    orders(100, rounds)  # warms up the interpreter
    rows: dict[str, list[float]] = {}
    for size in sizes:
        for part, value in orders(size, rounds).items():
            rows.setdefault(part, []).append(value)
    for part, values in rows.items():
        print(f"{part:<34}", *(f"{value * 1e6:9.1f}" for value in values))


def orders(size: int, rounds: int) -> dict[str, float]:
    """Median seconds of orders of an account that holds `size` of them, in calm."""
    venue = venue_with(10)
    name = INSTRUMENTS[0]
    market = venue.market(name)
    amount = market.instrument.contract.contract_size
    low = market.instrument.floor_to_tick(market.mark * 99 // 100)
    for number in range(size):
        venue.place(TRADER, name, Side.BUY, amount, price=low + number % 100 * 50_000_000)
    taken: dict[str, list[float]] = {}
    for _ in range(rounds):
        resting = venue.place(TRADER, name, Side.BUY, amount, price=low)
        taken.setdefault("place, resting", []).append(venue.seconds)
        venue.apply(Cancel(account=TRADER, order_id=resting))
        taken.setdefault("cancel", []).append(venue.seconds)
        venue.place(MAKER, name, Side.SELL, amount)
        kind = TimeInForce.IMMEDIATE_OR_CANCEL
        venue.place(TRADER, name, Side.BUY, amount, time_in_force=kind)
        taken.setdefault("place, filled", []).append(venue.seconds)
    for _ in range(max(3, rounds // 100)):
        venue.tick()
        resting = venue.place(TRADER, name, Side.BUY, amount, price=low)
        taken.setdefault("place, first after a tick", []).append(venue.seconds)
        venue.apply(Cancel(account=TRADER, order_id=resting))
    return {part: statistics.median(values) for part, values in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer accounts, shorter loops")
    quick = parser.parse_args().quick
    rounds = 200 if quick else 1000
    show_orders([0, 100, 1_000] if quick else [0, 100, 1_000, 9_000], rounds)
    for accounts in (1_000, 10_000) if quick else (1_000, 10_000, 100_000):
        show_accounts(accounts, rounds)


if __name__ == "__main__":
    main()
