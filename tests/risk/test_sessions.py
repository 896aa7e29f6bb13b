"""Sessions are state: what a connection may do, and what its end leaves behind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.order import CancelReason
from risk import snapshot
from risk.commands import Edit, EndSession, EndSessions, SetCancelOnDisconnect
from risk.events import Event, OrderChanged, SessionEnded
from risk.exchange import Exchange
from risk.reasons import Reason
from tests.hypothesis_settings import thorough
from tests.risk.venue import BTC, Venue, amount, of_type, open_venue, order, price, reason, trades

FUNDS = {"BTC": "1"}


@pytest.fixture
def venue() -> Venue:
    return open_venue(ann=FUNDS, ben=FUNDS)


def bid(venue: Venue, session: int, request: int = 0) -> list[Event]:
    return venue.buy("ann", BTC, "10", "49000", session=session, request=request)


def cancel_on_disconnect(venue: Venue, session: int, who: str = "ann") -> list[Event]:
    command = SetCancelOnDisconnect(account=venue.number(who), session=session, enabled=True)
    return venue.do(command)


def test_an_order_of_a_session_that_is_not_live_is_refused(venue: Venue) -> None:
    """Before its start and after its end; session 0 is nobody's and always heard."""
    assert Reason.SESSION_ENDED is reason(bid(venue, 7))
    venue.login("ann", 7)
    assert reason(bid(venue, 7)) is None
    venue.do(EndSession(session=7))
    assert Reason.SESSION_ENDED is reason(bid(venue, 7))
    assert reason(bid(venue, 0)) is None


def test_a_request_is_heard_once(venue: Venue) -> None:
    """The same number, or an earlier one, does nothing and is not answered again."""
    venue.login("ann", 7)
    assert [] != bid(venue, 7, request=3)
    assert [] == bid(venue, 7, request=3)
    assert [] == bid(venue, 7, request=2)
    assert [] != bid(venue, 7, request=4)
    assert 2 == len(venue.orders("ann"))


def test_numbers_are_each_sessions_own(venue: Venue) -> None:
    """Another session may use the same one; without a session a number means nothing."""
    for session in (7, 8):
        venue.login("ann", session)
        bid(venue, session, request=3)
    bid(venue, 0, request=3)
    bid(venue, 0, request=3)
    assert 4 == len(venue.orders("ann"))


def test_a_refused_request_counts_as_heard(venue: Venue) -> None:
    """Its answer is decided; money that comes later does not change it."""
    venue.login("ann", 7)
    refused = venue.buy("ann", BTC, "10000000", "50000", session=7, request=1)
    assert Reason.NOT_ENOUGH_FUNDS is reason(refused)
    venue.deposit("ann", "BTC", "1000")
    assert [] == venue.buy("ann", BTC, "10000000", "50000", session=7, request=1)


@pytest.mark.parametrize(
    ("enabled", "quietly", "left"),
    [(True, False, 1), (True, True, 2), (False, False, 2), (False, True, 2)],
)
def test_the_end_of_a_session_cancels_its_orders_where_that_is_wanted(
    venue: Venue, enabled: bool, quietly: bool, left: int
) -> None:
    """Only its own, only if asked to, and not on log-out."""
    venue.login("ann", 7)
    if enabled:
        cancel_on_disconnect(venue, 7)
    bid(venue, 7)
    bid(venue, 0)
    events = venue.do(EndSession(session=7, quietly=quietly))
    assert left == len(venue.orders("ann"))
    assert [7] == [event.session for event in of_type(events, SessionEnded)]
    reasons = [change.order.cancel_reason for change in of_type(events, OrderChanged)]
    assert [CancelReason.CANCEL_ON_DISCONNECT] * (2 - left) == reasons


def test_the_accounts_default_is_for_its_later_sessions(venue: Venue) -> None:
    """A session keeps the rule that it began with, unless it is given another."""
    venue.login("ann", 7)
    cancel_on_disconnect(venue, 0)
    venue.login("ann", 8)
    for session in (7, 8):
        bid(venue, session)
        venue.do(EndSession(session=session))
    assert [7] == [each.session for each in venue.orders("ann")]


def test_a_session_may_change_its_account(venue: Venue) -> None:
    """Orders stay their account's, and all of them end with the connection."""
    venue.login("ann", 7)
    bid(venue, 7)
    venue.login("ben", 7)
    cancel_on_disconnect(venue, 7, "ben")
    venue.buy("ben", BTC, "10", "49000", session=7)
    assert [1, 1] == [len(venue.orders(who)) for who in ("ann", "ben")]
    venue.do(EndSession(session=7))
    assert [0, 0] == [len(venue.orders(who)) for who in ("ann", "ben")]


