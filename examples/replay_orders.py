"""Replay a recorded order-event file on a venue, and report rates, latencies and refusals.

    tidegate serve --config examples/replay.toml
    python examples/replay_orders.py FILE.csv.gz --connections 16 --in-flight 32 --speed 10

FILE is level-3 data with the columns id, exchange_timestamp (ms), price (USD), volume (BTC),
action (created, changed, deleted) and direction (bid, ask), gzipped or not. Each event becomes an
order, an edit or a cancel of BTC-PERPETUAL, with its volume in USD rounded to whole contracts.
Without --speed it goes as fast as the venue answers.

The recording is not of this venue, so some of it must fail: bids above the band around the mark
are refused (10007), asks below it (10005) and bids for less than a tick (10023), and an order may
have been filled here when the recording changes (11008) or deletes it (11044, or 10004 when that is
long ago). Refusals are counted by code; events of an order that was refused, or that is known to be
filled, are skipped.

With `data_dir` in replay.toml the venue keeps a log, and `tidegate log verify DIR` proves after it
that the log leads to the state that the venue came to, with all money accounted for on the way.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import trio
from attrs import define, field

from tidegate.client import ApiError, Client, ConnectionEndedError, connect

INSTRUMENT = "BTC-PERPETUAL"
CONTRACT = 10  # USD
TICK = 0.5
SIDES = {"bid": "buy", "ask": "sell"}


class Event(NamedTuple):
    """A row of the file; `time` is in milliseconds, `amount` in USD."""

    order: str
    time: int
    price: float
    amount: int
    action: str
    side: str


def read_events(path: Path) -> Iterator[Event]:
    """The rows of a file. Exits with the line where something is wrong."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="ascii", newline="") as text:
        rows = csv.DictReader(text)
        try:
            for row in rows:
                price = float(row["price"])
                contracts = round(float(row["volume"]) * price / CONTRACT)
                yield Event(
                    row["id"],
                    int(row["exchange_timestamp"]),
                    round(price / TICK) * TICK,
                    max(1, contracts) * CONTRACT,
                    row["action"],
                    SIDES[row["direction"]],
                )
        except (KeyError, TypeError, ValueError) as error:
            raise SystemExit(f"{path}, line {rows.line_num}: {error!r}") from error


@define(eq=False)
class Order:
    """A recorded order on its way through the venue; `number` is None while it is not open.

    `turn` is set when the event before is answered, so that its events stay in order.
    """

    client: Client
    number: str | None = None
    turn: trio.Event = field(factory=trio.Event)


@define(eq=False)
class Report:
    """What happened, counted; `latencies` are seconds from a request to its reply.

    `left_open` are orders that the recording never deletes.
    """

    done: Counter[str] = field(factory=Counter)
    refused: Counter[str] = field(factory=Counter)
    latencies: list[float] = field(factory=list)
    left_open: int = 0

    def lines(self, seconds: float) -> Iterator[str]:
        """The report, for a replay that took so long."""
        total = sum(self.done.values()) + sum(self.refused.values())
        requests = len(self.latencies)
        yield f"{total:,} events in {seconds:.1f} s: {total / seconds:,.0f} events/s"
        yield f"{requests:,} requests: {requests / seconds:,.0f} requests/s"
        yield "done:    " + _listed(self.done)
        yield "refused: " + (_listed(self.refused) or "none")
        yield f"left open and cancelled at the end: {self.left_open:,}"
        ordered = sorted(self.latencies)
        if ordered:
            marks = (
                (f"p{part:g}", ordered[int(requests * part / 100)]) for part in (50, 90, 99, 99.9)
            )
            told = "  ".join(f"{name} {value * 1e3:.1f}" for name, value in marks)
            yield f"latency in ms: {told}  max {ordered[-1] * 1e3:.1f}"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())


