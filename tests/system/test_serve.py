"""`tidegate serve` as its users meet it: a process, its output, its signals, its exit status."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from time import monotonic

import httpx2
import msgspec
import pytest
import trio
import trio_websocket
from attrs import define

COMMAND = shutil.which("tidegate", path=os.fspath(Path(sys.executable).parent))
READY = re.compile(
    r"tidegate ready http=http://127\.0\.0\.1:(\d+) ws=ws://127\.0\.0\.1:(\d+)/ws/api/v2\n"
)
CONFIG = """
[server]
http = "127.0.0.1:0"
websocket = "127.0.0.1:0"
strict = true
[limits]
enabled = false
connections_per_address = 600
[[account]]
name = "alice"
client_id = "alice-key"
client_secret = "alice-secret"
deposits = { BTC = 100 }
"""
# The promise is two seconds, and it takes less; a machine that does much else takes longer. Those
# who would hold it up here do so without an end.
PROMISE_SECONDS = 8.0


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, run to its end."""
    assert COMMAND is not None, "the console script is not installed beside this Python"
    return subprocess.run(
        [COMMAND, *arguments], capture_output=True, check=False, text=True, timeout=20
    )


@define(eq=False)
class Served:
    """A running process and where it listens."""

    process: subprocess.Popen[str]
    http: int
    websocket: int

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """Send a signal; exit status and how long it took."""
        began = monotonic()
        self.process.send_signal(number)
        return self.process.wait(timeout=10), monotonic() - began


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    """Start it on free ports and wait until it is ready; nothing is left running."""
    file = folder / "tidegate.toml"
    file.write_text(CONFIG)
    assert COMMAND is not None
    with subprocess.Popen(
        [COMMAND, "serve", "--config", os.fspath(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            ready = READY.fullmatch(line)
            assert ready, (line, process.stderr.read() if process.poll() is not None else "")  # type: ignore[union-attr]
            yield Served(process, int(ready[1]), int(ready[2]))
        finally:
            process.kill()


def shake_hands(port: int) -> socket.socket:
    """A WebSocket connection that will never say anything again."""
    client = socket.create_connection(("127.0.0.1", port), timeout=5)
    client.sendall(
        b"GET /ws/api/v2 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert client.recv(4_096).startswith(b"HTTP/1.1 101")
    return client


def ask_without_end(client: socket.socket) -> None:
    """Pipeline requests and read no reply, until nothing more can be sent."""
    while True:
        client.sendall(b"GET /api/v2/public/get_instruments HTTP/1.1\r\nHost: x\r\n\r\n")


def test_the_version_is_the_distributions() -> None:
    """One place to look it up, one answer."""
    done = run("--version")
    assert (0, f"tidegate {version('tidegate')}\n") == (done.returncode, done.stdout)


def test_a_wrong_configuration_is_refused_with_its_place(tmp_path: Path) -> None:
    """Status 2 and a sentence, not a traceback."""
    file = tmp_path / "wrong.toml"
    file.write_text("[server]\nhtp = '127.0.0.1:0'\n")
    done = run("serve", "--config", os.fspath(file))
    assert (2, "") == (done.returncode, done.stdout)
    assert "unknown key `htp`" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_refused_by_its_name(tmp_path: Path) -> None:
    """Status 2, and the address that cannot be had."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        file = tmp_path / "taken.toml"
        file.write_text(f'[server]\nhttp = "127.0.0.1:{port}"\nwebsocket = "127.0.0.1:0"\n')
        done = run("serve", "--config", os.fspath(file))
    assert 2 == done.returncode
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr


async def trade(venue: Served) -> str:
    """Log in and order over WebSocket; the state of the order."""
    url = f"ws://127.0.0.1:{venue.websocket}/ws/api/v2"
    async with trio_websocket.open_websocket_url(url) as websocket:
        reply: dict[str, dict[str, dict[str, str]]] = {}
        for method, params in (
            (
                "public/auth",
                {
                    "grant_type": "client_credentials",
                    "client_id": "alice-key",
                    "client_secret": "alice-secret",
                },
            ),
            ("private/buy", {"instrument_name": "BTC-PERPETUAL", "amount": 10, "type": "market"}),
            (
                "private/buy",
                {"instrument_name": "BTC-PERPETUAL", "amount": 10, "price": 60_000},
            ),
        ):
            request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            await websocket.send_message(msgspec.json.encode(request).decode())
            reply = msgspec.json.decode(await websocket.get_message())
        return reply["result"]["order"]["order_state"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal_and_exits_in_order(tmp_path: Path, number: int) -> None:
    """One line on standard output, both ports serve, status 0."""
    with served(tmp_path) as venue:
        assert "open" == trio.run(trade, venue)
        health = httpx2.get(f"http://127.0.0.1:{venue.http}/health")
        assert 200 == health.status_code
        status, seconds = venue.stop(number)
        assert 0 == status
        assert seconds < PROMISE_SECONDS
        assert venue.process.stdout is not None
        assert "" == venue.process.stdout.read()


def test_it_exits_in_time_with_500_clients_that_never_answer(tmp_path: Path) -> None:
    """Nobody completes the closing handshake, and each is still told 1001."""
    with served(tmp_path) as venue, ExitStack() as stack:
        clients = [stack.enter_context(shake_hands(venue.websocket)) for _ in range(500)]
        status, seconds = venue.stop()
        assert 0 == status
        assert seconds < PROMISE_SECONDS
        for client in clients:
            frame = client.recv(100)
            assert (0x88, 1001) == (frame[0], int.from_bytes(frame[2:4], "big"))


def test_an_http_client_that_reads_nothing_cannot_hold_the_exit(tmp_path: Path) -> None:
    """Its server's writes cannot be cancelled; the process ends in time all the same."""
    with served(tmp_path) as venue, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.connect(("127.0.0.1", venue.http))
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            ask_without_end(client)
        status, seconds = venue.stop()
        assert 0 == status
        assert seconds < PROMISE_SECONDS


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """Whoever presses twice does not want to wait for goodbyes."""
    with served(tmp_path) as venue, shake_hands(venue.websocket) as client:
        venue.process.send_signal(signal.SIGTERM)
        # The close frame shows that the first one has arrived; it is not answered.
        assert 0x88 == client.recv(100)[0]
        status, seconds = venue.stop()
        assert -signal.SIGTERM == status
        assert seconds < PROMISE_SECONDS
