"""One connection: its waits and deadlines, what ends it, and what remains after it."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from gateway.network import connection
from gateway.network.connection import (
    CLOSE_SECONDS,
    INBOX_SECONDS,
    REQUESTS_PER_SLICE,
    THROTTLE_SECONDS,
)
from gateway.network.outbox import MAX_REPLIES
from risk.commands import Place
from tests.gateway.server_fixtures import COUNTED, ORDER, SEND_SECONDS, floor


async def test_each_request_gets_its_own_reply() -> None:
    """Reads and orders of one client are answered by id."""
    async with floor() as venue:
        wire = await venue.client("alice")
        order = await wire.call("private/buy", **ORDER)
        assert "open" == order["result"]["order"]["order_state"]
        orders = await wire.call("private/get_open_orders")
        assert [order["result"]["order"]["order_id"]] == [
            each["order_id"] for each in orders["result"]
        ]


async def test_the_initial_snapshot_follows_the_reply_to_a_subscription() -> None:
    """It does not wait for the channel's interval."""
    async with floor() as venue:
        wire, _ = venue.connect()
        reply = await wire.call("public/subscribe", channels=["book.BTC-PERPETUAL.100ms"])
        assert ["book.BTC-PERPETUAL.100ms"] == reply["result"]
        push = await wire.read()
        assert "snapshot" == push["params"]["data"]["type"]


async def test_a_hang_up_ends_the_session_and_frees_the_slot() -> None:
    """Its orders are cancelled on disconnect, and the session is removed from the state."""
    async with floor() as venue:
        wire = await venue.client("alice")
        assert "result" in await wire.call("private/enable_cancel_on_disconnect")
        assert "result" in await wire.call("private/buy", **ORDER)
        state = venue.harness.exchange.state
        assert (1, 1) == (len(state.sessions), len(state.accounts[101].orders))
        wire.hang_up()
        await wait_all_tasks_blocked()
        assert (0, 0) == (len(state.sessions), len(state.accounts[101].orders))
        assert [1] == venue.freed


async def test_a_client_that_never_logged_in_leaves_no_entry() -> None:
    """Its slot is freed at once, because no session end has to be logged."""
    async with floor() as venue:
        wire, _ = venue.connect()
        await wire.call("public/test")
        wire.hang_up()
        await wait_all_tasks_blocked()
        assert [] == venue.applied
        assert [1] == venue.freed


async def test_a_logout_answers_earlier_requests_and_keeps_the_orders() -> None:
    """An order sent just before the log-out is placed; the connection closes with 1000."""
    async with floor() as venue:
        wire = await venue.client("alice")
        await wire.call("private/enable_cancel_on_disconnect")
        order = await wire.ask("private/buy", **ORDER)
        await wire.ask("private/logout")
        assert order == (await wire.read())["id"]
        with pytest.raises(trio.EndOfChannel):
            await wire.read()
        assert (1000, "logout") == wire.closed
        state = venue.harness.exchange.state
        with trio.fail_after(5):
            while state.sessions:  # noqa: ASYNC110 - the state has no event
                await trio.sleep(0.001)
        assert (0, 1) == (len(state.sessions), len(state.accounts[101].orders))


async def test_an_order_that_waits_too_long_for_the_inbox_is_rejected(
    autojump_clock: MockClock,
) -> None:
    """The error is 10047, and the order never enters the log."""
    async with floor(COUNTED) as venue:
        wire = await venue.client("alice")
        await venue.fill_inbox()
        began = trio.current_time()
        reply = await wire.call("private/buy", **ORDER)
        assert 10047 == reply["error"]["code"]
        assert INBOX_SECONDS == pytest.approx(trio.current_time() - began)
        venue.log.gate.set()
        await wait_all_tasks_blocked()
        assert 0 == venue.orders
        assert {} == venue.harness.venue.in_flight.counts
        assert {} == venue.harness.venue.feed._requests


