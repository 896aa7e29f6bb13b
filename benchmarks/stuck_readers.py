"""What readers who never read cost the others: 100 of 1,000 subscribers, and none of them.

The load is that of `fanout.py`, for all the same. The server's patience with who takes nothing is
set to two seconds, so that a run is short.
Delays are those of the readers who read; memory is the server's, and what the kernel holds for
its sockets.

    python benchmarks/stuck_readers.py [--quick]
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import attrs

# Python puts this file's own directory first, and there `book` would be another benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.crowd import Peer, log_in, memory, open_peers
from benchmarks.fanout import CHANNELS, LISTENERS, TRADERS, Audience, Run, subscribe, trade, traders
from benchmarks.figures import Figure, command, durable_venue

STUCK: Final = 100
LEAST_BUFFER: Final = 4_096
PATIENCE: Final = "send_seconds = 2"
MEBIBYTE: Final = 2**20
_PAGE: Final = 4_096


@attrs.define
class Result:
    """A run, how many were cut in it, and bytes: the server's before and after, the kernel's."""

    run: Run
    cut: int
    before: int
    after: int
    kernel: int


def kernel_memory() -> int:
    """Bytes that the kernel holds for the machine's TCP sockets."""
    line = next(
        line for line in Path("/proc/net/sockstat").read_text().splitlines() if line[:4] == "TCP:"
    )
    fields = line.split()
    return int(fields[fields.index("mem") + 1]) * _PAGE


def has_ended(peer: Peer) -> bool:
    """Whether the server has hung up, once all that was on its way is read."""
    while not peer.ended and peer.readable(0.2):
        peer.receive()
    return peer.ended


def run(stuck: int, seconds: float) -> Result:
    """The readers' delays while some do not read."""
    total = LISTENERS + TRADERS + 2
    with durable_venue(total, accounts=TRADERS + 2, limits=PATIENCE) as (url, pid):
        peers = open_peers(url, TRADERS + 2)
        log_in(peers, range(TRADERS + 2))
        audience = Audience(open_peers(url, LISTENERS - stuck))
        deaf = open_peers(url, stuck, receive_buffer=LEAST_BUFFER)
        audience.listen()
        subscribe(deaf, CHANNELS)
        before = memory(pid)
        found = trade(pid, traders(peers), audience, seconds)
        kernel, after = kernel_memory(), memory(pid)
        cut = sum(has_ended(peer) for peer in deaf)
        for peer in [*peers, *audience.peers, *deaf]:
            peer.socket.close()
    return Result(found, cut, before, after, kernel)


def measure(quick: bool) -> list[Figure]:
    """The two runs in pairs."""
    rounds, seconds = (1, 10.0) if quick else (3, 15.0)
    ratios, cuts, grown = [], [], []
    for _ in range(rounds):
        began = perf_counter()
        alone, beside = run(0, seconds), run(STUCK, seconds)
        ratios.append(beside.run.p99 / alone.run.p99)
        cuts.append(beside.cut)
        grown.append((beside.after - beside.before) / MEBIBYTE)
        print(
            f"  p99 {alone.run.p99:.0f} ms, beside the stuck {beside.run.p99:.0f} ms; "
            f"{beside.cut} cut; server +{grown[-1]:.1f} MiB, kernel "
            f"{beside.kernel / MEBIBYTE:.0f} MiB (alone {alone.kernel / MEBIBYTE:.0f}); "
            f"{perf_counter() - began:.0f} s",
            flush=True,
        )
    ratio = median(ratios)
    return [
        Figure(
            f"stuck readers: {STUCK} of {LISTENERS:,} never read; p99 of the others",
            "within 10 %",
            f"{ratio - 1:+.0%}",
            ratio <= 1.1,
        ),
        Figure("stuck readers: memory", "bounded", f"+{max(grown):.0f} MiB", max(grown) <= STUCK),
        Figure("stuck readers: cut", "all", f"{min(cuts)} of {STUCK}", min(cuts) == STUCK),
    ]


if __name__ == "__main__":
    command(__doc__, measure)
