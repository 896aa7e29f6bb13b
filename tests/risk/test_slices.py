"""Work in many entries has the same result as in one, whatever commands come in between.

A venue is brought to the time just before an expiry and a settlement, with profits, losses and a
deficit. One copy processes them in one slice, another in the smallest slices with commands in
between.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.calendar import next_settlement
from book.order import SelfTrading
from risk import liquidation, margin_cache, snapshot
from risk.commands import (
    Cancel,
    CancelAll,
    Command,
    Continue,
    Edit,
    EndSession,
    Liquidate,
    OpenAccount,
    SetCancelOnDisconnect,
    SetProduct,
    SetSelfTrading,
    StartSession,
    Tick,
    Withdraw,
)
from risk.deleveraging import Deleverage
from risk.events import (
    Booked,
    BookingKind,
    Liquidated,
    LossShared,
    PositionSettled,
)
from risk.exchange import Exchange
from risk.state import FIRST_CLIENT
from tests.hypothesis_settings import thorough
from tests.risk.before_settlement import (
    FAMILY,
    LARGE,
    venue_before_settlement,
)
from tests.risk.between_slices import (
    interleave,
    liquidate_all,
    outcome,
    set_slice,
    settle,
)
from tests.risk.random_commands import STORM, RandomCommands, small_venue
from tests.risk.venue import BTC, WEEKLY, Venue, amount, of_type, open_venue, price


@given(
    st.integers(0, 20),
    st.integers(0, 10**6),
    st.sampled_from([1, 1, 2, 5]),
    st.booleans(),
)
@thorough(100)
def test_commands_between_slices_of_a_settlement_do_not_change_it(
    seed: int, number: int, size: int, restored: bool
) -> None:
    """Delivery, settlement and shares of the deficit equal those of a single slice."""
    sliced, began, accepted = interleave(seed, number, size, restored)
    whole = venue_before_settlement(seed)
    since = settle(whole, LARGE)
    assert not whole.exchange.state.phases
    for command in accepted:
        whole.do(command)
    for venue in (sliced, whole):
        venue.time = whole.time
        liquidate_all(venue)
    one, other = outcome(whole, since), outcome(sliced, began)
    assert one.facts == other.facts
    assert one.orders == other.orders
    assert one.positions == other.positions
    assert one.money == other.money


def test_most_venues_share_a_deficit_in_many_entries() -> None:
    """Money is deposited and withdrawn during that."""
    seen: Counter[str] = Counter()
    for seed in range(16):
        venue, began, accepted = interleave(seed, seed, 1, restored=False)
        events = [event for events in venue.events[began:] for event in events]
        seen.update({type(event).__name__ for event in events})
        seen.update({type(command).__name__ for command in accepted})
        seen["entries"] += len(venue.events) - began
    assert seen["LossShared"] >= 6
    assert seen["Withdraw"] >= 12
    assert seen["Deposit"] >= 8
    assert seen["entries"] >= 16 * 30


@pytest.mark.parametrize("seed", range(12))
def test_mark_changes_during_a_settlement_change_no_share(seed: int) -> None:
    """Profits and shares of the deficit are those of the settlement's marks."""
    facts = []
    for size in (LARGE, 1):
        venue = venue_before_settlement(seed)
        began, random = settle(venue, size), Random(seed)
        while venue.exchange.state.phases:
            if random.random() < 0.2:
                venue.tick(after=0, btc_usd=str(random.choice([46_500, 50_000, 53_500])))
            else:
                venue.do(Continue())
            venue.exchange.check()
        events = [event for events in venue.events[began:] for event in events]
        shared = Counter(
            (event.account, event.amount)
            for event in of_type(events, Booked)
            if event.kind is BookingKind.SOCIALISED_LOSS and event.account >= FIRST_CLIENT
        )
        settled = Counter(of_type(events, PositionSettled))
        facts.append((shared, settled, of_type(events, LossShared)))
    held = venue_before_settlement(seed).exchange.state.insurance("BTC").positions.values()
    if any(position.size for position in held):
        # The part of a deficit that the fund can repay depends on the value of its position.
        facts = [(settled,) for _, settled, _ in facts]  # type: ignore[misc]
    assert facts[0] == facts[1]


def bankrupt_venue(size: int) -> Venue:
    """Return a bankrupt short against 12 longs with different leverage, in slices of a size."""
    names = {f"w{n}": {"BTC": f"0.{n + 1:02}"} for n in range(12)}
    venue = open_venue(
        catalogue=FAMILY,
        prices={"btc_usd": "50000"},
        parameters={"slice": LARGE, "supervision": LARGE * 10**6},
        checked=False,
        sho={"BTC": "0.05"},
        **names,  # type: ignore[arg-type]
    )
    for number, name in enumerate(names):
        venue.trade(name, "sho", BTC, str(500 * (number + 1)), "50000")
        venue.buy(name, BTC, "10", "49900")
    venue.tick(btc_usd="54000")
    venue.finish()
    set_slice(venue, size)
    venue.do(Liquidate(account=venue.number("sho"), currency="BTC"))
    return venue


