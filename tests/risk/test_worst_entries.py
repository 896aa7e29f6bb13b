"""No entry does unbounded work: four times the data does not make the longest entry longer.

The cases are those of `benchmarks/worst_entries.py`, with a small slice and few fills. Work is
counted in executed lines of `book/` and `risk/`, which is deterministic.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from benchmarks import worst_case_venue, worst_entries
from risk import adl_rankings
from risk.commands import AnyCommand, Command

ROOT = Path(__file__).resolve().parents[2]
COUNTED = (str(ROOT / "book"), str(ROOT / "risk"))

BY_SIZE = {
    "first order of an account after a Tick": 6,
    "cancel after a Tick": 6,
    "withdraw after a Tick": 6,
    "cancel_all, detailed": 20,
    "end of a session with orders": 4,
    "end of all sessions of a process": 3,
    "liquidation of an account with orders": 6,
    "expiry for accounts with many orders": 30,
    "deleveraging of accounts with many orders": 30,
    "deleveraging in many markets": 200,
    "deleveraging that was not foreseen": 80,
}
"""Cases whose longest entry visits every open order of one account (which are limited), every
session, every position of one market or every market of one account, with the maximum number of
lines for each of these."""

SIZES = {
    "jump of the clock, days": (60, 240),
    "deleveraging": (100, 400),
    "deleveraging after a settlement": (100, 400),
}


def lines(step: Callable[[], object]) -> float:
    """Count the lines of `book/` and `risk/` that a step executes."""
    count = 0

    def local(_: FrameType, event: str, __: Any) -> Any:
        nonlocal count
        count += event == "line"
        return local

    def called(frame: FrameType, _: str, __: Any) -> Any:
        return local if frame.f_code.co_filename.startswith(COUNTED) else None

    before = sys.gettrace()
    sys.settrace(called)
    try:
        step()
    finally:
        sys.settrace(before)
    return count


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(worst_case_venue.RULES, "slice", 4)
    monkeypatch.setitem(worst_case_venue.RULES, "fills", 5)
    monkeypatch.setattr(worst_case_venue, "measured", lines)
    monkeypatch.setattr(adl_rankings, "CHANGED", 8)


@pytest.mark.parametrize("name", worst_entries.CASES)
def test_the_longest_entry_does_not_grow_with_the_amount_of_data(name: str) -> None:
    """The allowance is a few steps of a tree or heap, or little per order of one account."""
    measure, _ = worst_entries.CASES[name]
    small, large = SIZES.get(name, (40, 160))
    few, many = measure(small), measure(large)
    assert few > 20, "there is something to do"
    if name in BY_SIZE:
        assert many - few <= BY_SIZE[name] * (large - small)
    else:
        assert many <= 1.25 * few + 60


def test_every_command_that_may_be_long_has_a_case() -> None:
    """All other commands take the same few steps for any state."""
    short = {"StartSession", "SetCancelOnDisconnect", "OpenAccount", "Deposit", "SetSelfTrading"}
    short |= {"SetParameters", "Checkpoint", "Skip", "Continue"}
    given: set[type[Command]] = set()

    def note(venue: worst_case_venue.Venue, command: Command, session: int = 0) -> float:
        given.add(type(command))
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worst_case_venue.Venue, "longest", note)
        for measure, _ in worst_entries.CASES.values():
            measure(10)
    known = {kind.__name__ for kind in AnyCommand.__args__}
    assert known == short | {kind.__name__ for kind in given}
