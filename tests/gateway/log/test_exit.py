"""How the process ends after a fatal error: in time, with an exit status and a message."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import pytest
import trio
import trio_websocket

from gateway.config.toml_reader import Endpoint
from tests.gateway.log.log_fixtures import LogDirectory
from tests.gateway.server_fixtures import ORDER, Caller

READY = re.compile(r"tidegate ready http=(\S+) ws=(\S+)\n")
CONFIG = """
[server]
http = "127.0.0.1:0"
websocket = "127.0.0.1:0"
data_dir = "data"
[limits]
enabled = false
[[account]]
name = "alice"
client_id = "alice-key"
client_secret = "alice-secret"
deposits = { BTC = 100 }
"""
# Room for the start and some dozen orders. The kernel refuses what would go beyond it.
FILE_BYTES = 24_000
# It takes a third of a second; a machine that does much else may give it none for a while. What
# would hold it up, a client that never reads, does so for as long as it likes.
SOON_SECONDS = 20.0

MAIN = """
import sys
from gateway.cli import main
"""
POISON = """
from risk.exchange import Exchange
apply = Exchange.apply
def stumble(exchange, entry):
    if getattr(entry.command, "label", "") == "poison":
        raise ZeroDivisionError("as the test wanted")
    return apply(exchange, entry)
Exchange.apply = stumble
"""
RUN = 'sys.exit(main(["serve", "--config", sys.argv[1]]))\n'


def _small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))


@contextmanager
def process(
    folder: Path, *, patch: str = "", small: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """The venue as a process; killed at the end, if it is still there."""
    path = folder / "venue.toml"
    path.write_text(CONFIG)
    with subprocess.Popen(
        [sys.executable, "-c", MAIN + patch + RUN, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_small_files if small else None,  # noqa: PLW1509 - no threads here
    ) as venue:
        try:
            yield venue
        finally:
            venue.kill()


def addresses(venue: subprocess.Popen[str]) -> tuple[Endpoint, Endpoint]:
    """Where HTTP and WebSocket are, once it is ready."""
    assert venue.stdout is not None
    match = READY.fullmatch(venue.stdout.readline())
    assert match is not None
    return _endpoint(match[1]), _endpoint(match[2])


def _endpoint(url: str) -> Endpoint:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return Endpoint(parts.hostname, parts.port)


async def order_until_cut(
    endpoint: Endpoint, label: str = "", placed: list[int] | None = None
) -> tuple[list[int], float]:
    """Place orders until the connection ends; their numbers, and when that was."""
    placed = [] if placed is None else placed
    stream = await trio.open_tcp_stream(endpoint.host, endpoint.port)
    try:
        async with stream, trio.open_nursery() as nursery:
            websocket = await trio_websocket.wrap_client_stream(
                nursery, stream, str(endpoint), "/ws/api/v2"
            )
            client = Caller(websocket)
            await client.login("alice")
            while True:
                reply = await client.call("private/buy", **(ORDER | {"label": label}))
                placed.append(int(reply["order"]["order_id"]))
    except* trio_websocket.ConnectionClosed:
        pass
    return placed, monotonic()


def ending(venue: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit status, and what it said."""
    _, told = venue.communicate(timeout=SOON_SECONDS)
    return venue.returncode, told


async def ask_and_never_read(endpoint: Endpoint) -> trio.SocketStream:
    """An HTTP client that takes no answer: whoever writes to it waits."""
    stream = await trio.open_tcp_stream(endpoint.host, endpoint.port)
    target = "/api/v2/public/get_instruments?currency=any"
    request = f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    with trio.move_on_after(0.5):
        while True:
            await stream.send_all(request * 100)
    return stream


async def test_a_full_disk_ends_the_process_with_74(tmp_path: Path) -> None:
    """Whoever does not read; the file and the cause are named, and all that was told is there."""
    with process(tmp_path, small=True) as venue:
        http, websocket = addresses(venue)
        async with await ask_and_never_read(http):
            placed, cut_at = await order_until_cut(websocket)
            status, told = ending(venue)
            assert monotonic() - cut_at < SOON_SECONDS
    assert 74 == status
    # The follower, which begins at about this time, says where into the same stream.
    last = [line for line in told.splitlines() if " gateway.cli.log: " not in line][-1]
    assert last.startswith("tidegate: stopped, because the disk failed: [Errno 27] File too large")
    assert "data/log/00000000000000000001.seg" in last
    assert "Traceback" not in told
    assert len(placed) > 10
    state = LogDirectory(tmp_path / "data").recover().replayer.exchange.state
    assert set(placed) <= set(state.accounts[101].orders)


