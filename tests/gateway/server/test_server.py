"""The whole server over real sockets: start, connection limits, failures and shutdown."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import httpx2
import pytest
import trio
from attrs import define
from trio.testing import MockClock
from trio_websocket import ConnectionClosed

from gateway.api.session import Session
from gateway.config.schema import parse
from gateway.config.toml_reader import ConfigError
from gateway.log import Durable, Proposal, Source
from gateway.log.errors import ApplyError
from gateway.log.memory import MemoryLog
from gateway.protocol.outcome import Outcome
from gateway.server.server import Running, serve
from risk.commands import Deposit, EndSessions, OpenAccount, Place, SetParameters, SetProduct, Tick
from risk.exchange import Exchange
from risk.state import INSURANCE
from tests.gateway.server_fixtures import (
    COUNTED,
    ORDER,
    GatedLog,
    TrioClock,
    connect,
    refusal,
    running,
    settings_of,
)
from tests.hostile_http import HANDSHAKE


async def opened(venue: Running, path: str = "/ws/api/v2") -> None:
    """Connect and leave."""
    async with connect(venue, path=path) as client:
        await client.call("public/test")


async def test_a_client_can_trade_as_soon_as_the_server_says_that_it_runs() -> None:
    """Accounts are funded, instruments listed and indices priced before the first accept."""
    async with running() as venue, connect(venue, "alice") as alice:
        placed = await alice.call("private/buy", **ORDER)
        assert "open" == placed["order"]["order_state"]
        positions = await alice.call("private/get_account_summary", currency="BTC")
        assert 100.0 == positions["balance"]


async def test_the_configuration_becomes_commands_at_the_head_of_the_log() -> None:
    """A replay of the log alone gives the same state: it needs no configuration file."""
    log = MemoryLog(TrioClock(), keep=1_000)
    async with running("[risk]\nloss_policy = 'socialise'\n", log=log) as venue:
        pass
    commands = [each.command for each in log.entries]
    kinds = list(dict.fromkeys(type(each) for each in commands))
    assert [EndSessions, SetParameters, SetProduct, Deposit, OpenAccount, Tick] == kinds
    assert [101, 102, 103] == [each.account for each in commands if type(each) is OpenAccount]
    endowed = [e for e in commands if type(e) is Deposit and e.account == INSURANCE]
    assert ["BTC", "ETH", "USDC"] == [each.currency for each in endowed]
    replayed = Exchange()
    for entry in log.entries:
        replayed.apply(entry)
    assert venue.venue.exchange.digest() == replayed.digest()


async def test_session_numbers_carry_the_start_of_the_process() -> None:
    """No session of an earlier start can be mistaken for one of this."""
    async with running() as venue, connect(venue, "alice"):
        assert 1 == venue.venue.start
        assert [2**32 + 1] == list(venue.venue.exchange.state.sessions)


@pytest.mark.usefixtures("library")
async def test_websockets_are_served_on_the_api_path_only() -> None:
    """Other paths get 404; a query is allowed."""
    async with running() as venue:
        assert 404 == await refusal(venue, "/ws/api/v1")
        await opened(venue, "/ws/api/v2/?version=2")


@pytest.mark.usefixtures("library")
async def test_connections_of_one_address_are_limited() -> None:
    """429 before the handshake; a slot is free again when its session's end is logged."""
    async with running("[limits]\nconnections_per_address = 2\n") as venue:
        async with connect(venue, "alice"), connect(venue):
            assert 429 == await refusal(venue)
        with trio.fail_after(10):
            await until(lambda: not venue.venue.exchange.state.sessions)
        await opened(venue)


@pytest.mark.usefixtures("library")
async def test_an_address_that_reconnects_too_fast_is_closed_without_a_response() -> None:
    """A response costs as much as a handshake, so only slower addresses get one."""
    limits = "[limits]\nenabled = true\nconnections_per_address = 1\n"
    async with running(limits) as venue, connect(venue):
        responses = []
        for _ in range(40):
            stream = await trio.open_tcp_stream(venue.websocket.host, venue.websocket.port)
            async with stream:
                with suppress(trio.BrokenResourceError), trio.fail_after(10):
                    await stream.send_all(HANDSHAKE)
                    responses.append(bytes(await stream.receive_some()))
        assert responses[0].startswith(b"HTTP/1.1 429 ")
        assert len([each for each in responses if each]) < 20


@pytest.mark.usefixtures("library")
async def test_a_slow_handshake_is_closed_at_its_deadline() -> None:
    """The whole handshake has one deadline, after which the slot is free again."""
    limits = "[limits]\nhandshake_seconds = 0.2\nconnections_per_address = 1\n"
    async with running(limits) as venue:
        stream = await trio.open_tcp_stream(venue.websocket.host, venue.websocket.port)
        async with stream:
            await stream.send_all(b"GET /ws/api/v2 HTTP/1.1\r\n")
            with trio.fail_after(10):
                assert b"" == await stream.receive_some()
        await opened(venue)


