"""`tidegate`, with a stopwatch on every step of every task: who holds the event loop, how long.

A step is what a task does between two waits. Each that takes 10 ms or more becomes a line in a
file, as benchmarks.holds has it. The stopwatch costs a microsecond a step.

    python benchmarks/watched.py FILE [tidegate's arguments]
"""

from __future__ import annotations

import functools
import gc
import sys
import threading
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import IO, Final

import attrs
import msgspec
import trio

# Python puts this file's own directory first, and there `book` would be a benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.holds import LEAST, Hold
from gateway.cli import main

LOOK: Final = 0.025
"""Seconds after which somebody looks where a step is."""

_OURS: Final = frozenset({"gateway", "risk", "book"})


@attrs.define(eq=False)
class Stopwatch(trio.abc.Instrument):
    """Times the steps of the loop in this thread; `began` is 0.0 between two of them."""

    file: IO[bytes]
    began: float = 0.0
    used: float = 0.0
    collecting: float = 0.0
    where: str = ""
    _collection: float = 0.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - as trio calls it
        """Start."""
        self.used = time.thread_time()
        self.began = time.perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Stop, and note what took long."""
        began, self.began = self.began, 0.0
        seconds = time.perf_counter() - began
        if seconds >= LEAST:
            used = time.thread_time() - self.used
            name = task.name.removeprefix("gateway.")
            hold = Hold(began, seconds, used, self.collecting, name, self.where)
            self.file.write(msgspec.json.encode(hold) + b"\n")
            self.file.flush()
        self.where, self.collecting = "", 0.0

    def collected(self, phase: str, info: dict[str, int]) -> None:
        """Time full garbage collections."""
        if info["generation"] == 2:
            if phase == "start":
                self._collection = time.perf_counter()
            else:
                self.collecting += time.perf_counter() - self._collection

    def look(self, watched: int) -> None:
        """See for ever where that thread is when a step takes long; in a thread of its own."""
        while True:
            time.sleep(LEAST)
            began = self.began
            if began and not self.where and time.perf_counter() - began > LOOK:
                frame = sys._current_frames().get(watched)  # noqa: SLF001 - nothing else tells
                self.where = place(frame) if frame is not None else ""


def place(frame: FrameType) -> str:
    """The innermost functions of ours."""
    stack = traceback.extract_stack(frame)
    ours = [
        f"{Path(each.filename).stem}.{each.name}"
        for each in stack
        if not _OURS.isdisjoint(Path(each.filename).parts)
    ]
    return " > ".join(ours[-4:])


def run() -> None:
    """Run the command under the stopwatch."""
    with Path(sys.argv[1]).open("ab") as file:
        stopwatch = Stopwatch(file)
        # The command starts its loop itself, and without instruments.
        trio.run = functools.partial(trio.run, instruments=[stopwatch])  # type: ignore[assignment]
        gc.callbacks.append(stopwatch.collected)
        watched = threading.get_ident()
        threading.Thread(target=stopwatch.look, args=[watched], daemon=True).start()
        sys.argv = ["tidegate", *sys.argv[2:]]
        sys.exit(main())


if __name__ == "__main__":
    run()
