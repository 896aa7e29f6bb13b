"""Load from a process of its own, for as long as a block runs."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STOP_SECONDS = 10


@contextmanager
def in_background(
    generate: Callable[..., None], *arguments: object, start_seconds: float = 30
) -> Iterator[None]:
    """Run `generate(*arguments, started, stop)` in another process while the block runs.

    `generate` sets the event `started` when its load flows, and returns soon after the event
    `stop` is set. Raises AssertionError when it does not start within `start_seconds`.
    """
    context = multiprocessing.get_context("spawn")
    started, stop = context.Event(), context.Event()
    process = context.Process(target=generate, args=(*arguments, started, stop))
    process.start()
    try:
        assert started.wait(start_seconds), f"{generate.__name__} did not start"
        yield
    finally:
        stop.set()
        process.join(STOP_SECONDS)
        process.kill()
