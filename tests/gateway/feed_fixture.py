"""A real exchange with its feed, driven entry by entry, and clients that record what they receive.

`Desk` stamps commands, applies them and publishes at once. `Reader` is a sink that stores what it
receives and may stop reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import msgspec
from attrs import define, field

from book.order import OrderRecord, Side
from book.units import MONEY, SCALE, SECOND
from gateway.feed import Feed
from gateway.history.archive import Archive
from gateway.protocol.large_results import LargeReply
from risk.commands import (
    Command,
    Continue,
    Deposit,
    Entry,
    OpenAccount,
    Origin,
    Place,
    SetProduct,
    Tick,
)
from risk.contract_specs import LEGACY_2025
from risk.events import Event, Ordered, Refused
from risk.exchange import Exchange
from risk.market import Market

ALICE, BOB = 101, 102
BTC = "BTC-PERPETUAL"
SOL = "SOL_USDC-PERPETUAL"
START = 1_790_000_000_000
PRICES = {
    "btc_usd": 50_000,
    "btc_usdc": 50_000,
    "eth_usd": 2_500,
    "eth_usdc": 2_500,
    "sol_usdc": 150,
}


@define(eq=False)
class Reader:
    """A sink that stores every message. While `stalled`, it has no room for public data."""

    number: int
    stalled: bool = False
    frames: list[bytes] = field(factory=list, init=False)
    end: tuple[int, str] | None = field(default=None, init=False)

    def reply(self, data: bytes | LargeReply) -> None:
        """Store a reply."""
        self.frames.append(data if isinstance(data, bytes) else data.finish())

    def send_private(self, data: bytes) -> None:
        """Store a private notification."""
        self.frames.append(data)

    def try_send_public(self, data: bytes) -> bool:
        """Store public data, if there is room."""
        if not self.stalled:
            self.frames.append(data)
        return not self.stalled

    def disconnect(self, code: int, reason: str) -> None:
        """Store the first reason."""
        self.end = self.end or (code, reason)

    def take(self) -> list[Any]:
        """Return the messages since the last call, decoded."""
        frames, self.frames = self.frames, []
        return [msgspec.json.decode(frame) for frame in frames]

    def channels(self) -> list[str]:
        """Return the channels of the notifications since the last call."""
        return [frame["params"]["channel"] for frame in self.take()]

    def data(self, channel: str) -> list[Any]:
        """Return the data on one channel since the last call of any of these methods."""
        pushed = [frame["params"] for frame in self.take() if "params" in frame]
        return [push["data"] for push in pushed if push["channel"] == channel]


@define(eq=False)
class Desk:
    """A venue with two funded accounts, all products, and a Tick at START."""

    exchange: Exchange = field(factory=Exchange, init=False)
    archive: Archive = field(init=False)
    feed: Feed = field(init=False)
    time: int = field(default=START, init=False)
    sequence: int = field(default=0, init=False)
    most: int = 1_000
    _clients: Iterator[int] = field(factory=lambda: count(1_000), init=False)

    def __attrs_post_init__(self) -> None:
        self.archive = Archive(self.exchange.state)
        self.feed = Feed(self.exchange.state, self.archive, self.most)
        for contract, terms in LEGACY_2025:
            self.apply(SetProduct(contract=contract, terms=terms))
        for account in (ALICE, BOB):
            self.apply(OpenAccount(account=account, name=f"client {account}"))
            for currency in ("BTC", "ETH", "USDC"):
                self.deposit(account, currency, 1_000_000)
        self.tick()

    def apply(self, command: Command, origin: Origin | None = None) -> list[Event]:
        """Apply one command and publish its events."""
        self.sequence += 1
        entry = Entry(self.sequence, self.time, origin or Origin(), command)
        events = self.exchange.apply(entry)
        self.feed.publish(entry, events)
        return events

    def deposit(self, account: int, currency: str, amount: int) -> None:
        """Deposit whole coins into an account."""
        self.apply(Deposit(account=account, currency=currency, amount=amount * MONEY))

    def tick(self, seconds: int = 1, **prices: float) -> list[Event]:
        """Let time pass and report index prices."""
        current = {**PRICES, **prices}
        self.time += seconds * SECOND
        named = tuple(sorted((name, round(price * SCALE)) for name, price in current.items()))
        return self.apply(Tick(prices=named))

    def place(
        self,
        account: int,
        side: Side,
        amount: float,
        price: float,
        instrument: str = BTC,
        **terms: Any,
    ) -> OrderRecord:
        """Enter an order, which must be accepted."""
        events = self.apply(
            Place(
                account=account,
                instrument=instrument,
                side=side,
                amount=round(amount * SCALE),
                price=round(price * SCALE),
                **terms,
            )
        )
        refused = [event for event in events if isinstance(event, Refused)]
        assert not refused, refused
        return next(event.order for event in events if isinstance(event, Ordered))

    def trade(self, price: float = 50_000, amount: float = 10, instrument: str = BTC) -> None:
        """Let Alice sell to Bob, who is the taker."""
        self.place(ALICE, Side.SELL, amount, price, instrument)
        self.place(BOB, Side.BUY, amount, price, instrument)

    def settle(self) -> None:
        """Continue work that is too large for one entry until none is left."""
        while self.exchange.busy:
            self.apply(Continue())

    def joined(self) -> int:
        """Return an unused session number."""
        return next(self._clients)

    def market(self, name: str = BTC) -> Market:
        """Return a listed market."""
        return self.exchange.state.markets[name]

    def listen(self, number: int, *channels: str, account: int | None = ALICE) -> Reader:
        """Return a new client with these subscriptions, whose initial snapshots were sent."""
        reader = Reader(number)
        assert list(channels) == self.feed.subscribe(reader, account, channels)
        self.feed.send_initial_snapshots(reader)
        return reader
