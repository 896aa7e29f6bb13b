"""Large replies in a running venue are encoded one slice per turn of the event loop."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from book.order import Side
from book.units import SCALE
from gateway.network.reply_encoder import ReplyEncoder
from gateway.protocol import jsonrpc, large_results
from gateway.protocol.large_results import ROWS, LargeReply
from risk.commands import Place
from risk.state import FIRST_CLIENT
from tests.gateway.harness import HandClock
from tests.gateway.server_fixtures import ORDER, Floor, floor

ORDERS = 16 * ROWS
ALICE = FIRST_CLIENT
METHOD = "private/get_open_orders"


class Turns(trio.abc.Instrument):
    """Counts the slices that are encoded in each turn of the event loop."""

    def __init__(self, encoder: ReplyEncoder) -> None:
        self.encoder, self.before = encoder, encoder.slices_encoded
        self.most = self.turns = 0

    def after_io_wait(self, timeout: float) -> None:
        """Start a turn."""
        done = self.encoder.slices_encoded - self.before
        self.before = self.encoder.slices_encoded
        self.most = max(self.most, done)
        self.turns += bool(done)


def rest(venue: Floor) -> None:
    """Place ORDERS orders of Alice."""
    for number in range(ORDERS):
        venue.harness.apply(
            Place(
                account=ALICE,
                instrument="BTC-PERPETUAL",
                side=Side.BUY,
                amount=10 * SCALE,
                price=64_500 * SCALE - number % 900 * SCALE // 2,
            )
        )


def _never(error: Exception) -> None:
    raise error


def large(rows: int) -> LargeReply:
    """Return a reply of this many rows."""
    made = large_results.reply(
        jsonrpc.RequestMeta(1, 0, testnet=True),
        large_results.array(range(rows), lambda row: b"%d" % row),
        HandClock(),
    )
    assert isinstance(made, LargeReply)
    return made


async def test_one_slice_is_encoded_per_turn_however_many_clients_ask(
    autojump_clock: object,
) -> None:
    """Three clients request large replies at the same time."""
    async with floor() as venue:
        rest(venue)
        wires = [venue.connect()[0] for _ in range(3)]
        for each in wires:
            await each.login("alice")
        turns = Turns(venue.services.encoder)
        trio.lowlevel.add_instrument(turns)
        replies: list[Any] = []

        async def ask(number: int) -> None:
            replies.append(await wires[number].call(METHOD))

        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(ask, number)
        trio.lowlevel.remove_instrument(turns)
        assert [ORDERS] * 3 == [len(reply["result"]) for reply in replies]
        assert 1 == turns.most
        assert turns.turns >= 3 * ORDERS / ROWS


async def test_others_are_served_while_a_large_reply_is_encoded(autojump_clock: object) -> None:
    """An order of another client is executed and answered before the large reply."""
    async with floor() as venue:
        rest(venue)
        alice, _ = venue.connect()
        bob, _ = venue.connect()
        await alice.login("alice")
        await bob.login("bob")
        before = venue.services.encoder.slices_encoded
        await alice.ask(METHOD)
        assert "result" in await bob.call("private/sell", **ORDER | {"price": 65_500})
        done = venue.services.encoder.slices_encoded - before
        assert done <= 8, "as many turns as a decision takes, whatever the size of the reply"
        assert ORDERS == len((await alice.read())["result"])


async def test_messages_keep_their_order_around_a_large_reply(
    autojump_clock: object,
) -> None:
    """Notifications of orders executed during the encoding follow the reply."""
    async with floor() as venue:
        rest(venue)
        alice, _ = venue.connect()
        other, _ = venue.connect()
        for each in (alice, other):
            await each.login("alice")
        await alice.call("private/subscribe", channels=["user.orders.BTC-PERPETUAL.raw"])
        asked = [
            await alice.ask(METHOD),
            await alice.ask("private/buy", **ORDER),
            await alice.ask("public/get_time"),
        ]
        assert "result" in await other.call("private/buy", **ORDER | {"label": "other"})
        first = await alice.read()
        assert asked[0] == first["id"]
        assert ORDERS == len(first["result"])
        rest_of_it = [await alice.read() for _ in range(4)]
        labels = [each["params"]["data"]["label"] for each in rest_of_it if "params" in each]
        assert ["", "other"] == sorted(labels)
        assert set(asked[1:]) == {each["id"] for each in rest_of_it if "id" in each}


async def test_nothing_is_encoded_for_a_disconnected_client(autojump_clock: object) -> None:
    """Its reply is dropped."""
    async with floor() as venue:
        rest(venue)
        alice, _ = venue.connect()
        await alice.login("alice")
        before = venue.services.encoder.slices_encoded
        await alice.ask(METHOD)
        alice.hang_up()
        # The connection waits for the reply for REPLY_GRACE_SECONDS before it drops it.
        await trio.sleep(2)
        done = venue.services.encoder.slices_encoded - before
        assert done <= ORDERS / ROWS + 3
        assert not venue.services.encoder._jobs


async def test_a_reply_is_completed_for_a_task(autojump_clock: object) -> None:
    """As an HTTP request does; a small reply is returned at once."""
    flushed: list[None] = []
    encoder = ReplyEncoder(lambda: flushed.append(None), _never)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(encoder.run)
        assert b"x" == await encoder.complete(b"x")
        assert (await encoder.complete(large(3 * ROWS))).startswith(b'{"id":1,"result":[0,1,')
        assert encoder.slices_encoded == len(flushed) == 5
        nursery.cancel_scope.cancel()


async def test_a_cancelled_task_stops_the_encoding_of_its_reply(autojump_clock: object) -> None:
    """As when a client of the HTTP port disconnects."""
    encoder = ReplyEncoder(lambda: None, _never)
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            scope.cancel()
            await encoder.complete(large(9 * ROWS))
        nursery.start_soon(encoder.run)
        await wait_all_tasks_blocked()
        assert 1 == encoder.slices_encoded
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("jobs", [1, 2, 5])
async def test_jobs_take_turns(jobs: int, autojump_clock: object) -> None:
    """A short job ends before a long one that was added earlier."""
    encoder = ReplyEncoder(lambda: None, _never)
    over: list[int] = []

    def add(number: int) -> None:
        left = [number + 1]

        def job() -> bool:
            left[0] -= 1
            if not left[0]:
                over.append(number)
            return not left[0]

        encoder.add(job)

    for number in reversed(range(jobs)):
        add(number)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(encoder.run)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert list(range(jobs)) == over


def broken(row: int) -> bytes:
    """Encode a row; a row far behind the first one raises."""
    return b"%d" % (row // max(0, 2 * ROWS - row))


def breaking() -> LargeReply:
    """Return a reply that raises in its third slice."""
    made = large_results.reply(
        jsonrpc.RequestMeta(1, 0, testnet=True),
        large_results.array(range(4 * ROWS), broken),
        HandClock(),
    )
    assert isinstance(made, LargeReply)
    return made


async def test_a_reply_that_cannot_be_encoded_ends_only_its_connection(
    autojump_clock: object,
) -> None:
    """It closes with 1011 and is counted once; the jobs of others continue."""
    async with floor() as venue:
        rest(venue)
        alice, doomed = venue.connect()
        bob, _ = venue.connect()
        for each in (alice, bob):
            await each.login("alice")
        doomed.outbox.reserve()
        doomed.outbox.reply(breaking())
        doomed.outbox.send_private(b"never")
        assert ORDERS == len((await bob.call(METHOD))["result"])
        await alice.parted.wait()
        assert (1011, "internal error") == alice.closed
        (crash,) = venue.crashes
        assert isinstance(crash, ZeroDivisionError)
        assert "result" in await bob.call("public/get_time")


async def test_an_encoding_error_is_raised_in_the_waiting_task(autojump_clock: object) -> None:
    """The HTTP request ends like any other that crashes."""
    encoder = ReplyEncoder(lambda: None, _never)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(encoder.run)
        with pytest.raises(ZeroDivisionError):
            await encoder.complete(breaking())
        assert await encoder.complete(large(2 * ROWS))
        nursery.cancel_scope.cancel()
