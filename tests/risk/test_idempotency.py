"""A request with a key is applied once, however often it is sent."""

from __future__ import annotations

import msgspec
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from book.order import Side
from risk import idempotency, snapshot
from risk.commands import CancelAll, Command, Continue, Deposit, Entry, Origin, Place
from risk.events import Answer, CancelledAll, Event, Ordered, Refused
from risk.exchange import Exchange
from risk.reasons import Reason
from tests.hypothesis_settings import thorough
from tests.risk.venue import BTC, Venue, amount, open_venue, price

ANN = 101


@define
class Sender:
    """Sends commands under keys, each time as another request."""

    venue: Venue
    requests: int = field(default=0)
    checked: bool = True

    def send(self, command: Command, key: str, session: int = 0) -> list[Event]:
        """Apply one keyed request and return its events."""
        self.requests += 1
        venue = self.venue
        origin = Origin(1, 1, session, self.requests, key)
        entry = Entry(venue.exchange.state.sequence + 1, venue.time, origin, command)
        events = venue.exchange.apply(entry)
        for event in events:
            if isinstance(event, Answer) and event.origin.key == key:
                assert event.origin == origin, "the answer has the origin of the request"
        if self.checked:
            venue.exchange.check()
        return events


def open_sender(**others: dict[str, str]) -> Sender:
    """Return a venue with one funded account, and others."""
    venue = open_venue(ann={"BTC": "1"})
    for name, deposits in others.items():
        venue.open(name, **deposits)
    return Sender(venue)


def bid(contracts: int, limit: str = "49900") -> Place:
    """Return an order that rests, unless its limit is higher."""
    return Place(
        account=ANN,
        instrument=BTC,
        side=Side.BUY,
        amount=amount(10 * contracts),
        price=price(limit),
    )


def answer(events: list[Event]) -> Answer:
    """Return the only answer."""
    (result,) = [event for event in events if isinstance(event, Answer)]
    return result


def test_a_repeated_order_is_placed_once() -> None:
    """The repetition is answered with the first order, and the book holds one order."""
    sender = open_sender()
    first = answer(sender.send(bid(1), "a"))
    second = answer(sender.send(bid(1), "a"))
    assert isinstance(first, Ordered)
    assert isinstance(second, Ordered)
    assert first.order == second.order
    assert 1 == len(sender.venue.exchange.state.markets[BTC].book.orders)


def test_another_key_is_another_order() -> None:
    """Requests are equal by their key, not by their content."""
    sender = open_sender()
    sender.send(bid(1), "a")
    sender.send(bid(1), "b")
    sender.send(bid(1), "")
    sender.send(bid(1), "")
    assert 4 == len(sender.venue.exchange.state.markets[BTC].book.orders)


def test_a_repeated_refused_request_is_refused_again() -> None:
    """This holds even if it would pass by then."""
    sender = open_sender()
    first = answer(sender.send(bid(400_000), "a"))
    assert isinstance(first, Refused)
    assert Reason.NOT_ENOUGH_FUNDS is first.reason
    sender.venue.do(Deposit(account=ANN, currency="BTC", amount=10**15))
    second = answer(sender.send(bid(400_000), "a"))
    assert isinstance(second, Refused)
    assert Reason.NOT_ENOUGH_FUNDS is second.reason


def test_a_request_of_an_ended_session_can_be_repeated() -> None:
    """It is refused for that reason, and applied when it is sent again."""
    sender = open_sender()
    refusal = answer(sender.send(bid(1), "a", session=9))
    assert isinstance(refusal, Refused)
    assert Reason.SESSION_ENDED is refusal.reason
    assert isinstance(answer(sender.send(bid(1), "a")), Ordered)


def test_a_repetition_of_a_request_in_progress_is_refused_with_retry() -> None:
    """After the cancel is complete, the repetition gets its answer."""
    sender = open_sender()
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
    """Outcomes are part of the snapshot."""
    sender = open_sender()
    first = answer(sender.send(bid(1), "a"))
    state = sender.venue.exchange.state
    sender.venue.exchange = Exchange(snapshot.load(snapshot.dump(state)))
    second = answer(sender.send(bid(1), "a"))
    assert isinstance(first, Ordered)
    assert isinstance(second, Ordered)
    assert first.order == second.order


