"""The limits on the number of connections."""

from gateway.network.connection_limiter import ConnectionLimiter, Refusal


def test_an_address_gets_its_number_of_slots() -> None:
    """Other addresses are not affected."""
    limiter = ConnectionLimiter(per_address=2)
    assert [None, None, Refusal.ADDRESS] == [limiter.take(n, "10.0.0.1") for n in (1, 2, 3)]
    assert limiter.take(4, "10.0.0.2") is None


def test_the_total_limits_all_addresses_together() -> None:
    """The refusal is 503, which does not blame the client."""
    limiter = ConnectionLimiter(per_address=5, total=2)
    refusals = [limiter.take(number, f"10.0.0.{number}") for number in (1, 2, 3)]
    assert [None, None, Refusal.VENUE] == refusals
    assert 503 == int(Refusal.VENUE.value)


def test_a_freed_slot_can_be_taken_again_and_is_freed_once() -> None:
    """`free` may be called twice for a connection."""
    limiter = ConnectionLimiter(per_address=1)
    assert limiter.take(1, "10.0.0.1") is None
    limiter.free(1)
    limiter.free(1)
    assert 0 == len(limiter)
    assert limiter.take(2, "10.0.0.1") is None
    assert limiter.take(3, "10.0.0.1") is Refusal.ADDRESS
