"""The inbox: bounded, in turns, and all or nothing for whoever is cancelled."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from gateway.log import Proposal
from gateway.sequencer.inbox import COMMANDS_PER_LIST, MAX_LISTS, PRIORITY_PLACES, Inbox
from risk.commands import Continue, Origin


def proposals(client: int, count: int = 1) -> list[Proposal]:
    """Commands that tell whose they are."""
    return [Proposal(Continue(), Origin(session=client, request=n)) for n in range(count)]


def make(waits: list[float] | None = None) -> Inbox:
    """An inbox that wakes nobody and notes how long lists waited."""
    return Inbox(lambda: None, (waits if waits is not None else []).append)


def clients(inbox: Inbox) -> list[int]:
    """Whose commands the next batch holds."""
    return [each.origin.session for each in inbox.take()]


async def fill(inbox: Inbox, client: int = 9) -> None:
    """Leave no room."""
    for _ in range(MAX_LISTS):
        await inbox.put(proposals(client))


async def test_what_is_put_is_taken_in_order() -> None:
    """A batch is everything that is in, first come first."""
    inbox = make()
    await inbox.put(proposals(1, 2))
    await inbox.put(proposals(2))
    assert [1, 1, 2] == clients(inbox)
    assert [] == clients(inbox)


async def test_a_full_inbox_makes_senders_wait_and_a_batch_lets_them_in() -> None:
    """LISTS lists are in; the next one enters as the first are taken."""
    inbox = make()
    await fill(inbox)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.put, proposals(1))
        await wait_all_tasks_blocked()
        assert MAX_LISTS == inbox.depth
        assert [9] * MAX_LISTS == clients(inbox)
        assert [1] == clients(inbox)


async def test_whoever_is_cancelled_while_waiting_has_sent_nothing() -> None:
    """A time limit on `put` needs no undoing."""
    inbox = make()
    await fill(inbox)
    with trio.CancelScope() as scope:
        scope.cancel()
        await inbox.put(proposals(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.put, proposals(2))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert [9] * MAX_LISTS == clients(inbox)
    assert [] == clients(inbox)


async def test_whoever_is_cancelled_after_the_turn_came_has_sent_everything() -> None:
    """With room the put succeeds even in a cancelled scope, and does not pretend otherwise."""
    inbox = make()
    with trio.CancelScope() as scope:
        scope.cancel()
        await inbox.put(proposals(1, 3))
    assert [1, 1, 1] == clients(inbox)


async def test_a_flooder_gets_one_list_in_turn() -> None:
    """Whoever sends without end waits behind everybody else's one list, each time."""
    inbox = make()

    async def flood() -> None:
        while True:
            await inbox.put(proposals(1, COMMANDS_PER_LIST))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flood)
        await wait_all_tasks_blocked()
        for polite in range(2, 6):
            nursery.start_soon(inbox.put, proposals(polite))
        await wait_all_tasks_blocked()
        assert [1] * COMMANDS_PER_LIST * MAX_LISTS == clients(inbox)
        await wait_all_tasks_blocked()
        second = clients(inbox)
        # The flooder's list that waited, the polite ones, and then the flooder again.
        assert {2, 3, 4, 5} == set(second[COMMANDS_PER_LIST : COMMANDS_PER_LIST + 4])
        nursery.cancel_scope.cancel()


async def test_a_closed_inbox_takes_nothing_and_keeps_what_is_in() -> None:
    """What was accepted before the end is still decided."""
    inbox = make()
    await inbox.put(proposals(1))
    inbox.close()
    with pytest.raises(trio.ClosedResourceError):
        await inbox.put(proposals(2))
    assert [1] == clients(inbox)


async def test_closing_tells_those_who_wait(autojump_clock: trio.testing.MockClock) -> None:
    """A sender in a full inbox is not left waiting by a shutdown."""
    inbox = make()
    await fill(inbox)
    told: list[str] = []

    async def put() -> None:
        try:
            await inbox.put(proposals(1))
        except trio.ClosedResourceError:
            told.append("closed")

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(put)
            await wait_all_tasks_blocked()
            inbox.close()
    assert ["closed"] == told


async def test_waits_are_observed(autojump_clock: trio.testing.MockClock) -> None:
    """The metric is the time from the put to the batch."""
    waits: list[float] = []
    inbox = make(waits)
    await inbox.put(proposals(1))
    await trio.sleep(0.25)
    assert [1] == clients(inbox)
    assert [0.25] == waits


async def test_who_has_nothing_else_undecided_goes_first() -> None:
    """Behind a full inbox with senders waiting, a single command is in the next batch."""
    inbox = make()
    for _ in range(MAX_LISTS):
        await inbox.put(proposals(9, COMMANDS_PER_LIST))
    (single,) = proposals(1, 1)
    assert inbox.put_priority(single)
    assert [1, *[9] * COMMANDS_PER_LIST * MAX_LISTS] == clients(inbox)


async def test_places_for_the_first_are_bounded() -> None:
    """Beyond them a command takes its turn with all others, and after the end there are none."""
    inbox = make()
    (single,) = proposals(1, 1)
    assert [True] * PRIORITY_PLACES + [False] == [
        inbox.put_priority(single) for _ in range(PRIORITY_PLACES + 1)
    ]
    inbox.close()
    assert [1] * PRIORITY_PLACES == clients(inbox)
    assert not inbox.put_priority(single)
