"""A running venue with a data directory: restarts, failing disks, slow disks, poisoned entries."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import pytest
import trio
import trio_websocket

from book.units import SCALE
from gateway.config.schema import Config, LogSettings
from gateway.log.data_directory import DataDirectory
from gateway.log.disk import Disk, File
from gateway.log.errors import ApplyError, DiskError, LockedError
from gateway.log.segments import list_segments, reader_after
from gateway.log.snapshots import Snapshot, Snapshots
from gateway.server.persistence import open_persistence
from gateway.server.server import Running, serve
from risk.commands import Checkpoint, EndSessions, Entry, Origin, Place, Skip
from risk.exchange import Exchange
from tests.gateway.harness import HandClock
from tests.gateway.log.log_fixtures import FailingDisk, LogDirectory, QuickDisk
from tests.gateway.server_fixtures import ORDER, Caller, connect, settings_of

FIXED = "".join(
    f'[[index]]\nname = "{name}"\nsource = "fixed"\nprice = {price}\n'
    for name, price in (("btc_usd", 65_000), ("eth_usd", 3_500))
)


def settings(folder: Path, text: str = "", log: LogSettings | None = None) -> Config:
    """A configuration that keeps everything under a folder."""
    plain = settings_of(FIXED + text)
    server = msgspec.structs.replace(plain.server, data_dir=folder)
    return msgspec.structs.replace(plain, server=server, log=log or LogSettings())


@asynccontextmanager
async def kept(config: Config, disk: Disk | None = None) -> AsyncIterator[Running]:
    """A venue, stopped in order at the end."""
    async with trio.open_nursery() as nursery:
        venue = await nursery.start(partial(serve, config, disk=disk or QuickDisk()))
        yield venue
        venue.stop()


@asynccontextmanager
async def killed(config: Config) -> AsyncIterator[Running]:
    """A venue that ends without a word."""
    async with trio.open_nursery() as nursery:
        yield await nursery.start(partial(serve, config, disk=QuickDisk()))
        nursery.cancel_scope.cancel()


async def buy(client: Caller, **changed: object) -> Any:
    """A resting order."""
    return (await client.call("private/buy", **(ORDER | changed)))["order"]


def entries(folder: Path) -> list[Entry]:
    """All entries on the disk."""
    reader = reader_after(folder / "log", 0, bytes(16))
    assert reader is not None
    return [each for frame in reader.frames() for each in reader.entries(frame)]


@pytest.mark.parametrize("run", [kept, killed])
async def test_a_restart_changes_nothing_but_sessions(
    tmp_path: Path, run: Callable[[Config], Any]
) -> None:
    """Orders, balances and positions are there, whether it was stopped or killed."""
    config = settings(tmp_path)
    async with run(config) as venue, connect(venue, "alice") as alice, connect(venue, "bob") as bob:
        order = await buy(alice, label="rests")
        await bob.call("private/sell", **ORDER)
        second = await buy(alice, price=64_000)
        before = await bob.call("private/get_position", instrument_name="BTC-PERPETUAL")
    async with run(config) as venue, connect(venue, "alice") as alice, connect(venue, "bob") as bob:
        assert 2 == venue.venue.start
        assert {2} == {number >> 32 for number in venue.venue.exchange.state.sessions}
        position = await bob.call("private/get_position", instrument_name="BTC-PERPETUAL")
        assert before["size"] == position["size"] == -10
        (rest,) = await alice.call("private/get_open_orders")
        assert second["order_id"] == rest["order_id"] != order["order_id"]
        summary = await alice.call("private/get_account_summary", currency="ETH")
        assert 1_000 == summary["balance"]
        third = await buy(alice, price=64_000)
        assert int(third["order_id"]) == int(second["order_id"]) + 1
        venue.venue.exchange.check()


async def test_history_reaches_back_to_the_snapshot(tmp_path: Path) -> None:
    """What the log is replayed from is what the archive hears of."""
    config = settings(tmp_path)
    asked = {"instrument_name": "BTC-PERPETUAL"}
    async with killed(config) as venue, connect(venue, "alice") as alice:
        await buy(alice)
        await alice.call("private/cancel_all")
    async with kept(config) as venue, connect(venue, "alice") as alice:
        past = await alice.call(
            "private/get_order_history_by_instrument", include_unfilled=True, **asked
        )
        assert ["cancelled"] == [each["order_state"] for each in past]
    async with kept(config) as venue, connect(venue, "alice") as alice:
        past = await alice.call(
            "private/get_order_history_by_instrument", include_unfilled=True, **asked
        )
        assert [] == past


async def test_orders_of_a_killed_process_end_with_their_connections(tmp_path: Path) -> None:
    """The first entry of a start is the end of all sessions before it."""
    config = settings(tmp_path)
    async with killed(config) as venue, connect(venue, "alice") as alice:
        await alice.call("private/enable_cancel_on_disconnect")
        await buy(alice)
    async with kept(config) as venue, connect(venue, "alice") as alice:
        assert [] == await alice.call("private/get_open_orders")
    assert EndSessions(before=2 * 2**32) == next(
        each.command for each in entries(tmp_path) if each.origin.start == 2
    )


async def test_a_changed_configuration_becomes_commands_and_money_is_given_once(
    tmp_path: Path,
) -> None:
    """The state is what the new file is compared with."""
    async with kept(settings(tmp_path)):
        pass
    text = '[[account]]\nname = "carol"\nclient_id = "c"\nclient_secret = "s"\n'
    async with kept(settings(tmp_path, text + "deposits = { BTC = 7 }\n")) as venue:
        state = venue.venue.exchange.state
        names = {account.name: number for number, account in state.accounts.items()}
        told = {name: state.wallet(names[name], "BTC").balance // 10**12 for name in names}
        assert (100, 100, 7, 10) == (
            told["alice"],
            told["bob"],
            told["carol"],
            told["insurance fund"],
        )


async def test_random_walks_go_on_where_they_were(tmp_path: Path) -> None:
    """A restart is no shock to those who hold positions."""
    config = settings(tmp_path)
    async with kept(config) as venue:
        venue.index_sources.shock(-0.25)
        venue.supervisor.tick()
    before = venue.venue.exchange.state.indices
    assert before["sol_usdc"].price == pytest.approx(0.75 * 150 * SCALE, rel=0.01)
    async with kept(config) as venue:
        after = venue.venue.exchange.state.indices
        assert after["sol_usdc"].price == pytest.approx(before["sol_usdc"].price, rel=0.0005)
        assert 65_000 * SCALE == after["btc_usd"].price


async def test_a_venue_whose_directory_is_in_use_does_not_start(tmp_path: Path) -> None:
    """And leaves the other one alone."""
    config = settings(tmp_path)
    async with kept(config) as venue, connect(venue, "alice") as alice:
        with pytest.raises(LockedError, match="in use by another process"):
            await serve(config)
        await buy(alice)


async def test_checkpoints_in_the_log_match_a_replay(tmp_path: Path) -> None:
    """Every so many entries; a replay that came to anything else would raise."""
    config = settings(tmp_path, log=LogSettings(checkpoint_entries=10))
    async with killed(config) as venue, connect(venue, "alice") as alice:
        for price in range(64_000, 64_400, 10):
            await buy(alice, price=price)
    found = [each.command for each in entries(tmp_path) if isinstance(each.command, Checkpoint)]
    assert len(found) >= 4
    recovered = LogDirectory(tmp_path).recover()
    assert all(recovered.replayer.event_hash.compare(each) for each in found)
    # What was durable when it was killed, and not applied yet, is more than the venue knew.
    live, replayed = venue.venue.exchange, Exchange()
    for entry in entries(tmp_path)[: live.state.sequence]:
        replayed.apply(entry)
    assert live.digest() == replayed.digest()


@asynccontextmanager
async def failing(
    config: Config, error: type[Exception], disk: Disk | None = None
) -> AsyncIterator[Running]:
    """A venue that ends with this error. Clients that are to see it must be shielded from ours."""
    with pytest.RaisesGroup(error, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            venue = await nursery.start(partial(serve, config, disk=disk or QuickDisk()))
            yield venue


async def order_until_cut(venue: Running, placed: list[str]) -> None:
    """Place orders, one after the other, until the connection ends."""
    try:
        async with connect(venue, "alice") as alice:
            while True:
                placed.append((await buy(alice))["order_id"])
    except* (trio_websocket.ConnectionClosed, trio.BrokenResourceError):
        pass


async def idle_until_cut(venue: Running) -> None:
    """Open a connection to the HTTP port, ask for something, and wait for its end."""
    async with await trio.open_tcp_stream(venue.http.host, venue.http.port) as stream:
        await stream.send_all(b"GET /api/v2/public/test HTTP/1.1\r\nHost: x\r\n\r\n")
        with suppress(trio.BrokenResourceError):
            while await stream.receive_some():
                pass


@pytest.mark.parametrize("step", [12, 13, 14, 30])
async def test_a_disk_that_fails_stops_the_venue(tmp_path: Path, step: int) -> None:
    """Within a second, with nothing acknowledged after it; the next start has all that was."""
    disk, placed = FailingDisk(), list[str]()
    async with failing(settings(tmp_path), DiskError, disk) as venue:
        disk.fail_at = disk.steps + step
        with trio.fail_after(5, shield=True):
            async with trio.open_nursery() as clients:
                clients.start_soon(order_until_cut, venue, placed)
                clients.start_soon(idle_until_cut, venue)
                await venue.failure.occurred.wait()
                failed_at, acknowledged = trio.current_time(), len(placed)
    assert trio.current_time() - failed_at < 1
    assert acknowledged == len(placed) > 0
    async with kept(settings(tmp_path)) as venue, connect(venue, "alice") as alice:
        opened = [each["order_id"] for each in await alice.call("private/get_open_orders")]
        # The one that was being written may be there, but nobody was told.
        assert set(placed) <= set(opened)
        assert len(opened) <= len(placed) + 1


async def test_a_disk_failure_at_start_or_end_is_reported(tmp_path: Path) -> None:
    """The first segment, and the snapshot at shutdown."""
    with pytest.raises(DiskError):
        await serve(settings(tmp_path / "a"), disk=FailingDisk(2))
    disk = FailingDisk(0)
    with pytest.RaisesGroup(DiskError, flatten_subgroups=True):
        async with kept(settings(tmp_path / "b"), disk) as venue:
            disk.fail_at = disk.steps + 3
            venue.stop()
            await venue.log_closed.wait()
            disk.fail_at = disk.steps + 1
    assert [] == Snapshots(tmp_path / "b" / "snapshots").paths()


class SlowDisk(QuickDisk):
    """Each sync takes 300 ms, in whatever thread."""

    def sync(self, file: File) -> None:
        """Wait."""
        time.sleep(0.3)


async def test_a_slow_disk_delays_replies_and_loses_nothing(tmp_path: Path) -> None:
    """Orders wait for the disk, in batches, and are refused in time; reads and timers do not.

    Typically they do not: whatever else the machine does may hold up any one of them.
    """
    lags: list[float] = []
    waits: list[float] = []

    async def watch() -> None:
        while True:
            began = trio.current_time()
            await trio.sleep(0.01)
            lags.append(trio.current_time() - began)

    placed: list[str] = []
    refused: list[int] = []

    async def flood(venue: Running, name: str) -> None:
        async with connect(venue, name) as client:
            numbers = [await client.ask("private/buy", **ORDER) for _ in range(150)]
            for number in numbers:
                reply = await client.read()
                assert number == reply["id"]
                if "result" in reply:
                    placed.append(reply["result"]["order"]["order_id"])
                else:
                    refused.append(reply["error"]["code"])

    async def ask(venue: Running) -> None:
        async with connect(venue) as client:
            while True:
                began = trio.current_time()
                await client.call("public/test")
                waits.append(trio.current_time() - began)
                await trio.sleep(0.02)

    async with kept(settings(tmp_path), SlowDisk()) as venue, trio.open_nursery() as beside:
        beside.start_soon(watch)
        beside.start_soon(ask, venue)
        async with trio.open_nursery() as clients:
            clients.start_soon(flood, venue, "alice")
            clients.start_soon(flood, venue, "bob")
        beside.cancel_scope.cancel()
        sample = venue.metrics.registry.get_sample_value
        count, seconds = (sample(f"tidegate_log_write_seconds_{kind}") for kind in ("count", "sum"))
        assert count
        assert seconds
        assert seconds / count >= 0.3
    # Whoever waited for two seconds was told, and what was not told is not lost.
    assert 300 == len(placed) + len(refused)
    assert set(refused) <= {10047}
    orders = [each for each in entries(tmp_path) if isinstance(each.command, Place)]
    state = venue.venue.exchange.state
    open_orders = [number for account in state.accounts.values() for number in account.orders]
    assert sorted(map(int, placed)) == sorted(open_orders)
    assert len(placed) == len(orders)
    # Group commit: what came during one sync shares the next one.
    assert len(placed) > 5 * len({each.time for each in orders})
    assert min(len(placed), len(lags), len(waits)) > 1
    assert median(lags) < 0.15
    assert median(waits) < 0.15


async def test_a_poisoned_entry_stops_the_venue_until_it_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any effect of it, at every start; the skip is an entry like any other."""
    apply: Callable[[Exchange, Entry], object] = Exchange.apply

    def stumble(exchange: Exchange, entry: Entry) -> object:
        if isinstance(entry.command, Place) and entry.command.label == "poison":
            raise ZeroDivisionError
        return apply(exchange, entry)

    monkeypatch.setattr(Exchange, "apply", stumble)
    config = settings(tmp_path)
    async with failing(config, ApplyError) as venue:
        with trio.fail_after(5, shield=True):
            async with connect(venue, "alice") as alice:
                await buy(alice, label="good")
                await alice.ask("private/buy", **(ORDER | {"label": "poison"}))
                await alice.closed()
    poisoned = [
        each.sequence
        for each in entries(tmp_path)
        if isinstance(each.command, Place) and each.command.label == "poison"
    ]
    with pytest.raises(ApplyError, match=f"entry {poisoned[0]} cannot be applied"):
        await serve(config, disk=QuickDisk())
    book = LogDirectory(tmp_path)
    last = entries(tmp_path)[-1]
    skip = Skip(sequence=poisoned[0], reason="poison")
    book.write([[Entry(last.sequence + 1, last.time, Origin(), skip)]])
    for _ in range(2):
        async with killed(config) as venue, connect(venue, "alice") as alice:
            (order,) = await alice.call("private/get_open_orders")
            assert "good" == order["label"]
    assert book.replay_to_end() == book.replay_to_end()


