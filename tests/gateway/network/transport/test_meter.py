"""What one connection may send: frames that are no request, bytes, and requests beyond credits."""

from __future__ import annotations

import pytest
from attrs import define, field

from gateway.config.schema import Limits
from gateway.network.transport.meter import SMALL_READ_BYTES, InboundMeter, TokenBucket
from gateway.network.websocket_acceptor import inbound_meter


@define
class Clock:
    """A clock that a test moves."""

    now: float = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@define
class Metered:
    """A meter of 10 frames a second (20 at once) and 1,000 bytes (2,000 at once)."""

    message_cost: float = 0.0
    clock: Clock = field(factory=Clock)
    reasons: list[str] = field(factory=list)
    meter: InboundMeter = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Both buckets are full."""
        self.meter = InboundMeter.of(
            frames=(10.0, 20.0),
            octets=(1_000.0, 2_000.0),
            message_cost=self.message_cost,
            on_excess=self.reasons.append,
            clock=self.clock,
        )


def test_a_bucket_gives_its_burst_and_what_comes_back() -> None:
    """However long it was idle, it holds no more than the burst."""
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


def test_frames_are_counted_and_the_excess_is_told_once() -> None:
    """With the reason that the client is given."""
    it = Metered()
    assert all(it.meter.frame() for _ in range(20))
    assert not it.meter.frame()
    assert not it.meter.frame()
    assert (["too many frames"], True) == (it.reasons, it.meter.exceeded)


def test_reads_of_a_few_bytes_are_counted_as_a_quarter() -> None:
    """Unless a message ends in them."""
    it = Metered()
    for _ in range(1_000):
        it.meter.chunk(10, messages=1)
    for _ in range(80):
        it.meter.chunk(10, messages=0)
    assert [] == it.reasons
    it.meter.chunk(10, messages=0)
    assert ["too many frames"] == it.reasons


def test_bytes_that_end_no_message_are_counted() -> None:
    """Large reads are no frames."""
    it = Metered()
    for _ in range(3):
        it.meter.chunk(SMALL_READ_BYTES, messages=0)
    assert [] == it.reasons
    it.meter.chunk(SMALL_READ_BYTES, messages=0)
    assert ["too many bytes"] == it.reasons


def test_messages_are_counted_where_they_have_a_price() -> None:
    """In frames, and with their bytes."""
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
def test_a_bot_at_the_highest_rates_is_never_cut(limits: Limits) -> None:
    """All its credits at once and all that come back for an hour, as the largest requests.

    Each request comes in two reads, its header apart, and it pings ten times a second.
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


def test_who_goes_on_for_ten_times_its_credits_is_cut() -> None:
    """Within a second of a flood, where requests are limited; where they are not, never."""
    for limits, cut in ((Limits(enabled=True), True), (Limits(enabled=False), False)):
        reasons: list[str] = []
        meter = inbound_meter(limits, reasons.append, Clock())
        for _ in range(20_000):
            meter.chunk(100, messages=1)
        assert cut == bool(reasons)
