"""Slots: how many connections there may be."""

from gateway.network.connection_limiter import ConnectionLimiter, Refusal


def test_an_address_gets_its_number_of_slots() -> None:
    """Others are not touched by it."""
    slots = ConnectionLimiter(per_address=2)
    assert [None, None, Refusal.ADDRESS] == [slots.take(n, "10.0.0.1") for n in (1, 2, 3)]
    assert slots.take(4, "10.0.0.2") is None


def test_all_addresses_together_get_what_the_venue_can_carry() -> None:
    """The refusal says that it is not the client's fault: 503."""
    slots = ConnectionLimiter(per_address=5, total=2)
    found = [slots.take(number, f"10.0.0.{number}") for number in (1, 2, 3)]
    assert [None, None, Refusal.VENUE] == found
    assert 503 == int(Refusal.VENUE.value)


def test_a_freed_slot_can_be_taken_again_and_is_freed_once() -> None:
    """A session's end is told twice where a connection had no session."""
    slots = ConnectionLimiter(per_address=1)
    assert slots.take(1, "10.0.0.1") is None
    slots.free(1)
    slots.free(1)
    assert 0 == len(slots)
    assert slots.take(2, "10.0.0.1") is None
    assert slots.take(3, "10.0.0.1") is Refusal.ADDRESS
