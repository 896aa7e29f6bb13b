"""Effects of trades on positions and money: open, reduce, close, flip; fees."""

from tests.scenarios.script import run_scenario


def test_a_position_is_opened_partly_closed_and_flipped() -> None:
    """Closing realises its part of the profit; the rest keeps its average; a flip has a new one."""
    run_scenario("""
    given btc_usd is 10000
    and ann has 1 BTC
    and bob has 1 BTC
    when ann buys 8000 BTC-PERPETUAL from bob at 10000
    then positions:
        | account | instrument    | size  | coins | average | floating | realised |
        | ann     | BTC-PERPETUAL | 8000  | 0.8   | 10000   | 0        | 0        |
        | bob     | BTC-PERPETUAL | -8000 | -0.8  | 10000   | 0        | 0        |
    # margin: (2 % + 0.005 % x 0.8) x 0.8 and (1 % + 0.005 % x 0.8) x 0.8
    # ann took: 8000 / 10000 x 0.05 %
    and accounts:
        | account | currency | balance | initial  | maintenance | fees   |
        | ann     | BTC      | 0.9996  | 0.016032 | 0.008032    | 0.0004 |
        | bob     | BTC      | 1       | 0.016032 | 0.008032    | 0      |
        | fees    | BTC      | 0.0004  | 0        | 0           | 0      |

    when a second later btc_usd is 12500
    # 8000 x (1/10000 - 1/12500)
    then positions:
        | account | instrument    | size  | coins | average | floating | realised |
        | ann     | BTC-PERPETUAL | 8000  | 0.64  | 10000   | 0.16     | 0        |
        | bob     | BTC-PERPETUAL | -8000 | -0.64 | 10000   | -0.16    | 0        |

    when bob buys 2000 BTC-PERPETUAL from ann at 12500
    # 2000 x (1/10000 - 1/12500) is realised, 6000 x ... is not; bob's fee: 2000/12500 x 0.05 %
    then trades:
        | buyer | seller | amount | price | buyer's profit | seller's profit | buyer's fee |
        | ann   | bob    | 8000   | 10000 | 0              | 0               | 0.0004      |
        | bob   | ann    | 2000   | 12500 | -0.04          | 0.04            | 0.00008     |
    and positions:
        | account | instrument    | size  | average | floating | realised |
        | ann     | BTC-PERPETUAL | 6000  | 10000   | 0.12     | 0.04     |
        | bob     | BTC-PERPETUAL | -6000 | 10000   | -0.12    | -0.04    |

    when bob buys 10000 BTC-PERPETUAL from ann at 12500
    # 6000 of them close: + 0.12; 4000 open the other way
    then positions:
        | account | instrument    | size  | average | floating | realised |
        | ann     | BTC-PERPETUAL | -4000 | 12500   | 0        | 0.16     |
        | bob     | BTC-PERPETUAL | 4000  | 12500   | 0        | -0.16    |
    # initial margin: (2 % + 0.005 % x 0.32) x 0.32; withdrawable: balance - initial, as the
    # profit is not cash yet; bob: 1 - 0.16 - fees of 0.00008 and 0.0004
    and accounts:
        | account | currency | balance | session | margin balance | initial    | withdrawable |
        | ann     | BTC      | 0.9996  | 0.16    | 1.1596         | 0.00640512 | 0.99319488   |
        | bob     | BTC      | 0.99952 | -0.16   | 0.83952        | 0.00640512 | 0.83311488   |
    and markets:
        | instrument    | open interest |
        | BTC-PERPETUAL | 4000          |
    and all accounts are sound
    """)


