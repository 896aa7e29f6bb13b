"""Where the processor time of an order goes, from its frame to its reply, step by step.

A durable venue runs with a stopwatch around each step, and 20 connections keep 10 requests each
under way, listening to their own orders. Times are processor time; what is left of the whole
process is the event loop, the kernel's part of receiving and the garbage collector.

    python benchmarks/path.py [--quick]
"""

from __future__ import annotations

import functools
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, Final

# Python puts this file's own directory first, and there `book` would be another benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.crowd import Trader, log_in, open_peers
from benchmarks.figures import NO_FOLLOWER
from benchmarks.load import (
    children,
    converse,
    listen,
    own_cpu_seconds,
    server,
    venue_config,
)
from gateway.api.session import Session
from gateway.cli import main as tidegate
from gateway.feed import Feed
from gateway.log.event_hash import EventHash
from gateway.log.writer import SegmentWriter
from gateway.network.transport.websockets_transport import WebSocketTransport
from gateway.sequencer.inbox import Inbox
from risk.exchange import Exchange

CONNECTIONS: Final = 20
IN_FLIGHT: Final = 10
CHANNEL: Final = "user.orders.BTC-PERPETUAL.raw"

# What it is, and the method that does it. None of them calls another.
STEPS: Final[tuple[tuple[str, Any, str], ...]] = (
    ("frames of a chunk into messages", WebSocketTransport, "_cut"),
    ("message into command: JSON, log-in, scope, limits", Session, "receive"),
    ("command into the inbox", Inbox, "put_nowait"),
    ("batch into bytes", SegmentWriter, "encode"),
    ("decision: margin, matching, settlement", Exchange, "apply"),
    ("events into reply and notifications", Feed, "publish"),
    ("trail for those who replay", EventHash, "observe"),
    ("frames to the socket", WebSocketTransport, "write"),
)


def watch(owner: Any, name: str, spent: dict[str, float]) -> None:
    """Put a stopwatch around a method."""
    method: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(method)
    def watched(*arguments: Any, **keywords: Any) -> Any:
        began = time.thread_time()
        try:
            return method(*arguments, **keywords)
        finally:
            spent[name] += time.thread_time() - began

    setattr(owner, name, watched)


def serve(config: str, results: str) -> None:
    """Be the venue; leave behind what each step took."""
    spent = {name: 0.0 for _, _, name in STEPS}
    for _, owner, name in STEPS:
        watch(owner, name, spent)
    sys.argv = ["tidegate", "serve", "--config", config]
    try:
        tidegate()
    finally:
        Path(results).write_text(json.dumps(spent))


def drive(url: str, pid: int, seconds: float) -> tuple[int, float, float]:
    """Keep requests under way; returns how many, and the processor seconds of venue and writer."""
    peers = open_peers(url, CONNECTIONS)
    log_in(peers, range(CONNECTIONS))
    listen(peers, [CHANNEL])
    traders = {peer: Trader(peer) for peer in peers}
    (writer,) = children(pid)
    before, end = [own_cpu_seconds(each) for each in (pid, writer)], perf_counter() + seconds
    for trader in [*traders.values()] * IN_FLIGHT:
        trader.ask(perf_counter())
    converse(traders, end)
    count = sum(len(trader.delays) for trader in traders.values())
    venue, disk = (
        own_cpu_seconds(each) - start for each, start in zip((pid, writer), before, strict=True)
    )
    return count, venue, disk


def main() -> None:
    """Print the table."""
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
        return
    seconds = 1.0 if "--quick" in sys.argv else 10.0
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "steps.json")
        config = venue_config(
            Path(folder, "venue.toml"), CONNECTIONS, f'data_dir = "{folder}/data"', NO_FOLLOWER
        )
        with server([sys.executable, __file__, "--serve", str(config), str(results)]) as running:
            count, used, disk = drive(*running, seconds)
        spent = json.loads(results.read_text())
    print(f"{count / seconds:,.0f} requests/s, {CONNECTIONS} x {IN_FLIGHT}, stopwatches included\n")
    print("| step | µs a request |\n| --- | --- |")
    for title, _, name in STEPS:
        print(f"| {title} | {spent[name] / count * 1e6:.1f} |")
    left = (used - sum(spent.values())) / count * 1e6
    print(f"| event loop, kernel's receiving, the rest | {left:.1f} |")
    print(f"| all of the process | {used / count * 1e6:.1f} |")
    print(f"| batch to the disk, synced, by a process of its own | {disk / count * 1e6:.1f} |")


if __name__ == "__main__":
    main()
