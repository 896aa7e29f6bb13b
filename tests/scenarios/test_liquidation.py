"""Liquidation: rounds of an eighth in the order book, with the amounts of all parties."""

from tests.scenarios.script import run_scenario


def test_one_round_makes_the_account_sound() -> None:
    """An eighth of the position is sold at the mark.

    At 8000 ann's 8000 USD are one coin: she has lost 8000/8000 - 8000/10000 = 0.2. With 0.01
    left she is below 1.005 % of one coin.
    """
    run_scenario("""
    given btc_usd is 10000
    and ann has 0.2104 BTC
    and bob has 1 BTC
    and cid has 1 BTC
    and ann buys 8000 BTC-PERPETUAL from bob at 10000
    and ann buys 10 BTC-PERPETUAL at 9900
    when a second later btc_usd is 8000
    then accounts:
        | account | currency | margin balance | maintenance |
        | ann     | BTC      | 0.01           | 0.01005     |
    when ann sells 1000 BTC-PERPETUAL at 8000 reduce-only => refused: account_locked
    and cid buys 5000 BTC-PERPETUAL at 8000
    and the supervisor liquidates
    # bankruptcy price: 8000 / (1 + 0.01) = 7920.8, to the tick in her favour 7921
    then liquidations:
        | account | step             | instrument    | amount | price |
        | ann     | orders cancelled |               |        |       |
        | ann     | reduced          | BTC-PERPETUAL | 1000   | 8000  |
    # profit 1000 x (1/10000 - 1/8000), fee 0.75 % of 0.125, to the fund
    and trades:
        | buyer | seller | amount | price | seller's profit | seller's fee | buyer's fee |
        | ann   | bob    | 8000   | 10000 | 0               | 0            | 0.0004      |
        | cid   | ann    | 1000   | 8000  | -0.025          | 0.0009375    | 0           |
    # maintenance of 0.875 coins: (1 % + 0.005 % x 0.875) x 0.875
    and accounts:
        | account | currency | margin balance | maintenance   |
        | ann     | BTC      | 0.0090625      | 0.00878828125 |
        | fund    | BTC      | 0.0009375      | 0             |
    and markets:
        | instrument    | orders |
        | BTC-PERPETUAL | 1      |
    when 1 second passes
    and the supervisor liquidates
    then liquidations:
        | account |
    and all accounts are sound
    """)


def test_three_rounds_of_an_eighth() -> None:
    """Each Tick has one round, of an eighth of the rest, rounded up to a whole contract."""
    run_scenario("""
    given btc_usd is 10000
    and ann has 0.2097 BTC
    and bob has 1 BTC
    and cid has 1 BTC
    and ann buys 8000 BTC-PERPETUAL from bob at 10000
    and a second later btc_usd is 8000
    and cid buys 5000 BTC-PERPETUAL at 8000
    when the supervisor liquidates
    and the supervisor liquidates
    # 0.0093 - 0.75 % x 0.125; the second call finds nothing to do before the next Tick
    then liquidations:
        | account | step    | amount | price |
        | ann     | reduced | 1000   | 8000  |
    and accounts:
        | account | currency | margin balance | maintenance   |
        | ann     | BTC      | 0.0083625      | 0.00878828125 |
    when 1 second passes
    and the supervisor liquidates
    # 7000 / 8 = 875; fee 0.75 % x 0.11
    then liquidations:
        | account | step    | amount | price |
        | ann     | reduced | 880    | 8000  |
    and accounts:
        | account | currency | margin balance | maintenance   |
        | ann     | BTC      | 0.0075375      | 0.00767926125 |
    when 1 second passes
    and the supervisor liquidates
    # 6120 / 8 = 765; fee 0.75 % x 0.09625; 0.66875 coins are left
    then liquidations:
        | account | step    | amount | price |
        | ann     | reduced | 770    | 8000  |
    and accounts:
        | account | currency | margin balance | maintenance    |
        | ann     | BTC      | 0.006815625    | 0.006709861329 |
        | fund    | BTC      | 0.002484375    | 0              |
    when 1 second passes
    and the supervisor liquidates
    then liquidations:
        | account |
    and all accounts are sound
    """)


