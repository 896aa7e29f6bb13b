"""Replay a whole log from its first entry: `python -m tests.system.durability.replay DIR`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from copy import copy
from itertools import chain
from pathlib import Path

from gateway.log.data_directory import DataDirectory
from gateway.log.frames import GENESIS
from gateway.log.replayer import LogReplayer
from gateway.log.scan import LogScan
from gateway.log.segments import reader_after
from risk.commands import Entry
from risk.events import Event


def steps(data_dir: Path, replay: LogReplayer) -> Iterator[tuple[Entry, list[Event]]]:
    """Each entry and what it did, from the first one on; `replay` is then in that state."""
    reader = reader_after(data_dir / "log", 0, GENESIS)
    assert reader is not None, "an empty log"
    scan = LogScan(DataDirectory(data_dir))
    for _ in scan.frames(copy(reader)):
        pass
    replay.skips = scan.skips
    for entry in chain.from_iterable(reader.batches()):
        yield entry, list(replay.apply(entry))


def main() -> None:
    """Print digest and trail of the end."""
    replay = LogReplayer()
    for _ in steps(Path(sys.argv[1]), replay):
        pass
    print(replay.exchange.digest(), replay.event_hash.value.hex())  # noqa: T201


if __name__ == "__main__":
    main()
