"""A market maker: one bid and one ask around the mark price, shifted against its position.

    tidegate demo                       # in one terminal
    python examples/market_maker.py     # in another

Whatever ends it, the venue cancels its quotes: they are tied to the connection.
"""

from __future__ import annotations

import argparse
import signal
from typing import Any

import trio
from attrs import define, field

from tidegate.client import ApiError, Client, ConnectionEndedError, connect

INSTRUMENT = "BTC-PERPETUAL"
TICK = 0.5
AMOUNT = 1_000  # USD
SPREAD = 0.0002  # of the price, on each side
MOST = 10_000  # USD, the position that shifts its quotes by a whole spread
GONE = {10004, 10010, 11008, 11044}  # the order was filled or cancelled before we could edit it
TRY_LATER = {10009, 11021, 11054, 13028}  # no funds, would have crossed, venue unsupervised


@define
class Market:
    """The mark and the position. `moved` is replaced by a new event each time that it is set."""

    mark: float = 0.0
    position: float = 0.0
    moved: trio.Event = field(factory=trio.Event)

    def tell(self) -> None:
        """Wake the tasks that wait for the next move."""
        self.moved.set()
        self.moved = trio.Event()

    def price(self, side: str) -> float:
        """Return the price to quote: further away on the side that would add to the position."""
        sign = -1 if side == "buy" else 1
        lean = -SPREAD * self.position / MOST
        return round(self.mark * (1 + sign * SPREAD + lean) / TICK) * TICK


async def watch_mark(client: Client, market: Market) -> None:
    """Follow the mark price."""
    async with client.subscribe(f"ticker.{INSTRUMENT}.100ms") as tickers:
        async for ticker in tickers:
            market.mark = ticker["mark_price"]
            market.tell()


async def watch_fills(client: Client, market: Market) -> None:
    """Follow the own position, and print each trade."""
    async with client.subscribe(f"user.changes.{INSTRUMENT}.raw") as changes:
        async for change in changes:
            for position in change["positions"]:
                market.position = position["size"]
            for trade in change["trades"]:
                print(f"{trade['direction']} {trade['amount']:g} at {trade['price']:g},", end=" ")
                print(f"position {market.position:g}", flush=True)


async def keep_quote(client: Client, market: Market, side: str) -> None:
    """Keep one order at the price to quote."""
    order: dict[str, Any] | None = None
    while True:
        await market.moved.wait()
        price = market.price(side)
        if order is not None and order["price"] == price:
            continue
        terms: dict[str, object] = {"amount": AMOUNT, "price": price, "post_only": True}
        try:
            if order is None:
                terms |= {"instrument_name": INSTRUMENT, "label": side}
                order = (await client.call(f"private/{side}", terms))["order"]
            else:
                terms |= {"order_id": order["order_id"]}
                order = (await client.call("private/edit", terms))["order"]
        except ApiError as refusal:
            if refusal.code in GONE:
                order = None
            elif refusal.code not in TRY_LATER:
                raise


async def stop_at_signal(scope: trio.CancelScope) -> None:
    """Let Ctrl-C cancel everything in order."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


async def main(url: str, client_id: str, client_secret: str) -> None:
    """Connect, and quote until stopped."""
    try:
        async with connect(url, client_id, client_secret) as client, trio.open_nursery() as nursery:
            nursery.start_soon(stop_at_signal, nursery.cancel_scope)
            await client.call("private/enable_cancel_on_disconnect", {"scope": "connection"})
            market = Market()
            nursery.start_soon(watch_mark, client, market)
            nursery.start_soon(watch_fills, client, market)
            for side in ("buy", "sell"):
                nursery.start_soon(keep_quote, client, market, side)
            print(f"quoting {INSTRUMENT}; Ctrl-C to stop", flush=True)
    except* ConnectionEndedError as ended:
        print(f"the venue hung up: {ended.exceptions[0]}")
    print("stopped")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make a market on a venue.")
    parser.add_argument("--url", default="ws://127.0.0.1:8081/ws/api/v2")
    parser.add_argument("--client-id", default="alice-key")
    parser.add_argument("--client-secret", default="alice-secret")
    options = parser.parse_args()
    try:
        trio.run(main, *vars(options).values())
    except OSError as down:
        raise SystemExit(
            f"no venue at {options.url}: {down}; start one with `tidegate demo`, or give its"
            " address with --url"
        ) from None
    except ApiError as refusal:
        raise SystemExit(
            f"the venue at {options.url} refused: {refusal}; give an account of its own with"
            " --client-id and --client-secret"
        ) from None