def test_a_linear_position_is_liquidated_in_parts() -> None:
    """A short of 0.8 coins at 10000 is bought back an eighth at a time at 12000."""
    run_scenario("""
    given btc_usdc is 10000
    and ann has 1696 USDC
    and bob has 10000 USDC
    and cid has 10000 USDC
    and bob buys 0.8 BTC_USDC-PERPETUAL from ann at 10000
    when a second later btc_usdc is 12000
    and cid sells 0.05 BTC_USDC-PERPETUAL at 12000
    and cid sells 0.05 BTC_USDC-PERPETUAL at 12100
    and cid sells 0.5 BTC_USDC-PERPETUAL at 12120.5
    # 1696 - 0.8 x 2000; (1 % + 0.005 % x 0.8) x 0.8 x 12000
    then accounts:
        | account | currency | margin balance | maintenance |
        | ann     | USDC     | 96             | 96.384      |
    when the supervisor liquidates
    # bankruptcy price 12000 + 96 / 0.8 = 12120; average of the fills 12050
    then liquidations:
        | account | step    | amount | price |
        | ann     | reduced | 0.1    | 12050 |
    # profits 0.05 x (10000 - 12000) and 0.05 x (10000 - 12100)
    # fee 0.75 % of 600; but only 0.05 x (12120 - 12100) is left of 0.75 % of 605, less a unit
    and trades:
        | buyer | seller | amount | price | buyer's profit | buyer's fee    |
        | bob   | ann    | 0.8    | 10000 | 0              | 4              |
        | ann   | cid    | 0.05   | 12000 | -100           | 4.5            |
        | ann   | cid    | 0.05   | 12100 | -105           | 0.999999999999 |
    # 96 - 0.05 x 100 - fees; (1 % + 0.005 % x 0.7) x 0.7 x 12000
    and accounts:
        | account | currency | margin balance  | maintenance |
        | ann     | USDC     | 85.500000000001 | 84.294      |
        | fund    | USDC     | 5.499999999999  | 0           |
    and all accounts are sound
    """)


def test_the_liquidation_fee_is_limited_by_the_bankruptcy_price() -> None:
    """Near the bankruptcy price, the fee is only what the fill leaves above it."""
    run_scenario("""
    given btc_usd is 10000
    and ann has 0.2064 BTC
    and bob has 1 BTC
    and cid has 1 BTC
    and ann buys 8000 BTC-PERPETUAL from bob at 10000
    and a second later btc_usd is 8000
    # bankruptcy price: 8000 / (1 + 0.006) = 7952.29, up to 7952.5
    and cid buys 5000 BTC-PERPETUAL at 7952
    when the supervisor liquidates
    then liquidations:
        | account | step    | amount | price  |
        | ann     | no fill |        | 7952.5 |
    when cid buys 1000 BTC-PERPETUAL at 7953
    and 1 second passes
    and the supervisor liquidates
    # 1000/7952.5 - 1000/7953 = 0.000007905610, less one unit for rounding; 0.75 % is 0.000943
    then trades:
        | buyer | seller | amount | price | seller's fee   |
        | ann   | bob    | 8000   | 10000 | 0              |
        | cid   | ann    | 1000   | 7953  | 0.000007905609 |
    # 0.006 - (1000/7953 - 1000/8000) - fee: an eighth, but for the tick, is gone
    and accounts:
        | account | currency | margin balance | maintenance   |
        | ann     | BTC      | 0.005253379441 | 0.00878828125 |
        | fund    | BTC      | 0.000007905609 | 0             |
    """)


def test_a_liquidation_ends_when_the_market_recovers() -> None:
    """An account above maintenance margin has no more rounds; its orders stay cancelled."""
    run_scenario("""
    given btc_usd is 10000
    and ann has 0.2097 BTC
    and bob has 1 BTC
    and cid has 1 BTC
    and ann buys 8000 BTC-PERPETUAL from bob at 10000
    and ann sells 10 BTC-PERPETUAL at 10100
    and a second later btc_usd is 8000
    and cid buys 5000 BTC-PERPETUAL at 8000
    when the supervisor liquidates
    and a second later btc_usd is 8100
    and the supervisor liquidates
    and ann is liquidated in BTC
    then liquidations:
        | account | step             | amount | price |
        | ann     | orders cancelled |        |       |
        | ann     | reduced          | 1000   | 8000  |
    and markets:
        | instrument    | orders |
        | BTC-PERPETUAL | 1      |
    when ann closes BTC-PERPETUAL => cancelled, 4000 filled
    and the supervisor liquidates
    then liquidations:
        | account |
    and all accounts are sound
    """)