@given(st.integers(0, 10**6), st.sampled_from([1, 2, 7]), st.booleans())
@thorough(40)
def test_commands_without_payments_do_not_change_a_deleveraging(
    number: int, size: int, restored: bool
) -> None:
    """Counterparties, amounts, prices and their order are equal."""
    whole, sliced, random = bankrupt_venue(LARGE), bankrupt_venue(size), Random(number)
    assert not whole.exchange.state.phases
    steps = 0
    while any(isinstance(phase, Deleverage) for phase in sliced.exchange.state.phases):
        account = 101 + random.randrange(13)
        choices: list[Command] = [
            Continue(),
            Tick(prices=tuple(sliced.prices.items())),
            CancelAll(account=account),
            SetSelfTrading(account=account, mode=SelfTrading.CANCEL_MAKER),
            StartSession(session=steps + 1, account=account),
            EndSession(session=steps),
            OpenAccount(account=150, name="new"),
            Liquidate(account=account, currency="BTC"),
            SetProduct(contract=FAMILY[0][0], terms=FAMILY[0][1]),
        ]
        sliced.do(random.choice(choices))
        sliced.exchange.check()
        if restored:
            sliced.exchange = Exchange(snapshot.load(snapshot.dump(sliced.exchange.state)))
        steps += 1
    assert steps > 1
    results = []
    for venue in (whole, sliced):
        events = [event for events in venue.events for event in events]
        results.append(
            [
                (event.account, event.step, event.amount, event.price)
                for event in of_type(events, Liquidated)
            ]
        )
        results.append(
            [
                (key, held.size, held.carry, held.realised)
                for key, held in sorted(venue.market(BTC).positions.items())
            ]
        )
    assert results[:2] == results[2:]


@pytest.mark.parametrize("seed", range(6))
def test_any_commands_between_slices_leave_all_accounts_above_zero(seed: int) -> None:
    """Crashes, expiries and settlements run in slices of one step."""
    venue = small_venue(slice=1)
    random_commands = RandomCommands(venue, Random(seed), STORM)
    for _ in range(90):
        random_commands.step()
    set_slice(venue, LARGE)
    for _ in range(60):
        venue.finish()
        venue.tick()
        venue.liquidate()
    venue.finish()
    state = venue.exchange.state
    pending = {key for key in liquidation.pending(state) if key[0] >= FIRST_CLIENT}
    for currency in state.currencies():
        for account, wallet in state.wallets[currency].items():
            margin_cache.refresh(state, wallet)
            if account >= FIRST_CLIENT and (account, currency) not in pending:
                assert wallet.margin_balance >= 0


@given(st.integers(0, 10**6), st.sampled_from([1, 2, 5]), st.booleans())
@thorough(40)
def test_a_cancel_in_slices_covers_exactly_the_orders_at_its_start(
    number: int, size: int, by_session: bool
) -> None:
    """This holds for requests and dropped connections, whatever is edited meanwhile."""
    random = Random(number)
    venue = open_venue(
        catalogue=FAMILY, parameters={"slice": size}, ann={"BTC": "5"}, ben={"BTC": "5"}
    )
    ann = venue.number("ann")
    venue.login("ann", 7)
    venue.do(SetCancelOnDisconnect(account=ann, session=7, enabled=True))
    for step in range(14):
        venue.buy("ann", BTC, "20", 49_000 + step, session=7)
    chosen = {each.order_id for each in venue.orders("ann")}
    venue.do(EndSession(session=7) if by_session else CancelAll(account=ann))
    later = set()
    while venue.exchange.busy:
        order_id = random.choice(sorted(chosen))
        choices: list[Command] = [
            Edit(account=ann, order_id=order_id, price=price(str(49_100 + random.randrange(100)))),
            Edit(account=ann, order_id=order_id, amount=amount("30")),
            Cancel(account=ann, order_id=order_id),
            CancelAll(account=ann) if by_session else Continue(),
            Withdraw(account=ann, currency="BTC", amount=10**12),
            Continue(),
        ]
        if random.random() < 0.3:
            before = {each.order_id for each in venue.orders("ann")}
            venue.buy("ann", BTC, "10", "48950")
            later |= {each.order_id for each in venue.orders("ann")} - before
        else:
            command = random.choice(choices)
            if isinstance(command, CancelAll):
                chosen |= later
                later = set()
            venue.do(command)
    assert {each.order_id for each in venue.orders("ann")} == later


def without_counterparty(size: int) -> Venue:
    """Return a bankrupt short without counterparty, a second before a settlement.

    The only long is equally short of the weekly, and has no more than his deposit.
    """
    venue = open_venue(
        catalogue=FAMILY,
        prices={"btc_usd": "50000"},
        parameters={"slice": LARGE, "supervision": LARGE * 10**6},
        checked=False,
        sho={"BTC": "0.06"},
        lon={"BTC": "0.1"},
        mia={"BTC": "10"},
    )
    venue.time = next_settlement(venue.time) - 2000
    venue.tick(after=0)
    venue.trade("lon", "sho", BTC, "100000", "50000")
    venue.trade("mia", "lon", WEEKLY, "100000", "50000")
    venue.tick(after=1000, btc_usd="55000")
    venue.finish()
    set_slice(venue, size)
    venue.do(Liquidate(account=venue.number("sho"), currency="BTC"))
    return venue


@pytest.mark.parametrize("size", [1, 2, 3, LARGE])
def test_a_deficit_of_a_deleveraging_in_progress_is_shared_in_its_session(size: int) -> None:
    """The deleveraging had begun when the settlement came due."""
    venue = without_counterparty(size)
    working = any(isinstance(phase, Deleverage) for phase in venue.exchange.state.phases)
    assert working == (size != LARGE)
    venue.do(Continue(), after=1000)
    venue.finish()
    events = [event for events in venue.events for event in events]
    [shared] = of_type(events, LossShared)
    # Lost 100,000 x (1/50,000 - 1/55,000) = 0.1818 BTC, of which 0.06 less the fee were there.
    assert abs(shared.deficit - 121_868_181_818) < 10**9
    assert shared.deficit - 1 <= shared.taxed <= shared.deficit
    assert abs(venue.exchange.state.deficit("BTC").balance) <= 1
