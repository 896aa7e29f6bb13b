"""What can be asked of a demo: all that the command line needs of it, whatever the command."""

from __future__ import annotations

from typing import Final

import msgspec

# By then the gamblers have placed their first bets.
SHOCK_SECONDS: Final = 20.0
# A fall in one step finds everybody bankrupt at once. In steps, each a Tick, those who borrowed
# most go first, and what they have to sell is there for the next to see.
FALL_SECONDS: Final = 5.0


class Options(msgspec.Struct, frozen=True, gc=False):
    """What the command line says: a shock as a fraction of the index, and when it comes.

    Shocks, also those of `tidegate shock`, are spread over `over_seconds`.
    """

    shock: float | None = None
    after_seconds: float = SHOCK_SECONDS
    over_seconds: float = FALL_SECONDS
    plain: bool = False
