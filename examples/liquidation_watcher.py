"""A liquidation watcher on bare trio-websocket: the protocol without a client library.

    tidegate demo                              # in one terminal
    python examples/liquidation_watcher.py     # in another
    tidegate shock -20%                        # in a third, for something to see

It needs no account: trades are public, and say which side of them was being liquidated.
"""

from __future__ import annotations

import argparse
import json
import signal
from collections import Counter
from typing import Any

import trio
from trio_websocket import (
    ConnectionClosed,
    HandshakeError,
    WebSocketConnection,
    open_websocket_url,
)

CHANNEL = "trades.future.any.100ms"
HEARTBEAT_SECONDS = 30


async def request(socket: WebSocketConnection, number: int, method: str, **params: object) -> None:
    """Send a JSON-RPC request; its reply will carry the same number."""
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    await socket.send_message(json.dumps(message))


async def watch(socket: WebSocketConnection, seen: Counter[str]) -> None:
    """Print liquidations and count what was liquidated, in units of each instrument.

    Only this task writes. Cancelled while it does, it may leave half a message behind, after
    which the connection would be useless; here it is over then.
    """
    await request(socket, 1, "public/set_heartbeat", interval=HEARTBEAT_SECONDS)
    await request(socket, 2, "public/subscribe", channels=[CHANNEL])
    while True:
        message: dict[str, Any] = json.loads(await socket.get_message())
        match message:
            case {"error": error}:
                raise RuntimeError(f"refused: {error}")
            case {"id": 2}:
                print(f"watching {CHANNEL}; Ctrl-C to stop", flush=True)
            case {"method": "heartbeat", "params": {"type": "test_request"}}:
                await request(socket, 3, "public/test")
            case {"method": "subscription", "params": {"data": trades}}:
                for trade in trades:
                    if "liquidation" in trade:
                        seen[trade["instrument_name"]] += trade["amount"]
                        show(trade)


def show(trade: dict[str, Any]) -> None:
    """Print a trade; "T" says that its taker was being liquidated, "M" its maker, "MT" both."""
    print(
        f"{trade['instrument_name']} {trade['direction']} {trade['amount']:g}"
        f" at {trade['price']:g}, mark {trade['mark_price']:g} [{trade['liquidation']}]",
        flush=True,
    )


async def stop_at_signal(scope: trio.CancelScope) -> None:
    """Let Ctrl-C cancel everything in order."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


async def main(url: str) -> None:
    """Watch until stopped, then say what was seen."""
    seen: Counter[str] = Counter()
    try:
        async with open_websocket_url(url) as socket, trio.open_nursery() as nursery:
            nursery.start_soon(stop_at_signal, nursery.cancel_scope)
            await watch(socket, seen)
    except* ConnectionClosed as closed:
        print(f"the venue hung up: {closed.exceptions[0]}")
    print("liquidated:", ", ".join(f"{amount:g} {name}" for name, amount in seen.items()) or "none")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Watch liquidations.")
    parser.add_argument("--url", default="ws://127.0.0.1:8081/ws/api/v2")
    options = parser.parse_args()
    try:
        trio.run(main, options.url)
    except (OSError, HandshakeError):
        raise SystemExit(
            f"no venue at {options.url}; start one with `tidegate demo`, or give its address with"
            " --url"
        ) from None