def test_starting_again_is_no_new_session(venue: Venue) -> None:
    """A log-in over the same connection keeps orders, rule and request numbers."""
    venue.login("ann", 7)
    cancel_on_disconnect(venue, 7)
    bid(venue, 7, request=5)
    venue.login("ann", 7)
    assert [] == bid(venue, 7, request=5)
    venue.do(EndSession(session=7))
    assert [] == venue.orders("ann")


def test_an_end_may_overtake_its_start(venue: Venue) -> None:
    """Then the session never lives, however many starts were still on their way."""
    venue.do(EndSession(session=7))
    for who in ("ann", "ben", "ann"):
        assert Reason.SESSION_ENDED is reason(venue.login(who, 7))
        assert Reason.SESSION_ENDED is reason(bid(venue, 7))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["start", "start", "start", "end", "log out", "end all", "restore"]),
            st.integers(1, 12),
        ),
        max_size=60,
    )
)
@thorough(100)
def test_a_session_that_has_ended_never_lives_again(steps: list[tuple[str, int]]) -> None:
    """However it ended, whether it had lived, and across a restart of the venue."""
    venue = open_venue(ann=FUNDS, ben=FUNDS)
    ended: set[int] = set()
    for kind, number in steps:
        if kind == "start":
            refused = reason(venue.login("ann", number))
            assert (Reason.SESSION_ENDED if number in ended else None) is refused
        elif kind == "end all":
            venue.do(EndSessions(before=number))
            ended |= set(range(number))
        elif kind == "restore":
            venue.exchange = Exchange(snapshot.load(snapshot.dump(venue.exchange.state)))
        else:
            venue.do(EndSession(session=number, quietly=kind == "log out"))
            ended.add(number)
        assert not ended.intersection(venue.exchange.state.sessions)


def test_what_is_remembered_of_ended_sessions_is_bounded(venue: Venue) -> None:
    """The latest thousand and some, more than can end while a start is on its way."""
    for number in range(1, 3001):
        venue.do(EndSession(session=number), check=False)
    assert list(range(1977, 3001)) == list(venue.exchange.state.overtaken)


def test_a_new_start_of_the_process_ends_all_earlier_sessions(venue: Venue) -> None:
    """As if their connections had dropped; what of them is still on its way is refused."""
    cancel_on_disconnect(venue, 0)
    for session in (7, 8, 12):
        venue.login("ann", session)
        bid(venue, session)
    events = venue.do(EndSessions(before=10))
    assert [7, 8] == [event.session for event in of_type(events, SessionEnded)]
    assert [12] == [each.session for each in venue.orders("ann")]
    assert Reason.SESSION_ENDED is reason(venue.login("ann", 9))
    assert reason(venue.login("ann", 10)) is None


def test_ending_many_sessions_is_work_for_many_entries(venue: Venue) -> None:
    """All their orders together are one heap of work: no entry takes more than a slice of it."""
    venue.set_parameters(slice=3)
    cancel_on_disconnect(venue, 0)
    for session in range(1, 6):
        venue.login("ann", session)
        for _ in range(2):
            bid(venue, session)
    venue.do(EndSessions(before=6))
    # Two orders and the end of their session, which is a step as well.
    assert (8, 4) == (len(venue.orders("ann")), len(venue.exchange.state.sessions))
    assert Reason.SESSION_ENDED is reason(bid(venue, 5))
    assert Reason.SESSION_ENDED is reason(venue.login("ann", 5))
    venue.finish()
    assert [] == venue.orders("ann")


def test_an_end_amid_the_end_of_all_leaves_nothing_behind(venue: Venue) -> None:
    """A log-out that comes while the sessions of earlier starts are closed spares no order."""
    venue.set_parameters(slice=1)
    cancel_on_disconnect(venue, 0)
    for session in (7, 8):
        venue.login("ann", session)
        for _ in range(3):
            bid(venue, session)
    venue.do(EndSessions(before=9))
    for session in (8, 7):
        venue.do(EndSession(session=session, quietly=True))
    venue.finish()
    assert [] == venue.orders("ann")
    assert {} == venue.exchange.state.sessions


def test_an_edited_order_stays_its_sessions(venue: Venue) -> None:
    """Also when it is filled in part, it ends with the connection that placed it."""
    venue.login("ann", 7)
    cancel_on_disconnect(venue, 7)
    placed = order(venue.buy("ann", BTC, "30", "49999", session=7))
    # Edited over another connection.
    venue.do(Edit(account=placed.account, order_id=placed.order_id, price=price("50000")))
    assert [(price("50000"), amount("10"))] == trades(venue.sell("ben", BTC, "10", "50000"))
    venue.do(EndSession(session=7))
    assert [] == venue.orders("ann")
