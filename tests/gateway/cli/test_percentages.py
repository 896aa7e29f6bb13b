"""Percentages on the command line."""

from argparse import ArgumentParser, ArgumentTypeError

import pytest

from gateway.cli.percentages import escape_negative_percentages, percentage


@pytest.mark.parametrize(
    ("text", "fraction"), [("-20%", -0.2), ("+5%", 0.05), ("0.5%", 0.005), ("-99.9%", -0.999)]
)
def test_a_percentage_is_a_fraction(text: str, fraction: float) -> None:
    """With or without sign and decimals."""
    assert pytest.approx(fraction) == percentage(text)


@pytest.mark.parametrize("text", ["-20", "-0.2", "-100%", "-250%", "twenty", "%", "1e3%", "nan%"])
def test_what_is_no_percentage_or_leaves_no_price_is_refused(text: str) -> None:
    """A bare number could mean either a fraction or a percentage."""
    with pytest.raises(ArgumentTypeError):
        percentage(text)


@pytest.mark.parametrize("arguments", [["--shock", "-20%"], ["--shock=-20%"]])
def test_a_fall_is_a_value_and_not_an_option(arguments: list[str]) -> None:
    """argparse would take -20% for an option that it does not know."""
    parser = ArgumentParser()
    parser.add_argument("--shock", type=percentage)
    assert pytest.approx(-0.2) == parser.parse_args(escape_negative_percentages(arguments)).shock


def test_a_fall_can_be_positional() -> None:
    """As in `tidegate shock -20%`."""
    parser = ArgumentParser()
    parser.add_argument("percent", type=percentage)
    assert pytest.approx(-0.2) == parser.parse_args(escape_negative_percentages(["-20%"])).percent
