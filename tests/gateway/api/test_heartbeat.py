"""The heartbeat of a connection, as a function of time."""

import pytest

from gateway.api.heartbeat import Heartbeat, HeartbeatAction


@pytest.fixture
def heartbeat() -> Heartbeat:
    """Heard at 0, with beats every 10 s and an idle limit of 100 s."""
    made = Heartbeat(idle=100.0, received_at=0.0)
    made.start(10.0)
    return made


def test_a_client_that_talks_is_sent_plain_beats(heartbeat: Heartbeat) -> None:
    """One per interval, counted from the last."""
    signs = []
    for now in (10.0, 20.0, 30.0):
        heartbeat.received(now - 1)
        assert now == heartbeat.next_wake
        signs.append(heartbeat.poll(now))
    assert [HeartbeatAction.HEARTBEAT] * 3 == signs


def test_a_client_that_was_quiet_is_tested_and_then_given_up(heartbeat: Heartbeat) -> None:
    """It has a whole interval for its answer."""
    assert [HeartbeatAction.TEST_REQUEST, None, HeartbeatAction.SILENT] == [
        heartbeat.poll(now) for now in (10, 19.9, 20)
    ]


def test_any_message_answers_a_test(heartbeat: Heartbeat) -> None:
    """The next beat is a plain one again."""
    assert HeartbeatAction.TEST_REQUEST is heartbeat.poll(10.0)
    heartbeat.received(19.0)
    assert HeartbeatAction.HEARTBEAT is heartbeat.poll(20.0)


def test_missed_beats_are_not_made_up_for(heartbeat: Heartbeat) -> None:
    """Woken late, it beats once, and the client has its whole interval all the same."""
    heartbeat.received(30.0)
    assert [HeartbeatAction.HEARTBEAT, None] == [heartbeat.poll(35.0), heartbeat.poll(35.0)]
    assert 45.0 == heartbeat.next_wake


def test_beats_can_be_asked_for_anew_and_stopped(heartbeat: Heartbeat) -> None:
    """A test that was pending is forgotten with them."""
    assert HeartbeatAction.TEST_REQUEST is heartbeat.poll(10.0)
    heartbeat.stop()
    assert (None, 100.0) == (heartbeat.poll(20.0), heartbeat.next_wake)
    heartbeat.received(30.0)
    heartbeat.start(15.0)
    assert 45.0 == heartbeat.next_wake


def test_the_idle_limit_holds_with_and_without_beats() -> None:
    """Also where the interval is longer than the limit."""
    heartbeat = Heartbeat(idle=100.0, received_at=0.0)
    assert (100.0, None, HeartbeatAction.IDLE) == (
        heartbeat.next_wake,
        heartbeat.poll(99.9),
        heartbeat.poll(100.0),
    )
    heartbeat.start(1_000.0)
    assert (100.0, HeartbeatAction.IDLE) == (heartbeat.next_wake, heartbeat.poll(100.0))