async def test_requests_are_served_while_an_order_waits_for_the_inbox(
    autojump_clock: MockClock,
) -> None:
    """A full inbox delays orders, not reads."""
    async with floor() as venue:
        wire = await venue.client("alice")
        await venue.fill_inbox()
        order = await wire.ask("private/buy", **ORDER)
        assert "result" in await wire.call("public/test")
        venue.log.gate.set()
        assert order == (await wire.read())["id"]


async def test_the_socket_is_not_read_while_all_reply_places_are_reserved(
    autojump_clock: MockClock,
) -> None:
    """The client's own writes block."""
    async with floor() as venue:
        wire = await venue.client("alice")
        venue.log.shut()
        sent = 0
        with trio.move_on_after(1):
            while True:
                await wire.ask("private/buy", **ORDER)
                sent += 1
        assert MAX_REPLIES == sent


async def test_a_client_that_is_not_read_from_gets_heartbeats_and_does_not_count_as_silent(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its silence does not count while the venue does not read."""
    monkeypatch.setattr(connection, "INBOX_SECONDS", 100.0)
    async with floor() as venue:
        wire = await venue.client("alice")
        await wire.call("public/set_heartbeat", interval=10)
        venue.log.shut()
        for _ in range(MAX_REPLIES):
            await wire.ask("private/buy", **ORDER)
        await trio.sleep(35)
        for _ in range(3):
            message = await wire.read()
            assert "heartbeat" == message["method"]
            assert "heartbeat" == message["params"]["type"]
        assert wire.closed is None


async def test_a_heartbeat_interval_takes_effect_at_once(autojump_clock: MockClock) -> None:
    """A client that does not answer the test request is disconnected."""
    async with floor() as venue:
        wire = await venue.client("alice")
        await wire.call("public/set_heartbeat", interval=10)
        began = trio.current_time()
        assert "test_request" == (await wire.read())["params"]["type"]
        assert 10 == pytest.approx(trio.current_time() - began)
        await trio.sleep(5)
        assert "result" in await wire.call("public/test")
        assert "heartbeat" == (await wire.read())["params"]["type"]
        assert "test_request" == (await wire.read())["params"]["type"]
        with pytest.raises(trio.EndOfChannel):
            await wire.read()
        assert wire.closed is not None
        assert 1008 == wire.closed[0]
        await wait_all_tasks_blocked()
        assert {} == venue.harness.exchange.state.sessions


async def test_an_idle_connection_is_closed(autojump_clock: MockClock) -> None:
    """Any request restarts the idle time."""
    async with floor("[limits]\nidle_seconds = 60\n") as venue:
        wire = await venue.client("alice")
        await trio.sleep(50)
        assert "result" in await wire.call("public/test")
        began = trio.current_time()
        with pytest.raises(trio.EndOfChannel):
            await wire.read()
        assert 60 == pytest.approx(trio.current_time() - began)
        assert (1008, "idle for too long") == wire.closed


async def test_a_client_that_reads_nothing_is_disconnected_at_the_send_deadline(
    autojump_clock: MockClock,
) -> None:
    """Part of a frame may have been sent, so no close frame follows; its session ends as usual."""
    async with floor() as venue:
        wire = await venue.client("alice", window=1)
        for _ in range(3):
            await wire.ask("public/test")
        began = trio.current_time()
        await wire.parted.wait()
        assert SEND_SECONDS <= trio.current_time() - began <= SEND_SECONDS + 1
        assert (1008, "connection_too_slow") == wire.closed
        assert ["unread"] == venue.dropped
        await wait_all_tasks_blocked()
        assert {} == venue.harness.exchange.state.sessions


async def test_a_stop_answers_the_requests_read_and_closes_with_1001(
    autojump_clock: MockClock,
) -> None:
    """Nothing more is read; requests in flight are answered."""
    async with floor() as venue:
        wire, client = venue.connect()
        await wire.login("alice")
        order = await wire.ask("private/buy", **ORDER)
        client.stop()
        assert order == (await wire.read())["id"]
        with pytest.raises(trio.EndOfChannel):
            await wire.read()
        assert (1001, "server is stopping") == wire.closed


async def test_a_stop_waits_at_most_two_close_deadlines(autojump_clock: MockClock) -> None:
    """Neither a log that is blocked nor a client that does not read delays it further."""
    async with floor() as venue:
        wire, client = venue.connect(window=1)
        await wire.login("alice")
        venue.log.shut()
        await wire.ask("private/buy", **ORDER)
        await wire.ask("public/test")
        await wire.ask("public/test")
        await wait_all_tasks_blocked()
        client.stop()
        began = trio.current_time()
        await wire.parted.wait()
        assert trio.current_time() - began <= 2 * CLOSE_SECONDS


async def test_an_order_of_a_full_inbox_does_not_outlive_its_client() -> None:
    """Queued orders of a client that disconnects before they are logged are dropped."""
    async with floor(COUNTED) as venue:
        wire = await venue.client("alice")
        venue.log.shut()
        await wait_all_tasks_blocked()
        # The log has taken the first order, the next 16 are in the inbox, the others wait for it.
        await wire.ask("private/buy", **ORDER)
        await wait_all_tasks_blocked()
        for _ in range(40):
            await wire.ask("private/buy", **ORDER)
        await wait_all_tasks_blocked()
        wire.hang_up()
        await wait_all_tasks_blocked()
        venue.log.gate.set()
        await wait_all_tasks_blocked()
        placed = [each for each in venue.applied if isinstance(each.command, Place)]
        assert (1, 1) == (len(placed), venue.orders)
        assert {} == venue.harness.exchange.state.sessions
        assert {} == venue.harness.venue.in_flight.counts


LIMITED = """
[limits]
enabled = true
matching_per_second = 1000
matching_burst = 1000
"""
UNDECIDED = 8


async def test_a_burst_beyond_the_in_flight_limit_is_rejected_at_once(
    autojump_clock: MockClock,
) -> None:
    """The rejections are sent before any of the orders is executed."""
    async with floor(LIMITED) as venue:
        wire = await venue.client("alice")
        venue.log.shut()
        numbers = await wire.ask_at_once(REQUESTS_PER_SLICE, "private/buy", **ORDER)
        began = trio.current_time()
        refused = [await wire.read() for _ in range(REQUESTS_PER_SLICE - UNDECIDED)]
        assert numbers[UNDECIDED:] == [each["id"] for each in refused]
        assert {10047} == {each["error"]["code"] for each in refused}
        assert began == trio.current_time()


async def test_a_flood_waits_for_in_flight_capacity(autojump_clock: MockClock) -> None:
    """All of its requests are executed, eight at a time."""
    async with floor(LIMITED) as venue:
        wire = await venue.client("alice")
        numbers = await wire.ask_at_once(10 * REQUESTS_PER_SLICE, "private/buy", **ORDER)
        replies = [await wire.read() for _ in numbers]
        assert numbers == [each["id"] for each in replies]
        assert not any("error" in each for each in replies)


async def test_a_flood_is_rejected_slice_by_slice_while_nothing_is_executed(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each slice waits THROTTLE_SECONDS before it is rejected."""
    # Otherwise a busy machine would cut a slice in two.
    monkeypatch.setattr(connection, "SLICE_SECONDS", 60.0)
    async with floor(LIMITED) as venue:
        wire = await venue.client("alice")
        venue.log.shut()
        await wire.ask_at_once(3 * REQUESTS_PER_SLICE, "private/buy", **ORDER)
        for slice_ in (REQUESTS_PER_SLICE, REQUESTS_PER_SLICE, REQUESTS_PER_SLICE - UNDECIDED):
            began = trio.current_time()
            refused = [await wire.read() for _ in range(slice_)]
            assert {10047} == {each["error"]["code"] for each in refused}
            assert THROTTLE_SECONDS <= trio.current_time() - began <= 2 * THROTTLE_SECONDS
