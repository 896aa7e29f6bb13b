"""Session numbers, which are unique over all starts of a venue.

A start of the process numbers its sessions from `start * SESSIONS_PER_START + 1` on, so that the
upper 32 bits of a number are its start.
"""

from __future__ import annotations

from typing import Final

SESSIONS_PER_START: Final = 2**32


def first_session(start: int) -> int:
    """Return the number of the first session of a start."""
    return start * SESSIONS_PER_START + 1


def split_session(number: int) -> tuple[int, int]:
    """Return the start that a session belongs to, and its number within that start."""
    return divmod(number, SESSIONS_PER_START)
