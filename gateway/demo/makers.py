"""Market makers: a ladder of orders on both sides of the index that follows its moves."""

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
# In dollars: the amount of the best level, and the position that scales how far quotes are shifted.
BEST_AMOUNT: Final = 8_000
HEAVY_POSITION: Final = 1_500_000
PAUSE_SECONDS: Final = (0.4, 1.1)
# A quote is not edited while it is this near to its target, as a fraction of its price for each
# level from the best: outer quotes need not follow every move.
TOLERANCE: Final = 0.00002
# When two tickers differ by this fraction, quote at once and not after the pause.
JUMP: Final = 0.002
# Tickers come every 100 ms while prices move, so these are the last half minute.
MEMORY: Final = 300
IN_FLIGHT: Final = 6


class Quote(msgspec.Struct, frozen=True, gc=False):
    """One order of a ladder, identified by its label."""

    side: str
    level: int
    price: float
    amount: int

    @property
    def label(self) -> str:
        """The label of its order."""
        return f"{self.side}{self.level}"


def ladder(
    market: Market, centre: float, *, position: float, heat: float, random: Random
) -> list[Quote]:
    """Return the quotes around `centre`.

    They are shifted against the maker's `position` (USD). The larger `heat`, the recent move of the
    index as a fraction, the wider and smaller they are.
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
    _wake: AutoResetEvent = field(factory=AutoResetEvent, init=False)

    async def run(self) -> None:
        """Quote until cancelled, or until the connection ends."""
        channel = f"ticker.{self.market.name}.100ms"
        async with self.client.subscribe(channel) as tickers, trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, tickers)
            while True:
                with trio.move_on_after(self.random.uniform(*PAUSE_SECONDS)):
                    await self._wake.wait()
                if self._ticker is not None:
                    await self._quote(self._ticker)

    async def _watch(self, tickers: Feed) -> None:
        async for data in tickers:
            before, self._ticker = self._ticker, msgspec.convert(data, Ticker)
            index = self._ticker.index_price
            self._indices.append(index)
            if before is None or abs(index / before.index_price - 1) > JUMP:
                self._wake.set()

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
