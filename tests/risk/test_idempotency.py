"""A request with a key is done once, however often it is sent."""

from __future__ import annotations

from attrs import define, field

from book.order import Side
from risk import idempotency, snapshot
from risk.commands import CancelAll, Command, Continue, Deposit, Entry, Origin, Place
from risk.events import Answer, CancelledAll, Event, Ordered, Refused
from risk.exchange import Exchange
from risk.reasons import Reason
from tests.risk.venue import BTC, Venue, amount, open_venue, price

ANN = 101


@define
class Sender:
    """Sends commands under keys, each time as another request."""

    venue: Venue
    requests: int = field(default=0)

    def send(self, command: Command, key: str, session: int = 0) -> list[Event]:
        """Apply one keyed request; returns its events."""
        self.requests += 1
        venue = self.venue
        origin = Origin(1, 1, session, self.requests, key)
        entry = Entry(venue.exchange.state.sequence + 1, venue.time, origin, command)
        events = venue.exchange.apply(entry)
        for event in events:
            if isinstance(event, Answer) and event.origin.key == key:
                assert event.origin == origin, "the answer is addressed to who asked"
        venue.exchange.check()
        return events


def opened() -> Sender:
    """A venue with one funded account."""
    return Sender(open_venue(ann={"BTC": "1"}))


def bid(contracts: int) -> Place:
    """A resting order."""
    return Place(
        account=ANN,
        instrument=BTC,
        side=Side.BUY,
        amount=amount(10 * contracts),
        price=price("49900"),
    )


def answer(events: list[Event]) -> Answer:
    """The one answer."""
    (found,) = [event for event in events if isinstance(event, Answer)]
    return found


def test_a_repeated_order_is_placed_once() -> None:
    """The second time it is answered with the first order, and the book holds one."""
    sender = opened()
    first = answer(sender.send(bid(1), "a"))
    second = answer(sender.send(bid(1), "a"))
    assert isinstance(first, Ordered)
    assert isinstance(second, Ordered)
    assert first.order == second.order
    assert 1 == len(sender.venue.exchange.state.markets[BTC].book.orders)


def test_another_key_is_another_order() -> None:
    """What makes two requests one is the key, not that they look alike."""
    sender = opened()
    sender.send(bid(1), "a")
    sender.send(bid(1), "b")
    sender.send(bid(1), "")
    sender.send(bid(1), "")
    assert 4 == len(sender.venue.exchange.state.markets[BTC].book.orders)


def test_a_refusal_is_an_outcome() -> None:
    """What was refused stays refused under its key, also when it would pass by now."""
    sender = opened()
    first = answer(sender.send(bid(400_000), "a"))
    assert isinstance(first, Refused)
    assert Reason.NOT_ENOUGH_FUNDS is first.reason
    sender.venue.do(Deposit(account=ANN, currency="BTC", amount=10**15))
    second = answer(sender.send(bid(400_000), "a"))
    assert isinstance(second, Refused)
    assert Reason.NOT_ENOUGH_FUNDS is second.reason


def test_a_request_of_an_ended_session_was_never_heard() -> None:
    """It is refused as such, and done when it comes again."""
    sender = opened()
    gone = answer(sender.send(bid(1), "a", session=9))
    assert isinstance(gone, Refused)
    assert Reason.SESSION_ENDED is gone.reason
    assert isinstance(answer(sender.send(bid(1), "a")), Ordered)


def test_a_repetition_of_unfinished_work_is_told_to_come_again() -> None:
    """While a large cancel goes on, the same request is refused; afterwards it has its answer."""
    sender = opened()
    count = 2 * sender.venue.exchange.state.parameters.slice + 1
    for _ in range(count):
        sender.send(bid(1), "")
    everything = CancelAll(account=ANN)
    assert not [e for e in sender.send(everything, "a") if isinstance(e, Answer)]
    early = next(e for e in sender.send(everything, "a") if isinstance(e, Refused))
    assert Reason.RETRY is early.reason
    finished: list[CancelledAll] = []
    while not finished:
        events = sender.venue.do(Continue())
        finished = [event for event in events if isinstance(event, CancelledAll)]
    again = answer(sender.send(everything, "a"))
    assert isinstance(again, CancelledAll)
    assert count == finished[0].count == again.count


def test_keys_survive_a_restart() -> None:
    """The outcomes are part of what is kept."""
    sender = opened()
    first = answer(sender.send(bid(1), "a"))
    state = sender.venue.exchange.state
    sender.venue.exchange = Exchange(snapshot.load(snapshot.dump(state)))
    second = answer(sender.send(bid(1), "a"))
    assert isinstance(first, Ordered)
    assert isinstance(second, Ordered)
    assert first.order == second.order


def test_only_so_many_outcomes_are_kept() -> None:
    """The oldest goes first."""
    sender = opened()
    sender.venue.exchange.state.outcomes.update(
        {f"old{n}": answer(sender.send(Continue(), f"old{n}")) for n in range(3)}
    )
    filler = sender.venue.exchange.state.outcomes["old0"]
    for n in range(idempotency.REMEMBERED - 3):
        sender.venue.exchange.state.outcomes[f"filler{n}"] = filler
    sender.send(bid(1), "new")
    outcomes = sender.venue.exchange.state.outcomes
    assert idempotency.REMEMBERED == len(outcomes)
    assert "old0" not in outcomes
    assert "old1" in outcomes
    assert "new" in outcomes
