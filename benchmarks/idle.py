"""The start-up time of an empty venue, and its memory and processor time without clients.

python benchmarks/idle.py [--quick]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from statistics import median

# Python puts this file's own directory first, and there `book` would be another benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.crowd import memory
from benchmarks.figures import Figure, command, durable_venue
from benchmarks.load import children, cpu_seconds


def measure(quick: bool) -> list[Figure]:
    """From the start of the process to its first line; then some seconds of nothing."""
    rounds, seconds = (1, 1.0) if quick else (5, 4.0)
    starts, sizes, writers, shares = [], [], [], []
    for _ in range(rounds):
        began = time.perf_counter()
        with durable_venue(1, watched=False) as (_, pid):
            starts.append(time.perf_counter() - began)
            time.sleep(1)
            before = cpu_seconds(pid)
            time.sleep(seconds)
            shares.append((cpu_seconds(pid) - before) / seconds)
            sizes.append(memory(pid) / 2**20)
            writers.append(sum(map(memory, children(pid))) / 2**20)
    return [
        Figure("start-up time of an empty venue", "given", f"{median(starts):.2f} s"),
        Figure(
            "memory of an idle venue",
            "given",
            f"{median(sizes):.0f} MiB, and {median(writers):.0f} MiB what writes its log;"
            f" {median(shares):.1%} of a processor",
        ),
    ]


if __name__ == "__main__":
    command(__doc__, measure)
