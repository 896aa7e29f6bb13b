"""Tests of the inbox: its bound, its turns, and cancelled senders."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from gateway.log import Proposal
from gateway.sequencer.inbox import COMMANDS_PER_LIST, MAX_LISTS, PRIORITY_PLACES, Inbox
from risk.commands import Continue, Origin


def proposals(client: int, count: int = 1) -> list[Proposal]:
    """Return commands that bear the number of their client."""
    return [Proposal(Continue(), Origin(session=client, request=n)) for n in range(count)]


def make(waits: list[float] | None = None) -> Inbox:
    """Return an inbox without a log, which records how long lists waited."""
    return Inbox(lambda: None, (waits if waits is not None else []).append)


def clients(inbox: Inbox) -> list[int]:
    """Return the clients of the commands in the next batch."""
    return [each.origin.session for each in inbox.take()]


async def fill(inbox: Inbox, client: int = 9) -> None:
    """Fill the inbox."""
    for _ in range(MAX_LISTS):
        await inbox.put(proposals(client))


async def test_commands_are_taken_in_the_order_of_put() -> None:
    """A batch is everything in the inbox, in the order of arrival."""
    inbox = make()
    await inbox.put(proposals(1, 2))
    await inbox.put(proposals(2))
    assert [1, 1, 2] == clients(inbox)
    assert [] == clients(inbox)


async def test_senders_wait_in_a_full_inbox_until_a_batch_is_taken() -> None:
    """MAX_LISTS lists are queued; the next one enters when a batch is taken."""
    inbox = make()
    await fill(inbox)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.put, proposals(1))
        await wait_all_tasks_blocked()
        assert MAX_LISTS == inbox.depth
        assert [9] * MAX_LISTS == clients(inbox)
        assert [1] == clients(inbox)


async def test_a_sender_cancelled_while_waiting_has_sent_nothing() -> None:
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


async def test_a_sender_cancelled_after_its_turn_has_sent_everything() -> None:
    """With room, `put` succeeds even in a cancelled scope."""
    inbox = make()
    with trio.CancelScope() as scope:
        scope.cancel()
        await inbox.put(proposals(1, 3))
    assert [1, 1, 1] == clients(inbox)


async def test_a_flooding_client_gets_one_list_in_turn() -> None:
    """A client that sends without end waits behind one list of every other client, each time."""
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
        # The flooder's list that waited, the other clients' lists, and then the flooder's next.
        assert {2, 3, 4, 5} == set(second[COMMANDS_PER_LIST : COMMANDS_PER_LIST + 4])
        nursery.cancel_scope.cancel()


async def test_a_closed_inbox_accepts_nothing_and_keeps_its_commands() -> None:
    """Commands accepted before the close are still taken."""
    inbox = make()
    await inbox.put(proposals(1))
    inbox.close()
    with pytest.raises(trio.ClosedResourceError):
        await inbox.put(proposals(2))
    assert [1] == clients(inbox)


async def test_closing_ends_the_wait_of_senders(autojump_clock: trio.testing.MockClock) -> None:
    """A shutdown ends the wait of a sender in a full inbox."""
    inbox = make()
    await fill(inbox)
    outcomes: list[str] = []

    async def put() -> None:
        try:
            await inbox.put(proposals(1))
        except trio.ClosedResourceError:
            outcomes.append("closed")

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(put)
            await wait_all_tasks_blocked()
            inbox.close()
    assert ["closed"] == outcomes


async def test_waits_are_observed(autojump_clock: trio.testing.MockClock) -> None:
    """The metric is the time from `put` to the batch."""
    waits: list[float] = []
    inbox = make(waits)
    await inbox.put(proposals(1))
    await trio.sleep(0.25)
    assert [1] == clients(inbox)
    assert [0.25] == waits


async def test_a_client_with_nothing_else_in_flight_goes_first() -> None:
    """A single command is in the next batch although the inbox is full and senders wait."""
    inbox = make()
    for _ in range(MAX_LISTS):
        await inbox.put(proposals(9, COMMANDS_PER_LIST))
    (single,) = proposals(1, 1)
    assert inbox.put_priority(single)
    assert [1, *[9] * COMMANDS_PER_LIST * MAX_LISTS] == clients(inbox)


async def test_priority_places_are_bounded() -> None:
    """Without a free place, or after the close, a command takes its turn with all others."""
    inbox = make()
    (single,) = proposals(1, 1)
    assert [True] * PRIORITY_PLACES + [False] == [
        inbox.put_priority(single) for _ in range(PRIORITY_PLACES + 1)
    ]
    inbox.close()
    assert [1] * PRIORITY_PLACES == clients(inbox)
    assert not inbox.put_priority(single)
