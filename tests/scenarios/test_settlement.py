"""Funding, daily settlement, and settlement in many entries."""

from tests.scenarios.script import run_scenario


def test_funding_is_paid_by_the_minute() -> None:
    """10,000 USD long at mark 10010 and index 10000 pays 0.05 % / 480 of a coin in a minute.

    The premium is 0.1 % in 8 hours, of which the dampener leaves 0.05 %.
    """
    run_scenario("""
    given the dampener of BTC-PERPETUAL is 0.05 %
    and the dampener of BTC_USDC-PERPETUAL is 0.05 %
    and btc_usd is 10000
    and btc_usdc is 10000
    and ann has 1 BTC
    and bob has 1 BTC
    and mia has 10 BTC
    and ann has 10000 USDC
    and bob has 10000 USDC
    and mia has 10000 USDC
    and ann buys 10000 BTC-PERPETUAL from bob at 10000
    and ann buys 1 BTC_USDC-PERPETUAL from bob at 10000
    # a maker quotes the impact amount around 10010, and the mark converges to that
    and mia buys 10000 BTC-PERPETUAL at 10009.5
    and mia sells 10000 BTC-PERPETUAL at 10010.5
    and mia buys 0.1 BTC_USDC-PERPETUAL at 10009.5
    and mia sells 0.1 BTC_USDC-PERPETUAL at 10010.5
    and 20 minutes pass
    then markets:
        | instrument         | index | mark  | funding |
        | BTC-PERPETUAL      | 10000 | 10010 | 0.05 %  |
        | BTC_USDC-PERPETUAL | 10000 | 10010 | 0.05 %  |
    and positions:
        | account | instrument    | funding | realised |
        | ann     | BTC-PERPETUAL | 0       | 0        |
    when 1 minute passes
    # inverse: size / index x rate; linear: coins x index x rate
    then positions:
        | account | instrument         | funding         | realised        |
        | ann     | BTC-PERPETUAL      | -0.000001041667 | -0.000001041667 |
        | bob     | BTC-PERPETUAL      | 0.000001041667  | 0.000001041667  |
        | ann     | BTC_USDC-PERPETUAL | -0.010416666667 | -0.010416666667 |
        | bob     | BTC_USDC-PERPETUAL | 0.010416666667  | 0.010416666667  |
    when 8 hours pass
    # 481 minutes' worth by now; the clock shows 20:21
    then positions:
        | account | instrument    | funding         |
        | ann     | BTC-PERPETUAL | -0.000501041667 |
    when the clock shows 2026-11-19 08:00:00
    and a heartbeat arrives
    # 12:20 to 08:00 are 1180 minutes: 0.0005 x 1180 / 480
    then settlements:
        | account | instrument         | size   | price | profit          | funding         |
        | ann     | BTC-PERPETUAL      | 10000  | 10010 | -0.000230165668 | -0.001229166667 |
        | bob     | BTC-PERPETUAL      | -10000 | 10010 | 0.000230165668  | 0.001229166667  |
        | ann     | BTC_USDC-PERPETUAL | 1      | 10010 | -2.291666666667 | -12.291666666667 |
        | bob     | BTC_USDC-PERPETUAL | -1     | 10010 | 2.291666666667  | 12.291666666667 |
    """)


def test_small_premiums_cost_nothing() -> None:
    """Within the dampener there is no funding; below it the shorts pay."""
    run_scenario("""
    given btc_usd is 10000
    and ann has 1 BTC
    and bob has 1 BTC
    and mia has 10 BTC
    and ann buys 10000 BTC-PERPETUAL from bob at 10000
    and mia buys 10000 BTC-PERPETUAL at 10002
    and mia sells 10000 BTC-PERPETUAL at 10003
    when 20 minutes pass
    then markets:
        | instrument    | mark    | funding |
        | BTC-PERPETUAL | 10002.5 | 0 %     |
    when mia cancels all => 2 cancelled
    and mia buys 10000 BTC-PERPETUAL at 9984.5
    and mia sells 10000 BTC-PERPETUAL at 9985.5
    and 20 minutes pass
    # (-0.15 + 0.025) %
    then markets:
        | instrument    | mark | funding  |
        | BTC-PERPETUAL | 9985 | -0.125 % |
    when 1 hour passes
    # 1 coin x 0.125 % / 8
    then positions:
        | account | instrument    | funding    |
        | ann     | BTC-PERPETUAL | 0.00015625 |
        | bob     | BTC-PERPETUAL | -0.00015625 |
    """)


