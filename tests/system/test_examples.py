"""The examples, each started as its header says, as programs of their own."""

from __future__ import annotations

import gzip
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.system.process import READY, TIDEGATE, venue
from tests.system.program import PATIENCE, Program, demo, program, shock

EXAMPLES = Path(__file__).parents[2] / "examples"
HEADER = "id,timestamp,exchange_timestamp,price,volume,action,direction\n"


@pytest.fixture(scope="module")
def crowd() -> Iterator[tuple[Program, str, str]]:
    """A demo that trades, and its HTTP and WebSocket addresses."""
    with demo() as running:
        ready = READY.fullmatch(running.wait_for(r"tidegate ready .*\n").string)
        assert ready is not None
        running.wait_for(r"trades [1-9]")
        yield running, ready["http"], ready["websocket"]


def command(name: str, *arguments: str) -> list[str]:
    """How an example is started."""
    return [sys.executable, str(EXAMPLES / name), *arguments]


def ask(http: str, account: str, method: str, **params: str) -> Any:
    """The result of a private method, called over HTTP with an account's key."""
    credentials = (f"{account}-key", f"{account}-secret")
    reply = httpx2.get(f"{http}/api/v2/private/{method}", params=params, auth=credentials)
    return reply.json()["result"]


def test_the_market_maker_quotes_and_leaves_no_order(crowd: tuple[Program, str, str]) -> None:
    """It trades with the crowd, and its orders are gone after Ctrl-C."""
    _, http, url = crowd
    with program(command("market_maker.py", "--url", url), os.environ) as maker:
        maker.wait_for("quoting BTC-PERPETUAL")
        maker.wait_for(r"(buy|sell) \d+ at [\d.]+, position")
        assert ask(http, "alice", "get_open_orders")
        maker.interrupt()
    deadline = time.monotonic() + PATIENCE
    while left := ask(http, "alice", "get_open_orders"):
        assert time.monotonic() < deadline, left


def test_the_momentum_taker_trades_and_goes_home_flat(crowd: tuple[Program, str, str]) -> None:
    """With any move being a trend, it trades at once."""
    _, http, url = crowd
    with program(
        command("momentum_taker.py", "--url", url, "--threshold", "0"), os.environ
    ) as taker:
        taker.wait_for(r"(buy|sell) 1000 at")
        taker.interrupt()
        taker.wait_for("flat, after")
    position = ask(http, "bob", "get_position", instrument_name="BTC-PERPETUAL")
    assert (0, "zero") == (position["size"], position["direction"])


def test_the_ccxt_bot_buys_and_sells(crowd: tuple[Program, str, str]) -> None:
    """One round, with nothing but an address changed."""
    _, url, _ = crowd
    with program(command("ccxt_bot.py", "--url", url, "--rounds", "1"), os.environ) as bot:
        bot.wait_for(r"bought at [\d.]+, sold at [\d.]+")
        bot.wait_for(r"balance [\d.]+ BTC after \d+ trades")
        assert 0 == bot.process.wait(5)


def test_the_bots_run_side_by_side(crowd: tuple[Program, str, str]) -> None:
    """Who quotes and who takes are of different accounts, so that they can trade."""
    _, http, url = crowd
    with (
        program(command("market_maker.py", "--url", url), os.environ) as maker,
        program(
            command("momentum_taker.py", "--url", url, "--threshold", "0"), os.environ
        ) as taker,
        program(command("ccxt_bot.py", "--url", http, "--rounds", "5"), os.environ) as bot,
    ):
        bot.wait_for(r"balance [\d.]+ BTC after \d+ trades")
        assert 0 == bot.process.wait(5)
        taker.wait_for(r"(buy|sell) 1000 at")
        taker.interrupt()
        maker.interrupt()


def test_the_liquidation_watcher_sees_a_cascade(crowd: tuple[Program, str, str]) -> None:
    """On bare trio-websocket, without an account."""
    running, _, url = crowd
    with program(command("liquidation_watcher.py", "--url", url), os.environ) as watcher:
        watcher.wait_for("watching")
        shock(running, "-20%")
        watcher.wait_for(r"-PERPETUAL sell [\d.]+ at [\d.]+, mark [\d.]+ \[")
        watcher.interrupt()
        watcher.wait_for(r"liquidated: \d+")


