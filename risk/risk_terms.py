"""What a contract family costs to hold: margin, funding, marks, liquidation; and house rules."""

from enum import Enum

import msgspec

from book.units import SECOND


class Terms(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Risk terms of a contract family. Rates in 1e-12; slopes in 1e-12 per whole base coin.

    Initial margin is (initial_base + initial_slope * n) * n for n base coins, maintenance
    likewise. `mark_band_rate` bounds how far a mark may stray from its index;
    `impact_amount` (1e-8) is what must stand on a side before its price counts.
    `funding_dampener` and `funding_cap` are per 8 hours.
    """

    initial_base: int
    initial_slope: int
    maintenance_base: int
    maintenance_slope: int
    liquidation_rate: int
    delivery_rate: int
    mark_band_rate: int
    mark_step: int
    impact_amount: int
    funding_dampener: int
    funding_cap: int
    position_limit: int


class LossPolicy(Enum):
    """Who bears a loss that neither its account nor the insurance fund can."""

    DELEVERAGE = "adl"
    SOCIALISE = "socialise"


class Parameters(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """House rules; they change by command, so that every replay obeys the same ones.

    `supervision` is how long, in milliseconds, the venue trades on without a heartbeat or an
    index price. `slice` is how many accounts or orders one entry may work through. `fills` is
    how many orders one order may trade with, or make end: what is left of it then is cancelled.
    """

    loss_policy: LossPolicy = LossPolicy.DELEVERAGE
    supervision: int = 5 * SECOND
    open_orders: int = 10_000
    slice: int = 256
    fills: int = 1_000
