"""A momentum taker: it buys what has risen and sells what has fallen, and goes home flat.

    tidegate demo                         # in one terminal
    python examples/momentum_taker.py     # in another

Stopped by Ctrl-C, it closes its position before it leaves, within a second or not at all.
"""

from __future__ import annotations

import argparse
import signal
from collections import deque

import trio

from tidegate.client import ApiError, Client, ConnectionEndedError, connect

INSTRUMENT = "BTC-PERPETUAL"
AMOUNT = 1_000  # USD, long or short
WINDOW_SECONDS = 10.0
# Our own order in the way, no funds, settling, nothing to trade with, unsupervised.
NO_TRADE = {10003, 10009, 10041, 11030, 13028}
GOODBYE_SECONDS = 1.0


async def trade(client: Client, side: str, amount: float) -> float:
    """Trade at the market; returns the signed amount that was filled, 0 when refused."""
    order = {"instrument_name": INSTRUMENT, "amount": amount, "type": "market"}
    try:
        filled = (await client.call(f"private/{side}", order))["order"]
    except ApiError as refusal:
        if refusal.code not in NO_TRADE:
            raise
        print(f"{side} {amount:g} refused: {refusal}", flush=True)
        return 0.0
    print(f"{side} {filled['filled_amount']:g} at {filled['average_price']:g}", flush=True)
    return float(filled["filled_amount"]) * (1 if side == "buy" else -1)


async def follow(client: Client, threshold: float) -> None:
    """Hold AMOUNT in the direction in which the price has moved by more than `threshold`."""
    prices: deque[tuple[float, float]] = deque()
    position = 0.0
    async with client.subscribe(f"ticker.{INSTRUMENT}.100ms") as tickers:
        async for ticker in tickers:
            now = trio.current_time()
            prices.append((now, ticker["mark_price"]))
            while now - prices[0][0] > WINDOW_SECONDS:
                prices.popleft()
            move = prices[-1][1] / prices[0][1] - 1
            if abs(move) <= threshold:
                continue
            wanted = AMOUNT if move > 0 else -AMOUNT
            if wanted != position:
                side = "buy" if wanted > position else "sell"
                position += await trade(client, side, abs(wanted - position))


async def close_position(client: Client) -> None:
    """Close the position, with a deadline."""
    with trio.move_on_after(GOODBYE_SECONDS):
        position = await client.call("private/get_position", {"instrument_name": INSTRUMENT})
        if position["size"]:
            side = "sell" if position["size"] > 0 else "buy"
            await trade(client, side, abs(position["size"]))
        print(f"flat, after {position['total_profit_loss']:+.8f} BTC", flush=True)


async def stop_at_signal(scope: trio.CancelScope) -> None:
    """Let Ctrl-C cancel everything in order."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


async def main(url: str, client_id: str, client_secret: str, threshold: float) -> None:
    """Connect, and trade until stopped."""
    try:
        async with connect(url, client_id, client_secret) as client:
            # The signal cancels the nursery; the position is closed after it.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stop_at_signal, nursery.cancel_scope)
                print(f"following {INSTRUMENT}; Ctrl-C to stop", flush=True)
                await follow(client, threshold)
            await close_position(client)
    except* ConnectionEndedError as ended:
        print(f"the venue hung up: {ended.exceptions[0]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Trade with the trend.")
    parser.add_argument("--url", default="ws://127.0.0.1:8081/ws/api/v2")
    parser.add_argument("--client-id", default="bob-key")
    parser.add_argument("--client-secret", default="bob-secret")
    parser.add_argument("--threshold", type=float, default=0.0003, help="move that starts a trend")
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