@define(eq=False)
class Replay:
    """Sends events in the order of the file, each order's over one connection.

    At most `in_flight` requests of a connection are unanswered; when one is full, all wait, so
    that no part of the market runs ahead of another.
    """

    connections: dict[str, list[Client]]
    in_flight: int
    report: Report = field(factory=Report)
    _orders: dict[str, Order] = field(factory=dict)
    _slots: dict[Client, trio.Semaphore] = field(factory=dict)

    async def run(self, events: Sequence[Event], speed: float) -> None:
        """Play all events, `speed` times as fast as recorded, 0 for as fast as possible."""
        began, first = trio.current_time(), events[0].time
        async with trio.open_nursery() as nursery:
            for event in events:
                if speed:
                    # What is late goes out at once: time lost is caught up with.
                    await trio.sleep_until(began + (event.time - first) / 1_000 / speed)
                order = self._order(event)
                slots = self._slots.setdefault(order.client, trio.Semaphore(self.in_flight))
                await slots.acquire()
                before, order.turn = order.turn, trio.Event()
                nursery.start_soon(self._play, event, order, before, order.turn, slots)

    def _order(self, event: Event) -> Order:
        order = self._orders.get(event.order)
        if order is None:
            clients = self.connections[event.side]
            order = Order(clients[len(self._orders) % len(clients)])
            order.turn.set()
            self._orders[event.order] = order
        return order

    async def _play(
        self,
        event: Event,
        order: Order,
        before: trio.Event,
        after: trio.Event,
        slots: trio.Semaphore,
    ) -> None:
        await before.wait()
        began = time.perf_counter()
        try:
            done = await self._request(event, order)
        except ApiError as refusal:
            # Messages may end in a number, as in `price_too_high 79475`.
            self.report.refused[f"{event.action} {refusal.code} {refusal.message.split()[0]}"] += 1
            done = None
        if done is not None:
            self.report.done[done] += 1
        if done != "skipped":
            self.report.latencies.append(time.perf_counter() - began)
        after.set()
        slots.release()

    async def _request(self, event: Event, order: Order) -> str:
        """Do what an event says; returns what was done. Raises ApiError."""
        terms: dict[str, object] = {"amount": event.amount, "price": event.price}
        if event.action == "created":
            terms |= {"instrument_name": INSTRUMENT}
            placed = (await order.client.call(f"private/{event.side}", terms))["order"]
            order.number = placed["order_id"] if placed["order_state"] == "open" else None
            return "placed" if order.number else "placed and filled"
        if order.number is None:
            return "skipped"
        terms["order_id"] = order.number
        if event.action == "changed":
            edited = (await order.client.call("private/edit", terms))["order"]
            order.number = order.number if edited["order_state"] == "open" else None
            return "edited"
        order.number = None
        await order.client.call("private/cancel", {"order_id": terms["order_id"]})
        return "cancelled"


@asynccontextmanager
async def connected(options: argparse.Namespace) -> AsyncIterator[dict[str, list[Client]]]:
    """The connections of each side, spread over its accounts.

    However they end, the venue cancels what their orders have left open.
    """
    async with AsyncExitStack() as stack:
        clients: dict[str, list[Client]] = {side: [] for side in SIDES.values()}
        for number in range(options.connections):
            pair, half = divmod(number, 2)
            account = f"{tuple(SIDES)[half]}s{pair % options.accounts + 1}"
            client = await stack.enter_async_context(
                connect(options.url, f"{account}-key", f"{account}-secret")
            )
            await client.call("private/enable_cancel_on_disconnect", {"scope": "connection"})
            clients[tuple(SIDES.values())[half]].append(client)
        yield clients


async def stop_at_signal(scope: trio.CancelScope) -> None:
    """Let Ctrl-C cancel everything in order."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


async def main(options: argparse.Namespace, events: Sequence[Event]) -> None:
    """Replay, and report, also on what was done before it was stopped."""
    report = Report()
    seconds = 0.0
    failure: BaseException | None = None
    began = time.perf_counter()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop_at_signal, nursery.cancel_scope)
            async with connected(options) as connections:
                began = time.perf_counter()
                print(f"replaying {len(events):,} events; Ctrl-C to stop", flush=True)
                await Replay(connections, options.in_flight, report).run(events, options.speed)
                seconds = time.perf_counter() - began
                for clients in connections.values():
                    for client in clients:
                        report.left_open += await client.call("private/cancel_all")
            nursery.cancel_scope.cancel()
    except* ConnectionEndedError as ended:
        print(f"the venue hung up: {first_of(ended)}")
    except* (OSError, ApiError) as down:
        failure = first_of(down)
    if failure is not None:
        raise failure
    for line in report.lines(seconds or time.perf_counter() - began):
        print(line)


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """One of all requests that were on their way, in groups of those who waited for them."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Replay recorded orders on a venue.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--url", default="ws://127.0.0.1:8081/ws/api/v2")
    parser.add_argument("--connections", type=int, default=8, help="half for each side; at least 2")
    parser.add_argument("--in-flight", type=int, default=16, help="unanswered per connection")
    parser.add_argument("--speed", type=float, default=0.0, help="0: as fast as possible")
    parser.add_argument("--events", type=int, help="stop after so many")
    parser.add_argument("--accounts", type=int, default=4, help="of each side, in replay.toml")
    options = parser.parse_args()
    if options.connections < 2 or min(options.in_flight, options.accounts) < 1 or options.speed < 0:
        parser.error("expected 2 connections or more, 1 in flight or more, and no negative speed")
    return options


if __name__ == "__main__":
    chosen = parse()
    recorded = list(islice(read_events(chosen.file), chosen.events))
    if not recorded:
        raise SystemExit(f"{chosen.file}: no events")
    try:
        trio.run(main, chosen, recorded)
    except OSError as down:
        raise SystemExit(
            f"no venue at {chosen.url}: {down}; start one with"
            " `tidegate serve --config examples/replay.toml`, or give its address with --url"
        ) from None
    except ApiError as refusal:
        raise SystemExit(
            f"the venue at {chosen.url} refused: {refusal}; it needs the accounts of"
            " examples/replay.toml"
        ) from None
