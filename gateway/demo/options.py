"""The options of a demo, separate from it so that the command line imports nothing else."""

from __future__ import annotations

from typing import Final

import msgspec

# By then the gamblers have opened their first positions.
SHOCK_SECONDS: Final = 20.0
# A fall in one step bankrupts all leveraged accounts at once. In steps of one Tick each, those with
# the highest leverage are liquidated first, and their orders move the market for the next.
FALL_SECONDS: Final = 5.0


class Options(msgspec.Struct, frozen=True, gc=False):
    """A shock as a fraction of the index, and its time after the start.

    Shocks, also those of `tidegate shock`, are spread over `over_seconds`.
    """

    shock: float | None = None
    after_seconds: float = SHOCK_SECONDS
    over_seconds: float = FALL_SECONDS
    plain: bool = False
