"""Replay of a recorded venue: its pace, its final state, and that nothing can be changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from book.units import HOUR
from gateway.cli.replay import MAX_SPEED
from gateway.config.toml_reader import Endpoint
from gateway.log.data_directory import DataDirectory
from gateway.log.errors import LogError
from gateway.server.replay import Announce, Player, RecordedClock
from risk.commands import EndSessions
from tests.gateway.harness import Harness
from tests.gateway.log.log_fixtures import TICK
from tests.gateway.log.log_writer_fixture import LoggedVenue
from tests.gateway.server_fixtures import settings_of


def player_of(scribe: LoggedVenue, speed: float, announce: Announce = lambda _: None) -> Player:
    """Return a player that does not run yet."""
    return Player.open(settings_of(""), scribe.book.directory, speed, announce)


def contents(folder: Path) -> dict[Path, bytes]:
    """Return the contents of all files in a directory."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def get(where: Endpoint, target: str) -> Any:
    """The body of a reply."""
    async with await trio.open_tcp_stream(where.host, where.port) as stream:
        await stream.send_all(
            f"GET /api/v2/{target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        )
        data = b"".join([chunk async for chunk in stream])
    return msgspec.json.decode(data.partition(b"\r\n\r\n")[2])


async def test_a_replay_runs_at_the_requested_speed(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """The log has a frame per second; the hour in which the venue was down is left out."""
    scribe = LoggedVenue.after_trading(tmp_path)
    began = scribe.time
    scribe.trade(60)
    scribe.time += HOUR
    scribe.write(EndSessions(before=2 * 2**32), TICK)
    scribe.trade(60)
    frames = 6 + 60 + 1 + 60
    assert began + HOUR + (frames - 6) * 1_000 == scribe.time
    for speed in (1, 10, 0.5):
        player = player_of(scribe, speed)
        started = trio.current_time()
        await player._play()
        # There is nothing before the first frame, nor in between before the second start.
        assert pytest.approx((frames - 2) / speed) == trio.current_time() - started
        assert scribe.exchange.digest() == player.replayer.exchange.digest()


async def test_the_clock_of_a_replay_follows_the_recording(autojump_clock: MockClock) -> None:
    """It advances between two entries, and never exceeds the time of the next one."""
    clock = RecordedClock(speed=10)
    clock.jump(50_000)
    assert 50_000 == clock.now()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clock.reach, 60_000)
        await trio.sleep(0.5)
        assert (55_000, 55_000_000) == (clock.now(), clock.micros())
    assert 60_000 == clock.now()
    await trio.sleep(9)
    assert 60_000 == clock.now()
    # Too late for this one: it is played at once.
    before = trio.current_time()
    await clock.reach(61_000)
    assert (before, 61_000) == (trio.current_time(), clock.now())


async def test_a_replay_is_served_and_writes_nothing(tmp_path: Path) -> None:
    """It serves final market data and the recorded time, and rejects orders with a reason."""
    scribe = LoggedVenue.after_trading(tmp_path)
    scribe.trade(5)
    scribe.close()
    before = contents(tmp_path)
    told, heard = trio.open_memory_channel[Endpoint](1)
    player = player_of(scribe, MAX_SPEED, lambda where: told.send_nowait(where.http))
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(player.run)
            await player.ended.wait()
            http = await heard.receive()
            perpetual = "instrument_name=BTC-PERPETUAL"
            book = await get(http, f"public/get_order_book?{perpetual}")
            assert 65_000 == book["result"]["index_price"]
            past = await get(http, f"public/get_last_trades_by_instrument?{perpetual}&count=100")
            traded = scribe.exchange.state.markets["BTC-PERPETUAL"].trades
            assert traded == len(past["result"]["trades"])
            assert scribe.time == (await get(http, "public/get_time"))["result"]
            refused = await get(http, f"private/buy?{perpetual}&amount=10")
            assert 13021 == refused["error"]["code"]
            assert "replay" in refused["error"]["data"]["reason"]
            player.stop()
    assert scribe.exchange.digest() == player.replayer.exchange.digest()
    assert before == contents(tmp_path)


def test_a_key_gives_read_access_to_a_replay() -> None:
    """A log-in does not start a session, because sessions are part of the recording."""
    harness = Harness()
    harness.venue.recorded = True
    sequence = harness.exchange.state.sequence
    client = harness.connect("alice")
    assert 100 == client.call("private/get_account_summary", currency="BTC")["balance"]
    for method, params in (
        ("private/buy", {"instrument_name": "BTC-PERPETUAL", "amount": 10}),
        ("private/cancel_all", {}),
        ("private/enable_cancel_on_disconnect", {}),
    ):
        error = client.error(method, **params)
        assert (13021, "forbidden") == (error["code"], error["message"])
        assert "nothing can be changed" in error["data"]["reason"]
    client.hang_up()
    assert sequence == harness.exchange.state.sequence


def test_a_replay_requires_entries(tmp_path: Path) -> None:
    """Without a log, or with an empty one, it raises LogError."""
    with pytest.raises(LogError, match="there is no log"):
        Player.open(settings_of(""), DataDirectory(tmp_path), 1, lambda _: None)
