"""The concurrency itself: cancellation, backpressure, fairness, and those who never read."""

from collections.abc import Awaitable, Callable
from random import Random
from statistics import median

import msgspec
import pytest
import trio
from attrs import define, field
from trio._core import _run as scheduler
from trio.testing import MockClock, wait_all_tasks_blocked

from book.units import SCALE, Millis, Price
from gateway.log.memory import MemoryLog
from gateway.network.http import HttpGateway
from gateway.sequencer.inbox import COMMANDS_PER_LIST, MAX_LISTS
from gateway.sequencer.index_prices import FixedIndex, IndexSource
from gateway.server.server import Running
from risk.commands import Command, Place, Tick
from tests.gateway.server_fixtures import (
    COUNTED,
    ORDER,
    Floor,
    GatedLog,
    TrioClock,
    Wire,
    connect,
    floor,
    running,
)

BATCH = COMMANDS_PER_LIST * MAX_LISTS


@define(eq=False)
class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope at its k-th task step, counted from when it is armed."""

    step: int
    scope: trio.CancelScope | None = None
    count: int = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count, and cancel once."""
        if self.scope is not None:
            self.count += 1
            if self.count == self.step:
                self.scope.cancel()


@define(eq=False)
class Attempt:
    """One run of a request that is cancelled somewhere; `reply` is what its sender was told."""

    instrument: CancelAtStep
    orders: int = 0
    reply: dict[str, object] | None = None

    def check(self, venue: Floor) -> None:
        """One decision or none, and nothing is left of the request anywhere."""
        harness = venue.harness
        self.orders = venue.orders
        assert self.orders in (0, 1)
        if self.reply is not None:
            assert ("result" in self.reply) == (self.orders == 1)
        harness.exchange.check()
        assert {} == harness.exchange.state.sessions
        assert {} == harness.venue.in_flight.counts
        assert {} == harness.venue.feed._requests
        assert (0, False) == (venue.intake.inbox.depth, bool(venue.intake.system_queue))


async def over_websocket(attempt: Attempt) -> None:
    """A client's order, whose conversation is cancelled."""
    async with floor(COUNTED) as venue:
        wire, conversation = venue.open()
        scope = trio.CancelScope()

        async def converse() -> None:
            with scope:
                await conversation.run()
            await conversation.close()

        venue.nursery.start_soon(converse)
        await wire.login("alice")
        attempt.instrument.scope = scope
        # The first blow falls before the request: what is heard is in the inbox in the same step.
        await trio.lowlevel.checkpoint()
        try:
            attempt.reply = await wire.call("private/buy", **ORDER)
        except (trio.EndOfChannel, trio.BrokenResourceError):
            pass
        else:
            wire.hang_up()
        await wait_all_tasks_blocked()
        attempt.check(venue)


async def over_http(attempt: Attempt) -> None:
    """The same by HTTP, without sockets: the handler is cancelled."""
    async with floor(COUNTED) as venue:
        gateway = HttpGateway(venue.services, 8081)
        scope: dict[str, object] = {
            "type": "http",
            "method": "GET",
            "path": "/api/v2/private/buy",
            "raw_path": b"/api/v2/private/buy",
            "query_string": b"instrument_name=BTC-PERPETUAL&amount=10&type=limit&price=64500",
            "headers": [(b"authorization", b"Basic YWxpY2Uta2V5OmFsaWNlLXNlY3JldA==")],
            "client": ("127.0.0.1", 1),
            "state": {"target": b"/api/v2/private/buy"},
        }

        async def receive() -> dict[str, object]:
            await trio.lowlevel.checkpoint()
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, object]) -> None:
            await trio.lowlevel.checkpoint()
            if message["type"] == "http.response.body":
                attempt.reply = msgspec.json.decode(message["body"])  # type: ignore[call-overload]

        with trio.CancelScope() as cancelled:
            attempt.instrument.scope = cancelled
            await gateway.application()(scope, receive, send)  # type: ignore[arg-type]
        await wait_all_tasks_blocked()
        attempt.check(venue)


