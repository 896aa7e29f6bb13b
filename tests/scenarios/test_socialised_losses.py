"""Socialised losses: at settlement, clients with a profit share the deficit."""

from tests.scenarios.initial_situations import BANKRUPT
from tests.scenarios.script import run_scenario


def test_losses_are_socialised_at_settlement() -> None:
    """The deficit is shared in proportion to the profits of the session.

    The fund takes ann's position at her bankruptcy price although it is empty; its loss becomes
    the deficit, 0.0304. At settlement bob, cid and dee have won 0.1, 0.05 and 0.05.
    """
    run_scenario(
        "given losses are socialised\n"
        + BANKRUPT
        + """
    when the supervisor liquidates
    then transfers:
        | from | to   | side | amount | price         | profit  |
        | ann  | fund | sell | 8000   | 8250.82508251 | -0.1696 |
    and accounts:
        | account | currency | margin balance |
        | ann     | BTC      | 0              |
        | fund    | BTC      | 0              |
        | deficit | BTC      | -0.0304        |
    # the fund unwinds at the mark, its own bankruptcy price
    when gus has 1 BTC
    and gus buys 8000 BTC-PERPETUAL at 8000
    and 40 times a second passes and the supervisor liquidates
    then positions:
        | account | instrument    | size |
        | fund    | BTC-PERPETUAL | 0    |
        | gus     | BTC-PERPETUAL | 8000 |
    when the clock shows 2026-11-19 08:00:00
    and a heartbeat arrives
    then shared losses:
        | currency | deficit | profits | taxed  |
        | BTC      | 0.0304  | 0.2     | 0.0304 |
    # half, a quarter and a quarter of it
    and accounts:
        | account | currency | balance | margin balance |
        | ann     | BTC      | 0       | 0              |
        | bob     | BTC      | 0.1848  | 0.1848         |
        | cid     | BTC      | 0.2424  | 0.2424         |
        | dee     | BTC      | 0.0924  | 0.0924         |
        | gus     | BTC      | 1       | 1              |
        | fund    | BTC      | 0       | 0              |
        | deficit | BTC      | 0       | 0              |
    and all accounts are sound
    """
    )


def test_the_fund_repays_a_deficit_first() -> None:
    """Money in the fund at settlement repays the deficit before clients share it.

    Of the deficit of 0.0304 the fund pays the 0.0104 that it was given; 0.02 are shared.
    """
    run_scenario(
        "given losses are socialised\n"
        + BANKRUPT
        + """
    when the supervisor liquidates
    and gus has 1 BTC
    and gus buys 8000 BTC-PERPETUAL at 8000
    and 40 times a second passes and the supervisor liquidates
    and fund has 0.0104 BTC
    and the clock shows 2026-11-19 08:00:00
    and a heartbeat arrives
    then shared losses:
        | currency | deficit | profits | taxed |
        | BTC      | 0.02    | 0.2     | 0.02  |
    # bob bears half of it
    and accounts:
        | account | currency | balance | margin balance |
        | bob     | BTC      | 0.19    | 0.19           |
        | fund    | BTC      | 0       | 0              |
        | deficit | BTC      | 0       | 0              |
    and all accounts are sound
    """
    )


