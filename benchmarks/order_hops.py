"""How many files and calls one resting order passes, from its frame to its reply.

A durable venue serves one client, and `sys.setprofile` records every call of a function in
`book/`, `risk/`, `gateway/` and `tidegate/` while one order is on its way. Calls of libraries and
of C functions are not counted, nor is what runs in the process that writes the log. The client
runs in a thread, which the profile does not cover. The median of several orders is printed: a
reading that includes an index tick or the snapshot of a metric is larger.

    python benchmarks/order_hops.py [--list]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from time import sleep
from types import FrameType
from typing import Any, Final

# Python puts this file's own directory first, and there `book` would be another benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import attrs
import msgspec
import trio
from websockets.sync.client import ClientConnection, connect

from benchmarks.load import venue_config
from gateway.config.schema import load
from gateway.server.server import Running, serve

ROOT: Final = Path(__file__).resolve().parent.parent
WARM_UP: Final = 20
ORDERS: Final = 15
# Longer than the loop takes after a reply, shorter than the second between two index ticks.
PAUSE_SECONDS: Final = 0.03

_PACKAGES: Final = tuple(f"{ROOT / name}/" for name in ("book", "risk", "gateway", "tidegate"))


@attrs.frozen
class Call:
    """One call: how deep in the stack, the file and the function."""

    depth: int
    file: str
    function: str


@attrs.define
class Recorder:
    """The calls of the current thread while `on`."""

    on: bool = False
    calls: list[Call] = attrs.Factory(list)
    depth: int = 0

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        """Record a call or a return; this is a profile function."""
        code = frame.f_code
        if not self.on or not code.co_filename.startswith(_PACKAGES):
            return
        if event == "call":
            file = str(Path(code.co_filename).relative_to(ROOT))
            self.calls.append(Call(self.depth, file, code.co_qualname))
            self.depth += 1
        elif event == "return":
            self.depth = max(0, self.depth - 1)

    def start(self) -> None:
        """Forget what was recorded and record."""
        self.calls, self.depth, self.on = [], 0, True

    def stop(self) -> list[Call]:
        """Stop recording; returns the calls."""
        self.on = False
        return self.calls


def request(client: ClientConnection, method: str, params: dict[str, object]) -> None:
    """Send a request and wait for its reply."""
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    client.send(msgspec.json.encode(message).decode())
    reply = msgspec.json.decode(client.recv())
    assert "result" in reply, reply


def order(number: int) -> dict[str, object]:
    """The parameters of a buy order below the market, each at a price of its own."""
    price = 60_000 + 10 * number
    return {"instrument_name": "BTC-PERPETUAL", "amount": 10, "type": "limit", "price": price}


def place_orders(url: str, recorder: Recorder) -> list[list[Call]]:
    """Place resting orders; returns the calls that each of the last ones took."""
    credentials = {
        "grant_type": "client_credentials",
        "client_id": "id0",
        "client_secret": "secret0",
    }
    with connect(url, compression=None) as client:
        request(client, "public/auth", dict(credentials))
        for number in range(WARM_UP):
            request(client, "private/buy", order(number))
        recorded = []
        for number in range(WARM_UP, WARM_UP + ORDERS):
            sleep(PAUSE_SECONDS)
            recorder.start()
            request(client, "private/buy", order(number))
            sleep(PAUSE_SECONDS)
            recorded.append(recorder.stop())
        return recorded


async def record(config: Path) -> list[list[Call]]:
    """Serve a venue under the profile and place orders on it."""
    recorder = Recorder()
    async with trio.open_nursery() as nursery:
        running: Running = await nursery.start(serve, load(config))
        sys.setprofile(recorder)
        try:
            recorded = await trio.to_thread.run_sync(place_orders, running.websocket_url, recorder)
        finally:
            sys.setprofile(None)
            running.stop()
    return recorded


def counts(calls: Sequence[Call]) -> tuple[int, int, int]:
    """The number of calls, of files, and of calls in another file than the call before."""
    changes = sum(one.file != other.file for one, other in pairwise(calls))
    return len(calls), len({call.file for call in calls}), changes


def main() -> None:
    """Print the counts, and the calls themselves with `--list`."""
    with tempfile.TemporaryDirectory() as folder:
        config = venue_config(
            Path(folder, "venue.toml"),
            1,
            server='data_dir = "data"',
            more="[log]\nfollower = false",
        )
        recorded = sorted(trio.run(record, config), key=counts)
    median = recorded[len(recorded) // 2]
    calls, files, changes = counts(median)
    print(f"one resting order: {files} files, {calls} calls, {changes} changes of file")
    if "--list" in sys.argv:
        for call in median:
            print(f"{'  ' * call.depth}{call.file} {call.function}")


if __name__ == "__main__":
    main()
