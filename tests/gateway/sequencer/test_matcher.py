"""Tests of the matcher: order of entries and observers, and how long it holds the event loop."""

from collections.abc import Sequence

import pytest
import trio
from attrs import define, field
from msgspec.structs import replace
from trio.testing import MockClock

from book.order import Side
from book.units import SCALE
from gateway.log.errors import ApplyError
from gateway.sequencer.matcher import Matcher
from gateway.sequencer.system_queue import SystemCommand
from risk.commands import (
    Cancel,
    Command,
    Continue,
    EndSession,
    Entry,
    Origin,
    Place,
    SetCancelOnDisconnect,
    SetParameters,
    StartSession,
    Tick,
)
from risk.events import Event, Ordered, SessionEnded
from risk.exchange import Exchange
from risk.risk_terms import Parameters
from tests.gateway.harness import START, Harness

BUY = Place(
    account=101,
    instrument="BTC-PERPETUAL",
    side=Side.BUY,
    amount=10 * SCALE,
    price=64_500 * SCALE,
)


@define(eq=False)
class MatcherFixture:
    """A matcher over a funded exchange that records every call to its callbacks."""

    exchange: Exchange = field(factory=lambda: Harness().exchange)
    seen: list[tuple[Entry, list[Event]]] = field(factory=list)
    proposed: list[SystemCommand] = field(factory=list)
    ended: list[int] = field(factory=list)
    matcher: Matcher = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Connect the matcher."""
        self.matcher = Matcher(
            self.exchange,
            propose=self.proposed.append,
            on_session_end=self.ended.append,
            observers=[lambda entry, events: self.seen.append((entry, list(events)))],
        )

    def batch(self, *commands: Command, session: int = 0) -> list[Entry]:
        """Return commands as entries of one batch."""
        first = self.exchange.state.sequence + 1
        time = max(START, self.exchange.state.time)
        return [
            Entry(number, time, Origin(session=session, request=number), command)
            for number, command in enumerate(commands, first)
        ]

    async def apply(self, *batches: Sequence[Entry]) -> None:
        """Run the matcher over batches to the end of the stream."""
        send, receive = trio.open_memory_channel[Sequence[Entry]](len(batches))
        with send:
            for batch in batches:
                send.send_nowait(batch)
        await self.matcher.run(receive)


async def test_entries_are_applied_and_observed_in_order() -> None:
    """Observers see each entry before the next one is applied."""
    fixture = MatcherFixture()
    batch = fixture.batch(BUY, BUY, Tick(prices=()))
    await fixture.apply(batch[:2], batch[2:])
    assert batch == [entry for entry, _ in fixture.seen]
    orders = [e.order.order_id for _, events in fixture.seen for e in events if type(e) is Ordered]
    assert [1, 2] == orders


async def test_notable_observers_do_not_see_orders_that_only_rest_or_leave() -> None:
    """They see trades and entries other than orders; every entry is counted."""
    fixture, attended = MatcherFixture(), list[Entry]()
    fixture.matcher.notable_observers.append(lambda entry, _events: attended.append(entry))
    taking = replace(BUY, account=102, side=Side.SELL)
    batch = fixture.batch(BUY, BUY, Cancel(account=101, order_id=1), taking, Tick(prices=()))
    await fixture.apply(batch)
    assert batch[3:] == attended
    assert {Place: 3, Cancel: 1, Tick: 1} == fixture.matcher.counts


async def test_a_session_end_frees_its_slot() -> None:
    """The slot is freed when the end is applied, not before."""
    fixture = MatcherFixture()
    await fixture.apply(fixture.batch(EndSession(session=7), BUY))
    assert [7] == fixture.ended


async def test_other_tasks_run_while_a_long_batch_is_applied(mock_clock: MockClock) -> None:
    """No batch holds the loop: sockets and timers get a turn every two milliseconds."""
    fixture = MatcherFixture()
    fixture.matcher.clock = mock_clock.current_time
    fixture.matcher.observers.append(lambda _entry, _events: mock_clock.jump(0.000_3))
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        await fixture.apply(fixture.batch(*[BUY] * 400))
        nursery.cancel_scope.cancel()
    assert 400 == len(fixture.seen)
    # Seven entries take two milliseconds; the first turn may come before the other task started.
    assert turns >= 400 // 7 - 1


async def test_after_a_long_entry_other_tasks_get_as_much_time(mock_clock: MockClock) -> None:
    """A slice of a large cancellation has hundreds of events; a writer sends some each turn."""
    fixture = MatcherFixture()
    fixture.matcher.clock = mock_clock.current_time
    turns: list[int] = []

    def hold(_entry: Entry, _events: Sequence[Event]) -> None:
        mock_clock.jump(0.02)
        turns.append(0)

    async def write() -> None:
        while True:
            await trio.lowlevel.checkpoint()
            mock_clock.jump(0.001)
            if turns:
                turns[-1] += 1

    fixture.matcher.observers.append(hold)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await fixture.apply(fixture.batch(BUY, BUY, BUY, BUY))
        nursery.cancel_scope.cancel()
    assert 4 == len(turns)
    assert min(turns) >= 20


async def test_a_long_entry_is_followed_at_once_if_no_task_is_ready(
    mock_clock: MockClock,
) -> None:
    """If all other tasks are blocked, a long entry delays the next one no further."""
    fixture = MatcherFixture()
    fixture.matcher.clock = mock_clock.current_time
    fixture.matcher.observers.append(lambda _entry, _events: mock_clock.jump(0.02))
    # This clock does not advance while the matcher yields: a deadline would never be reached.
    with trio.fail_after(1.0):
        await fixture.apply(fixture.batch(BUY, BUY, BUY, BUY))
    assert 4 == len(fixture.seen)
    assert pytest.approx(0.08) == mock_clock.current_time()


async def test_unfinished_work_is_continued_one_entry_at_a_time() -> None:
    """A session with more orders than one slice ends over several Continue entries."""
    fixture = MatcherFixture()
    await fixture.apply(fixture.batch(SetParameters(parameters=Parameters(slice=2))))
    setup = [
        StartSession(session=7, account=101),
        SetCancelOnDisconnect(account=101, session=7, enabled=True),
        *[BUY] * 7,
    ]
    await fixture.apply(fixture.batch(*setup, session=7))
    assert 7 == len(fixture.exchange.state.accounts[101].orders)
    # Both entries leave work behind, for which one Continue is proposed.
    await fixture.apply(fixture.batch(EndSession(session=7), EndSession(session=8)))
    liquidation_of = 0
    while fixture.proposed:
        assert [Continue()] == fixture.proposed, "one at a time"
        fixture.proposed.clear()
        await fixture.apply(fixture.batch(Continue()))
        liquidation_of += 1
    assert 0 == len(fixture.exchange.state.accounts[101].orders)
    assert liquidation_of >= 2
    ended = [e for _, events in fixture.seen for e in events if type(e) is SessionEnded]
    assert [SessionEnded(7)] == ended


async def test_a_bug_in_apply_ends_the_matcher_and_names_the_entry() -> None:
    """The state after such an exception is never used again."""

    class UnknownCommand(Command, frozen=True, kw_only=True):
        """A command that the exchange has no handler for."""

    fixture = MatcherFixture()
    batch = fixture.batch(BUY, UnknownCommand(), BUY)
    with pytest.raises(ApplyError, match=f"entry {batch[1].sequence} cannot be applied") as caught:
        await fixture.apply(batch)
    assert isinstance(caught.value.__cause__, KeyError)
    assert 1 == len(fixture.seen)
