"""A bot that is plain ccxt, but for the address it trades at.

    pip install ccxt
    tidegate demo                   # in one terminal
    python examples/ccxt_bot.py     # in another

It buys a little below the market, raises its bid until it is filled, and sells again.
"""

from __future__ import annotations

import argparse
import time

import ccxt

SYMBOL = "BTC/USD:BTC"
AMOUNT = 100  # USD
PATIENCE_SECONDS = 0.5


def buy_patiently(exchange: ccxt.deribit) -> float:
    """Place a bid and raise it until it is filled; return the average price."""
    price = exchange.fetch_ticker(SYMBOL)["bid"]
    order = exchange.create_order(SYMBOL, "limit", "buy", AMOUNT, price)
    try:
        while True:
            time.sleep(PATIENCE_SECONDS)
            order = exchange.fetch_order(order["id"], SYMBOL)
            if order["status"] != "open":
                return float(order["average"])
            best = exchange.fetch_ticker(SYMBOL)
            raised = exchange.price_to_precision(SYMBOL, (best["bid"] + best["ask"]) / 2)
            order = exchange.edit_order(order["id"], SYMBOL, "limit", "buy", AMOUNT, float(raised))
    except ccxt.InvalidOrder:
        # Filled between our look at it and our edit.
        return float(exchange.fetch_order(order["id"], SYMBOL)["average"])


def main(url: str, client_id: str, client_secret: str, rounds: int) -> None:
    """Trade a few rounds, and show what is left."""
    exchange = ccxt.deribit({"apiKey": client_id, "secret": client_secret})
    here = {"rest": url}
    # Both: set_sandbox_mode(True) would copy "test" over "api".
    exchange.urls.update(api=here, test=here)
    for _ in range(rounds):
        bought = buy_patiently(exchange)
        sold = exchange.create_order(SYMBOL, "market", "sell", AMOUNT)
        print(f"bought at {bought:g}, sold at {sold['average']:g}", flush=True)
    balance = exchange.fetch_balance()["BTC"]
    trades = exchange.fetch_my_trades(SYMBOL)
    print(f"balance {balance['total']:.8f} BTC after {len(trades)} trades")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Trade with ccxt.")
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--client-id", default="bob-key")
    parser.add_argument("--client-secret", default="bob-secret")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    try:
        main(**vars(options))
    except ccxt.AuthenticationError as refusal:
        raise SystemExit(
            f"the venue at {options.url} refused: {refusal}; give an account of its own with"
            " --client-id and --client-secret"
        ) from None
    except ccxt.NetworkError as down:
        raise SystemExit(
            f"no venue at {options.url}: {down}; start one with `tidegate demo`, or give its"
            " address with --url"
        ) from None