async def test_an_entry_that_cannot_be_applied_ends_the_process_with_70(tmp_path: Path) -> None:
    """With the traceback of the bug and the number of the entry; also at the next start."""
    with process(tmp_path, patch=POISON) as venue:
        placed, cut_at = await order_until_cut(addresses(venue)[1], "poison")
        status, told = ending(venue)
        assert monotonic() - cut_at < SOON_SECONDS
    assert (70, []) == (status, placed)
    with process(tmp_path, patch=POISON) as venue:
        again, told_again = ending(venue)
    assert 70 == again
    for text in (told, told_again):
        assert "ZeroDivisionError: as the test wanted" in text
        assert 1 == text.count("Traceback")
        match = re.search(r"tidegate: entry (\d+) cannot be applied", text)
        assert match is not None
        assert f"`tidegate log skip DIR {match[1]} --reason TEXT`" in text


def test_a_directory_in_use_ends_the_process_with_75(tmp_path: Path) -> None:
    """With one line on stderr; the other process goes on."""
    with process(tmp_path) as venue:
        addresses(venue)
        with process(tmp_path) as second:
            status, told = ending(second)
        assert None is venue.poll()
    assert 75 == status
    assert 1 == told.count("\n")
    assert f"data: in use by another process (pid {venue.pid})" in told


@pytest.mark.parametrize("kept", [False, True])
def test_a_venue_without_a_data_directory_warns_once(tmp_path: Path, kept: bool) -> None:
    """On stderr, once; a venue that keeps something has nothing to say."""
    patch = "" if kept else 'sys.argv[1] = sys.argv[1].replace("venue.toml", "plain.toml")\n'
    (tmp_path / "plain.toml").write_text(CONFIG.replace('data_dir = "data"\n', ""))
    with process(tmp_path, patch=patch) as venue:
        addresses(venue)
        venue.terminate()
        status, told = ending(venue)
    assert 0 == status
    assert (0 if kept else 1) == told.count("nothing is kept when the process ends")


def _writer_of(venue: subprocess.Popen[str]) -> int:
    """The process that writes its log."""
    for file in Path(f"/proc/{venue.pid}/task").glob("*/children"):
        for child in map(int, file.read_text().split()):
            if b"writer_process.py" in Path(f"/proc/{child}/cmdline").read_bytes():
                return child
    raise AssertionError("nothing writes its log")


def _running(pid: int) -> bool:
    """Whether there is such a process that is no zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the writer in /proc")
async def test_a_suspended_writer_process_does_not_prevent_shutdown(tmp_path: Path) -> None:
    """Status 69 with what it waited for; what was acknowledged is there, and the lock is free."""
    with process(tmp_path) as venue:
        _, websocket = addresses(venue)
        placed: list[int] = []
        with trio.move_on_after(1):
            await order_until_cut(websocket, placed=placed)
        writer = _writer_of(venue)
        os.kill(writer, signal.SIGSTOP)
        # The venue's own heartbeat is under way within a second, and then has to wait.
        await trio.sleep(1.2)
        began = monotonic()
        venue.terminate()
        status, told = ending(venue)
        assert monotonic() - began < SOON_SECONDS
    assert 69 == status
    last = [line for line in told.splitlines() if line.startswith("tidegate: ")][-1]
    assert f"the process that writes the log (pid {writer}) has not confirmed" in last
    assert "Traceback" not in told
    for _ in range(50):
        if not _running(writer):
            break
        await trio.sleep(0.1)
    assert not _running(writer)
    assert placed
    state = LogDirectory(tmp_path / "data").recover().replayer.exchange.state
    assert set(placed) <= set(state.accounts[101].orders)
    with process(tmp_path) as venue:
        addresses(venue)
        venue.terminate()
        assert 0 == ending(venue)[0]


SLOW_START = """
import trio
from gateway.server.persistence import Persistence
async def catch_up(keeper):
    print("starting", flush=True)
    await trio.sleep_forever()
Persistence.replay_log = catch_up
"""


def test_a_signal_stops_a_venue_during_its_start(tmp_path: Path) -> None:
    """A long replay need not be waited for: SIGTERM ends it, in order."""
    with process(tmp_path, patch=SLOW_START) as venue:
        assert venue.stdout is not None
        assert "starting\n" == venue.stdout.readline()
        venue.terminate()
        status, told = ending(venue)
    assert 0 == status
    assert "Traceback" not in told
