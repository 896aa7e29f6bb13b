"""`tidegate log …` and `tidegate replay` as an operator meets them, beside a venue and after it."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select

import httpx2
import pytest

from gateway.log import frames
from tests.system.process import ACCOUNTS, READY, START_SECONDS, STOP_SECONDS, TIDEGATE, venue

LOG = """
[log]
checkpoint_entries = 20
snapshot_entries = 40
"""
CONFIG = ACCOUNTS.replace("[server]", '[server]\ndata_dir = "data"', 1) + LOG
PATIENCE = 15


def tidegate(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A command, run to its end."""
    return subprocess.run(
        [TIDEGATE, *map(str, arguments)],
        capture_output=True,
        check=False,
        text=True,
        timeout=START_SECONDS,
    )


@contextmanager
def started(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A command that runs on, and is killed where it has not ended by the end of the block."""
    command = [TIDEGATE, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def orders(http: str, count: int) -> None:
    """Alice and bob trade with each other; each order is acknowledged."""
    with httpx2.Client(base_url=http) as client:
        for number in range(count):
            name, side = ("alice", "buy") if number % 2 else ("bob", "sell")
            reply = client.get(
                f"/api/v2/private/{side}",
                params={"instrument_name": "BTC-PERPETUAL", "amount": 10, "price": 65_000},
                auth=(f"{name}-key", f"{name}-secret"),
            )
            assert "order" in reply.json()["result"], reply.text


def snapshots(data: Path) -> list[Path]:
    """Those that there are, oldest first."""
    return sorted((data / "snapshots").glob("*.snap"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a venue that has traded and ended, and was looked at meanwhile."""
    folder = tmp_path_factory.mktemp("kept")
    kept = folder / "data"
    with venue(folder, CONFIG) as running:
        orders(running.http, 90)
        # The follower has left a snapshot, confirmed by the venue's own checkpoints.
        deadline = time.monotonic() + PATIENCE
        while not snapshots(kept):
            assert time.monotonic() < deadline, "no snapshot"
            time.sleep(0.05)
        live = tidegate("log", "verify", kept)
        assert (0, "") == (live.returncode, live.stderr)
        taken = tidegate("log", "snapshot", kept)
        assert re.fullmatch(r"snapshot of entry \d+\n", taken.stdout), taken.stderr
        refused = tidegate("log", "skip", kept, "3", "--reason", "no")
        assert 75 == refused.returncode
        assert "in use by another process" in refused.stderr
    return kept


def test_a_log_is_proved(data: Path) -> None:
    """Status 0 and what was proved, from the start and from both snapshots."""
    done = tidegate("log", "verify", data)
    assert (0, "") == (done.returncode, done.stderr)
    older, newest = (int(path.stem) for path in snapshots(data))
    replayed = f"from the start, the snapshot of entry {older}, the snapshot of entry {newest}"
    assert replayed in done.stdout
    assert f"entries 1 to {newest}: checksums right, chain whole\n" in done.stdout


def test_damage_is_told_with_its_place(data: Path, tmp_path: Path) -> None:
    """A status of its own, the file and the byte; no traceback."""
    (segment,) = (data / "log").iterdir()
    whole = segment.read_bytes()
    # In the text of an order: of a length that is not what it was, other things may be said.
    flipped = whole.rindex(b'"Place"')
    damaged = bytearray(whole)
    damaged[flipped] ^= 1
    copy = tmp_path / "log" / segment.name
    copy.parent.mkdir()
    copy.write_bytes(damaged)
    done = tidegate("log", "verify", tmp_path)
    assert (65, "") == (done.returncode, done.stdout)
    place = re.search(rf"{copy}: damaged: a frame with a wrong checksum at byte (\d+)", done.stderr)
    assert place is not None, done.stderr
    start = int(place[1])
    assert start < flipped < start + frames.decode_frame(whole, start).size


def test_entries_are_shown(data: Path) -> None:
    """One a line, of one account where asked for, and into a pipe that somebody closes."""
    bids = tidegate("log", "show", data, "--account", "alice").stdout.splitlines()
    placed = [line for line in bids if " Place " in line]
    assert 45 == len(placed)
    assert all("account=101:alice " in line and "side=buy" in line for line in placed)
    nobody = tidegate("log", "show", data, "--account", "nobody")
    assert (65, "") == (nobody.returncode, nobody.stdout)
    assert "no account is named nobody" in nobody.stderr
    piped = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{TIDEGATE} log show {data} --json | head -1"],
        capture_output=True,
        check=False,
        text=True,
        timeout=START_SECONDS,
    )
    assert (0, "") == (piped.returncode, piped.stderr)


def test_a_log_that_grows_is_shown_as_it_grows(data: Path, tmp_path: Path) -> None:
    """Ctrl-C ends it."""
    with venue(tmp_path, CONFIG) as running:
        arguments = ("log", "show", tmp_path / "data", "--follow", "--account", "bob")
        with started(*arguments) as watch:
            assert watch.stdout is not None
            assert "OpenAccount account=102:bob" in watch.stdout.readline()
            assert "Deposit" in watch.stdout.readline()
            for _ in range(2):
                watch.stdout.readline()
            orders(running.http, 1)
            readable, _, _ = select([watch.stdout], [], [], PATIENCE)
            assert readable
            assert "Place account=102:bob" in watch.stdout.readline()
            watch.send_signal(signal.SIGINT)
            assert 130 == watch.wait(STOP_SECONDS)


def test_a_recording_is_served(data: Path) -> None:
    """The same book and trades, by the same gateway, and nothing is written."""
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    config = data.parent / "replay.toml"
    config.write_text(ACCOUNTS)
    with started("replay", data, "--speed", "1000", "--config", config) as process:
        assert process.stdout is not None
        match = READY.fullmatch(process.stdout.readline())
        assert match is not None
        with httpx2.Client(base_url=match["http"], auth=("alice-key", "alice-secret")) as client:
            query = {"instrument_name": "BTC-PERPETUAL"}
            deadline = time.monotonic() + PATIENCE
            position: dict[str, object] = {}
            while position.get("size") != 450:
                assert time.monotonic() < deadline, position
                position = client.get("/api/v2/private/get_position", params=query).json()["result"]
            refused = client.get("/api/v2/private/buy", params={**query, "amount": 10})
            assert 13021 == refused.json()["error"]["code"]
        process.terminate()
        assert 0 == process.wait(STOP_SECONDS)
    assert before == {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}


def test_a_follower_ends_with_its_venue(tmp_path: Path) -> None:
    """Also with one that was killed, and could end nobody."""
    config = tmp_path / "venue.toml"
    config.write_text(CONFIG)
    deadline = time.monotonic() + PATIENCE
    with started("serve", "--config", config) as process:
        assert process.stdout is not None
        assert READY.fullmatch(process.stdout.readline())
        while not (followers := children(process.pid)):
            assert time.monotonic() < deadline, "no follower"
            time.sleep(0.02)
    while any(map(runs, followers)):
        assert time.monotonic() < deadline, "it lives on"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """What a process has started, by whichever of its threads."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for each in lists for child in each.read_text().split()]


def runs(pid: int) -> bool:
    """Whether a process does something yet; nobody may have asked how it ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