def test_a_linear_position_counts_coins_and_earns_dollars() -> None:
    """Linear: profit is coins x price difference, margin is taken at the index."""
    run_scenario("""
    given btc_usdc is 10000
    and ann has 10000 USDC
    and bob has 10000 USDC
    when ann buys 0.8 BTC_USDC-PERPETUAL from bob at 10000
    # margin: (2 % + 0.005 % x 0.8) x 0.8 x 10000; fee: 8000 x 0.05 %
    then accounts:
        | account | currency | balance | initial | maintenance | fees |
        | ann     | USDC     | 9996    | 160.32  | 80.32       | 4    |
    when a second later btc_usdc is 12500
    and bob buys 0.2 BTC_USDC-PERPETUAL from ann at 12500
    # 0.6 x 2500 floats, 0.2 x 2500 is realised
    then positions:
        | account | instrument         | size | average | floating | realised | maintenance |
        | ann     | BTC_USDC-PERPETUAL | 0.6  | 10000   | 1500     | 500      | 75.225      |
        | bob     | BTC_USDC-PERPETUAL | -0.6 | 10000   | -1500    | -500     | 75.225      |
    when ann sells 1 BTC_USDC-PERPETUAL at 12500
    and bob buys 1 BTC_USDC-PERPETUAL at 12500
    then positions:
        | account | instrument         | size | average | floating | realised |
        | ann     | BTC_USDC-PERPETUAL | -0.4 | 12500   | 0        | 2000     |
        | bob     | BTC_USDC-PERPETUAL | 0.4  | 12500   | 0        | -2000    |
    # bob's fees: 2500 x 0.05 % and 12500 x 0.05 %
    and accounts:
        | account | currency | balance | session | margin balance | fees |
        | ann     | USDC     | 9996    | 2000    | 11996          | 4    |
        | bob     | USDC     | 9992.5  | -2000   | 7992.5         | 7.5  |
        | fees    | USDC     | 11.5    | 0       | 11.5           | 0    |
    and all accounts are sound
    """)


def test_average_prices_are_harmonic_or_arithmetic() -> None:
    """Inverse: total USD over total coins. Linear: total USD over total coins, too."""
    run_scenario("""
    given btc_usd is 10000
    and btc_usdc is 10000
    and ann has 1 BTC
    and bob has 1 BTC
    and ann has 10000 USDC
    and bob has 10000 USDC
    when ann buys 3000 BTC-PERPETUAL from bob at 10000
    and ann buys 0.3 BTC_USDC-PERPETUAL from bob at 10000
    and a second later btc_usd is 12500
    and btc_usdc is 12500
    and ann buys 5000 BTC-PERPETUAL from bob at 12500
    and ann buys 0.5 BTC_USDC-PERPETUAL from bob at 12500
    # 8000 / (0.3 + 0.4)  and  (3000 + 6250) / 0.8
    then positions:
        | account | instrument         | size  | average        | floating | total          |
        | ann     | BTC-PERPETUAL      | 8000  | 11428.57142857 | 0.06     | 0.06           |
        | bob     | BTC-PERPETUAL      | -8000 | 11428.57142857 | -0.06    | -0.06          |
        | ann     | BTC_USDC-PERPETUAL | 0.8   | 11562.5        | 750      | 750            |
        | bob     | BTC_USDC-PERPETUAL | -0.8  | 11562.5        | -750     | -750           |
    when bob buys 4000 BTC-PERPETUAL from ann at 12500
    # half of 0.06; the average of what is left stays
    then positions:
        | account | instrument    | size | average        | floating | realised |
        | ann     | BTC-PERPETUAL | 4000 | 11428.57142857 | 0.03     | 0.03     |
    """)


def test_a_maker_of_a_weekly_is_paid() -> None:
    """Weekly futures: the taker pays 0.05 %, of which the maker gets 0.01 %."""
    run_scenario("""
    given btc_usd is 10000
    and ann has 1 BTC
    and bob has 1 BTC
    when ann buys 10000 BTC-20NOV26 from bob at 10000
    and ann buys 10000 BTC-25DEC26 from bob at 10000
    then trades:
        | instrument  | buyer's fee | seller's fee |
        | BTC-20NOV26 | 0.0005      | -0.0001      |
        | BTC-25DEC26 | 0.0005      | 0            |
    and accounts:
        | account | currency | balance | fees    |
        | ann     | BTC      | 0.999   | 0.001   |
        | bob     | BTC      | 1.0001  | -0.0001 |
        | fees    | BTC      | 0.0009  | 0       |
    """)


