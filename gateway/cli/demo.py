"""`tidegate demo` and `tidegate shock`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import trio

from gateway.cli.arguments import add_command, add_config, load_config
from gateway.cli.percentages import percentage
from gateway.config.schema import Config, Limits
from gateway.demo import control
from gateway.demo.options import FALL_SECONDS, SHOCK_SECONDS, Options

if TYPE_CHECKING:
    import argparse

    from gateway.cli.arguments import Subcommands

FAILED: Final = 1


def add_demo(subcommands: Subcommands) -> None:
    """Add `tidegate demo`."""
    parser = add_command(
        subcommands,
        "demo",
        _demo,
        "Run the venue with market makers, takers and gamblers on it, and watch them.",
        "run the venue with a crowd of bots on it, and watch",
    )
    add_config(parser)
    parser.add_argument(
        "--shock", type=percentage, metavar="PERCENT", help="move all indices, such as -20%%"
    )
    parser.add_argument(
        "--after",
        type=float,
        default=SHOCK_SECONDS,
        metavar="SECONDS",
        help="when --shock comes (default: %(default)g)",
    )
    parser.add_argument(
        "--over",
        type=float,
        default=FALL_SECONDS,
        metavar="SECONDS",
        help="how long shocks take, in steps of a second (default: %(default)g)",
    )
    parser.add_argument(
        "--plain", action="store_true", help="print lines, also where a terminal could show more"
    )


def add_shock(subcommands: Subcommands) -> None:
    """Add `tidegate shock`."""
    parser = add_command(
        subcommands,
        "shock",
        _shock,
        "Move all indices of a demo that you have started on this machine.",
        "move the indices of a running demo",
    )
    parser.add_argument("percent", type=percentage, metavar="PERCENT", help="such as -20%%")
    parser.add_argument("--port", type=int, help="HTTP port of the demo, where several are running")


def _demo(chosen: argparse.Namespace) -> int:
    # Imported late: bots and screen take long to import, and `tidegate serve` does not need them.
    from gateway.demo.runner import play

    # The bots share this machine's address and trade as fast as the demo asks them to.
    config = load_config(chosen.config, Config(limits=Limits(enabled=False)))
    trio.run(play, config, Options(chosen.shock, chosen.after, chosen.over, chosen.plain))
    return 0


def _shock(chosen: argparse.Namespace) -> int:
    try:
        prices = trio.run(control.send_shock, chosen.percent, chosen.port)
    except control.ControlError as error:
        sys.stderr.write(f"tidegate: {error}\n")
        return FAILED
    sys.stdout.writelines(f"{name} {price:,.2f}\n" for name, price in prices.items())
    return 0
