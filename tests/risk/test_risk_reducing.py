"""Where only risk-reducing orders are accepted, no position grows or flips."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.order import OrderType, Side, TimeInForce
from book.units import SECOND
from risk import margin_cache
from risk.commands import ClosePosition, Edit
from risk.reasons import Reason
from tests.hypothesis_settings import thorough
from tests.risk.venue import BTC, Venue, amount, open_venue, order, price, reason, trades

NOW = TimeInForce.IMMEDIATE_OR_CANCEL
LATE = 5 * SECOND + 1
SIZES = st.sampled_from([1, 3, 10, 20])
PRICES = st.sampled_from(["49400", "49990", "50000", "50010", "50600"])
SIDES = st.sampled_from(list(Side))


def let_supervision_lapse(venue: Venue) -> None:
    """Quote on both sides, then let the supervision lapse."""
    venue.buy("mia", BTC, "100000", "49995")
    venue.sell("mia", BTC, "100000", "50005")
    venue.time += LATE


def test_a_flat_account_cannot_open_a_position_against_its_own_far_order() -> None:
    """The worst case of all orders does not grow, but a position would be opened."""
    venue = open_venue(sly={"BTC": "1"}, mia={"BTC": "1000"})
    far = order(venue.buy("sly", BTC, "100000", "49000"))
    let_supervision_lapse(venue)
    assert Reason.UNSUPERVISED is reason(venue.sell("sly", BTC, "100000", "49995"))
    assert Reason.UNSUPERVISED is reason(
        venue.sell("sly", BTC, "100000", "49995", time_in_force=NOW)
    )
    assert Reason.UNSUPERVISED is reason(venue.sell("sly", BTC, "100000"))
    # An edit of the far order to a price that trades is refused too.
    edit = Edit(account=far.account, order_id=far.order_id, price=price("50005"))
    assert Reason.UNSUPERVISED is reason(venue.do(edit))
    assert 0 == venue.size("sly", BTC)


def test_an_account_without_free_margin_cannot_open_a_position() -> None:
    """It is long 5,000 with a bid for as much; after a fall 0.0054 BTC do not cover both."""
    venue = open_venue(sly={"BTC": "0.0054"}, mia={"BTC": "10"})
    venue.trade("sly", "mia", BTC, "5000", "50000")
    venue.buy("sly", BTC, "5000", "49260")
    venue.tick(btc_usd="49300")
    wallet = venue.wallet("sly", "BTC")
    margin_cache.refresh(venue.exchange.state, wallet)
    assert wallet.maintenance < wallet.margin_balance < wallet.initial
    venue.buy("mia", BTC, "20000", "49295")
    # A short of 2,500 needs no more margin than the worst case, a long of 10,000.
    assert Reason.NOT_ENOUGH_FUNDS is reason(
        venue.sell("sly", BTC, "7500", "49295", time_in_force=NOW)
    )
    assert [(price("49295"), amount("5000"))] == trades(
        venue.sell("sly", BTC, "5000", "49295", time_in_force=NOW)
    )


def test_a_position_can_still_be_closed() -> None:
    """Up to its size, by a market, reduce-only or plain order."""
    venue = open_venue(ann={"BTC": "1"}, mia={"BTC": "1000"})
    venue.trade("ann", "mia", BTC, "1000", "50000")
    let_supervision_lapse(venue)
    assert Reason.UNSUPERVISED is reason(venue.sell("ann", BTC, "1010"))
    assert Reason.UNSUPERVISED is reason(venue.buy("ann", BTC, "10"))
    assert [(price("49995"), amount("400"))] == trades(venue.sell("ann", BTC, "400"))
    # Resting orders together reduce it to zero at most: 600 are left.
    assert reason(venue.sell("ann", BTC, "400", "50001")) is None
    assert Reason.UNSUPERVISED is reason(venue.sell("ann", BTC, "210", "50001"))
    assert reason(venue.sell("ann", BTC, "200", "50001")) is None
    close = ClosePosition(account=venue.number("ann"), instrument=BTC)
    assert [(price("49995"), amount("600"))] == trades(venue.do(close))


@given(
    st.lists(st.tuples(SIDES, SIZES, PRICES), max_size=4),
    st.lists(
        st.tuples(
            SIDES,
            SIZES,
            PRICES | st.none(),
            st.sampled_from(list(TimeInForce)),
            st.booleans(),
            st.booleans(),
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(-10, 10),
)
@thorough(150)
def test_no_request_makes_a_position_grow_or_flip(
    earlier: list[tuple[Side, int, str]],
    later: list[tuple[Side, int, str | None, TimeInForce, bool, bool]],
    held: int,
) -> None:
    """This holds for new orders and edits of any kind, whatever orders rest already."""
    venue = open_venue(ann={"BTC": "1"}, mia={"BTC": "1000"})
    if held:
        buyer, seller = ("ann", "mia") if held > 0 else ("mia", "ann")
        venue.trade(buyer, seller, BTC, str(abs(held) * 10), "50000")
    for side, size, bound in earlier:
        venue.place("ann", BTC, side, size * 10, bound, post_only=True)
    let_supervision_lapse(venue)
    for side, size, limit, lasting, reduce_only, edits in later:
        before = venue.size("ann", BTC)
        terms: dict[str, Any] = {"time_in_force": lasting, "reduce_only": reduce_only}
        mine = venue.orders("ann")
        if edits and mine:
            chosen = mine[size % len(mine)]
            change = Edit(
                account=chosen.account,
                order_id=chosen.order_id,
                price=price(limit) if limit else None,
                amount=amount(size * 10),
            )
            venue.do(change)
        else:
            venue.place("ann", BTC, side, size * 10, limit, **terms)
        after = venue.size("ann", BTC)
        assert abs(after) <= abs(before)
        assert after * before >= 0
        new = {each.order_id for each in venue.orders("ann")} - {each.order_id for each in mine}
        if new and not reduce_only:
            together = sum(each.remaining for each in venue.orders("ann") if each.side is side)
            assert together <= abs(after)


@pytest.mark.parametrize("kind", [OrderType.MARKET, OrderType.LIMIT])
def test_reducing_one_side_while_the_other_has_far_orders(kind: OrderType) -> None:
    """The account is long 100 with bids for 1,000 below: an order that sells 100 passes."""
    venue = open_venue(ann={"BTC": "1"}, mia={"BTC": "1000"})
    venue.trade("ann", "mia", BTC, "100", "50000")
    venue.buy("ann", BTC, "1000", "49000")
    let_supervision_lapse(venue)
    limit = "49995" if kind is OrderType.LIMIT else None
    assert [(price("49995"), amount("100"))] == trades(venue.sell("ann", BTC, "100", limit))