def test_settlement_books_the_session_result() -> None:
    """185,160 USD bought at 15000, settled at 16025.83, with the mark at 17391.

    Since settlement 185160 x (1/16025.83 - 1/17391) = 0.906961; since the average price 185160
    x (1/15000 - 1/17391) = 1.697114.
    """
    run_scenario("""
    given btc_usd is 15000
    and ann has 10 BTC
    and bob has 10 BTC
    and ann buys 185160 BTC-PERPETUAL from bob at 15000
    and a second later btc_usd is 16025.83
    when the clock shows 2026-11-19 08:00:00
    and a heartbeat arrives
    # 185160 x (1/15000 - 1/16025.83); ann's fee was 12.344 x 0.05 %
    then settlements:
        | account | kind       | size    | price    | profit          |
        | ann     | settlement | 185160  | 16025.83 | 0.790152242973  |
        | bob     | settlement | -185160 | 16025.83 | -0.790152242973 |
    and settled markets:
        | kind       | instrument    | price    | open interest |
        | settlement | BTC-PERPETUAL | 16025.83 | 185160        |
    and accounts:
        | account | currency | balance         | session | floating |
        | ann     | BTC      | 10.783980242973 | 0       | 0        |
        | bob     | BTC      | 9.209847757027  | 0       | 0        |
    when a second later btc_usd is 17391
    then positions:
        | account | instrument    | average | settled at | floating       | total          |
        | ann     | BTC-PERPETUAL | 15000   | 16025.83   | 0.906961436516 | 1.697113679489 |
    # half of it is closed: half of the floating profit is realised, against the settlement price
    when bob buys 92580 BTC-PERPETUAL from ann at 17391
    then positions:
        | account | instrument    | average | floating       | total          | realised       |
        | ann     | BTC-PERPETUAL | 15000   | 0.453480718258 | 0.848556839745 | 0.453480718259 |
    """)


def test_a_tick_after_three_days_settles_three_times() -> None:
    """Each skipped settlement takes place, at its own time."""
    run_scenario("""
    given btc_usd is 10000
    and ann has 1 BTC
    and bob has 1 BTC
    and ann buys 8000 BTC-PERPETUAL from bob at 10000
    and a second later btc_usd is 12500
    when 3 days pass
    # 8000 x (1/10000 - 1/12500) on the first day; the price has not moved since
    then settlements:
        | account | instrument    | size  | price | profit |
        | ann     | BTC-PERPETUAL | 8000  | 12500 | 0.16   |
        | bob     | BTC-PERPETUAL | -8000 | 12500 | -0.16  |
        | ann     | BTC-PERPETUAL | 8000  | 12500 | 0      |
        | bob     | BTC-PERPETUAL | -8000 | 12500 | 0      |
        | ann     | BTC-PERPETUAL | 8000  | 12500 | 0      |
        | bob     | BTC-PERPETUAL | -8000 | 12500 | 0      |
    and settled markets:
        | kind       | instrument    | price | open interest |
        | settlement | BTC-PERPETUAL | 12500 | 8000          |
        | settlement | BTC-PERPETUAL | 12500 | 8000          |
        | settlement | BTC-PERPETUAL | 12500 | 8000          |
    and accounts:
        | account | currency | balance | session | margin balance |
        | ann     | BTC      | 1.1596  | 0       | 1.1596         |
        | bob     | BTC      | 0.84    | 0       | 0.84           |
    and all accounts are sound
    """)


def test_a_settlement_in_slices_closes_only_its_own_currency() -> None:
    """Orders in that currency are refused until all of its accounts are settled."""
    run_scenario("""
    given btc_usd is 10000
    and eth_usd is 1000
    and ann has 1 BTC
    and bob has 1 BTC
    and ann has 10 ETH
    and bob has 10 ETH
    and ann buys 8000 BTC-PERPETUAL from bob at 10000
    and ann sells 10 BTC-PERPETUAL at 10100 day => open, 0 filled
    and ann sells 10 BTC-PERPETUAL at 10100     => open, 0 filled
    and a second later btc_usd is 12500
    and a slice is 1
    when the clock shows 2026-11-19 07:59:59
    and a heartbeat arrives
    and the clock shows 2026-11-19 08:00:00
    # each entry takes one step: first the good-til-day order, then one account each
    and ann buys 10 BTC-PERPETUAL at 12500 => refused: settlement_in_progress
    then work is in progress
    and markets:
        | instrument    | state      | orders |
        | BTC-PERPETUAL | settlement | 1      |
        | ETH-PERPETUAL | settlement | 0      |
    and settlements:
        | account | size |
    when 6 more entries come
    # five system accounts, and ann
    then settlements:
        | account | size | profit |
        | ann     | 8000 | 0.16   |
    and accounts:
        | account | currency | balance | session | floating | margin balance |
        | ann     | BTC      | 1.1596  | 0       | 0        | 1.1596         |
        | bob     | BTC      | 1       | 0       | -0.16    | 0.84           |
    when ann cancels all
    and all work is finished
    then markets:
        | instrument    | state | orders |
        | BTC-PERPETUAL | open  | 0      |
        | ETH-PERPETUAL | open  | 0      |
    and settlements:
        | account | size  | profit |
        | bob     | -8000 | -0.16  |
    when a heartbeat arrives
    and ann buys 10 BTC-PERPETUAL at 12500 => open, 0 filled
    """)