def test_many_orders_are_cancelled_within_one_tick() -> None:
    """The next Tick's round reduces the position, however many entries the cancelling takes."""
    run_scenario("""
    given btc_usd is 10000
    and a slice is 16
    and ann has 0.2097 BTC
    and bob has 1 BTC
    and cid has 1 BTC
    and ann buys 8000 BTC-PERPETUAL from bob at 10000
    and ann buys 10 BTC-PERPETUAL at 9900 40 times
    and a second later btc_usd is 8000
    and cid buys 5000 BTC-PERPETUAL at 8000
    when ann is liquidated in BTC
    then work is in progress
    when all work is finished
    then ended orders:
        | reason          | count |
        | autoliquidation | 40    |
    when 1 second passes
    and the supervisor liquidates
    then liquidations:
        | account | step             | amount | price |
        | ann     | orders cancelled |        |       |
        | ann     | reduced          | 1000   | 8000  |
    """)


def test_the_position_that_needs_most_margin_is_reduced_first() -> None:
    """Two linear positions share one margin balance."""
    run_scenario("""
    given btc_usdc is 10000
    and eth_usdc is 1000
    and ann has 710 USDC
    and bob has 100000 USDC
    and cid has 100000 USDC
    and ann buys 0.8 BTC_USDC-PERPETUAL at 10000
    and bob sells 0.8 BTC_USDC-PERPETUAL at 10000
    and ann buys 4 ETH_USDC-PERPETUAL at 1000
    and bob sells 4 ETH_USDC-PERPETUAL at 1000
    when a second later btc_usdc is 9500
    and eth_usdc is 950
    and cid buys 0.1 BTC_USDC-PERPETUAL at 9500
    and cid buys 1 ETH_USDC-PERPETUAL at 950
    # 710 - 0.8 x 500 - 4 x 50
    then accounts:
        | account | currency | margin balance | maintenance |
        | ann     | USDC     | 110            | 114.3648    |
    # 1.004 % of 7600 and 1.0016 % of 3800
    and positions:
        | account | instrument         | maintenance |
        | ann     | BTC_USDC-PERPETUAL | 76.304      |
        | ann     | ETH_USDC-PERPETUAL | 38.0608     |
    when the supervisor liquidates
    # fee 0.75 % of 950; 1.0035 % of 6650 and the 38.0608 from before
    then accounts:
        | account | currency | margin balance | maintenance |
        | ann     | USDC     | 102.875        | 104.79355   |
    when 1 second passes
    and cid buys 0.0875 BTC_USDC-PERPETUAL at 9500
    and the supervisor liquidates
    # 0.7 / 8 = 0.0875; fee 0.75 % of 831.25; 1.0030625 % of 5818.75
    then liquidations:
        | account | step    | instrument         | amount | price |
        | ann     | reduced | BTC_USDC-PERPETUAL | 0.1    | 9500  |
        | ann     | reduced | BTC_USDC-PERPETUAL | 0.0875 | 9500  |
    and accounts:
        | account | currency | margin balance | maintenance    |
        | ann     | USDC     | 96.640625      | 96.42649921875 |
    and all accounts are sound
    """)


def test_an_account_at_maintenance_margin_is_not_liquidated() -> None:
    """One unit less leads to a liquidation.

    Deposit 0.2 for the loss, 0.0004 for the fee, and 0.01005.
    """
    for deposit, answer in (("0.21045", "open, 0 filled"), ("0.210449999999", "")):
        run_scenario(f"""
        given btc_usd is 10000
        and ann has {deposit} BTC
        and bob has 1 BTC
        and ann buys 8000 BTC-PERPETUAL from bob at 10000
        when a second later btc_usd is 8000
        and ann sells 10 BTC-PERPETUAL at 8010 reduce-only => {answer or "refused: account_locked"}
        and ann is liquidated in BTC
        then liquidations:
            | account | step    |
            {"" if answer else "| ann | no fill |"}
        """)


