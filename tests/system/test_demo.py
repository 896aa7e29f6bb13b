"""`tidegate demo` as a user meets it: the printed snippet, a shock, a cascade, Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

import pytest
from attrs import define, field

from tests.system.process import READY, TIDEGATE

PATIENCE = 20
STOP_SECONDS = 2
CONFIG = """
[server]
http = "127.0.0.1:0"
websocket = "127.0.0.1:0"
strict = true
"""


@define(eq=False)
class Demo:
    """A running demo whose lines are read as they come."""

    process: subprocess.Popen[str]
    environment: dict[str, str]
    lines: list[str] = field(factory=list)
    _unread: Queue[str] = field(factory=Queue)

    def __attrs_post_init__(self) -> None:
        """Read in a thread, so that a demo that says nothing fails in time."""
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._unread.put(line)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The next line that has the pattern in it."""
        deadline = time.monotonic() + PATIENCE
        try:
            while True:
                line = self._unread.get(timeout=max(0, deadline - time.monotonic()))
                self.lines.append(line)
                if found := re.search(pattern, line):
                    return found
        except Empty:
            pytest.fail(f"no {pattern!r} within {PATIENCE} s in:\n{''.join(self.lines)}")

    def run(self, *command: str) -> str:
        """The output of another program in the same environment; it must succeed."""
        done = subprocess.run(
            command,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert 0 == done.returncode, done.stderr
        return done.stdout


@pytest.fixture
def demo() -> Iterator[Demo]:
    """On free ports, moving its market in one step."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "demo.toml")
        config.write_text(CONFIG)
        environment = {**os.environ, "XDG_RUNTIME_DIR": folder}
        command = [TIDEGATE, "demo", "--config", str(config), "--over", "0"]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                yield Demo(process, environment)
            finally:
                process.kill()


def test_a_stranger_trades_and_watches_a_cascade(
    demo: Demo, capsys: pytest.CaptureFixture[str]
) -> None:
    """The snippet works as printed, a shock liquidates gamblers, Ctrl-C ends it all in time."""
    assert READY.fullmatch(demo.wait_for(r"tidegate ready .*\n").string)
    demo.wait_for("Drop the market")
    printed = "".join(line for line in demo.lines if line.startswith("    ") or line == "\n")
    snippet = textwrap.dedent(printed)
    assert "import ccxt" in snippet
    demo.wait_for(r"trades [1-9]")

    # In this process, where ccxt is imported but once.
    exec(snippet, {})
    output = capsys.readouterr().out
    assert "'status': 'closed'" in output
    assert "'symbol': 'BTC/USD:BTC'" in output

    demo.wait_for(r"ETH-PERPETUAL 3,")
    assert "btc_usd 5" in demo.run(TIDEGATE, "shock", "-20%")
    demo.wait_for(r"liquidation: demo\.gambler\d+ (taken over|reduced) [\d,]+ \w+-PERPETUAL at")
    demo.wait_for(r"ETH-PERPETUAL 2,")

    began = time.monotonic()
    demo.process.send_signal(signal.SIGINT)
    assert 0 == demo.process.wait(PATIENCE)
    assert time.monotonic() - began < STOP_SECONDS
