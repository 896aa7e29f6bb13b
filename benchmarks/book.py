"""What the order book costs per order added, cancelled and filled, as it grows.

    python benchmarks/book.py [--quick]

Each case rests that many orders and then, in rounds, cancels orders picked at random, adds them
again, and has one taker fill as many from the front. Only these loops are timed, a round at a
time; shown is the median round, and its ratio to the smallest case.

Beside them is what it costs to look an order up by its id and read its amount. No book can do
less, and it grows as well: of a hundred orders all are in the processor's cache, of a million
picked at random hardly any. Growth beyond that would be the book's own.

The garbage collector stays on, as in the venue, but what is built before the clock starts is
frozen out of its reach: the book makes no garbage that needs it, and without that a round would
now and then pay for a walk over a million orders that somebody else's allocations set off. What
such a walk costs is shown at the end.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import TypeVar

# Python puts this file's own directory first, and there `book` would be this file.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.figures import Figure
from book.matching import MatchEnd, match
from book.order import Order, OrderType, SelfTrading, Side, TimeInForce
from book.orderbook import OrderBook

ROUND = 1_000
LEAST_ROUNDS = 7
T = TypeVar("T")
MAKER, TAKER = 1, 2
LOWEST, HIGHEST = 1_000_000, 2_000_000
AMOUNT = 10
PARTS = ("look up", "add", "cancel", "fill")


class Tally:
    """A fill handler that only records the makers, so that the book alone is measured."""

    def __init__(self) -> None:
        self.makers: list[Order] = []

    def allowed_amount(self, maker: Order, amount: int) -> int:  # noqa: ARG002 (protocol)
        return amount

    def on_fill(self, maker: Order, taker: Order, amount: int) -> None:  # noqa: ARG002 (protocol)
        self.makers.append(maker)

    def on_self_trade(self, maker: Order) -> bool:  # noqa: ARG002 (protocol)
        raise AssertionError("makers and takers are different accounts here")


def limit_order(order_id: int, account: int, side: Side, price: int, amount: int) -> Order:
    """A plain good-til-cancelled order."""
    return Order(
        order_id=order_id,
        account=account,
        instrument="BENCH",
        side=side,
        type=OrderType.LIMIT,
        time_in_force=TimeInForce.GOOD_TIL_CANCELLED,
        price=price,
        amount=amount,
    )


def build(orders: int, levels: int) -> tuple[OrderBook, list[Order]]:
    """A book with that many asks, spread evenly over so many prices, in random order."""
    gc.disable()
    book = OrderBook("BENCH")
    resting = [
        limit_order(number, MAKER, Side.SELL, LOWEST + number % levels, AMOUNT)
        for number in range(orders)
    ]
    random.Random(1).shuffle(resting)
    for order in resting:
        book.add(order)
    book.take_changes()
    gc.collect()
    gc.freeze()
    gc.enable()
    return book, resting


def release() -> float:
    """Give what was frozen back to the collector; returns the seconds of its walk over it all."""
    gc.unfreeze()
    start = perf_counter()
    gc.collect()
    return perf_counter() - start


def timed(step: Callable[[T], object], items: Sequence[T]) -> float:
    """Microseconds for one call of `step`, over a round of them."""
    start = perf_counter()
    for item in items:
        step(item)
    return (perf_counter() - start) / len(items) * 1e6


def fill_front(book: OrderBook, count: int) -> tuple[float, list[Order]]:
    """Microseconds a fill when one taker fills the first `count` orders; and those orders."""
    taker = limit_order(-1, TAKER, Side.BUY, HIGHEST, count * AMOUNT)
    tally = Tally()
    start = perf_counter()
    stop = match(book, taker, taker.price, SelfTrading.REJECT_TAKER, tally)
    elapsed = perf_counter() - start
    assert (stop, len(tally.makers)) == (MatchEnd.FILLED, count)
    return elapsed / count * 1e6, tally.makers


@cache
def measure(orders: int, levels: int, seconds: float) -> dict[str, float]:
    """Median microseconds of each operation on a book of that size; and of one collection."""
    book, resting = build(orders, levels)
    chance = random.Random(2)
    count = min(ROUND, orders // 2)
    rounds: dict[str, list[float]] = {part: [] for part in PARTS}
    end = perf_counter() + seconds
    while perf_counter() < end or len(rounds["fill"]) < LEAST_ROUNDS:
        ids = chance.sample(range(orders), count)
        rounds["look up"].append(timed(lambda order_id: book.orders[order_id].amount, ids))
        picked = chance.sample(resting, count)
        rounds["cancel"].append(timed(book.remove, picked))
        rounds["add"].append(timed(book.add, picked))
        microseconds, filled = fill_front(book, count)
        rounds["fill"].append(microseconds)
        for order in filled:
            order.filled = 0
            book.add(order)
        book.take_changes()
    assert len(book.orders) == orders
    medians = {part: statistics.median(values) for part, values in rounds.items()}
    return {**medians, "collection": release() * 1e6}


def measure_one_level(orders: int, seconds: float) -> dict[str, float]:
    """Median microseconds of a cancel at the front, middle and back of one long queue."""
    book, queue = build(orders, 1)
    count = min(ROUND, orders // 10)
    middle = (orders - count) // 2
    places = {"front": 0, "middle": middle, "back": orders - count}
    rounds: dict[str, list[float]] = {place: [] for place in places}
    end = perf_counter() + seconds
    while perf_counter() < end or len(rounds["back"]) < LEAST_ROUNDS:
        for place, first in places.items():
            cancelled = queue[first : first + count]
            rounds[place].append(timed(book.remove, cancelled))
            for order in cancelled:
                book.add(order)
            queue[first : first + count] = []
            queue += cancelled
    release()
    return {place: statistics.median(values) for place, values in rounds.items()}


def show_growth(title: str, sizes: Sequence[tuple[int, int]], seconds: float) -> None:
    """Print one row for each (orders, levels), smallest first."""
    print(f"\n{title}\n{'orders':>10} {'levels':>8}", *(f"{part + ' us':>16}" for part in PARTS))
    smallest: dict[str, float] = {}
    for orders, levels in sizes:
        found = measure(orders, levels, seconds)
        smallest = smallest or found
        cells = (f"{found[part]:9.2f} {found[part] / smallest[part]:5.1f}x" for part in PARTS)
        print(f"{orders:>10,} {levels:>8,}", *(f"{cell:>16}" for cell in cells), flush=True)


def show_one_level(orders: int, seconds: float) -> None:
    """Print what a cancel costs by where in its queue the order stands."""
    found = measure_one_level(orders, seconds)
    print(f"\nCancelling in one level of {orders:,} orders")
    for place, microseconds in found.items():
        ratio = microseconds / found["front"]
        print(f"{place:>10} {microseconds:9.2f} us {ratio:5.1f}x", flush=True)


def figures(quick: bool) -> list[Figure]:
    """How much dearer an operation is in the largest books than in the smallest."""
    seconds, orders, levels = (0.2, 100_000, 10_000) if quick else (1.0, 1_000_000, 100_000)
    pairs = (
        ("100 to", orders, measure(100, 10, seconds), measure(orders, 10, seconds)),
        ("levels, 10 to", levels, measure(orders, 10, seconds), measure(orders, levels, seconds)),
    )
    found = []
    for what, most, small, large in pairs:
        cells = ", ".join(
            f"{part} {small[part]:.2f} to {large[part]:.2f} µs ({large[part] / small[part]:.1f} x)"
            for part in PARTS
        )
        worst = max(large[part] / small[part] for part in PARTS[1:])
        found.append(Figure(f"book growth, {what} {most:,}", "within 4 x", cells, worst <= 4))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="smaller books, shorter loops")
    quick = parser.parse_args().quick
    seconds = 0.3 if quick else 1.0
    most_orders, most_levels = (100_000, 10_000) if quick else (1_000_000, 100_000)
    powers = [10**exponent for exponent in range(1, 7)]
    by_orders = [size for size in powers if 100 <= size <= most_orders]
    by_levels = [size for size in powers if size <= most_levels]
    show_growth("More resting orders", [(orders, 10) for orders in by_orders], seconds)
    show_growth("More price levels", [(most_orders, levels) for levels in by_levels], seconds)
    show_growth(
        "One order a level: every add makes a level, every cancel and fill ends one",
        [(levels, levels) for levels in by_levels],
        seconds,
    )
    show_one_level(100_000, seconds)
    milliseconds = measure(most_orders, 10, seconds)["collection"] / 1e3
    print(f"\nA full garbage collection over {most_orders:,} orders: {milliseconds:.0f} ms")


if __name__ == "__main__":
    main()