def test_a_currency_reopens_while_another_one_settles() -> None:
    """It reopens as soon as its own accounts are settled."""
    run_scenario("""
    given btc_usd is 10000
    and eth_usd is 1000
    and ann has 1 BTC
    and ann has 10 ETH
    and bob has 10 ETH
    and a slice is 1
    when the clock shows 2026-11-19 08:00:00
    and a heartbeat arrives
    # bitcoin: five system accounts, two clients, reopening: one per step
    then markets:
        | instrument    | state      |
        | BTC-PERPETUAL | settlement |
        | ETH-PERPETUAL | settlement |
    when 8 more entries come
    and ann buys 10 BTC-PERPETUAL at 10000 => open, 0 filled
    and ann buys 10 ETH-PERPETUAL at 1000  => refused: settlement_in_progress
    and all work is finished
    and ann buys 10 ETH-PERPETUAL at 1000  => open, 0 filled
    """)


def test_a_settlement_keeps_the_prices_of_its_time() -> None:
    """All accounts are settled at the mark and index of 08:00, however long it takes."""
    run_scenario("""
    given btc_usd is 10000
    and ann has 1 BTC
    and bob has 1 BTC
    and ann buys 8000 BTC-PERPETUAL from bob at 10000
    and a second later btc_usd is 12500
    and a slice is 1
    when the clock shows 2026-11-19 08:00:00
    and btc_usd is 12800
    and 5 more entries come
    and btc_usd is 13000
    and all work is finished
    then settlements:
        | account | size  | price | index | profit |
        | ann     | 8000  | 12500 | 12500 | 0.16   |
        | bob     | -8000 | 12500 | 12500 | -0.16  |
    # 8000 x (1/12500 - 1/13000)
    and positions:
        | account | instrument    | settled at | floating        |
        | ann     | BTC-PERPETUAL | 12500      | 0.024615384615  |
        | bob     | BTC-PERPETUAL | 12500      | -0.024615384615 |
    """)


def test_after_a_silence_the_former_holder_pays_the_funding() -> None:
    """Ann is long for four hours without a heartbeat, and sells to cid before the next one.

    0.5 % above the index less 0.025 % are 0.475 % in 8 hours; of one coin, for half of them,
    0.002375. Cid has held it for no time.
    """
    run_scenario("""
    given btc_usd is 10000
    and ann has 1 BTC
    and bob has 1 BTC
    and cid has 1 BTC
    and mia has 10 BTC
    and ann buys 10000 BTC-PERPETUAL from bob at 10000
    and mia buys 10000 BTC-PERPETUAL at 10049.5
    and mia sells 10000 BTC-PERPETUAL at 10050.5
    and 20 minutes pass
    and mia cancels all => 2 cancelled
    then markets:
        | instrument    | mark  | funding |
        | BTC-PERPETUAL | 10050 | 0.475 % |
    when 0 seconds pass
    and cid buys 10000 BTC-PERPETUAL at 9950
    and the clock shows 2026-11-18 16:20:00
    and ann sells 10000 BTC-PERPETUAL at 9950 reduce-only => filled, 10000 filled
    then positions:
        | account | instrument    | size   | funding   |
        | ann     | BTC-PERPETUAL | 0      | -0.002375 |
        | bob     | BTC-PERPETUAL | -10000 | 0.002375  |
        | cid     | BTC-PERPETUAL | 10000  | 0         |
    """)


def test_an_instrument_listed_at_a_settlement_opens_after_it() -> None:
    """The weekly that follows an expiry is listed at 08:00, and opens with its currency."""
    run_scenario("""
    given btc_usd is 10000
    and ann has 1 BTC
    and bob has 1 BTC
    and ann buys 1000 BTC-PERPETUAL from bob at 10000
    and a slice is 2
    when the clock shows 2026-11-20 08:00:00
    and a heartbeat arrives
    then work is in progress
    and markets:
        | instrument    | state      |
        | BTC-PERPETUAL | settlement |
        | BTC-4DEC26    | settlement |
    when ann buys 10 BTC-4DEC26 at 9900 => refused: settlement_in_progress
    and all work is finished
    then markets:
        | instrument    | state |
        | BTC-PERPETUAL | open  |
        | BTC-4DEC26    | open  |
    when a heartbeat arrives
    and ann buys 10 BTC-4DEC26 at 9900 => open, 0 filled
    """)
