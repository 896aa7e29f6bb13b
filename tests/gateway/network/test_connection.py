"""One conversation: who waits for what, what ends it, and what is left behind."""

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


async def test_a_request_is_answered_in_its_place() -> None:
    """Reads and orders of one client: each gets its own reply."""
    async with floor() as venue:
        wire = await venue.client("alice")
        order = await wire.call("private/buy", **ORDER)
        assert "open" == order["result"]["order"]["order_state"]
        found = await wire.call("private/get_open_orders")
        assert [order["result"]["order"]["order_id"]] == [
            each["order_id"] for each in found["result"]
        ]


async def test_a_subscription_is_followed_by_the_channels_state() -> None:
    """Reply first, then the snapshot, without waiting for a timer."""
    async with floor() as venue:
        wire, _ = venue.connect()
        reply = await wire.call("public/subscribe", channels=["book.BTC-PERPETUAL.100ms"])
        assert ["book.BTC-PERPETUAL.100ms"] == reply["result"]
        push = await wire.read()
        assert "snapshot" == push["params"]["data"]["type"]


async def test_a_hang_up_ends_the_session_and_frees_the_slot() -> None:
    """Cancel-on-disconnect fires, and the session is gone from the state."""
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
    """Its slot is free at once, for the log has nothing to say about it."""
    async with floor() as venue:
        wire, _ = venue.connect()
        await wire.call("public/test")
        wire.hang_up()
        await wait_all_tasks_blocked()
        assert [] == venue.applied
        assert [1] == venue.freed


async def test_a_logout_answers_what_came_before_it_and_spares_the_orders() -> None:
    """An order sent right before the log-out is placed; the connection closes with 1000."""
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


async def test_an_order_that_finds_no_room_in_time_is_refused(autojump_clock: MockClock) -> None:
    """10047 after the time limit, and nothing was sent: the venue never sees the order."""
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


async def test_requests_are_read_while_an_order_waits_for_room(autojump_clock: MockClock) -> None:
    """A full inbox holds up orders, not reads."""
    async with floor() as venue:
        wire = await venue.client("alice")
        await venue.fill_inbox()
        order = await wire.ask("private/buy", **ORDER)
        assert "result" in await wire.call("public/test")
        venue.log.gate.set()
        assert order == (await wire.read())["id"]


async def test_the_socket_is_not_read_when_all_places_are_taken(autojump_clock: MockClock) -> None:
    """The client's own sending blocks: backpressure, and no memory of ours."""
    async with floor() as venue:
        wire = await venue.client("alice")
        venue.log.shut()
        sent = 0
        with trio.move_on_after(1):
            while True:
                await wire.ask("private/buy", **ORDER)
                sent += 1
        assert MAX_REPLIES == sent


async def test_a_held_client_gets_its_heartbeats_and_is_not_taken_for_silent(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While we do not read, its silence is our doing."""
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


async def test_heartbeats_begin_when_they_are_asked_for(autojump_clock: MockClock) -> None:
    """The pulse does not sleep on until the idle limit; silence is tested, then punished."""
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
    """Ten minutes by default; any request starts them anew."""
    async with floor("[limits]\nidle_seconds = 60\n") as venue:
        wire = await venue.client("alice")
        await trio.sleep(50)
        assert "result" in await wire.call("public/test")
        began = trio.current_time()
        with pytest.raises(trio.EndOfChannel):
            await wire.read()
        assert 60 == pytest.approx(trio.current_time() - began)
        assert (1008, "idle for too long") == wire.closed


async def test_a_client_that_reads_nothing_is_cut_at_the_send_deadline(
    autojump_clock: MockClock,
) -> None:
    """Half a frame may be out, so the end is abrupt; its session ends like any other."""
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


async def test_a_stop_answers_what_was_read_and_parts_with_1001(autojump_clock: MockClock) -> None:
    """Nothing more is read; what is undecided is waited for."""
    async with floor() as venue:
        wire, conversation = venue.connect()
        await wire.login("alice")
        order = await wire.ask("private/buy", **ORDER)
        conversation.stop()
        assert order == (await wire.read())["id"]
        with pytest.raises(trio.EndOfChannel):
            await wire.read()
        assert (1001, "server is stopping") == wire.closed


async def test_a_stop_does_not_wait_for_ever(autojump_clock: MockClock) -> None:
    """A log that stands still, or a client that does not read, costs a second or two, not more."""
    async with floor() as venue:
        wire, conversation = venue.connect(window=1)
        await wire.login("alice")
        venue.log.shut()
        await wire.ask("private/buy", **ORDER)
        await wire.ask("public/test")
        await wire.ask("public/test")
        await wait_all_tasks_blocked()
        conversation.stop()
        began = trio.current_time()
        await wire.parted.wait()
        assert trio.current_time() - began <= 2 * CLOSE_SECONDS


async def test_an_order_of_a_full_inbox_does_not_outlive_its_client() -> None:
    """Disconnected with an order that is in, but not logged: nothing rests."""
    async with floor(COUNTED) as venue:
        wire = await venue.client("alice")
        venue.log.shut()
        await wait_all_tasks_blocked()
        # The first is in the log's hands, the next 16 are in the inbox, and the rest waits.
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


async def test_a_burst_beyond_what_may_be_undecided_is_refused_at_once(
    autojump_clock: MockClock,
) -> None:
    """Whoever sends a few too many hears so before anything is decided."""
    async with floor(LIMITED) as venue:
        wire = await venue.client("alice")
        venue.log.shut()
        numbers = await wire.ask_at_once(REQUESTS_PER_SLICE, "private/buy", **ORDER)
        began = trio.current_time()
        refused = [await wire.read() for _ in range(REQUESTS_PER_SLICE - UNDECIDED)]
        assert numbers[UNDECIDED:] == [each["id"] for each in refused]
        assert {10047} == {each["error"]["code"] for each in refused}
        assert began == trio.current_time()


async def test_a_flood_waits_for_room_rather_than_be_refused(autojump_clock: MockClock) -> None:
    """As the venue decides, all of it is heard, eight at a time."""
    async with floor(LIMITED) as venue:
        wire = await venue.client("alice")
        numbers = await wire.ask_at_once(10 * REQUESTS_PER_SLICE, "private/buy", **ORDER)
        replies = [await wire.read() for _ in numbers]
        assert numbers == [each["id"] for each in replies]
        assert not any("error" in each for each in replies)


async def test_what_waits_for_room_in_vain_is_refused(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A venue that decides nothing for a while says so: a slice at a time."""
    # On a busy machine a slice would take two turns.
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
