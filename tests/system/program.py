"""Programs under test whose lines are read as they come: the demo, and examples against it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

import pytest
from attrs import define, field

from tests.system.process import TIDEGATE

PATIENCE = 20
CONFIG = """
[server]
http = "127.0.0.1:0"
websocket = "127.0.0.1:0"
strict = true
"""
"""With the limits that a venue has by default: examples and bots are known to keep to them."""


@define(eq=False)
class Program:
    """A running program. `lines` are those that were waited for, and what came before them."""

    process: subprocess.Popen[str]
    environment: Mapping[str, str]
    lines: list[str] = field(factory=list)
    _unread: Queue[str | None] = field(factory=Queue)

    def __attrs_post_init__(self) -> None:
        """Read in a thread, so that a program that says nothing fails in time."""
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._unread.put(line)
        self._unread.put(None)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The next line that has the pattern in it; it must come in time."""
        deadline = time.monotonic() + PATIENCE
        try:
            while (
                line := self._unread.get(timeout=max(0, deadline - time.monotonic()))
            ) is not None:
                self.lines.append(line)
                if found := re.search(pattern, line):
                    return found
        except Empty:
            pytest.fail(f"no {pattern!r} within {PATIENCE} s in:\n{''.join(self.lines)}")
        pytest.fail(f"ended without {pattern!r}:\n{''.join(self.lines)}")

    def interrupt(self) -> float:
        """Ctrl-C; returns how many seconds it took to end, which must be in order."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        assert 0 == self.process.wait(PATIENCE)
        return time.monotonic() - began


@contextmanager
def program(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Program]:
    """Run a program, which is killed where it has not ended by the end of the block."""
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield Program(process, environment)
        finally:
            process.kill()


@contextmanager
def demo() -> Iterator[Program]:
    """A demo on free ports that moves its market in one step."""
    # A name short enough for a Unix-domain socket's address, which pytest's own are not.
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "demo.toml")
        config.write_text(CONFIG)
        environment = {**os.environ, "XDG_RUNTIME_DIR": folder}
        command = [TIDEGATE, "demo", "--config", str(config), "--over", "0"]
        with program(command, environment) as running:
            yield running


def shock(demo: Program, percent: str) -> str:
    """What `tidegate shock` says, from another process."""
    return subprocess.run(
        [TIDEGATE, "shock", percent],
        env=demo.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    ).stdout
