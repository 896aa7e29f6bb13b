"""Commands between the slices of work in progress, and what is left of a venue afterwards."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from attrs import define, field
from msgspec.structs import asdict, replace

from book.order import OrderType, SelfTrading, Side
from risk import margin, settlement, snapshot
from risk.commands import (
    Cancel,
    CancelAll,
    ClosePosition,
    Command,
    Continue,
    Deposit,
    Edit,
    EndSession,
    Liquidate,
    OpenAccount,
    Place,
    SetParameters,
    SetProduct,
    SetSelfTrading,
    StartSession,
    Tick,
    Withdraw,
)
from risk.events import (
    Booked,
    BookingKind,
    Event,
    Liquidated,
    LossShared,
    MarketSettled,
    PositionSettled,
)
from risk.exchange import Exchange
from risk.risk_terms import Parameters
from risk.state import FEES, FIRST_CLIENT, INSURANCE
from tests.risk.before_settlement import (
    CLIENTS,
    FAMILY,
    LARGE,
    MONTHLY,
    venue_before_settlement,
)
from tests.risk.venue import BTC, Venue, amount, of_type, price, reason

AFTER = "BTC-31JUL26"


@define
class Draw:
    """Draws the commands in between."""

    venue: Venue
    random: Random

    def command(self) -> Command:
        """One of every kind of command."""
        random, venue = self.random, self.venue
        state = venue.exchange.state
        account = venue.number(random.choice([*CLIENTS, "dot", "mia"]))
        orders = list(state.accounts[account].orders)
        order_id = random.choice(orders) if orders else 1
        contract, terms = random.choice(FAMILY)
        wallet = state.wallet(account, "BTC")
        free = max(1, margin.withdrawable(state, wallet))
        # An account below zero is charged no fee and no share, unless a deposit changes that.
        sound = account if wallet.balance > 0 and wallet.margin_balance > 0 else venue.number("mia")
        cash = random.choice([free, free, max(1, wallet.balance), 10**10])
        fund = state.insurance("BTC").balance
        session = 7 + random.randrange(len(CLIENTS))
        if random.random() < 0.4:
            return Withdraw(account=account, currency="BTC", amount=cash)
        choices: list[Command] = [
            Withdraw(account=INSURANCE, currency="BTC", amount=max(1, fund)),
            Withdraw(account=INSURANCE, currency="BTC", amount=max(1, fund // 2)),
            Withdraw(account=FEES, currency="BTC", amount=random.choice([1, 10**9])),
            Deposit(account=sound, currency="BTC", amount=10**12),
            Liquidate(account=account, currency="BTC"),
            Liquidate(account=venue.number("dot"), currency="BTC"),
            Liquidate(account=INSURANCE, currency="BTC"),
            Tick(prices=tuple(venue.prices.items())),
            CancelAll(account=account),
            CancelAll(account=account, instrument=BTC, detailed=True),
            Cancel(account=account, order_id=order_id),
            Edit(account=account, order_id=order_id, price=price("46800")),
            Edit(account=account, order_id=order_id, amount=amount("10")),
            ClosePosition(account=account, instrument=random.choice([BTC, MONTHLY])),
            Place(
                account=account,
                instrument=random.choice([BTC, MONTHLY, AFTER, *state.markets]),
                side=random.choice(list(Side)),
                amount=amount("1000"),
                type=random.choice([OrderType.LIMIT, OrderType.MARKET]),
                price=price("50000"),
            ),
            OpenAccount(account=150, name="new"),
            StartSession(session=random.choice([session, 30]), account=account),
            EndSession(session=session, quietly=random.random() < 0.3),
            SetSelfTrading(account=account, mode=random.choice(list(SelfTrading))),
            SetProduct(contract=contract, terms=terms),
            SetProduct(contract=contract, terms=replace(terms, delivery_rate=10**10)),
            Continue(),
        ]
        return random.choice(choices)


@define(eq=False)
class Outcome:
    """The final state, and the facts of settlement and delivery on the way."""

    money: dict[Any, int] = field(factory=dict)
    positions: dict[Any, Any] = field(factory=dict)
    orders: set[int] = field(factory=set)
    facts: Counter[Event] = field(factory=Counter)


_FACTS = (BookingKind.SETTLEMENT, BookingKind.DELIVERY, BookingKind.DELIVERY_FEE)


def outcome(venue: Venue, began: int) -> Outcome:
    """Return the outcome, with deposits and withdrawals since the beginning left out."""
    state, result = venue.exchange.state, Outcome()
    for account, wallet in state.wallets["BTC"].items():
        result.money[account] = wallet.balance
        result.money[account, "session"] = wallet.session_profit
        result.positions[account] = {
            name: (held.size, held.carry, held.realised, held.funding)
            for name, held in wallet.positions.items()
            if not held.idle
        }
        result.orders |= set(state.accounts[account].orders)
    for event in (event for events in venue.events[began:] for event in events):
        if isinstance(event, Booked) and event.account >= FIRST_CLIENT and event.kind in _FACTS:
            result.facts[replace(event, balance=0)] += 1
        elif isinstance(event, Booked) and event.kind in (
            BookingKind.DEPOSIT,
            BookingKind.WITHDRAWAL,
        ):
            result.money[event.account] -= event.amount
        elif isinstance(event, PositionSettled | LossShared | MarketSettled):
            result.facts[event] += 1
    return result


def set_slice(venue: Venue, size: int) -> None:
    parameters = Parameters(**asdict(venue.exchange.state.parameters) | {"slice": size})
    venue.do(SetParameters(parameters=parameters))


def settle(venue: Venue, size: int) -> int:
    """Process expiry and settlement in slices; return the index of their first event."""
    set_slice(venue, size)
    expiry = venue.market(MONTHLY).instrument.expiry
    assert expiry is not None
    began = len(venue.events)
    venue.do(Continue(), at=expiry)
    return began


def liquidate_all(venue: Venue) -> None:
    """Liquidate all accounts below maintenance margin, at constant prices."""
    set_slice(venue, LARGE)
    for _ in range(4):
        venue.finish()
        venue.tick()
        venue.liquidate()
    venue.finish()
    venue.exchange.check()


def interleave(
    seed: int, number: int, size: int, restored: bool
) -> tuple[Venue, int, list[Command]]:
    """Apply commands between the slices; also return the accepted ones."""
    venue = venue_before_settlement(seed)
    began = settle(venue, size)
    state = venue.exchange.state
    draw, accepted = Draw(venue, Random(number)), []
    for _ in range(200):
        command = draw.command()
        events = venue.do(command)
        venue.exchange.check()
        # The entry itself may have finished the work.
        settling = any(settlement.in_progress(state, "BTC"))
        if settling:
            assert not of_type(events, Liquidated), "liquidation waits for the settlement"
        if reason(events) is None and not (settling and isinstance(command, Liquidate)):
            accepted.append(command)
        if restored:
            venue.exchange = Exchange(snapshot.load(snapshot.dump(state)))
            state = venue.exchange.state
        if not settling:
            break
    venue.finish()
    return venue, began, accepted
