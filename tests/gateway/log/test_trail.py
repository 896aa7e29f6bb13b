"""The trail: the same events give the same, and checkpoints compare it as far back as it knows."""

import pytest

from gateway.log.errors import DivergenceError
from gateway.log.trail import REMEMBERED, Checkpoints, Trail
from risk.commands import Checkpoint, Entry, Origin, Tick
from risk.events import Done, Event, SessionEnded

TICK = Tick(prices=())


def walk(trail: Trail, count: int, *events: Event) -> None:
    """So many entries with the same events."""
    for sequence in range(trail.sequence + 1, trail.sequence + 1 + count):
        trail.observe(Entry(sequence, 0, Origin(), TICK), events)


def test_events_and_their_order_make_the_trail() -> None:
    """Times and commands do not: what came of them does."""
    one, two = Done(Origin()), SessionEnded(7)
    values = []
    for events in ((), (one,), (two,), (one, two), (two, one)):
        trail = Trail()
        walk(trail, 1, *events)
        values.append(trail.value)
        again = Trail()
        again.observe(Entry(1, 99, Origin(), Checkpoint(sequence=0, digest="")), events)
        assert trail.value == again.value
    assert 5 == len(set(values))


def test_it_goes_on_from_a_snapshot() -> None:
    """Its value is all that it needs."""
    whole, first = Trail(), Trail()
    walk(whole, 9)
    walk(first, 4)
    rest = Trail(first.value, first.sequence)
    walk(rest, 5)
    assert (whole.value, 9) == (rest.value, rest.sequence)


def test_checkpoints_are_compared_as_far_back_as_is_remembered() -> None:
    """The one further back is passed over, and said to be; a wrong one is not."""
    trail = Trail()
    walk(trail, 10)
    checkpoint = trail.checkpoint()
    walk(trail, REMEMBERED - 1)
    assert trail.compare(checkpoint)
    with pytest.raises(DivergenceError, match="up to entry 10 the replay came to other events"):
        trail.compare(Checkpoint(sequence=10, digest="ab"))
    walk(trail, 1)
    assert not trail.compare(checkpoint)
    assert not Trail(trail.value, trail.sequence).compare(checkpoint)


def test_a_checkpoint_is_proposed_every_so_many_entries() -> None:
    """Counted from the start of the process, whatever is skipped in between."""
    proposed: list[Checkpoint] = []
    checkpoints = Checkpoints(Trail(sequence=5), proposed.append, every=10)
    for sequence in (*range(6, 20), 26, *range(27, 37)):
        checkpoints.observe(Entry(sequence, 0, Origin(), TICK), [])
    assert [15, 26, 36] == [each.sequence for each in proposed]
    assert checkpoints.trail.value.hex() == proposed[-1].digest
