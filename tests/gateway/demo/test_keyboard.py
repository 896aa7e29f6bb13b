"""Keys under the terminal view, on a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from gateway.demo import keyboard
from tests.system.process import TIDEGATE
from tests.system.program import CONFIG, PATIENCE

LOCAL = 3


@pytest.fixture
def line() -> Iterator[tuple[int, int]]:
    """The two ends of a pseudo-terminal: ours, and the program's."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    for end in (ours, theirs):
        with suppress(OSError):
            os.close(end)


def echoed(ours: int, seconds: float = 0.0) -> bytes:
    """What comes out of a terminal within some time."""
    os.set_blocking(ours, False)
    select.select([ours], [], [], seconds)
    try:
        return os.read(ours, 4_096)
    except BlockingIOError:
        return b""


def test_keys_are_unseen_for_the_block_and_seen_again_after_it(line: tuple[int, int]) -> None:
    """Also where the block raises; what was typed meanwhile is dropped."""
    ours, theirs = line
    before = termios.tcgetattr(theirs)

    def use() -> None:
        with keyboard.echo_off(theirs):
            os.write(ours, b"unseen\n\x1c")
            assert b"" == echoed(ours)
            assert not termios.tcgetattr(theirs)[LOCAL] & (termios.ECHO | termios.ICANON)
            assert termios.tcgetattr(theirs)[LOCAL] & termios.ISIG, "Ctrl-C still works"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use()
    assert before == termios.tcgetattr(theirs)
    os.set_blocking(theirs, False)
    with pytest.raises(BlockingIOError):
        os.read(theirs, 1)
    os.write(ours, b"seen")
    assert b"seen" == echoed(ours, 2)


def test_a_terminal_that_has_gone_away_is_no_error(line: tuple[int, int]) -> None:
    """Its window was closed."""
    ours, theirs = line
    with keyboard.echo_off(theirs):
        os.close(ours)


@pytest.mark.parametrize(
    ("typed", "left"), [(b"q", 1), (b"Q", 1), (b"xyz\n\nq", 1), (b"qqq", 1), (b"xyz\n", 0)]
)
async def test_q_quits_once_and_no_other_key_does(
    line: tuple[int, int], monkeypatch: pytest.MonkeyPatch, typed: bytes, left: int
) -> None:
    """Keys stay unseen until the view ends, and are seen again then."""
    ours, theirs = line
    before = termios.tcgetattr(theirs)
    monkeypatch.setattr(keyboard, "in_foreground", lambda _: True)
    calls: list[None] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keyboard.watch, theirs, lambda: calls.append(None))
        await wait_all_tasks_blocked()
        os.write(ours, typed)
        with trio.move_on_after(2):
            while len(calls) < left or not left:
                await trio.sleep(0.01)
                if not left and not echoed(ours):
                    break
        os.write(ours, b"q" * left)
        await wait_all_tasks_blocked(0.02)
        assert b"" == echoed(ours)
        nursery.cancel_scope.cancel()
    assert left == len(calls)
    assert before == termios.tcgetattr(theirs)


def test_what_is_no_terminal_of_ours_is_left_alone(line: tuple[int, int]) -> None:
    """A pipe, or a terminal that another program has in front: to touch it would stop us."""
    _, theirs = line
    assert not keyboard.in_foreground(theirs)
    reading, writing = os.pipe()
    assert not keyboard.in_foreground(reading)
    os.close(reading)
    os.close(writing)
    assert not keyboard.in_foreground(reading)


class Screen:
    """A demo under a terminal of its own, of 100 columns and 40 lines."""

    def __init__(self, folder: Path) -> None:
        self.ours, self.theirs = pty.openpty()
        termios.tcsetwinsize(self.theirs, (40, 100))
        self.before = termios.tcgetattr(self.theirs)
        config = folder / "demo.toml"
        config.write_text(CONFIG)
        terminal = os.ttyname(self.theirs)
        # In a session without one, the terminal that is opened first becomes its own.
        command = f"exec {TIDEGATE} demo --config {config} <{terminal} >{terminal} 2>&1"
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            env={**os.environ, "XDG_RUNTIME_DIR": str(folder), "TERM": "xterm"},
            start_new_session=True,
        )
        self.shown = b""

    def read(self, seconds: float, until: bytes = b"") -> None:
        """Take what it shows for so long, or until something is there."""
        end = time.monotonic() + seconds
        os.set_blocking(self.ours, False)
        while time.monotonic() < end and not (until and until in self.shown):
            with suppress(BlockingIOError):
                self.shown += os.read(self.ours, 65_536)
            time.sleep(0.02)

    def end(self) -> int:
        """Its status, while it is read from."""
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < end:
            self.read(0.05)
        return self.process.wait(0.1)

    def close(self) -> None:
        """End it, whatever became of it."""
        self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)


@pytest.mark.parametrize("way", ["q", "interrupt", "paused"])
def test_the_terminal_is_as_it_was_whichever_way_the_demo_ends(way: str) -> None:
    """By a key, by Ctrl-C, and by a signal while its output is held up; Enter leaves no mark."""
    with tempfile.TemporaryDirectory() as folder:
        screen = Screen(Path(folder))
        try:
            screen.read(PATIENCE, until=b"q quits")
            assert b"q quits" in screen.shown
            shown = len(screen.shown)
            os.write(screen.ours, b"xyzzy\n\n\n")
            screen.read(0.6)
            assert b"xyzzy" not in screen.shown
            assert not termios.tcgetattr(screen.theirs)[LOCAL] & termios.ECHO
            # Each picture goes back over the one before it: nothing else moved the cursor down.
            assert b"\r\n\r\n\r\n" not in screen.shown[shown:]
            if way == "q":
                os.write(screen.ours, b"q")
            elif way == "interrupt":
                os.write(screen.ours, b"\x03")
            else:
                os.write(screen.ours, b"\x13")
                time.sleep(0.6)
                screen.process.send_signal(signal.SIGTERM)
                screen.process.wait(PATIENCE)
            assert 0 == screen.end()
            assert screen.before == termios.tcgetattr(screen.theirs)
        finally:
            screen.close()
