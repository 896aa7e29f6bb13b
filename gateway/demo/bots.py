"""What all bots share: reconnecting, the refusals that are expected, tickers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final

import msgspec
import trio

from gateway.config.schema import AccountSettings
from tidegate.client import ApiError, Client, ConnectionEndedError, connect

RECONNECT_SECONDS: Final = 1.0

# Refusals of valid orders: the market moved, is closed or busy, or the account has no funds or is
# being liquidated. Any other refusal is an error in a bot, and ends the demo.
REFUSALS: Final = frozenset(
    {
        10002,  # the remaining amount is below the minimum
        10003,  # would have traded with an order of its own
        10004, 10010, 11008, 11044,  # the order has ended meanwhile
        10005, 10007,  # outside the band
        10028,  # over the limits, where the configuration turns them on
        10009, 10018, 11098,  # no funds, too large a position, being liquidated
        10041, 10047, 13028,  # settling, busy, unsupervised
        11021, 11054,  # post-only would have crossed
        11030,  # no liquidity, nothing to reduce
    }
)  # fmt: skip


class Market(msgspec.Struct, frozen=True, gc=False):
    """The terms of an instrument that bots need. `step` is the smallest amount, in USD."""

    name: str
    currency: str
    tick: float
    step: int

    def amount(self, dollars: float) -> int:
        """Return the tradable amount nearest to `dollars`, at least the smallest."""
        return max(self.step, round(dollars / self.step) * self.step)

    def price(self, price: float) -> float:
        """Return the tradable price nearest to `price`."""
        return round(max(1, round(price / self.tick)) * self.tick, 2)


MARKETS: Final = (
    Market("BTC-PERPETUAL", "BTC", 0.5, 10),
    Market("ETH-PERPETUAL", "ETH", 0.05, 1),
)


class Ticker(msgspec.Struct, frozen=True, gc=False):
    """The fields of a ticker that bots use."""

    index_price: float
    mark_price: float
    best_bid_price: float
    best_ask_price: float


async def keep_connected(
    url: str, account: AccountSettings | None, use: Callable[[Client], Awaitable[None]]
) -> None:
    """Run `use` with a connection until cancelled; when a connection ends, with a new one."""
    login = () if account is None else (account.client_id, account.client_secret)
    while True:
        try:
            async with connect(url, *login) as client:
                await use(client)
        except* (ConnectionEndedError, OSError):
            pass
        await trio.sleep(RECONNECT_SECONDS)


async def run_bot(
    url: str, account: AccountSettings, play: Callable[[Client, Random], Awaitable[None]]
) -> None:
    """Run a bot until cancelled. Its random numbers are seeded with its name."""
    random = Random(account.name)  # noqa: S311 - a simulation
    await keep_connected(url, account, lambda client: play(client, random))


async def attempt(client: Client, method: str, params: dict[str, object]) -> Any:
    """Call a method; return None for an expected refusal."""
    try:
        return await client.call(method, params)
    except ApiError as error:
        if error.code not in REFUSALS:
            raise
        return None


async def ticker(client: Client, market: Market) -> Ticker:
    """Return the current ticker."""
    reply = await client.call("public/ticker", {"instrument_name": market.name})
    return msgspec.convert(reply, Ticker)
