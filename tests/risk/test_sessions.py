"""Sessions: what a connection may do, and the effects of its end."""

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


def cancel_on_disconnect(venue: Venue, session: int, account: str = "ann") -> list[Event]:
    command = SetCancelOnDisconnect(account=venue.number(account), session=session, enabled=True)
    return venue.do(command)


def test_an_order_of_a_session_that_is_not_live_is_refused(venue: Venue) -> None:
    """This holds before its start and after its end; session 0 is always accepted."""
    assert Reason.SESSION_ENDED is reason(bid(venue, 7))
    venue.login("ann", 7)
    assert reason(bid(venue, 7)) is None
    venue.do(EndSession(session=7))
    assert Reason.SESSION_ENDED is reason(bid(venue, 7))
    assert reason(bid(venue, 0)) is None


def test_a_request_number_is_applied_once(venue: Venue) -> None:
    """The same or a smaller number has no effect and no answer."""
    venue.login("ann", 7)
    assert [] != bid(venue, 7, request=3)
    assert [] == bid(venue, 7, request=3)
    assert [] == bid(venue, 7, request=2)
    assert [] != bid(venue, 7, request=4)
    assert 2 == len(venue.orders("ann"))


def test_request_numbers_are_counted_per_session(venue: Venue) -> None:
    """Another session may use the same number; session 0 has no request numbers."""
    for session in (7, 8):
        venue.login("ann", session)
        bid(venue, session, request=3)
    bid(venue, 0, request=3)
    bid(venue, 0, request=3)
    assert 4 == len(venue.orders("ann"))


def test_a_refused_request_uses_up_its_number(venue: Venue) -> None:
    """A later deposit does not change its answer."""
    venue.login("ann", 7)
    refused = venue.buy("ann", BTC, "10000000", "50000", session=7, request=1)
    assert Reason.NOT_ENOUGH_FUNDS is reason(refused)
    venue.deposit("ann", "BTC", "1000")
    assert [] == venue.buy("ann", BTC, "10000000", "50000", session=7, request=1)


@pytest.mark.parametrize(
    ("enabled", "quietly", "left"),
    [(True, False, 1), (True, True, 2), (False, False, 2), (False, True, 2)],
)
def test_the_end_of_a_session_cancels_its_orders_if_set(
    venue: Venue, enabled: bool, quietly: bool, left: int
) -> None:
    """It cancels only its own orders, only if set to, and not on log-out."""
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


def test_the_default_of_an_account_applies_to_later_sessions(venue: Venue) -> None:
    """A session keeps the value from its start until it is changed."""
    venue.login("ann", 7)
    cancel_on_disconnect(venue, 0)
    venue.login("ann", 8)
    for session in (7, 8):
        bid(venue, session)
        venue.do(EndSession(session=session))
    assert [7] == [each.session for each in venue.orders("ann")]


def test_a_session_may_change_its_account(venue: Venue) -> None:
    """Orders remain with their account, and all of them end with the connection."""
    venue.login("ann", 7)
    bid(venue, 7)
    venue.login("ben", 7)
    cancel_on_disconnect(venue, 7, "ben")
    venue.buy("ben", BTC, "10", "49000", session=7)
    assert [1, 1] == [len(venue.orders(name)) for name in ("ann", "ben")]
    venue.do(EndSession(session=7))
    assert [0, 0] == [len(venue.orders(name)) for name in ("ann", "ben")]


def test_a_second_start_continues_the_session(venue: Venue) -> None:
    """A log-in over the same connection keeps orders, setting and request numbers."""
    venue.login("ann", 7)
    cancel_on_disconnect(venue, 7)
    bid(venue, 7, request=5)
    venue.login("ann", 7)
    assert [] == bid(venue, 7, request=5)
    venue.do(EndSession(session=7))
    assert [] == venue.orders("ann")


def test_an_end_may_overtake_its_start(venue: Venue) -> None:
    """The session never becomes live, however many starts follow."""
    venue.do(EndSession(session=7))
    for name in ("ann", "ben", "ann"):
        assert Reason.SESSION_ENDED is reason(venue.login(name, 7))
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
def test_an_ended_session_cannot_be_started_again(steps: list[tuple[str, int]]) -> None:
    """This holds for every kind of end, without an earlier start, and across a restart."""
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


def test_the_number_of_remembered_ended_sessions_is_limited(venue: Venue) -> None:
    """The limit exceeds the number of sessions that can end while a start is in the inbox."""
    for number in range(1, 3001):
        venue.do(EndSession(session=number), check=False)
    assert list(range(1977, 3001)) == list(venue.exchange.state.overtaken)


def test_a_new_start_of_the_process_ends_all_earlier_sessions(venue: Venue) -> None:
    """It has the effect of dropped connections; their late requests are refused."""
    cancel_on_disconnect(venue, 0)
    for session in (7, 8, 12):
        venue.login("ann", session)
        bid(venue, session)
    events = venue.do(EndSessions(before=10))
    assert [7, 8] == [event.session for event in of_type(events, SessionEnded)]
    assert [12] == [each.session for each in venue.orders("ann")]
    assert Reason.SESSION_ENDED is reason(venue.login("ann", 9))
    assert reason(venue.login("ann", 10)) is None


def test_ending_many_sessions_spreads_over_entries(venue: Venue) -> None:
    """No entry cancels more orders than a slice."""
    venue.set_parameters(slice=3)
    cancel_on_disconnect(venue, 0)
    for session in range(1, 6):
        venue.login("ann", session)
        for _ in range(2):
            bid(venue, session)
    venue.do(EndSessions(before=6))
    # Two orders, and the end of their session, are three steps.
    assert (8, 4) == (len(venue.orders("ann")), len(venue.exchange.state.sessions))
    assert Reason.SESSION_ENDED is reason(bid(venue, 5))
    assert Reason.SESSION_ENDED is reason(venue.login("ann", 5))
    venue.finish()
    assert [] == venue.orders("ann")


def test_a_log_out_while_all_sessions_end_spares_no_order(venue: Venue) -> None:
    """`EndSessions` cancels the orders of a session that logs out meanwhile."""
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


def test_an_edited_order_stays_with_its_session(venue: Venue) -> None:
    """Even filled in part, it ends with the connection that placed it."""
    venue.login("ann", 7)
    cancel_on_disconnect(venue, 7)
    placed = order(venue.buy("ann", BTC, "30", "49999", session=7))
    # The order is edited over another connection.
    venue.do(Edit(account=placed.account, order_id=placed.order_id, price=price("50000")))
    assert [(price("50000"), amount("10"))] == trades(venue.sell("ben", BTC, "10", "50000"))
    venue.do(EndSession(session=7))
    assert [] == venue.orders("ann")