@pytest.mark.parametrize(
    ("name", "arguments", "remedy"),
    [
        ("market_maker.py", (), "tidegate demo"),
        ("momentum_taker.py", (), "tidegate demo"),
        ("liquidation_watcher.py", (), "tidegate demo"),
        ("ccxt_bot.py", (), "tidegate demo"),
        ("replay_orders.py", ("FILE",), "tidegate serve --config examples/replay.toml"),
    ],
)
def test_an_example_without_a_venue_says_so_in_a_line(
    tmp_path: Path, name: str, arguments: tuple[str, ...], remedy: str
) -> None:
    """Where it looked, and how to start one; status 1 and no traceback."""
    recording(tmp_path / "FILE")
    with socket.socket() as unheard:
        # Bound and not listening, so that no other process takes the port meanwhile.
        unheard.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{unheard.getsockname()[1]}"
        url = f"http://{place}" if name == "ccxt_bot.py" else f"ws://{place}/ws/api/v2"
        ended = subprocess.run(
            command(name, *arguments, "--url", url),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert (1, "") == (ended.returncode, ended.stdout if name != "replay_orders.py" else "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"no venue at {url}")
    assert f"`{remedy}`" in line


def test_every_example_is_tried_without_a_venue() -> None:
    """A new example needs a row in the table above."""
    marks = getattr(test_an_example_without_a_venue_says_so_in_a_line, "pytestmark")  # noqa: B009
    tried = {name for name, _, _ in marks[0].args[1]}
    assert {path.name for path in EXAMPLES.glob("*.py")} == tried


def recording(path: Path) -> None:
    """100 bids and 100 asks that never meet, one bid outside the band and one for nothing.

    20 bids change, 80 asks and the bid outside are deleted: 120 stay open.
    """
    rows = []
    for number in range(100):
        rows.append(f"1{number:03},0,{number},{78_000 - number},0.01,created,bid")
        rows.append(f"2{number:03},0,{number},{78_600 + number},0.01,created,ask")
    rows.append("3000,0,150,79900.0,0.01,created,bid")
    rows.append("3001,0,150,0.1,1000000,created,bid")
    rows += [f"1{number:03},0,200,{78_001 - number},0.02,changed,bid" for number in range(20)]
    rows += [f"2{number:03},0,200,{78_600 + number},0.01,deleted,ask" for number in range(80)]
    rows.append("3000,0,300,79900.0,0.01,deleted,bid")
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt") as text:
        text.write(HEADER + "".join(f"{row}\n" for row in rows))


@pytest.mark.parametrize("speed", ["0", "2"])
def test_a_recording_is_replayed_and_accounted_for(tmp_path: Path, speed: str) -> None:
    """Each event is done, refused by code, or skipped; nothing is left, and the log proves it."""
    recording(tmp_path / "orders.csv.gz")
    config = (EXAMPLES / "replay.toml").read_text().replace("# data_dir", "data_dir")
    for port in (":8080", ":8081"):
        config = config.replace(port, ":0")
    with venue(tmp_path, config) as running:
        arguments = ("--url", running.websocket, "--speed", speed, "--connections", "4")
        replay = command("replay_orders.py", str(tmp_path / "orders.csv.gz"), *arguments)
        with program(replay, os.environ) as replaying:
            replaying.wait_for(r"^303 events in")
            replaying.wait_for(r"^302 requests: [\d,]+ requests/s")
            replaying.wait_for("^done: +placed 200, cancelled 80, edited 20, skipped 1$")
            refused = replaying.wait_for("^refused: (.+)").group(1)
            assert {"created 10007 price_too_high 1", "created 10023 invalid_price 1"} == set(
                refused.split(", ")
            )
            replaying.wait_for("at the end: 120$")
            replaying.wait_for(r"^latency in ms: p50 [\d.]+ ")
            assert 0 == replaying.process.wait(5)
    proved = subprocess.run(
        [TIDEGATE, "log", "verify", str(tmp_path / "replayed")],
        capture_output=True,
        check=True,
        text=True,
    )
    assert "one state" in proved.stdout


def test_a_replay_says_why_it_ends_when_the_venue_does(tmp_path: Path) -> None:
    """And reports what was done until then, however many requests were on their way."""
    recording(tmp_path / "orders.csv.gz")
    config = (EXAMPLES / "replay.toml").read_text()
    for port in (":8080", ":8081"):
        config = config.replace(port, ":0")
    with venue(tmp_path, config) as running:
        # At this speed its last events are for much later.
        arguments = ("--url", running.websocket, "--speed", "0.02")
        replay = command("replay_orders.py", str(tmp_path / "orders.csv.gz"), *arguments)
        with program(replay, os.environ) as replaying:
            replaying.wait_for("^replaying 303 events")
            running.process.terminate()
            assert 0 == running.process.wait(5)
            replaying.wait_for("^the venue hung up: the connection has ended: 1001 ")
            replaying.wait_for(r"^[\d,]+ events in")
            assert 0 == replaying.process.wait(5)