def test_a_repeated_sweep_lists_its_first_trades() -> None:
    """The outcome holds the order and a few trades, however many there were."""
    sender = open_sender(bob={"BTC": "100"})
    for _ in range(3 * idempotency.LISTED):
        sender.venue.sell("bob", BTC, "10", "50000")
    first = answer(sender.send(bid(3 * idempotency.LISTED, "50000"), "101:a"))
    second = answer(sender.send(bid(3 * idempotency.LISTED, "50000"), "101:a"))
    assert isinstance(first, Ordered)
    assert isinstance(second, Ordered)
    assert first.order == second.order
    assert 3 * idempotency.LISTED == len(first.trades)
    assert first.trades[: idempotency.LISTED] == second.trades


def test_a_repeated_cancel_lists_its_first_orders() -> None:
    """Its count is complete."""
    sender = open_sender()
    for _ in range(2 * idempotency.LISTED):
        sender.send(bid(1), "")
    first = answer(sender.send(CancelAll(account=ANN, detailed=True), "101:a"))
    second = answer(sender.send(CancelAll(account=ANN, detailed=True), "101:a"))
    assert isinstance(first, CancelledAll)
    assert isinstance(second, CancelledAll)
    assert first.count == second.count == 2 * idempotency.LISTED
    assert first.orders[: idempotency.LISTED] == second.orders


def test_the_outcome_of_a_thousand_fills_is_small() -> None:
    """Its size does not grow with the number of trades, which took 545 KB."""
    sender = open_sender(bob={"BTC": "100"})
    sender.venue.checked = sender.checked = False
    for _ in range(1_000):
        sender.venue.sell("bob", BTC, "10", "50000")
    before = len(snapshot.dump(sender.venue.exchange.state))
    first = answer(sender.send(bid(1_000, "50000"), "101:a"))
    assert isinstance(first, Ordered)
    assert 1_000 == len(first.trades)
    after = len(snapshot.dump(sender.venue.exchange.state))
    assert after - before < 10_000
    assert sender.venue.exchange.state.outcomes["101"].size < 10_000


def test_a_flood_of_one_account_drops_no_outcome_of_another() -> None:
    """Each account has its own table; the flood displaces its own oldest outcomes."""
    sender = open_sender(bob={"BTC": "1"})
    sender.checked = False
    mine = answer(sender.send(bid(1), "101:mine"))
    for n in range(3 * idempotency.OUTCOMES):
        sender.send(Continue(), f"102:{n}")
    again = answer(sender.send(bid(1), "101:mine"))
    assert isinstance(mine, Ordered)
    assert isinstance(again, Ordered)
    assert mine.order == again.order
    stored = list(sender.venue.exchange.state.outcomes["102"].texts)
    assert [f"102:{n}" for n in range(2 * idempotency.OUTCOMES, 3 * idempotency.OUTCOMES)] == stored


