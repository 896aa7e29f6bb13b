"""Takers, which trade small amounts now and then, and gamblers, which take leveraged positions."""

from __future__ import annotations

import math
from random import Random
from typing import Final

import trio

from gateway.demo.bots import MARKETS, Market, attempt, ticker
from tidegate.client import Client

# Takers: the mean time between two trades, and the median size of a trade.
TAKE_SECONDS: Final = 1.5
TAKE_DOLLARS: Final = 2_500
HEAVY_DOLLARS: Final = 100_000

# Gamblers: few and large trades, up to nearly the 50 times leverage that the venue allows.
LEVERAGES: Final = (2, 3, 4, 6, 8, 10, 15, 20, 30, 40)
# The fraction of long positions: a cascade on a fall needs most of them to be long.
BULLS: Final = 0.8
CLIPS: Final = 4
FIRST_SECONDS: Final = 5.0
CLIP_SECONDS: Final = 0.7
HOLD_SECONDS: Final = (40.0, 180.0)
REST_SECONDS: Final = 8.0
LOOK_SECONDS: Final = 3.0
# A position below this is not worth the fee: the gambler pauses.
LEAST_BET: Final = 200
PAUSE_SECONDS: Final = 30.0


async def take(client: Client, random: Random) -> None:
    """Buy and sell at market; the larger the position, the more likely a trade that reduces it."""
    positions = dict.fromkeys(MARKETS, 0.0)
    while True:
        await trio.sleep(random.expovariate(1 / TAKE_SECONDS))
        market = random.choice(MARKETS)
        lean = math.tanh(positions[market] / HEAVY_DOLLARS)
        side = "buy" if random.random() > (1 + lean) / 2 else "sell"
        amount = market.amount(TAKE_DOLLARS * random.lognormvariate(0, 1))
        trade = await _at_market(client, market, side, amount)
        positions[market] += trade if side == "buy" else -trade


async def gamble(client: Client, random: Random) -> None:
    """Open a position with all available funds, hold it, close it, and repeat."""
    await trio.sleep(random.uniform(0, FIRST_SECONDS))
    while True:
        market = random.choice(MARKETS)
        summary = await client.call("private/get_account_summary", {"currency": market.currency})
        price = (await ticker(client, market)).mark_price
        bet = summary["available_funds"] * price * random.choice(LEVERAGES)
        if bet < LEAST_BET:
            await trio.sleep(PAUSE_SECONDS)
            continue
        side = "buy" if random.random() < BULLS else "sell"
        for _ in range(CLIPS):
            await _at_market(client, market, side, market.amount(bet / CLIPS))
            await trio.sleep(CLIP_SECONDS * random.uniform(0.5, 1.5))
        await _hold(client, market, random.uniform(*HOLD_SECONDS))
        closing: dict[str, object] = {"instrument_name": market.name, "type": "market"}
        await attempt(client, "private/close_position", closing)
        await trio.sleep(random.expovariate(1 / REST_SECONDS))


async def _hold(client: Client, market: Market, seconds: float) -> None:
    """Wait until the time is up or the position is closed."""
    with trio.move_on_after(seconds):
        size = 1.0
        while size:
            await trio.sleep(LOOK_SECONDS)
            held = await client.call("private/get_position", {"instrument_name": market.name})
            size = held["size"]


async def _at_market(client: Client, market: Market, side: str, amount: int) -> float:
    """Place a market order; return the filled amount."""
    terms: dict[str, object] = {
        "instrument_name": market.name,
        "amount": amount,
        "type": "market",
    }
    reply = await attempt(client, f"private/{side}", terms)
    return 0.0 if reply is None else float(reply["order"]["filled_amount"])
