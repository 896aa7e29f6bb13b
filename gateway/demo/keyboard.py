"""The keyboard under the terminal view: keys are not echoed, and `q` quits.

A key that is echoed lands in the middle of the view, and Enter moves the cursor, so that the next
picture is drawn below the one before it.
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
    """The terminal that we may read keys from; None where input is none, or in the background."""
    try:
        descriptor = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        return None
    return descriptor if in_foreground(descriptor) else None


def in_foreground(descriptor: int) -> bool:
    """Whether this is our terminal and we are in front: others are stopped when they use it."""
    try:
        return os.isatty(descriptor) and os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False


@contextmanager
def unechoed(descriptor: int) -> Iterator[None]:
    """Have keys come one by one and unseen for the block, however it ends.

    Ctrl-C still interrupts. Ctrl-\\ does nothing: it would end the process with the terminal as it
    is. What was typed and not read is dropped, rather than left to the shell.
    """
    before = termios.tcgetattr(descriptor)
    quiet = termios.tcgetattr(descriptor)
    quiet[_LOCAL] &= ~(termios.ICANON | termios.ECHO)
    quiet[_CHARACTERS][termios.VQUIT] = _DISABLED
    # Now, in either direction: to wait for output would be to wait for a terminal that is paused.
    termios.tcsetattr(descriptor, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        # The terminal itself may be gone.
        with suppress(termios.error):
            termios.tcflush(descriptor, termios.TCIFLUSH)
            termios.tcsetattr(descriptor, termios.TCSANOW, before)


async def watch(descriptor: int, leave: Callable[[], None]) -> None:
    """Call `leave` once when q is pressed. Keys stay unechoed until this is cancelled."""
    with unechoed(descriptor):
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
