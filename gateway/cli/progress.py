"""How far a long piece of work has come: a bar on a terminal, a line now and then elsewhere."""

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
"""A log of a million entries takes a minute, which should not fill anybody's logs."""

Advance = Callable[[int], None]


class _Rate(ProgressColumn):
    """What is done in a second."""

    def render(self, task: Task) -> Text:
        """Nothing until it is known."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


@define(eq=False)
class ConsoleMeter:
    """Measures pieces of work, one after the other."""

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
        """Show how far a piece of work has come; call what this gives with each step's size."""
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
