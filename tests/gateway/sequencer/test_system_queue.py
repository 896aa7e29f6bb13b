"""The lane and the intake: keyed, never full, first in each batch; and what the dead leave."""

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
    """A lane that wakes nobody."""
    return SystemQueue(lambda: None)


def of(session: int, command: Command = CANCEL) -> list[Proposal]:
    """One command of a session."""
    return [Proposal(command, Origin(session=session, request=1))]


async def commands(intake: CommandSource) -> list[Command]:
    """The next batch."""
    return [each.command for each in await intake.take()]


def test_the_newest_tick_takes_the_place_of_the_older() -> None:
    """Old prices are worth nothing."""
    lane = make()
    lane.put(Tick(prices=(("btc_usd", 1),)))
    lane.put(Tick(prices=(("btc_usd", 2),)))
    assert [Tick(prices=(("btc_usd", 2),))] == lane.take()
    assert not lane


def test_a_checkpoint_goes_with_the_next_batch_once() -> None:
    """The newest covers what the older one did."""
    lane = make()
    for sequence in (10, 20):
        lane.put(Checkpoint(sequence=sequence, digest="00"))
    assert lane
    assert [Checkpoint(sequence=20, digest="00")] == lane.take()
    assert not lane
    lane.put(Checkpoint(sequence=30, digest="00"))
    lane.close()
    assert not lane


def test_an_account_is_liquidated_once_per_currency_and_batch() -> None:
    """A supervisor may propose as often as it likes."""
    lane = make()
    for _ in range(3):
        lane.put(Liquidate(account=101, currency="BTC"))
    lane.put(Liquidate(account=101, currency="ETH"))
    expected = [Liquidate(account=101, currency=each) for each in ("BTC", "ETH")]
    assert expected == lane.take()


def test_a_batch_takes_a_share_of_each_kind_and_the_rest_later() -> None:
    """A cascade and a mass disconnect leave each other, and the clients, room."""
    lane = make()
    for number in range(MAX_PER_BATCH + 5):
        lane.put(Liquidate(account=number, currency="BTC"))
        lane.put(EndSession(session=number))
    lane.put(Tick(prices=()))
    lane.put(Continue())
    first = lane.take()
    assert [Tick(prices=()), Continue()] == first[:2]
    assert list(range(MAX_PER_BATCH)) == [
        each.account for each in first[2:] if type(each) is Liquidate
    ]
    assert MAX_PER_BATCH == len(lane.take_ends())
    assert 5 == len(lane.take())
    assert 5 == len(lane.take_ends())
    assert not lane


def test_a_logout_is_not_undone_by_the_hang_up_that_follows() -> None:
    """The first word about a session's end stands."""
    lane = make()
    lane.put(EndSession(session=1, quietly=True))
    lane.put(EndSession(session=1))
    assert [EndSession(session=1, quietly=True)] == lane.take_ends()


def test_a_closed_lane_does_nothing() -> None:
    """After the log has failed clean-up calls must not raise."""
    lane = make()
    lane.put(Continue())
    lane.close()
    lane.put(EndSession(session=1))
    assert not lane
    assert [] == lane.take()


async def test_the_venues_own_proposals_come_first_and_session_ends_last() -> None:
    """A flood cannot make the venue blind, and who logged out goes after what they sent."""
    intake = CommandSource()
    await intake.inbox.put(of(1))
    intake.propose(EndSession(session=1, quietly=True))
    intake.propose(Tick(prices=()))
    expected = [Tick(prices=()), CANCEL, EndSession(session=1, quietly=True)]
    assert expected == await commands(intake)


async def test_commands_of_a_session_that_hung_up_are_left_out() -> None:
    """Nothing rests for the dead, however full the inbox was; others are not touched."""
    intake = CommandSource()
    await intake.inbox.put(of(1))
    await intake.inbox.put(of(2))
    await intake.inbox.put(of(1))
    intake.propose(EndSession(session=1))
    batch = await intake.take()
    assert [2, 0] == [each.origin.session for each in batch]
    assert EndSession(session=1) == batch[-1].command


async def test_a_login_never_follows_the_hang_up() -> None:
    """A session that started after its end would live for ever."""
    intake = CommandSource()
    await intake.inbox.put(of(1, StartSession(session=1, account=101)))
    intake.propose(EndSession(session=1))
    assert [EndSession(session=1)] == await commands(intake)


async def test_commands_of_sessions_whose_end_has_to_wait_are_left_out_too() -> None:
    """More ends than one batch's share change nothing for their orders."""
    intake = CommandSource()
    for number in range(1, MAX_PER_BATCH + 2):
        intake.propose(EndSession(session=number))
    await intake.inbox.put(of(MAX_PER_BATCH + 1))
    assert MAX_PER_BATCH == len(await commands(intake))
    assert [EndSession(session=MAX_PER_BATCH + 1)] == await commands(intake)


async def test_a_proposal_wakes_the_log() -> None:
    """`take` waits for either kind."""
    intake = CommandSource()
    taken: list[list[Command]] = []

    async def take() -> None:
        taken.append(await commands(intake))

    news: list[Callable[[], None]] = [lambda: intake.propose(Continue()), intake.close]
    for each in news:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            await wait_all_tasks_blocked()
            each()
    assert [[Continue()], []] == taken


async def test_a_closed_intake_is_drained_before_it_ends() -> None:
    """End of stream comes after everything that was accepted."""
    intake = CommandSource()
    await intake.inbox.put(of(1))
    intake.propose(Tick(prices=()))
    intake.close()
    assert [Tick(prices=()), CANCEL] == await commands(intake)
    assert [] == await commands(intake)
