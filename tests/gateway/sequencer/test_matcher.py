"""The matcher: the only writer, in the log's order, which never holds the loop for long."""

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
class Scene:
    """A matcher over a funded exchange, with everything that it calls written down."""

    exchange: Exchange = field(factory=lambda: Harness().exchange)
    seen: list[tuple[Entry, list[Event]]] = field(factory=list)
    proposed: list[SystemCommand] = field(factory=list)
    ended: list[int] = field(factory=list)
    matcher: Matcher = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Wire it."""
        self.matcher = Matcher(
            self.exchange,
            propose=self.proposed.append,
            on_session_end=self.ended.append,
            observers=[lambda entry, events: self.seen.append((entry, list(events)))],
        )

    def batch(self, *commands: Command, session: int = 0) -> list[Entry]:
        """Commands as the log would pass them on."""
        first = self.exchange.state.sequence + 1
        time = max(START, self.exchange.state.time)
        return [
            Entry(number, time, Origin(session=session, request=number), command)
            for number, command in enumerate(commands, first)
        ]

    async def apply(self, *batches: Sequence[Entry]) -> None:
        """Let the matcher work through batches to the end of the stream."""
        send, receive = trio.open_memory_channel[Sequence[Entry]](len(batches))
        with send:
            for batch in batches:
                send.send_nowait(batch)
        await self.matcher.run(receive)


async def test_entries_are_applied_in_order_and_told_with_their_events() -> None:
    """Observers hear of each entry before the next one is applied."""
    scene = Scene()
    batch = scene.batch(BUY, BUY, Tick(prices=()))
    await scene.apply(batch[:2], batch[2:])
    assert batch == [entry for entry, _ in scene.seen]
    orders = [e.order.order_id for _, events in scene.seen for e in events if type(e) is Ordered]
    assert [1, 2] == orders


async def test_attendants_are_spared_orders_that_only_rest_or_leave() -> None:
    """A trade they are told of, and whatever is no order; everything is counted."""
    scene, attended = Scene(), list[Entry]()
    scene.matcher.notable_observers.append(lambda entry, _events: attended.append(entry))
    taking = replace(BUY, account=102, side=Side.SELL)
    batch = scene.batch(BUY, BUY, Cancel(account=101, order_id=1), taking, Tick(prices=()))
    await scene.apply(batch)
    assert batch[3:] == attended
    assert {Place: 3, Cancel: 1, Tick: 1} == scene.matcher.counts


async def test_a_session_end_frees_its_slot() -> None:
    """Only once it is applied."""
    scene = Scene()
    await scene.apply(scene.batch(EndSession(session=7), BUY))
    assert [7] == scene.ended


async def test_other_tasks_run_while_a_long_batch_is_applied(mock_clock: MockClock) -> None:
    """No batch holds the loop: sockets and timers get a turn each two milliseconds."""
    scene = Scene()
    scene.matcher.clock = mock_clock.current_time
    scene.matcher.observers.append(lambda _entry, _events: mock_clock.jump(0.000_3))
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        await scene.apply(scene.batch(*[BUY] * 400))
        nursery.cancel_scope.cancel()
    assert 400 == len(scene.seen)
    # Seven entries in two milliseconds; the first turn of all may come before the other has begun.
    assert turns >= 400 // 7 - 1


async def test_after_a_long_entry_others_get_as_much_time(mock_clock: MockClock) -> None:
    """A slice of a large cancellation makes hundreds of events, and its writer one a turn."""
    scene = Scene()
    scene.matcher.clock = mock_clock.current_time
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

    scene.matcher.observers.append(hold)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await scene.apply(scene.batch(BUY, BUY, BUY, BUY))
        nursery.cancel_scope.cancel()
    assert 4 == len(turns)
    assert min(turns) >= 20


async def test_where_nobody_wants_the_loop_a_long_entry_is_followed_at_once(
    mock_clock: MockClock,
) -> None:
    """A settlement of all accounts takes no longer than it must."""
    scene = Scene()
    scene.matcher.clock = mock_clock.current_time
    scene.matcher.observers.append(lambda _entry, _events: mock_clock.jump(0.02))
    # Nobody moves this clock while the matcher rests: it would never end by its deadline.
    with trio.fail_after(1.0):
        await scene.apply(scene.batch(BUY, BUY, BUY, BUY))
    assert 4 == len(scene.seen)
    assert pytest.approx(0.08) == mock_clock.current_time()


async def test_unfinished_work_is_continued_one_entry_at_a_time() -> None:
    """A session with more orders than one slice ends over several Continue entries."""
    scene = Scene()
    await scene.apply(scene.batch(SetParameters(parameters=Parameters(slice=2))))
    setup = [
        StartSession(session=7, account=101),
        SetCancelOnDisconnect(account=101, session=7, enabled=True),
        *[BUY] * 7,
    ]
    await scene.apply(scene.batch(*setup, session=7))
    assert 7 == len(scene.exchange.state.accounts[101].orders)
    # Both entries leave work behind; one Continue is on its way for it.
    await scene.apply(scene.batch(EndSession(session=7), EndSession(session=8)))
    rounds = 0
    while scene.proposed:
        assert [Continue()] == scene.proposed, "one at a time"
        scene.proposed.clear()
        await scene.apply(scene.batch(Continue()))
        rounds += 1
    assert 0 == len(scene.exchange.state.accounts[101].orders)
    assert rounds >= 2
    ended = [e for _, events in scene.seen for e in events if type(e) is SessionEnded]
    assert [SessionEnded(7)] == ended


async def test_a_bug_in_apply_ends_the_matcher_and_names_the_entry() -> None:
    """No state that such an exception left behind is used again."""

    class Unheard(Command, frozen=True, kw_only=True):
        """A command that the exchange has no function for."""

    scene = Scene()
    batch = scene.batch(BUY, Unheard(), BUY)
    with pytest.raises(ApplyError, match=f"entry {batch[1].sequence} cannot be applied") as caught:
        await scene.apply(batch)
    assert isinstance(caught.value.__cause__, KeyError)
    assert 1 == len(scene.seen)