def test_the_liquidation_price_of_the_view_is_exact() -> None:
    """A cent before it the account may trade, a cent beyond it is in liquidation.

    Inverse: 0.21 +- (0.8 - n) = 0.01 n + 0.00005 n x n, price 8000
    n. Linear: 1000 +- 0.8 x (price - 10000) = 0.8 x price x 1.004 %.
    """
    run_scenario("""
    given btc_usd is 10000
    and btc_usdc is 10000
    and ann has 0.2104 BTC
    and bob has 0.21 BTC
    and ann has 1004 USDC
    and bob has 1000 USDC
    and ann buys 8000 BTC-PERPETUAL from bob at 10000
    and ann buys 0.8 BTC_USDC-PERPETUAL from bob at 10000
    # n = 0.99995050... and n = 0.59597753...
    then positions:
        | account | instrument         | liquidated at  |
        | ann     | BTC-PERPETUAL      | 8000.39602     |
        | bob     | BTC-PERPETUAL      | 13423.32476099 |
        | ann     | BTC_USDC-PERPETUAL | 8838.74095923  |
        | bob     | BTC_USDC-PERPETUAL | 11138.17274563 |
    when btc_usd is 8000.4
    and ann sells 10 BTC-PERPETUAL at 8050 reduce-only       => open, 0 filled
    and btc_usd is 8000.39
    and ann sells 10 BTC-PERPETUAL at 8050 reduce-only       => refused: account_locked
    when btc_usd is 13423.32
    and bob buys 10 BTC-PERPETUAL at 8000 reduce-only        => open, 0 filled
    and btc_usd is 13423.33
    and bob buys 10 BTC-PERPETUAL at 8000 reduce-only        => refused: account_locked
    when btc_usdc is 8838.75
    and ann sells 0.1 BTC_USDC-PERPETUAL at 8900 reduce-only => open, 0 filled
    and btc_usdc is 8838.74
    and ann sells 0.1 BTC_USDC-PERPETUAL at 8900 reduce-only => refused: account_locked
    when btc_usdc is 11138.17
    and bob buys 0.1 BTC_USDC-PERPETUAL at 8000 reduce-only  => open, 0 filled
    and btc_usdc is 11138.18
    and bob buys 0.1 BTC_USDC-PERPETUAL at 8000 reduce-only  => refused: account_locked
    """)


def test_the_account_with_the_largest_shortfall_is_first() -> None:
    """The shortfall is relative to maintenance margin: eve lacks 40 % of hers, ann 7 %.

    There is one bid for one clip, and eve's is sold to it.
    """
    run_scenario("""
    given btc_usd is 10000
    and ann has 0.2097 BTC
    and bob has 1 BTC
    and cid has 1 BTC
    and eve has 0.2064 BTC
    and ann buys 8000 BTC-PERPETUAL from bob at 10000
    and eve buys 8000 BTC-PERPETUAL from bob at 10000
    when a second later btc_usd is 8000
    and cid buys 1000 BTC-PERPETUAL at 8000
    then accounts:
        | account | currency | margin balance | maintenance |
        | ann     | BTC      | 0.0093         | 0.01005     |
        | eve     | BTC      | 0.006          | 0.01005     |
    when the supervisor liquidates
    # bankruptcy prices 8000 / 1.006 = 7952.3 and 8000 / 1.0093 = 7926.3
    then liquidations:
        | account | step    | amount | price  |
        | eve     | reduced | 1000   | 8000   |
        | ann     | no fill |        | 7926.5 |
    """)


def test_a_makers_rebate_is_paid_from_the_liquidation_fee() -> None:
    """Makers of weeklies get 0.01 % of the 0.75 % that ann pays; the fund gets the rest.

    An eighth of 8000 at 8000 is 0.125: 0.0009375 from ann, 0.0000125 to cid.
    """
    run_scenario("""
    given btc_usd is 10000
    and ann has 0.2104 BTC
    and bob has 1 BTC
    and cid has 1 BTC
    and ann buys 8000 BTC-20NOV26 from bob at 10000
    then accounts:
        | account | currency | balance |
        | fees    | BTC      | 0.00032 |
    when fees withdraws 0.00032 BTC
    and a second later btc_usd is 8000
    and cid buys 5000 BTC-20NOV26 at 8000
    and the supervisor liquidates
    then trades:
        | buyer | seller | amount | price | seller's fee | buyer's fee |
        | ann   | bob    | 8000   | 10000 | -0.00008     | 0.0004      |
        | cid   | ann    | 1000   | 8000  | 0.0009375    | -0.0000125  |
    and accounts:
        | account | currency | balance  |
        | fees    | BTC      | 0        |
        | fund    | BTC      | 0.000925 |
    """)