async def test_a_snapshot_that_takes_too_long_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The process ends in time, says so, and the next start replays."""
    take = Snapshot.of
    released = trio.Event()

    def dawdle(*arguments: Any) -> Snapshot:
        time.sleep(0.3)
        trio.from_thread.run_sync(released.set)
        return take(*arguments)

    monkeypatch.setattr(Snapshot, "of", dawdle)
    directory = DataDirectory(tmp_path)
    with open_persistence(directory, LogSettings(), HandClock(), disk=QuickDisk()) as keeper:
        await keeper.replay_log()
        began = trio.current_time()
        await keeper.write_final_snapshot(0.05)
        assert trio.current_time() - began < 0.2
        await released.wait()
        threads = trio.to_thread.current_default_thread_limiter()
        with trio.fail_after(5):
            while threads.borrowed_tokens:  # noqa: ASYNC110 - an abandoned thread sets no event
                await trio.sleep(0.001)
    assert "no snapshot at shutdown" in caplog.text
    assert [] == list(directory.snapshots.iterdir())


async def test_recovery_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line: up to where, from where, and how long it took."""
    caplog.set_level(logging.INFO)
    config = settings(tmp_path)
    async with kept(config) as venue:
        assert "recovered" not in caplog.text
    last = venue.venue.exchange.state.sequence
    async with killed(config):
        pass
    assert f"recovered entry {last}: snapshot of entry {last}, 0 entries replayed" in caplog.text
    assert 1 == len(list_segments(tmp_path / "log"))
