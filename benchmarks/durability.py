"""What it costs that every order is on the disk before it is answered.

The same load on three venues in turn, each a process of its own: one that keeps nothing, one
with a log on the disk, and one with the follower beside it that checks it and writes its
snapshots, as a venue with a data directory has by default. The three are run in rounds; medians
are shown, and the medians of each round's ratios.

    python benchmarks/durability.py [--quick] [--rounds N] [--seconds S] [--folder DIR]

DIR is on the disk that is to be measured; a file system in memory would show nothing. Follower
and client share the machine with the venue: on two processors each takes from it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

# Python puts this file's own directory first, and there `book` would be another benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.load import CASES, HEAD, TIDEGATE, Result, measure, ratio, row, venue_config

VENUES = {"memory": None, "file": False, "file, follower": True}
"""Name, and whether there is a follower; None without a data directory."""

SETTLING_SECONDS = 1.5
"""A follower starts when the venue is ready, which takes a processor for most of a second."""

BATCH_BYTES = 4_096
"""About what 20 orders take in the log."""


def sync_millis(folder: Path, times: int = 200) -> float:
    """What the disk itself takes to write and sync so much, appending (median)."""
    taken = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(times):
            began = perf_counter()
            file.write(bytes(BATCH_BYTES))
            os.fdatasync(file.fileno())
            taken.append(perf_counter() - began)
    return median(taken) * 1e3


def run(folder: Path, case: tuple[int, int], name: str, seconds: float) -> Result:
    """One run of a venue that starts with nothing."""
    follower = VENUES[name]
    with tempfile.TemporaryDirectory(dir=folder) as own:
        server = "" if follower is None else f'data_dir = "{own}/data"'
        more = f"[log]\nfollower = {str(bool(follower)).lower()}"
        config = venue_config(Path(own, "venue.toml"), case[0], server, more)
        return measure(
            [TIDEGATE, "serve", "--config", str(config)], *case, seconds, SETTLING_SECONDS
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    seconds = 0.5 if options.quick else options.seconds
    print(f"{rounds} rounds of {seconds} s; medians")
    print(f"write and sync of {BATCH_BYTES} bytes: {sync_millis(options.folder):.2f} ms")
    print(HEAD)
    for case in CASES:
        results: dict[str, list[Result]] = {name: [] for name in VENUES}
        for _ in range(rounds):
            for name in VENUES:
                results[name].append(run(options.folder, case, name, seconds))
        for name, runs in results.items():
            print(row(case, name, runs))
        for name in list(VENUES)[1:]:
            print(f"{'':24}{name} / memory {ratio(results[name], results['memory']):.2f}")


if __name__ == "__main__":
    main()