@pytest.mark.parametrize("request_over", [over_websocket, over_http])
def test_cancelled_at_every_await_a_request_leaves_one_decision_or_none(
    request_over: Callable[[Attempt], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the blow falls, the venue is whole, and a sender who was told was told the truth."""
    # Trio shuffles who runs first; here the same steps must come in every run.
    monkeypatch.setattr(scheduler, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    outcomes: list[tuple[int, bool]] = []
    step = 1
    while True:
        instrument = CancelAtStep(step)
        attempt = Attempt(instrument)
        clock = MockClock(autojump_threshold=0)
        monkeypatch.setattr(scheduler, "_r", Random(0))
        trio.run(request_over, attempt, clock=clock, instruments=[instrument])
        outcomes.append((attempt.orders, attempt.reply is not None))
        if instrument.count < step:
            break
        step += 1
    assert (1, True) == outcomes[-1], "uncancelled it is decided and answered"
    assert (0, False) in outcomes
    assert (1, False) in outcomes
    assert step > 10


async def test_no_order_rests_for_a_client_that_disconnects_while_the_inbox_is_full() -> None:
    """Its order waits in line when it goes: nobody decides it, and the next in line moves up."""
    async with floor() as venue:
        wire = await venue.client("alice")
        other = await venue.client("bob")
        await venue.fill_inbox()
        await wire.ask("private/buy", **ORDER)
        placed = await other.ask("private/buy", **ORDER)
        await wait_all_tasks_blocked()
        wire.hang_up()
        await wait_all_tasks_blocked()
        venue.log.gate.set()
        assert placed == (await other.read())["id"]
        await wait_all_tasks_blocked()
        accounts = venue.harness.exchange.state.accounts
        assert (0, 1) == (len(accounts[101].orders), len(accounts[102].orders))


@pytest.mark.usefixtures("library")
async def test_backpressure_reaches_the_senders_socket() -> None:
    """While the log stands still a client can send no more than its places and the kernel hold."""
    log = GatedLog.open(MemoryLog(TrioClock()))
    async with running(log=log) as venue, connect(venue, "alice") as alice:
        log.shut()
        padding = "x" * 30_000
        sent = 0
        with trio.move_on_after(1) as scope:
            while sent < 2_000:
                await alice.ask("private/buy", padding=padding, **ORDER)
                sent += 1
        assert scope.cancelled_caught, "sending went on for ever"
        assert sent < 1_000
        # The venue goes on for others meanwhile.
        async with connect(venue) as other:
            assert "version" in await other.call("public/test")
        log.gate.set()


async def flooded(venue: Floor) -> None:
    """Eight clients with all the orders in line that they may have; the log stands still."""

    async def flood(wire: Wire) -> None:
        while True:
            # Refused by the exchange, so that the book stays small; it is decided like any other.
            await wire.ask("private/buy", **{**ORDER, "amount": 100_000_000})

    wires = [await venue.client("alice") for _ in range(8)]
    venue.log.shut()
    for wire in wires:
        venue.nursery.start_soon(flood, wire)
    await wait_all_tasks_blocked()
    assert MAX_LISTS == venue.intake.inbox.depth


async def test_a_flooder_does_not_starve_a_polite_client() -> None:
    """Two thousand orders came before: a single one waits for two batches, not for eight."""
    async with floor() as venue:
        polite = await venue.client("bob")
        await flooded(venue)
        before = len(venue.applied)
        await polite.ask("private/buy", **ORDER)
        await wait_all_tasks_blocked()
        venue.log.gate.set()
        assert "result" in await polite.read()
        accounts = [
            each.command.account
            for each in venue.applied[before:]
            if isinstance(each.command, Place)
        ]
        assert accounts.index(102) <= 2 * BATCH


async def test_an_index_survives_a_flood() -> None:
    """The venue's own proposals are first in the next batch, whatever the clients do."""
    async with floor() as venue:
        await flooded(venue)
        before = len(venue.applied)
        tick = Tick(prices=(("btc_usd", 65_001 * SCALE),))
        venue.intake.propose(tick)
        venue.log.gate.set()
        applied: list[Command] = []
        # On a busy machine the matcher rests once in a while, as if it were done.
        with trio.fail_after(10):
            while tick not in applied:
                await wait_all_tasks_blocked()
                applied = [each.command for each in venue.applied[before:]]
        at = applied.index(tick)
        # Behind the batch that the log had taken already, and before all of the inbox.
        assert at <= BATCH


@define
class Unreliable(IndexSource):
    """An index source that raises while a flag is set."""

    source: FixedIndex
    broken: bool = field(default=False, init=False)

    def level(self, now: Millis) -> float:
        """Raise an exception that sources must not raise."""
        if self.broken:
            raise ZeroDivisionError
        return self.source.level(now)


async def test_a_crashed_supervisor_leads_to_risk_reducing_only_and_back(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Its lease expires in the state; positions can still be reduced."""
    settings = "[risk]\nsupervision_seconds = 3\n" + "".join(
        f'[[index]]\nname = "{name}"\nsource = "fixed"\nprice = {price}\n'
        for name, price in (("btc_usd", 65_000), ("eth_usd", 3_500))
    )
    async with (
        running(settings, strict=False, clock=TrioClock()) as venue,
        connect(venue, "alice") as alice,
        connect(venue, "bob") as bob,
    ):
        at_market = {**ORDER, "price": 65_000}
        await bob.call("private/sell", **at_market)
        await alice.call("private/buy", **at_market)
        index = Unreliable(FixedIndex(Price(65_000 * SCALE)))
        venue.index_sources.sources["btc_usd"] = index
        index.broken = True
        await trio.sleep(5)
        assert 13028 == await refused(alice.ask, alice.read, "private/buy", **ORDER)
        out = await alice.call("private/sell", **{**at_market, "reduce_only": True})
        assert "open" == out["order"]["order_state"]
        index.broken = False
        # The pauses between restarts have grown meanwhile.
        await trio.sleep(20)
        placed = await alice.call("private/buy", **ORDER)
        assert "open" == placed["order"]["order_state"]
        crashes = venue.metrics.registry.get_sample_value(
            "tidegate_crashes_total", {"boundary": "supervisor"}
        )
        assert crashes is not None
        assert crashes >= 2


async def refused(
    ask: Callable[..., Awaitable[int]],
    read: Callable[[], Awaitable[dict[str, object]]],
    method: str,
    **params: object,
) -> int:
    """Return the error code of a request."""
    number = await ask(method, **params)
    while (reply := await read()).get("id") != number:
        pass
    error = reply["error"]
    assert isinstance(error, dict)
    return int(error["code"])


async def ask_without_reading(stream: trio.SocketStream, request: bytes) -> None:
    """Send requests until the server disconnects."""
    try:
        while True:
            await stream.send_all(request)
    except trio.BrokenResourceError:
        return


async def narrow(port: int) -> trio.SocketStream:
    """Return a connection with a small receive buffer."""
    sock = trio.socket.socket()
    sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4_096)
    await sock.connect(("127.0.0.1", port))
    return trio.SocketStream(sock)


@pytest.mark.usefixtures("library")
async def test_a_websocket_client_that_never_reads_is_disconnected() -> None:
    """At the send deadline; other clients are served meanwhile and afterwards."""
    async with running("[limits]\nsend_seconds = 0.3\n") as venue:
        stream = await narrow(venue.websocket.port)
        async with stream, trio.open_nursery() as nursery:
            await stream.send_all(
                b"GET /ws/api/v2 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            text = b'{"jsonrpc":"2.0","id":1,"method":"public/get_instruments"}'
            # A masked text frame; the mask is zero, so that the text stands as it is.
            frame = bytes([0x81, 0x80 | len(text)]) + bytes(4) + text
            nursery.start_soon(served, venue)
            with trio.fail_after(5):
                await ask_without_reading(stream, frame)
            nursery.cancel_scope.cancel()
        drops = venue.metrics.registry.get_sample_value(
            "tidegate_outbox_drops_total", {"kind": "unread"}
        )
        assert 1 == drops


async def test_an_http_client_that_never_reads_is_disconnected() -> None:
    """At the send deadline, like a WebSocket client, and it is counted."""
    async with running("[limits]\nsend_seconds = 0.3\n") as venue:
        stream = await narrow(venue.http.port)
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(served, venue)
            with trio.fail_after(5):
                await ask_without_reading(
                    stream, b"GET /api/v2/public/get_instruments HTTP/1.1\r\nHost: x\r\n\r\n"
                )
            nursery.cancel_scope.cancel()


async def served(venue: Running) -> None:
    """A client whose replies typically take less than another's trouble takes."""
    waits: list[float] = []
    try:
        async with connect(venue, "bob") as polite:
            while True:
                began = trio.current_time()
                await polite.call("public/get_time")
                waits.append(trio.current_time() - began)
                await trio.sleep(0.01)
    finally:
        assert len(waits) > 1
        assert median(waits) < 0.15
