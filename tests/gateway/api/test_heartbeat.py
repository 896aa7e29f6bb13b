"""The heartbeat of a connection, as a function of time."""

import pytest

from gateway.api.heartbeat import Heartbeat, HeartbeatAction


@pytest.fixture
def heartbeat() -> Heartbeat:
    """Input at 0 s, heartbeats every 10 s and an idle timeout of 100 s."""
    made = Heartbeat(idle=100.0, received_at=0.0)
    made.start(10.0)
    return made


def test_an_active_client_gets_heartbeats(heartbeat: Heartbeat) -> None:
    """One heartbeat per interval, counted from the last one."""
    signs = []
    for now in (10.0, 20.0, 30.0):
        heartbeat.received(now - 1)
        assert now == heartbeat.next_wake
        signs.append(heartbeat.poll(now))
    assert [HeartbeatAction.HEARTBEAT] * 3 == signs


def test_a_silent_client_gets_a_test_request_and_then_times_out(heartbeat: Heartbeat) -> None:
    """The client has a whole interval to answer the test request."""
    assert [HeartbeatAction.TEST_REQUEST, None, HeartbeatAction.SILENT] == [
        heartbeat.poll(now) for now in (10, 19.9, 20)
    ]


def test_any_input_answers_a_test_request(heartbeat: Heartbeat) -> None:
    """The next one is an ordinary heartbeat."""
    assert HeartbeatAction.TEST_REQUEST is heartbeat.poll(10.0)
    heartbeat.received(19.0)
    assert HeartbeatAction.HEARTBEAT is heartbeat.poll(20.0)


def test_missed_heartbeats_are_not_sent_later(heartbeat: Heartbeat) -> None:
    """A late poll sends one heartbeat, and the client still has a whole interval."""
    heartbeat.received(30.0)
    assert [HeartbeatAction.HEARTBEAT, None] == [heartbeat.poll(35.0), heartbeat.poll(35.0)]
    assert 45.0 == heartbeat.next_wake


def test_heartbeats_can_be_stopped_and_restarted(heartbeat: Heartbeat) -> None:
    """Stopping also forgets a pending test request."""
    assert HeartbeatAction.TEST_REQUEST is heartbeat.poll(10.0)
    heartbeat.stop()
    assert (None, 100.0) == (heartbeat.poll(20.0), heartbeat.next_wake)
    heartbeat.received(30.0)
    heartbeat.start(15.0)
    assert 45.0 == heartbeat.next_wake


def test_the_idle_timeout_applies_with_and_without_heartbeats() -> None:
    """It applies even if the interval is longer than the timeout."""
    heartbeat = Heartbeat(idle=100.0, received_at=0.0)
    assert (100.0, None, HeartbeatAction.IDLE) == (
        heartbeat.next_wake,
        heartbeat.poll(99.9),
        heartbeat.poll(100.0),
    )
    heartbeat.start(1_000.0)
    assert (100.0, HeartbeatAction.IDLE) == (heartbeat.next_wake, heartbeat.poll(100.0))
