"""The limits on what one connection may send."""

from __future__ import annotations

import pytest
from attrs import define, field

from gateway.config.schema import Limits
from gateway.network.transport.meter import SMALL_READ_BYTES, InboundMeter, TokenBucket
from gateway.network.websocket_acceptor import inbound_meter


@define
class Clock:
    """A clock that a test sets."""

    now: float = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@define
class Metered:
    """A meter of 10 frames a second (burst 20) and 1,000 bytes a second (burst 2,000)."""

    message_cost: float = 0.0
    clock: Clock = field(factory=Clock)
    reasons: list[str] = field(factory=list)
    meter: InboundMeter = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Make the meter, with full buckets."""
        self.meter = InboundMeter.of(
            frames=(10.0, 20.0),
            octets=(1_000.0, 2_000.0),
            message_cost=self.message_cost,
            on_excess=self.reasons.append,
            clock=self.clock,
        )


def test_a_bucket_allows_its_burst_and_what_is_refilled() -> None:
    """After any idle time it holds no more than the burst."""
    clock = Clock()
    bucket = TokenBucket(10.0, 20.0, clock)

    def take() -> bool:
        bucket.left -= 1
        return bucket.left >= 0 or bucket.refill()

    assert [True] * 20 + [False] == [take() for _ in range(21)]
    clock.now = 0.1
    assert [False, False] == [take(), take()]
    clock.now = 100.0
    assert [True] * 21 + [False] == [take() for _ in range(22)]


def test_frames_are_counted_and_the_excess_is_reported_once() -> None:
    """With the reason that is sent to the client."""
    it = Metered()
    assert all(it.meter.frame() for _ in range(20))
    assert not it.meter.frame()
    assert not it.meter.frame()
    assert (["too many frames"], True) == (it.reasons, it.meter.exceeded)


def test_reads_of_a_few_bytes_are_counted_as_a_quarter() -> None:
    """Unless a message ends in the read."""
    it = Metered()
    for _ in range(1_000):
        it.meter.chunk(10, messages=1)
    for _ in range(80):
        it.meter.chunk(10, messages=0)
    assert [] == it.reasons
    it.meter.chunk(10, messages=0)
    assert ["too many frames"] == it.reasons


def test_bytes_that_end_no_message_are_counted() -> None:
    """Large reads are not counted as frames."""
    it = Metered()
    for _ in range(3):
        it.meter.chunk(SMALL_READ_BYTES, messages=0)
    assert [] == it.reasons
    it.meter.chunk(SMALL_READ_BYTES, messages=0)
    assert ["too many bytes"] == it.reasons


def test_messages_are_counted_where_they_have_a_cost() -> None:
    """They cost frames, and their bytes."""
    it = Metered(message_cost=0.01)
    it.meter.chunk(1_000, messages=10)
    it.meter.chunk(1_000, messages=10)
    assert [] == it.reasons
    it.meter.chunk(1, messages=1)
    assert ["too many bytes"] == it.reasons


@pytest.mark.parametrize(
    "limits",
    [Limits(enabled=True), Limits(enabled=True, matching_per_second=1e6, matching_burst=10**6)],
)
def test_a_client_at_the_highest_rates_is_never_disconnected(limits: Limits) -> None:
    """It spends all its credits, and for an hour all that are refilled, on the largest requests.

    It sends each request in two writes, header and payload, and ten pings a second.
    """
    reasons: list[str] = []
    clock = Clock()
    meter = inbound_meter(limits, reasons.append, clock)
    pools = (
        (
            limits.credits_per_second / limits.general_cost,
            limits.general_pool / limits.general_cost,
        ),
        (min(limits.matching_per_second, 30), min(limits.matching_burst, 100)),
        (limits.cancel_all_per_second, limits.cancel_all_burst),
    )
    for second in range(3_600):
        clock.now = float(second)
        requests = sum(int(rate if second else burst) for rate, burst in pools)
        for _ in range(requests):
            meter.chunk(8, messages=0)
            meter.chunk(limits.frame_bytes, messages=1)
        for _ in range(10):
            meter.frame()
    assert [] == reasons


def test_a_client_that_sends_ten_times_its_credits_is_disconnected() -> None:
    """It takes a second of a flood; where requests are not limited it never happens."""
    for limits, cut in ((Limits(enabled=True), True), (Limits(enabled=False), False)):
        reasons: list[str] = []
        meter = inbound_meter(limits, reasons.append, Clock())
        for _ in range(20_000):
            meter.chunk(100, messages=1)
        assert cut == bool(reasons)