def test_a_share_of_the_deficit_is_limited_by_the_balance() -> None:
    """Money already spent on fees cannot be shared.

    Bob won 0.2, withdrew his cash and paid 0.018 of fees since; his part of the deficit would
    be 0.1834. The remaining 0.0014 are left for the next session.
    """
    run_scenario("""
    given losses are socialised
    and btc_usd is 10000
    and ann has 0.017 BTC
    and bob has 0.017 BTC
    and gus has 10 BTC
    and ann buys 8000 BTC-PERPETUAL from bob at 10000
    when a second later btc_usd is 8000
    and the supervisor liquidates
    # 0.017 - 0.0004 - 0.2
    then accounts:
        | account | currency | margin balance |
        | deficit | BTC      | -0.1834        |
    # gus trades with all of them, at the mark
    when gus buys 8000 BTC-PERPETUAL at 8000
    and 40 times a second passes and the supervisor liquidates
    and bob buys 8000 BTC-PERPETUAL from gus at 8000
    and bob withdraws 0.0165 BTC
    # 9 coins, bought and sold twice over: 36 x 0.05 %
    and bob buys 72000 BTC-PERPETUAL from gus at 8000
    and gus buys 72000 BTC-PERPETUAL at 8000
    and bob sells 72000 BTC-PERPETUAL at 8000
    and bob buys 72000 BTC-PERPETUAL from gus at 8000
    and gus buys 72000 BTC-PERPETUAL at 8000
    and bob sells 72000 BTC-PERPETUAL at 8000
    then accounts:
        | account | currency | balance | session | margin balance |
        | bob     | BTC      | -0.018  | 0.2     | 0.182          |
    when the clock shows 2026-11-19 08:00:00
    and a heartbeat arrives
    then shared losses:
        | currency | deficit | profits | taxed |
        | BTC      | 0.1834  | 0.2     | 0.182 |
    and accounts:
        | account | currency | balance | margin balance |
        | bob     | BTC      | 0       | 0              |
        | deficit | BTC      | -0.0014 | -0.0014        |
    and all accounts are sound

    # the next session's only winner makes 40 x (1/8000 - 1/10000), and no more than that is taken
    when cid has 1 BTC
    and dee has 1 BTC
    and cid buys 40 BTC-PERPETUAL from dee at 8000
    and a second later btc_usd is 10000
    and the clock shows 2026-11-20 08:00:00
    and a heartbeat arrives
    then shared losses:
        | currency | deficit | profits | taxed |
        | BTC      | 0.0014  | 0.001   | 0.001 |
    # her fee: 0.005 x 0.05 %
    and accounts:
        | account | currency | balance   |
        | cid     | BTC      | 0.9999975 |
        | deficit | BTC      | -0.0004   |
    """)


def test_profits_of_a_delivery_share_the_deficit_too() -> None:
    """Delivery and settlement are at the same time, and end the same session.

    Ann's 8000 USD of the weekly lost 0.2 and she had 0.17 less a fee. Bob won it all.
    """
    run_scenario("""
    given losses are socialised
    and btc_usd is 10000
    and ann has 0.17 BTC
    and bob has 1 BTC
    and ann buys 8000 BTC-20NOV26 from bob at 10000
    when the clock shows 2026-11-19 12:00:00
    and btc_usd is 8000
    and the supervisor liquidates
    then accounts:
        | account | currency | margin balance |
        | ann     | BTC      | 0              |
        | fund    | BTC      | 0              |
        | deficit | BTC      | -0.0304        |
    when the clock shows 2026-11-20 08:00:00
    and a heartbeat arrives
    then shared losses:
        | currency | deficit | profits | taxed  |
        | BTC      | 0.0304  | 0.2     | 0.0304 |
    # his rebate as the maker of a weekly was 0.00008
    and accounts:
        | account | currency | balance |
        | bob     | BTC      | 1.16968 |
        | deficit | BTC      | 0       |
    and all accounts are sound
    """)


def test_a_profit_cannot_be_withdrawn_before_the_deficit_is_shared() -> None:
    """It stays withheld until all accounts are settled.

    Settled one account per entry, bob has 0.2 before all is done; 0.1 of it is the session's
    profit and is withheld until then. Half of the deficit of 0.0304 is his.
    """
    run_scenario(
        "given losses are socialised\n"
        + BANKRUPT
        + """
    when the supervisor liquidates
    and gus has 1 BTC
    and gus buys 8000 BTC-PERPETUAL at 8000
    and 40 times a second passes and the supervisor liquidates
    and a slice is 1
    and the clock shows 2026-11-19 08:00:00
    and a heartbeat arrives
    # fees, fund, funding pool, rounding, deficit and ann are settled first, one per entry
    and 6 more entries come
    then work is in progress
    and accounts:
        | account | currency | balance |
        | bob     | BTC      | 0.2     |
    # his position needs less than 0.02
    when bob withdraws 0.15 BTC => refused: not_enough_funds
    and bob withdraws 0.08 BTC
    and all work is finished
    then shared losses:
        | currency | deficit | profits | taxed  |
        | BTC      | 0.0304  | 0.2     | 0.0304 |
    and accounts:
        | account | currency | balance | margin balance |
        | bob     | BTC      | 0.1048  | 0.1048         |
        | deficit | BTC      | 0       | 0              |
    when bob withdraws 0.08 BTC
    then all accounts are sound
    """
    )
