"""Market makers: a ladder of orders on both sides of the index, moved as it moves."""

from __future__ import annotations

import math
from collections import deque
from random import Random
from typing import Final

import msgspec
import trio
from attrs import define, field

from gateway.demo.bots import MARKETS, Market, Ticker, attempt
from tidegate.auto_reset_event import AutoResetEvent
from tidegate.client import Client, Feed

LEVELS: Final = 8
# In dollars: the best level, and a position at which a maker is twice as keen to get rid of it.
BEST_AMOUNT: Final = 8_000
HEAVY_POSITION: Final = 1_500_000
PAUSE_SECONDS: Final = (0.4, 1.1)
# A quote is left alone while it is this near to where it should be, in parts of its price for each
# step away from the best: outer quotes need not follow every move.
TOLERANCE: Final = 0.00002
# The index has jumped when two tickers differ by this part: quote now, not after the pause.
JUMP: Final = 0.002
# Tickers come every 100 ms while anything moves: the memory of half a minute.
MEMORY: Final = 300
IN_FLIGHT: Final = 6


class Quote(msgspec.Struct, frozen=True, gc=False):
    """One order of a ladder, which its label names."""

    side: str
    level: int
    price: float
    amount: int

    @property
    def label(self) -> str:
        """What its order is found by."""
        return f"{self.side}{self.level}"


def ladder(
    market: Market, centre: float, *, position: float, heat: float, random: Random
) -> list[Quote]:
    """The quotes around `centre`.

    They lean against the maker's `position` (USD), and with `heat`, the recent move of the index
    as a part of it, they step back and thin out.
    """
    centre *= 1 - 0.0004 * math.tanh(position / HEAVY_POSITION)
    half = 0.00008 + heat / 4
    quotes = []
    for side, sign in (("buy", -1), ("sell", 1)):
        for level in range(LEVELS):
            distance = half * (1 + level) + 0.00002 * level**2
            dollars = BEST_AMOUNT * (1 + level) * random.uniform(0.5, 1.5) / (1 + 50 * heat)
            price = market.price(centre * (1 + sign * distance))
            quotes.append(Quote(side, level, price, market.amount(dollars)))
    return quotes


@define(eq=False)
class Maker:
    """One maker in one market."""

    client: Client
    market: Market
    random: Random
    _ticker: Ticker | None = field(default=None, init=False)
    _indices: deque[float] = field(factory=lambda: deque(maxlen=MEMORY), init=False)
    _news: AutoResetEvent = field(factory=AutoResetEvent, init=False)

    async def run(self) -> None:
        """Quote until cancelled, or until the connection ends."""
        channel = f"ticker.{self.market.name}.100ms"
        async with self.client.subscribe(channel) as tickers, trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, tickers)
            while True:
                with trio.move_on_after(self.random.uniform(*PAUSE_SECONDS)):
                    await self._news.wait()
                if self._ticker is not None:
                    await self._quote(self._ticker)

    async def _watch(self, tickers: Feed) -> None:
        async for data in tickers:
            before, self._ticker = self._ticker, msgspec.convert(data, Ticker)
            index = self._ticker.index_price
            self._indices.append(index)
            if before is None or abs(index / before.index_price - 1) > JUMP:
                self._news.set()

    def _heat(self) -> float:
        return min(0.01, max(self._indices) / min(self._indices) - 1)

    async def _quote(self, ticker: Ticker) -> None:
        name = {"instrument_name": self.market.name}
        position = await self.client.call("private/get_position", name)
        orders = await self.client.call("private/get_open_orders_by_instrument", name)
        mine = {order["label"]: order for order in orders}
        quotes = ladder(
            self.market,
            ticker.index_price,
            position=position["size"],
            heat=self._heat(),
            random=self.random,
        )
        limit = trio.CapacityLimiter(IN_FLIGHT)
        async with trio.open_nursery() as nursery:
            for quote in quotes:
                nursery.start_soon(self._place, quote, mine.get(quote.label), limit)

    async def _place(
        self, quote: Quote, order: dict[str, float] | None, limit: trio.CapacityLimiter
    ) -> None:
        terms: dict[str, object] = {
            "price": quote.price,
            "amount": quote.amount,
            "post_only": True,
        }
        async with limit:
            if order is None:
                terms |= {"instrument_name": self.market.name, "label": quote.label}
                await attempt(self.client, f"private/{quote.side}", terms)
                return
            near = abs(order["price"] / quote.price - 1) < TOLERANCE * (1 + quote.level)
            if near and order["filled_amount"] * 2 < order["amount"]:
                return
            # An edit's amount is the order's total, with what is filled.
            terms |= {
                "order_id": order["order_id"],
                "amount": order["filled_amount"] + quote.amount,
            }
            await attempt(self.client, "private/edit", terms)


async def make_markets(client: Client, random: Random) -> None:
    """Quote in every market of the demo."""
    async with trio.open_nursery() as nursery:
        for market in MARKETS:
            nursery.start_soon(Maker(client, market, random).run)
