"""Risk terms of a contract family (margin, funding, marks, liquidation) and venue parameters."""

from enum import Enum

import msgspec

from book.units import SECOND


class Terms(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Risk terms of a contract family. Rates in 1e-12; slopes in 1e-12 per whole base coin.

    Initial margin is (initial_base + initial_slope * n) * n for n base coins, maintenance
    likewise. `mark_band_rate` limits the distance of a mark from its index. `impact_amount`
    (1e-8) is the amount of orders on one side for which its average price is taken.
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
    """How a loss is covered that exceeds both the account and the insurance fund."""

    DELEVERAGE = "adl"
    SOCIALISE = "socialise"


class Parameters(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Venue parameters; they change by command, so that every replay applies the same ones.

    `supervision` is the time in milliseconds that trading continues without a heartbeat or an
    index price. `open_orders` limits the open orders of an account. `slice` limits the accounts
    or orders that one entry processes. `fills` limits the orders that one order may trade with or
    cancel; the rest of it is cancelled then.
    """

    loss_policy: LossPolicy = LossPolicy.DELEVERAGE
    supervision: int = 5 * SECOND
    open_orders: int = 10_000
    slice: int = 256
    fills: int = 1_000
