"""The keyboard under the terminal view: keys are not echoed, and `q` quits.

An echoed key would appear in the middle of the view, and Enter would move the cursor, so that the
next view is drawn below the one before it.
"""

from __future__ import annotations

import os
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import trio

_LOCAL, _CHARACTERS = 3, 6
_DISABLED: Final = b"\0"
_KEYS: Final = 64
BACKGROUND_SECONDS: Final = 1.0


def terminal() -> int | None:
    """The terminal to read keys from; None if stdin is not one, or we are in the background."""
    try:
        descriptor = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        return None
    return descriptor if in_foreground(descriptor) else None


def in_foreground(descriptor: int) -> bool:
    """Whether this is our terminal and we are its foreground process group: others are stopped when
    they use it."""
    try:
        return os.isatty(descriptor) and os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False


@contextmanager
def echo_off(descriptor: int) -> Iterator[None]:
    """Turn off line input and echo for the block, however it ends.

    Ctrl-C still interrupts. Ctrl-\\ is disabled: it would end the process without restoring the
    terminal. Unread input is discarded, so that the shell does not get it.
    """
    before = termios.tcgetattr(descriptor)
    quiet = termios.tcgetattr(descriptor)
    quiet[_LOCAL] &= ~(termios.ICANON | termios.ECHO)
    quiet[_CHARACTERS][termios.VQUIT] = _DISABLED
    # TCSANOW both here and below: to drain the output first would block on a paused terminal.
    termios.tcsetattr(descriptor, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        # The terminal may be closed.
        with suppress(termios.error):
            termios.tcflush(descriptor, termios.TCIFLUSH)
            termios.tcsetattr(descriptor, termios.TCSANOW, before)


async def watch(descriptor: int, leave: Callable[[], None]) -> None:
    """Call `leave` once when q is pressed. Keys stay echo_off until this is cancelled."""
    with echo_off(descriptor):
        while True:
            await trio.lowlevel.wait_readable(descriptor)
            if not in_foreground(descriptor):
                await trio.sleep(BACKGROUND_SECONDS)
                continue
            try:
                keys = os.read(descriptor, _KEYS)
            except OSError:
                keys = b""
            if b"q" in keys.lower():
                leave()
            if not keys or b"q" in keys.lower():
                await trio.sleep_forever()
