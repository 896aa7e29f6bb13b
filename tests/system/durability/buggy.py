"""`tidegate` with a bug: whoever labels an order "poison" crashes the exchange."""

from __future__ import annotations

import sys
from typing import Final

from gateway.cli import main
from risk import exchange
from risk.commands import Place
from risk.state import State

_place: Final = exchange._TABLE[Place]


def _poisoned(state: State, command: Place) -> None:
    _place(state, command)
    if command.label == "poison":
        raise ZeroDivisionError("a bug, after half the work is done")


if __name__ == "__main__":
    exchange._TABLE[Place] = _poisoned
    sys.exit(main())
