"""The event hash: equal events give equal hashes, and checkpoints compare recent values."""

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from book.order import Order, OrderState, OrderType, Side, TimeInForce
from gateway.log.errors import DivergenceError
from gateway.log.event_hash import REMEMBERED, CheckpointProposer, EventHash
from risk.commands import Checkpoint, Entry, Origin, Tick
from risk.events import (
    Cancelled,
    Done,
    Event,
    OrderChanged,
    Ordered,
    PositionChanged,
    SessionEnded,
    Traded,
    TradeSide,
    WalletChanged,
)

TICK = Tick(prices=())
RESTING = Order(
    order_id=1,
    account=101,
    instrument="BTC-PERPETUAL",
    side=Side.BUY,
    type=OrderType.LIMIT,
    time_in_force=TimeInForce.GOOD_TIL_CANCELLED,
    price=2,
    amount=3,
).record()


def walk(trail: EventHash, count: int, *events: Event) -> None:
    """So many entries with the same events."""
    for sequence in range(trail.sequence + 1, trail.sequence + 1 + count):
        trail.observe(Entry(sequence, 0, Origin(), TICK), events)


def test_the_event_hash_depends_on_events_and_their_order() -> None:
    """Times and commands do not matter, only their events."""
    one, two = Done(Origin()), SessionEnded(7)
    values = []
    for events in ((), (one,), (two,), (one, two), (two, one)):
        trail = EventHash()
        walk(trail, 1, *events)
        values.append(trail.value)
        again = EventHash()
        again.observe(Entry(1, 99, Origin(), Checkpoint(sequence=0, digest="")), events)
        assert trail.value == again.value
    assert 5 == len(set(values))


def plain(changed: Sequence[tuple[str, int]] = (), *, left: bool = False) -> list[Event]:
    """What comes of an order that rests, or that has left."""
    record = replace(RESTING, **dict(changed))
    answer = Cancelled(Origin(), record) if left else Ordered(Origin(), record, ())
    return [answer, OrderChanged(record), WalletChanged(record.account, "BTC")]


def test_plain_entries_are_hashed_by_order_price_and_size() -> None:
    """Which it is, where it is and what is left of it; another makes another trail."""
    values = []
    changes = [(name, 9) for name in ("order_id", "account", "price", "amount", "filled")]
    for events in (plain(), plain(left=True), *(plain([change]) for change in changes)):
        trail = EventHash()
        walk(trail, 1, *events)
        values.append(trail.value)
        walk(trail, 1)
        values.append(trail.value)
    assert 14 == len(set(values))


def test_entries_with_more_events_are_hashed_in_full() -> None:
    """An entry with more events than those of its order may move money or affect other accounts."""
    values = []
    for account in (101, 102):
        trail = EventHash()
        others = (PositionChanged(account, "BTC-PERPETUAL"), WalletChanged(account, "ETH"))
        walk(trail, 1, *plain(), *others)
        values.append(trail.value)
    assert 2 == len(set(values))


def test_a_trade_is_hashed_once_but_never_left_out() -> None:
    """In an answer it is left out only where it is an event too: a repeated answer has it alone."""
    side = TradeSide(
        account=101,
        order_id=1,
        type=OrderType.LIMIT,
        state=OrderState.FILLED,
        side=Side.BUY,
        label="",
        fee=0,
        profit=0,
        post_only=False,
        reduce_only=False,
        liquidation=False,
    )
    trade = Traded(1, 1, "BTC-PERPETUAL", 0, 2, 3, 0, 2, 2, side, side)
    other = replace(trade, price=3)
    answers = [Ordered(Origin(), RESTING, trades) for trades in ((), (trade,), (other,))]
    many = [PositionChanged(101, "BTC-PERPETUAL")] * 4
    values = set()
    for first in ([], [trade], [other]):
        for answer in answers:
            trail = EventHash()
            walk(trail, 1, *first, answer, *many)
            values.add(trail.value)
    # With no trade in the answer, its trade as an event says the same.
    assert 7 == len(values)


def test_the_event_hash_continues_from_its_value() -> None:
    """The value alone is enough to continue."""
    whole, first = EventHash(), EventHash()
    walk(whole, 9)
    walk(first, 4)
    rest = EventHash(first.value, first.sequence)
    walk(rest, 5)
    assert (whole.value, 9) == (rest.value, rest.sequence)


def test_checkpoints_are_compared_while_their_entries_are_stored() -> None:
    """The one further back is passed over, and said to be; a wrong one is not."""
    trail = EventHash()
    walk(trail, 10)
    checkpoint = trail.checkpoint()
    walk(trail, REMEMBERED - 1)
    assert trail.compare(checkpoint)
    with pytest.raises(DivergenceError, match="up to entry 10 the replay came to other events"):
        trail.compare(Checkpoint(sequence=10, digest="ab"))
    walk(trail, 1)
    assert not trail.compare(checkpoint)
    assert not EventHash(trail.value, trail.sequence).compare(checkpoint)


def test_a_checkpoint_is_proposed_every_so_many_entries() -> None:
    """Counted from the start of the process, whatever is skipped in between."""
    proposed: list[Checkpoint] = []
    trail = EventHash(sequence=5)
    CheckpointProposer(trail, proposed.append, every=10)
    for sequence in (*range(6, 20), 26, *range(27, 37)):
        trail.observe(Entry(sequence, 0, Origin(), TICK), [])
    assert [15, 26, 36] == [each.sequence for each in proposed]
    assert trail.value.hex() == proposed[-1].digest
