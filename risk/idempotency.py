"""At most once: a request that carries a key is done once, however often it is sent.

The first outcome is kept under the key and given again to whoever repeats it, on whatever
connection and after a restart. A refusal is an outcome too, but for one: a session that had
ended was never heard, so its request may come again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from risk.events import Answer
from risk.reasons import Reason

if TYPE_CHECKING:
    from risk.state import State

REMEMBERED = 10_000
"""Outcomes kept, the oldest going first: some ten megabytes. A client repeats within seconds of
losing its connection, and no venue decides so many keyed requests in that time."""


def repeats(state: State) -> bool:
    """Whether the present command was sent before; then it is answered, and must not be done.

    While the first one is still being worked on, the repetition is told to come again.
    """
    key = state.origin.key
    if not key:
        return False
    outcome = state.outcomes.get(key)
    if outcome is not None:
        state.emit(replace(outcome, origin=state.origin))
        return True
    if key in state.undecided:
        state.refuse(Reason.RETRY)
        return True
    state.undecided[key] = state.origin
    return False


def remember(state: State) -> None:
    """Keep the outcomes that the present entry brought."""
    if not state.undecided:
        return
    for event in state.events:
        if isinstance(event, Answer) and state.undecided.get(event.origin.key) == event.origin:
            del state.undecided[event.origin.key]
            state.outcomes[event.origin.key] = event
            if len(state.outcomes) > REMEMBERED:
                del state.outcomes[next(iter(state.outcomes))]
