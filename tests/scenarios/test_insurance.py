"""The insurance fund: its takeovers, their prices, and the sale of its positions."""

from tests.scenarios.initial_situations import BANKRUPT
from tests.scenarios.script import run_scenario


def test_a_hedged_account_at_its_bankruptcy_prices_ends_at_zero() -> None:
    """Each position has its share of the margin balance, the last one the remainder.

    A long and a short of 10,000 USD cancel out, until the dated future's mark rises 4 % above
    the index: 1 - 10000/10400 = 0.038461538462 is lost, and 0.001738461538 is left.
    """
    run_scenario("""
    given the mark of BTC-25DEC26 may stray 5 % from its index
    and btc_usd is 10000
    and the fund has 1 BTC
    and ann has 0.0412 BTC
    and bob has 1 BTC
    and mia has 10 BTC
    and ann buys 10000 BTC-PERPETUAL from bob at 10000
    and bob buys 10000 BTC-25DEC26 at 10000
    and ann sells 10000 BTC-25DEC26 at 10000
    # a maker leads the mark up; a buy may be 3 % above it at most
    and mia buys 10000 BTC-25DEC26 at 10197.5
    and mia sells 10000 BTC-25DEC26 at 10202.5
    and 20 minutes pass
    and mia cancels all => 2 cancelled
    and mia buys 10000 BTC-25DEC26 at 10397.5
    and mia sells 10000 BTC-25DEC26 at 10402.5
    and 20 minutes pass
    and mia cancels all => 2 cancelled
    # maintenance of 1 coin, 0.01005, and of 0.961538461539, 0.009661612427
    then accounts:
        | account | currency | margin balance | maintenance    |
        | ann     | BTC      | 0.001738461538 | 0.019711612427 |
    when the supervisor liquidates
    and a heartbeat arrives
    and the supervisor liquidates
    then liquidations:
        | account | step       | instrument    | amount | price          |
        | ann     | no fill    | BTC-PERPETUAL |        | 9991.5         |
        | ann     | taken over | BTC-PERPETUAL | 10000  | 9991.14427285  |
        | ann     | no fill    | BTC-25DEC26   |        | 10407.5        |
        | ann     | taken over | BTC-25DEC26   | 10000  | 10409.22453034 |
        | fund    | no fill    | BTC-PERPETUAL |        | 9850           |
    # behind the long: 0.001738461538 x 0.01005 / 0.019711612427 = 0.000886357649, which makes
    # 10000 / (1 + 0.000886357649); the rest makes 10000 / (0.961538461538 - 0.000852103889)
    and transfers:
        | from | to   | instrument    | side | amount | price          | profit          |
        | ann  | fund | BTC-PERPETUAL | sell | 10000  | 9991.14427285  | -0.000886357649 |
        | ann  | fund | BTC-25DEC26   | buy  | 10000  | 10409.22453034 | -0.039313642351 |
    and accounts:
        | account | currency | session | margin balance | maintenance    |
        | ann     | BTC      | -0.0402 | 0              | 0              |
        | fund    | BTC      | 0       | 1.001738461538 | 0.019711612427 |
    """)


def test_the_fund_sells_its_position_in_parts() -> None:
    """It sells an eighth per Tick within the price band, and keeps the gain."""
    run_scenario("""
    given btc_usd is 10000
    and the fund has 0.1 BTC
    and ann has 0.2044 BTC
    and bob has 1 BTC
    and cid has 1 BTC
    and ann buys 8000 BTC-PERPETUAL from bob at 10000
    when a second later btc_usd is 8000
    and the supervisor liquidates
    # 0.004 of maintenance 0.01005 is left: 8000 / (1 + 0.004)
    then transfers:
        | from | to   | side | amount | price         | profit | other's profit |
        | ann  | fund | sell | 8000   | 7968.12749004 | -0.204 | 0              |
    and accounts:
        | account | currency | margin balance | initial |
        | ann     | BTC      | 0              | 0       |
        | fund    | BTC      | 0.104          | 0.02005 |
    # the band: 8000 - 1.5 %
    when cid buys 100 BTC-PERPETUAL at 7880
    and cid buys 8000 BTC-PERPETUAL at 7879.5
    and 1 second passes
    and the supervisor liquidates
    # 100 of 1000, at 7880: 100 / 7968.12749004 - 100 / 7880 = 0.01255 - 0.01269035533
    then trades:
        | buyer | seller | amount | price | seller's profit | seller's fee |
        | ann   | bob    | 8000   | 10000 | 0               | 0            |
        | cid   | fund   | 100    | 7880  | -0.00014035533  | 0            |
    when cid buys 7900 BTC-PERPETUAL at 8000
    and 40 times a second passes and the supervisor liquidates
    then positions:
        | account | instrument    | size  |
        | fund    | BTC-PERPETUAL | 0     |
        | cid     | BTC-PERPETUAL | 8000  |
        | bob     | BTC-PERPETUAL | -8000 |
    # 0.1 + 1.004 - 0.01269035533 - 7900 / 8000
    and accounts:
        | account | currency | margin balance |
        | fund    | BTC      | 0.10380964467  |
    and all accounts are sound
    """)


def test_below_half_the_maintenance_margin_the_fund_takes_over() -> None:
    """At exactly half, the account waits for a bid; with one unit less the fund takes over.

    0.2 for the loss, 0.0004 for the fee, and half of 0.01005.
    """
    for deposit, step in (("0.205425", ""), ("0.205424999999", "| ann | taken over |")):
        run_scenario(f"""
        given btc_usd is 10000
        and the fund has 1 BTC
        and ann has {deposit} BTC
        and bob has 1 BTC
        and ann buys 8000 BTC-PERPETUAL from bob at 10000
        when a second later btc_usd is 8000
        and ann is liquidated in BTC
        then liquidations:
            | account | step    |
            | ann     | no fill |
            {step}
        """)


def test_the_fund_takes_a_position_if_it_keeps_its_initial_margin() -> None:
    """With 2.005 % of one coin after the takeover it takes the position, with a unit less not.

    Ann leaves 0.2044 - 0.0004 - 0.2 = 0.004, so the fund needs 0.02005 - 0.004 of its own.
    """
    for capital, receiver in (("0.01605", "fund"), ("0.016049999999", "bob")):
        run_scenario(f"""
        given btc_usd is 10000
        and the fund has {capital} BTC
        and ann has 0.2044 BTC
        and bob has 1 BTC
        and ann buys 8000 BTC-PERPETUAL from bob at 10000
        when a second later btc_usd is 8000
        and ann is liquidated in BTC
        then transfers:
            | from | to         | amount | price         |
            | ann  | {receiver} | 8000   | 7968.12749004 |
        and all accounts are sound
        """)


def test_the_fund_pays_the_debt_of_an_account() -> None:
    """The account is brought to zero by the fund before any deleveraging.

    The fund takes ann's position at 8000
    (1 - 0.0304), and so bears her 0.0304.
    """
    run_scenario(
        "given the fund has 0.1 BTC\n"
        + BANKRUPT
        + """
    when the supervisor liquidates
    then transfers:
        | from | to   | amount | price         |
        | ann  | fund | 8000   | 8250.82508251 |
    and accounts:
        | account | currency | margin balance | initial   |
        | ann     | BTC      | 0              | 0         |
        | fund    | BTC      | 0.0696         | 0.02005   |
        | bob     | BTC      | 0.2            | 0.0100125 |
        | deficit | BTC      | 0              | 0         |
    and all accounts are sound
    """
    )