@given(lengths=st.lists(st.integers(0, 3 * idempotency.OUTCOME_BYTES // 4), max_size=30))
@thorough(50)
def test_a_table_holds_the_newest_outcomes_within_its_limits(lengths: list[int]) -> None:
    """The limits are in number and in bytes; the newest outcome is kept whatever its size."""
    outcomes = idempotency.Outcomes()
    stored: list[tuple[str, bytes]] = []
    for n, length in enumerate(lengths):
        stored.append((f"101:{n}", b"x" * length))
        outcomes.add(*stored[-1])
        while len(stored) > 1 and _total_size(stored) > idempotency.OUTCOME_BYTES:
            del stored[0]
        assert stored == list(outcomes.texts.items())
        assert outcomes.size == _total_size(stored)


def _total_size(stored: list[tuple[str, bytes]]) -> int:
    return sum(len(key) + len(text) + idempotency.OVERHEAD for key, text in stored)


def test_the_longest_answers_stay_within_the_size_limit() -> None:
    """Sizes are of the encoded text, with four-byte and escaped characters."""
    sender = open_sender(bob={"BTC": "100"})
    sender.checked = sender.venue.checked = False
    state = sender.venue.exchange.state
    for n in range(100):
        for _ in range(idempotency.LISTED):
            sender.venue.sell("bob", BTC, "10", "50000", label="\x01" * 64)
        command = replace(bid(idempotency.LISTED, "50000"), label="\x01" * 64)
        sender.send(command, f"101:{n}" + "\U0001f600" * 60)
        assert idempotency.OUTCOME_BYTES >= state.outcomes["101"].size
    texts = state.outcomes["101"].texts
    assert 20 < len(texts) < 100, "a few dozen even of these"
    written = sum(len(key.encode()) + len(text) for key, text in texts.items())
    assert written + idempotency.OVERHEAD * len(texts) == state.outcomes["101"].size


def test_requests_in_progress_are_limited_per_account() -> None:
    """One more is refused, not stored, and applied later; other accounts are unaffected.

    Only a cancel of more orders than two slices is in progress after its entry.
    """
    sender = open_sender(bob={"BTC": "1"})
    sender.checked = sender.venue.checked = False
    state = sender.venue.exchange.state
    held = {f"101:{n}": Origin(1, 1, 0, n, f"101:{n}") for n in range(idempotency.UNDECIDED)}
    state.undecided["101"] = dict(held)
    refused = answer(sender.send(bid(1), "101:new"))
    assert isinstance(refused, Refused)
    assert Reason.RETRY is refused.reason
    assert isinstance(answer(sender.send(bid(1), "")), Ordered)
    assert isinstance(answer(sender.send(replace(bid(1), account=102), "102:new")), Ordered)
    assert {"101": held} == state.undecided
    del state.undecided["101"]["101:0"]
    assert isinstance(answer(sender.send(bid(1), "101:new")), Ordered)


def test_the_limits_apply_to_a_snapshot_of_rules_version_1() -> None:
    """It lists the outcomes of all accounts in one order, with all trades."""
    sender = open_sender(bob={"BTC": "100"})
    sender.checked = sender.venue.checked = False
    for _ in range(100):
        sender.venue.sell("bob", BTC, "10", "50000")
    sweep = answer(sender.send(bid(100, "50000"), ""))
    done = answer(sender.send(Continue(), ""))
    facts = msgspec.json.decode(snapshot.dump(sender.venue.exchange.state))
    facts["outcomes"] = [
        *((f"{101 + n % 2}:{n}", msgspec.to_builtins(done)) for n in range(10_000)),
        ("101:sweep", msgspec.to_builtins(sweep)),
    ]
    facts["undecided"] = [("101:going", msgspec.to_builtins(Origin(1, 1, 0, 7, "101:going")))]
    state = snapshot.load(msgspec.json.encode(facts))
    assert ["101", "102"] == list(state.outcomes)
    assert [idempotency.OUTCOMES] * 2 == [len(each.texts) for each in state.outcomes.values()]
    assert "102:9999" == next(reversed(state.outcomes["102"].texts))
    stored = idempotency.first_answer(state, "101:sweep")
    assert isinstance(sweep, Ordered)
    assert isinstance(stored, Ordered)
    assert sweep.order == stored.order
    assert idempotency.LISTED == len(stored.trades)
    assert idempotency.in_progress(state, "101:going")
    assert not idempotency.in_progress(state, "101:sweep")
    assert snapshot.dump(state) == snapshot.dump(snapshot.load(snapshot.dump(state)))


REQUESTS = st.tuples(st.sampled_from((101, 102, 103)), st.integers(0, 5), st.integers(0, 3))


@given(requests=st.lists(REQUESTS, max_size=60), restart=st.integers(0, 60))
@thorough(40)
def test_every_keyed_request_is_applied_once(
    requests: list[tuple[int, int, int]], restart: int
) -> None:
    """A model with one order per key agrees for any mixture of accounts, keys and repetitions."""
    sender = open_sender(bob={"BTC": "1"}, cat={"BTC": "1"})
    sender.checked = sender.venue.checked = False
    first: dict[str, Answer] = {}
    for n, (account, key, contracts) in enumerate(requests):
        if n == restart:
            data = snapshot.dump(sender.venue.exchange.state)
            sender.venue.exchange = Exchange(snapshot.load(data))
        name = f"{account}:{key}"
        command = replace(bid(contracts), account=account)
        event = replace(answer(sender.send(command, name)), origin=Origin())
        assert first.setdefault(name, event) == event
    placed = [event for event in first.values() if isinstance(event, Ordered)]
    assert len(placed) == len(sender.venue.exchange.state.markets[BTC].book.orders)
    assert {} == sender.venue.exchange.state.undecided
