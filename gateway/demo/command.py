"""`tidegate demo` and `tidegate shock` on the command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from gateway.config.schema import Config, Limits, load
from gateway.demo import control
from gateway.demo.options import FALL_SECONDS, SHOCK_SECONDS, Options
from gateway.demo.percentages import percentage

if TYPE_CHECKING:
    # argparse has no public name for what add_subparsers returns.
    Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

FAILED = 1


def add_demo(subcommands: Subcommands) -> None:
    """`tidegate demo`."""
    parser = subcommands.add_parser(
        "demo",
        help="run the venue with a crowd of bots on it, and watch",
        description="Run the venue with market makers, takers and gamblers on it, and watch them.",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file; all keys optional")
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
    parser.set_defaults(run=_demo)


def add_shock(subcommands: Subcommands) -> None:
    """`tidegate shock`."""
    parser = subcommands.add_parser(
        "shock",
        help="move the indices of a running demo",
        description="Move all indices of a demo that you have started on this machine.",
    )
    parser.add_argument("percent", type=percentage, metavar="PERCENT", help="such as -20%%")
    parser.add_argument("--port", type=int, help="HTTP port of the demo, where several are running")
    parser.set_defaults(run=_shock)


def _demo(chosen: argparse.Namespace) -> int:
    # Bots and screen take long to import, and `tidegate serve` comes by here without them.
    from gateway.demo.runner import play

    # The crowd comes from this machine and trades as fast as the demo wants.
    unlimited = Config(limits=Limits(enabled=False))
    config = load(chosen.config) if chosen.config else unlimited
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
