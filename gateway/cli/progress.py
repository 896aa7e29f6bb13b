"""Progress of long work: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Final

from attrs import define, field
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

LINE_SECONDS: Final = 5.0
"""Few enough lines for the minute that a log of a million entries takes."""

Advance = Callable[[int], None]


class _Rate(ProgressColumn):
    """Shows the work done per second."""

    def render(self, task: Task) -> Text:
        """Return the rate, or an empty text until it is known."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


@define(eq=False)
class ConsoleMeter:
    """Shows the progress of pieces of work, one after the other."""

    console: Console
    _bars: Progress = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            _Rate(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )

    @contextmanager
    def measure(self, what: str, total: int) -> Iterator[Advance]:
        """Show the progress of a piece of work; yield a function to call with each step's size."""
        if self.console.is_terminal:
            task = self._bars.add_task(what, total=total)
            with self._bars:
                yield lambda amount: self._bars.advance(task, amount)
            self._bars.remove_task(task)
        else:
            yield _Lines(self.console, what, total).advance


@define(eq=False)
class _Lines:
    console: Console
    what: str
    total: int
    done: int = 0
    began: float = field(factory=perf_counter)
    next: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.next = self.began + LINE_SECONDS

    def advance(self, amount: int) -> None:
        self.done += amount
        now = perf_counter()
        if now >= self.next:
            self.next = now + LINE_SECONDS
            rate = self.done / (now - self.began)
            self.console.out(f"{self.what}: {self.done:,} of {self.total:,}, {rate:,.0f}/s")