def test_standard_margin_grows_with_size() -> None:
    """The margin tables of the parameter set, by family."""
    run_scenario("""
    given btc_usd is 10000
    and btc_usdc is 10000
    and eth_usd is 1000
    and eth_usdc is 1000
    and sol_usdc is 100
    and ann has 1000 BTC
    and bob has 1000 BTC
    and ann has 1000 ETH
    and bob has 1000 ETH
    and ann has 1000000 USDC
    and bob has 1000000 USDC
    when ann buys 2000000 BTC-PERPETUAL from bob at 10000
    and ann buys 10000 BTC-25DEC26 from bob at 10000
    and ann buys 10000 ETH-PERPETUAL from bob at 1000
    and ann buys 2 BTC_USDC-PERPETUAL from bob at 10000
    and ann buys 10 ETH_USDC-PERPETUAL from bob at 1000
    and ann buys 100 SOL_USDC-PERPETUAL from bob at 100
    # 200 coins: (2 % + 1 %) x 200 and (1 % + 1 %) x 200: the first leverage is 1 / 0.03
    # 1 coin: 2.005 % and 1.005 %
    # 10 coins of ether: 2.004 % and 1.004 % of 10
    # 2 coins at 10000: 2.01 % and 1.01 % of 20000
    # 10 coins at 1000: 2.004 % and 1.004 % of 10000
    # 100 coins at 100: 4.05 % and 2.05 % of 10000
    then positions:
        | account | instrument         | size     | coins | initial | maintenance | leverage |
        | ann     | BTC-PERPETUAL      | 2000000  | 200   | 6       | 4           | 33       |
        | bob     | BTC-PERPETUAL      | -2000000 | -200  | 6       | 4           | 33       |
        | ann     | BTC-25DEC26        | 10000    | 1     | 0.02005 | 0.01005     | 50       |
        | ann     | ETH-PERPETUAL      | 10000    | 10    | 0.2004  | 0.1004      | 50       |
        | ann     | BTC_USDC-PERPETUAL | 2        | 2     | 402     | 202         | 50       |
        | ann     | ETH_USDC-PERPETUAL | 10       | 10    | 200.4   | 100.4       | 50       |
        | ann     | SOL_USDC-PERPETUAL | 100      | 100   | 405     | 205         | 25       |
    and accounts:
        | account | currency | initial | maintenance |
        | ann     | BTC      | 6.02005 | 4.01005     |
        | ann     | ETH      | 0.2004  | 0.1004      |
        | ann     | USDC     | 1007.4  | 507.4       |
    """)


def test_a_trade_at_the_edge_of_the_band_needs_margin_to_the_last_unit() -> None:
    """The cost of the worst fill must be covered, exact to 0.000000000001 BTC.

    Initial margin of one coin, 0.02005; bought at 10150 and worth 10000, a loss of 1 -
    0.985221674877; the fee on that, 0.000492610838; and two units for the rounding of each of
    up to 1000 fills and of the order, 0.000000002002. Together 0.035320937963.
    """
    run_scenario("""
    given btc_usd is 10000
    and bob has 1 BTC
    and ann has 0.035320937962 BTC
    and markets:
        | instrument    | low  | high  |
        | BTC-PERPETUAL | 9850 | 10150 |
    when bob sells 10000 BTC-PERPETUAL at 10150
    and ann buys 10000 BTC-PERPETUAL at 10150.5 => refused: price_too_high 10150
    and ann sells 10000 BTC-PERPETUAL at 9849.5 => refused: price_too_low 9850
    and ann buys 10000 BTC-PERPETUAL at 10150   => refused: not_enough_funds
    and ann has 0.000000000001 BTC
    and ann buys 10000 BTC-PERPETUAL at 10150   => filled, 10000 filled
    then accounts:
        | account | currency | floating        | margin balance | initial | available      |
        | ann     | BTC      | -0.014778325123 | 0.020050002002 | 0.02005 | 0.000000002002 |
    and all accounts are sound
    """)
