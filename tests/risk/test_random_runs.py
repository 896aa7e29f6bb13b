"""Random days at the venue, with all invariants checked after every entry."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from risk import liquidation, margin_cache
from risk.commands import CancelAll, EndSession
from risk.events import Answer, Event, Liquidated, LiquidationStep
from risk.reasons import Reason
from risk.state import FIRST_CLIENT, INSURANCE, State
from tests.hypothesis_settings import EFFORT, thorough
from tests.risk.random_commands import ORDINARY, RandomCommands, small_venue
from tests.risk.venue import Venue, reason


class AnyDay(RuleBasedStateMachine):
    """Every step is one random command; `Venue.do` checks after each entry."""

    def __init__(self) -> None:
        super().__init__()
        self.venue = small_venue()
        self.seen = len(self.venue.entries)

    @rule(
        kind=st.sampled_from([kind for kind in ORDINARY for _ in range(ORDINARY[kind])]),
        random=st.randoms(use_true_random=False),
    )
    def step(self, kind: str, random: Random) -> None:
        RandomCommands(self.venue, random).step(kind)
        for entry in self.venue.entries[self.seen :]:
            note(str(entry.command))
        self.seen = len(self.venue.entries)


AnyDay.TestCase.settings = thorough(40, stateful_step_count=40)
test_every_identity_holds_after_every_entry = AnyDay.TestCase


@pytest.fixture(scope="module", params=range(8 * EFFORT))
def day(request: pytest.FixtureRequest) -> Venue:
    """Return a long day with its own seed, checked after each entry."""
    venue = small_venue()
    random_commands = RandomCommands(venue, Random(request.param))
    for _ in range(500):
        random_commands.step()
    calm_down(venue)
    return venue


def test_every_request_is_answered_once(day: Venue) -> None:
    """The exceptions are the end of a session and a repeated request number."""
    answers: dict[tuple[int, int], list[Event]] = {}
    for entry, events in zip(day.entries, day.events, strict=True):
        origin = entry.origin
        if not origin.session and origin.request and not isinstance(entry.command, EndSession):
            answers.setdefault((origin.session, origin.request), [])
        for event in events:
            if isinstance(event, Answer) and not event.origin.session and event.origin.request:
                answers[event.origin.session, event.origin.request].append(event)
    assert answers
    assert {1} == {len(answer) for answer in answers.values()}


def test_only_cancel_all_may_be_answered_by_a_later_entry(day: Venue) -> None:
    """Every other request is answered by its own entry."""
    for entry, events in zip(day.entries, day.events, strict=True):
        own = [e for e in events if isinstance(e, Answer) and e.origin == entry.origin]
        may_repeat = bool(entry.origin.session)
        if not may_repeat and not isinstance(entry.command, CancelAll | EndSession):
            assert 1 == len(own), entry


def test_a_refusal_changes_nothing_but_the_time(day: Venue) -> None:
    """The entry has no events of the refused request."""
    refused = [events for events in day.events if reason(events) is not None]
    assert refused
    for events in refused:
        kinds = {type(event).__name__ for event in events}
        assert "Ordered" not in kinds
        assert "Cancelled" not in kinds


def test_after_all_liquidations_no_account_is_below_zero(day: Venue) -> None:
    """No client is below maintenance margin, and no fund is below zero."""
    state = day.exchange.state
    assert [] == urgent(state)
    for number, account in state.accounts.items():
        for wallet in account.wallets.values():
            margin_cache.refresh(state, wallet)
            if number >= FIRST_CLIENT:
                assert wallet.maintenance <= wallet.margin_balance
            elif number == INSURANCE:
                assert wallet.margin_balance >= 0


def test_random_days_have_trades_refusals_and_scheduled_events(day: Venue) -> None:
    """Each day has trades, refusals of many kinds and every kind of scheduled event."""
    kinds = {type(event).__name__ for events in day.events for event in events}
    assert {"Traded", "Ordered", "Refused", "PositionSettled", "MarketSettled"} <= kinds
    reasons = {reason(events) for events in day.events}
    assert len(reasons) >= 10


def test_all_days_together_reach_every_liquidation_step() -> None:
    """Some liquidations reach deleveraging, and commands are refused because of them."""
    steps, reasons = set(), set()
    for seed in range(100, 120):
        venue = small_venue()
        venue.checked = False
        random_commands = RandomCommands(venue, Random(seed))
        for _ in range(400):
            random_commands.step()
        for events in venue.events:
            reasons.add(reason(events))
            steps |= {event.step for event in events if isinstance(event, Liquidated)}
    assert set(LiquidationStep) == steps
    assert Reason.ACCOUNT_LOCKED in reasons


def calm_down(venue: Venue) -> None:
    """Keep prices constant until all liquidations are finished."""
    venue.finish()
    for _ in range(200):
        venue.tick()
        venue.finish()
        if not urgent(venue.exchange.state):
            return
        venue.liquidate()
    raise AssertionError("liquidation never ends")


def urgent(state: State) -> list[tuple[int, str]]:
    """Return the accounts that need liquidation; the fund does as long as it has positions."""
    return [
        (account, currency)
        for account, currency in liquidation.pending(state)
        if account != INSURANCE or state.insurance(currency).margin_balance < 0
    ]
