"""The pulse of a connection, as a function of time."""

import pytest

from gateway.api.heartbeat import Heartbeat, HeartbeatAction


@pytest.fixture
def pulse() -> Heartbeat:
    """Heard at 0, with beats every 10 s and an idle limit of 100 s."""
    made = Heartbeat(idle=100.0, heard_at=0.0)
    made.start(10.0)
    return made


def test_a_client_that_talks_is_sent_plain_beats(pulse: Heartbeat) -> None:
    """One per interval, counted from the last."""
    signs = []
    for now in (10.0, 20.0, 30.0):
        pulse.heard(now - 1)
        assert now == pulse.due
        signs.append(pulse.wake(now))
    assert [HeartbeatAction.HEARTBEAT] * 3 == signs


def test_a_client_that_was_quiet_is_tested_and_then_given_up(pulse: Heartbeat) -> None:
    """It has a whole interval for its answer."""
    assert [HeartbeatAction.TEST_REQUEST, None, HeartbeatAction.SILENT] == [
        pulse.wake(now) for now in (10, 19.9, 20)
    ]


def test_any_message_answers_a_test(pulse: Heartbeat) -> None:
    """The next beat is a plain one again."""
    assert HeartbeatAction.TEST_REQUEST is pulse.wake(10.0)
    pulse.heard(19.0)
    assert HeartbeatAction.HEARTBEAT is pulse.wake(20.0)


def test_missed_beats_are_not_made_up_for(pulse: Heartbeat) -> None:
    """Woken late, it beats once, and the client has its whole interval all the same."""
    pulse.heard(30.0)
    assert [HeartbeatAction.HEARTBEAT, None] == [pulse.wake(35.0), pulse.wake(35.0)]
    assert 45.0 == pulse.due


def test_beats_can_be_asked_for_anew_and_stopped(pulse: Heartbeat) -> None:
    """A test that was pending is forgotten with them."""
    assert HeartbeatAction.TEST_REQUEST is pulse.wake(10.0)
    pulse.stop()
    assert (None, 100.0) == (pulse.wake(20.0), pulse.due)
    pulse.heard(30.0)
    pulse.start(15.0)
    assert 45.0 == pulse.due


def test_the_idle_limit_holds_with_and_without_beats() -> None:
    """Also where the interval is longer than the limit."""
    pulse = Heartbeat(idle=100.0, heard_at=0.0)
    assert (100.0, None, HeartbeatAction.IDLE) == (pulse.due, pulse.wake(99.9), pulse.wake(100.0))
    pulse.start(1_000.0)
    assert (100.0, HeartbeatAction.IDLE) == (pulse.due, pulse.wake(100.0))
