"""Tests of the system queue and the command source: keys, bounds, order, and ended sessions."""

from collections.abc import Callable

import trio
from trio.testing import wait_all_tasks_blocked

from gateway.log import Proposal
from gateway.sequencer.command_source import CommandSource
from gateway.sequencer.system_queue import MAX_PER_BATCH, SystemQueue
from risk.commands import (
    CancelAll,
    Checkpoint,
    Command,
    Continue,
    EndSession,
    Liquidate,
    Origin,
    StartSession,
    Tick,
)

CANCEL = CancelAll(account=101)


def make() -> SystemQueue:
    """Return a queue without a log."""
    return SystemQueue(lambda: None)


def of(session: int, command: Command = CANCEL) -> list[Proposal]:
    """Return one command of a session."""
    return [Proposal(command, Origin(session=session, request=1))]


async def commands(source: CommandSource) -> list[Command]:
    """Return the commands of the next batch."""
    return [each.command for each in await source.take()]


def test_the_newest_tick_replaces_the_older() -> None:
    """Old prices are of no use."""
    queue = make()
    queue.put(Tick(prices=(("btc_usd", 1),)))
    queue.put(Tick(prices=(("btc_usd", 2),)))
    assert [Tick(prices=(("btc_usd", 2),))] == queue.take()
    assert not queue


def test_a_checkpoint_is_in_one_batch_only() -> None:
    """The newest checkpoint covers the older one."""
    queue = make()
    for sequence in (10, 20):
        queue.put(Checkpoint(sequence=sequence, digest="00"))
    assert queue
    assert [Checkpoint(sequence=20, digest="00")] == queue.take()
    assert not queue
    queue.put(Checkpoint(sequence=30, digest="00"))
    queue.close()
    assert not queue


def test_an_account_is_liquidated_once_per_currency_and_batch() -> None:
    """Repeated proposals of the supervisor have no effect."""
    queue = make()
    for _ in range(3):
        queue.put(Liquidate(account=101, currency="BTC"))
    queue.put(Liquidate(account=101, currency="ETH"))
    expected = [Liquidate(account=101, currency=each) for each in ("BTC", "ETH")]
    assert expected == queue.take()


def test_a_batch_takes_a_share_of_each_kind_and_the_rest_later() -> None:
    """A cascade and a mass disconnect leave room for each other and for clients."""
    queue = make()
    for number in range(MAX_PER_BATCH + 5):
        queue.put(Liquidate(account=number, currency="BTC"))
        queue.put(EndSession(session=number))
    queue.put(Tick(prices=()))
    queue.put(Continue())
    first = queue.take()
    assert [Tick(prices=()), Continue()] == first[:2]
    assert list(range(MAX_PER_BATCH)) == [
        each.account for each in first[2:] if type(each) is Liquidate
    ]
    assert MAX_PER_BATCH == len(queue.take_ends())
    assert 5 == len(queue.take())
    assert 5 == len(queue.take_ends())
    assert not queue


def test_a_disconnect_does_not_override_a_log_out() -> None:
    """The first end of a session stays."""
    queue = make()
    queue.put(EndSession(session=1, quietly=True))
    queue.put(EndSession(session=1))
    assert [EndSession(session=1, quietly=True)] == queue.take_ends()


def test_a_closed_system_queue_does_nothing() -> None:
    """Clean-up calls must not raise after the log has failed."""
    queue = make()
    queue.put(Continue())
    queue.close()
    queue.put(EndSession(session=1))
    assert not queue
    assert [] == queue.take()


async def test_system_commands_come_first_and_session_ends_last() -> None:
    """A flood cannot delay ticks, and a log-out follows what its client sent before."""
    source = CommandSource()
    await source.inbox.put(of(1))
    source.propose(EndSession(session=1, quietly=True))
    source.propose(Tick(prices=()))
    expected = [Tick(prices=()), CANCEL, EndSession(session=1, quietly=True)]
    assert expected == await commands(source)


async def test_commands_of_a_disconnected_session_are_dropped() -> None:
    """No order rests for a disconnected client, however full the inbox was."""
    source = CommandSource()
    await source.inbox.put(of(1))
    await source.inbox.put(of(2))
    await source.inbox.put(of(1))
    source.propose(EndSession(session=1))
    batch = await source.take()
    assert [2, 0] == [each.origin.session for each in batch]
    assert EndSession(session=1) == batch[-1].command


async def test_a_log_in_never_follows_the_disconnect() -> None:
    """A session that started after its end would never end."""
    source = CommandSource()
    await source.inbox.put(of(1, StartSession(session=1, account=101)))
    source.propose(EndSession(session=1))
    assert [EndSession(session=1)] == await commands(source)


async def test_commands_of_sessions_with_a_deferred_end_are_dropped() -> None:
    """Ends beyond one batch's share drop the commands of their sessions as well."""
    source = CommandSource()
    for number in range(1, MAX_PER_BATCH + 2):
        source.propose(EndSession(session=number))
    await source.inbox.put(of(MAX_PER_BATCH + 1))
    assert MAX_PER_BATCH == len(await commands(source))
    assert [EndSession(session=MAX_PER_BATCH + 1)] == await commands(source)


async def test_a_proposal_wakes_the_log() -> None:
    """`take` waits for commands of either queue."""
    source = CommandSource()
    taken: list[list[Command]] = []

    async def take() -> None:
        taken.append(await commands(source))

    news: list[Callable[[], None]] = [lambda: source.propose(Continue()), source.close]
    for each in news:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            await wait_all_tasks_blocked()
            each()
    assert [[Continue()], []] == taken


async def test_a_closed_source_is_drained_before_it_ends() -> None:
    """The end of the stream follows everything that was accepted."""
    source = CommandSource()
    await source.inbox.put(of(1))
    source.propose(Tick(prices=()))
    source.close()
    assert [Tick(prices=()), CANCEL] == await commands(source)
    assert [] == await commands(source)
