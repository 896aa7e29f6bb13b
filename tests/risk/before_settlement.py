"""A venue just before an expiry and a settlement, with profits, losses and often a deficit."""

from __future__ import annotations

from functools import cache
from random import Random

from book.order import Side, TimeInForce
from book.units import text
from risk import snapshot
from risk.commands import CancelAll, ClosePosition, Place, SetCancelOnDisconnect
from risk.contract_specs import LEGACY_2025
from risk.exchange import Exchange
from risk.risk_terms import LossPolicy
from risk.state import INSURANCE
from tests.risk.venue import BTC, Venue, open_venue

FAMILY = [each for each in LEGACY_2025 if each[0].family == "BTC"]
MONTHLY = "BTC-26JUN26"
CLIENTS = [f"c{number}" for number in range(7)]
LARGE = 10**6
"""A slice that is large enough for all work."""


def venue_before_settlement(seed: int) -> Venue:
    """Return a venue one second before the expiry and settlement at a month's end."""
    made, state = _made(seed)
    return Venue(
        exchange=Exchange(snapshot.load(state)),
        time=made.time,
        checked=False,
        accounts=dict(made.accounts),
        entries=list(made.entries),
        prices=dict(made.prices),
    )


@cache
def _made(seed: int) -> tuple[Venue, bytes]:
    random = Random(seed)
    policy = LossPolicy.SOCIALISE if seed % 8 else LossPolicy.DELEVERAGE
    venue = open_venue(
        catalogue=FAMILY,
        prices={"btc_usd": "50000"},
        parameters={"loss_policy": policy, "slice": LARGE, "supervision": LARGE * 10**6},
        insurance={"BTC": random.choice(["0.001", "0.05"])} if seed % 5 == 0 else {},
        checked=False,
        **{client: {"BTC": random.choice(["0.03", "0.1", "1", "3"])} for client in CLIENTS},  # type: ignore[arg-type]
        lou={"BTC": "0.04"},
        dot={"BTC": "0.02"},
        mia={"BTC": "500"},
    )
    expiry = venue.market(MONTHLY).instrument.expiry
    assert expiry is not None
    falls = random.random() < 0.5
    venue.tick(after=expiry - 3_600_000 - venue.time)
    _open_positions(venue, random, falls)
    _change_prices(venue, random, falls)
    if random.random() < 0.7:
        venue.deposit(INSURANCE, "BTC", random.choice(["0.004", "0.02"]))
    for client in CLIENTS:
        _take_profit(venue, random, client)
    if random.random() < 0.6:
        # Dot has 0.02 BTC and one position, in the expiring future. There is no time left to
        # liquidate her.
        mark, market = venue.market(MONTHLY).mark, venue.market(MONTHLY)
        limit = text(market.instrument.floor_to_tick(mark))
        pair = ("dot", "mia") if falls else ("mia", "dot")
        venue.trade(*pair, MONTHLY, "40000", limit)
        lower = venue.prices["btc_usd"] * (96 if falls else 104) // 100
        venue.tick(after=expiry - 28 * 60_000 - venue.time, btc_usd=text(lower))
    venue.tick(after=expiry - 1000 - venue.time)
    venue.exchange.check()
    return venue, snapshot.dump(venue.exchange.state)


def _open_positions(venue: Venue, random: Random, falls: bool) -> None:
    """Let clients trade with each other, and Lou more than his margin covers."""
    for name in (BTC, MONTHLY, BTC, MONTHLY):
        for client in CLIENTS:
            other = random.choice([each for each in CLIENTS if each != client] + ["mia"])
            size = str(10 * random.choice([1, 30, 100, 1000, 7000]))
            venue.trade(client, other, name, size, "50000")
            venue.do(CancelAll(account=venue.number(client)))
            venue.do(CancelAll(account=venue.number(other)))
    winner = random.choice(CLIENTS)
    venue.trade(*(("lou", winner) if falls else (winner, "lou")), BTC, "70000", "50000")


def _change_prices(venue: Venue, random: Random, falls: bool) -> None:
    """Change prices so that Lou is liquidated; after a second change, others may be due."""
    second = [46_200, 46_900, 51_000] if falls else [53_800, 53_100, 49_000]
    for index in (47_000 if falls else 53_000, random.choice(second)):
        venue.tick(btc_usd=str(index))
        for _ in range(3 if index in (47_000, 53_000) or random.random() < 0.4 else 0):
            venue.liquidate()
            venue.tick()
    if random.random() < 0.6:
        _unwind(venue)


def _unwind(venue: Venue) -> None:
    """Let the fund close its positions against Mia."""
    for name in (BTC, MONTHLY):
        market = venue.market(name)
        venue.buy("mia", name, "500000", text(market.instrument.floor_to_tick(market.mark) - 10**8))
        venue.sell("mia", name, "500000", text(market.instrument.ceil_to_tick(market.mark) + 10**8))
    for _ in range(60):
        venue.tick()
        venue.liquidate()
        if not any(p.size for p in venue.exchange.state.insurance("BTC").positions.values()):
            break
    venue.do(CancelAll(account=venue.number("mia")))
    venue.tick(after=1_500_000)


def _take_profit(venue: Venue, random: Random, client: str) -> None:
    """Let some clients close their position; place good-til-day orders for all."""
    held = venue.size(client, BTC)
    if held and random.random() < 0.7:
        mark, side = venue.market(BTC).mark, Side.SELL if held > 0 else Side.BUY
        limit = venue.market(BTC).instrument.floor_to_tick(mark)
        maker = Place(
            account=venue.number("mia"),
            instrument=BTC,
            side=side.opposite,
            amount=abs(held),
            price=limit,
        )
        venue.do(maker)
        venue.do(ClosePosition(account=venue.number(client), instrument=BTC))
        venue.do(CancelAll(account=venue.number("mia")))
    session = 7 + CLIENTS.index(client)
    venue.login(client, session)
    if random.random() < 0.5:
        command = SetCancelOnDisconnect(account=venue.number(client), session=session, enabled=True)
        venue.do(command)
    for lasting in (TimeInForce.GOOD_TIL_DAY, TimeInForce.GOOD_TIL_CANCELLED):
        for name in (BTC, MONTHLY):
            venue.buy(client, name, "10", "46900", time_in_force=lasting, session=session)