@pytest.mark.usefixtures("library")
async def test_a_message_over_the_limit_is_answered_and_the_connection_goes_on() -> None:
    """As over HTTP. Only a message far over the limit closes the connection."""
    async with running() as venue, connect(venue) as client:
        await client.websocket.send_message("x" * 200_000)
        assert -32600 == (await client.read())["error"]["code"]
        assert "version" in await client.call("public/test")
        with trio.fail_after(10), suppress(ConnectionClosed):
            await client.websocket.send_message("x" * 2_000_000)
        code, _ = await client.closed()
        assert 1009 == code


@pytest.mark.usefixtures("library")
async def test_invalid_json_rpc_gets_an_error_and_the_connection_stays_open() -> None:
    """Later requests on the connection are served."""
    async with running() as venue, connect(venue) as client:
        await client.websocket.send_message("{nonsense")
        assert -32700 == (await client.read())["error"]["code"]
        await client.websocket.send_message(b"\xff\xfe")
        assert -32700 == (await client.read())["error"]["code"]
        assert "version" in await client.call("public/test")


@pytest.mark.usefixtures("library")
async def test_a_crashed_connection_is_closed_with_1011_and_others_stay_open(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The exception is logged and counted; in strict mode it would end the venue."""
    receive = Session.receive

    def stumble(session: Session, frame: bytes | str) -> list[Outcome]:
        if "stumble" in str(frame):
            raise ZeroDivisionError
        return receive(session, frame)

    monkeypatch.setattr(Session, "receive", stumble)
    async with running(strict=False) as venue, connect(venue) as client, connect(venue) as other:
        await client.ask("public/stumble")
        assert (1011, "internal error") == await client.closed()
        assert "version" in await other.call("public/test")
        crashes = partial(
            venue.metrics.registry.get_sample_value,
            "tidegate_crashes_total",
            {"boundary": "connection"},
        )
        # After the goodbye, whose answer may still be under way.
        await until(lambda: crashes() is not None)
        assert 1 == crashes()
        assert "ZeroDivisionError" in caplog.text


@pytest.mark.usefixtures("library")
async def test_a_stop_closes_all_connections_with_1001() -> None:
    """The log ends too, and no task is left."""
    async with trio.open_nursery() as nursery:
        venue = await nursery.start(partial(serve, settings_of("")))
        async with connect(venue, "alice") as alice, connect(venue) as nobody:
            venue.stop()
            with trio.fail_after(10):
                assert (1001, "server is stopping") == await alice.closed()
                assert (1001, "server is stopping") == await nobody.closed()
        with trio.fail_after(10):
            await venue.log_closed.wait()
    assert {} == venue.venue.exchange.state.sessions
    with pytest.raises(OSError, match="all attempts to connect"):
        await trio.open_tcp_stream(venue.websocket.host, venue.websocket.port)


async def test_a_stop_does_not_wait_for_handshakes() -> None:
    """A connection without a completed handshake needs no close frame."""
    async with trio.open_nursery() as nursery:
        venue = await nursery.start(partial(serve, settings_of("")))
        async with await trio.open_tcp_stream(venue.websocket.host, venue.websocket.port):
            await until(lambda: venue.metrics.registry.get_sample_value("tidegate_connections"))
            venue.stop()
            with trio.fail_after(10):
                await venue.log_closed.wait()


@define(eq=False)
class FailingLog:
    """A log whose disk is full after the start-up sequence."""

    log: MemoryLog

    async def run(self, source: Source, durable: Durable) -> None:
        """Raise what a disk raises at the first order."""
        await self.log.run(self.Until(source), durable)

    @define(eq=False)
    class Until:
        """The source up to the first order."""

        source: Source

        async def take(self) -> Sequence[Proposal]:
            """Fail instead of taking it."""
            batch = await self.source.take()
            if any(isinstance(each.command, Place) for each in batch):
                raise OSError(28, "No space left on device")
            return batch


async def test_a_failed_log_ends_the_venue_without_replies() -> None:
    """An entry that is not durable has no effect; session ends are then discarded."""
    told: list[str] = []
    venues: list[Running] = []

    async def order() -> None:
        async with trio.open_nursery() as nursery:
            log = FailingLog(MemoryLog(TrioClock()))
            venue = await nursery.start(partial(serve, settings_of("", strict=False), log=log))
            venues.append(venue)
            async with connect(venue, "alice") as alice:
                await alice.ask("private/buy", **ORDER)
                # Unless the end of the venue has cancelled it before.
                with suppress(ConnectionClosed):
                    told.append(str(await alice.read()))

    full = pytest.RaisesExc(OSError, match="No space left")
    with pytest.RaisesGroup(full, flatten_subgroups=True):
        await order()
    assert [] == told
    assert 0 == venues[0].venue.exchange.state.orders


async def test_a_cancelled_server_ends_at_once() -> None:
    """Cancellation sends no close frames."""
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            venue = await nursery.start(partial(serve, settings_of("")))
            async with connect(venue, "alice") as alice:
                await alice.call("private/buy", **ORDER)
                nursery.cancel_scope.cancel()


async def test_the_error_for_a_used_port_names_the_address() -> None:
    """It is a ConfigError with the address in its text."""
    async with running() as venue:
        taken = f'[server]\nhttp = "{venue.http}"\nwebsocket = "127.0.0.1:0"\n'
        with pytest.raises(ConfigError, match=f"cannot listen on {venue.http}"):
            await serve(parse(taken))


async def test_a_bug_in_the_core_ends_the_venue(monkeypatch: pytest.MonkeyPatch) -> None:
    """No handler catches an exception of `apply`, because the state is unreliable after it."""
    monkeypatch.setattr(Exchange, "apply", _explode)
    with pytest.RaisesGroup(ApplyError, flatten_subgroups=True):
        await serve(settings_of("", strict=False))


def _explode(_exchange: Exchange, _entry: object) -> None:
    raise ZeroDivisionError


async def test_an_index_shock_liquidates_accounts_below_maintenance_margin(
    autojump_clock: MockClock,
) -> None:
    """Index, Tick, margin watch, supervisor and Liquidate work together without a request."""
    fixed = '[[index]]\nname = "btc_usd"\nsource = "fixed"\nprice = 65000\n'
    async with (
        running(fixed, clock=TrioClock()) as venue,
        connect(venue, "alice") as alice,
        connect(venue, "bob") as bob,
    ):
        large = {**ORDER, "price": 65_000, "amount": 25_000_000}
        await bob.call("private/sell", **large)
        await alice.call("private/buy", **large)
        await alice.call("private/subscribe", channels=["user.portfolio.btc"])
        venue.index_sources.shock(-0.2)
        await trio.sleep(60)
        assert [] == [
            each
            for each in await alice.call("private/get_positions", currency="BTC")
            if each["size"]
        ]
        reduced = sum(
            sample.value
            for metric in venue.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == "tidegate_liquidations_total"
        )
        assert reduced >= 1
        venue.venue.exchange.check()


async def test_http_and_websocket_see_one_venue() -> None:
    """Changes made over one are visible over the other."""
    async with (
        running() as venue,
        connect(venue, "alice") as alice,
        httpx2.AsyncClient(base_url=venue.http_url, auth=("alice-key", "alice-secret")) as web,
    ):
        placed = await alice.call("private/buy", **ORDER)
        found = await web.get("/api/v2/private/get_open_orders")
        assert [placed["order"]["order_id"]] == [
            each["order_id"] for each in found.json()["result"]
        ]


async def test_accepted_requests_get_replies_before_a_shutdown() -> None:
    """Shutdown under load: every accepted order gets its reply, over both transports."""
    log = GatedLog.open(MemoryLog(TrioClock()))
    async with trio.open_nursery() as nursery:
        venue = await nursery.start(partial(serve, settings_of(COUNTED), log=log))
        state = venue.venue.exchange.state
        replies: list[int] = []
        web = httpx2.AsyncClient(base_url=venue.http_url, auth=("bob-key", "bob-secret"))
        async with web, connect(venue, "alice") as alice, trio.open_nursery() as clients:
            log.shut()
            asked = [await alice.ask("private/buy", **ORDER) for _ in range(100)]

            async def buy_over_http() -> None:
                reply = await web.get("/api/v2/private/buy", params=ORDER)  # type: ignore[arg-type]
                replies.append(reply.status_code)

            clients.start_soon(buy_over_http)
            await until(lambda: sum(venue.venue.in_flight.counts.values()) == 101)
            venue.stop()
            await trio.testing.wait_all_tasks_blocked(0.005)
            assert not venue.log_closed.is_set()
            log.gate.set()
            answered = [(await alice.read())["id"] for _ in asked]
            assert asked == answered
            assert (1001, "server is stopping") == await alice.closed()
        assert [200] == replies
        assert 101 == state.orders


async def until(true: object) -> None:
    """Poll until a condition holds."""
    assert callable(true)
    with trio.fail_after(5):
        while not true():
            await trio.testing.wait_all_tasks_blocked(0.005)
