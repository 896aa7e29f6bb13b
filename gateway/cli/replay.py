"""`tidegate replay`: serve a recorded venue."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from gateway.cli.arguments import add_command, add_config, announce, load_config
from gateway.log.data_directory import DataDirectory
from gateway.network.descriptors import raise_limit
from gateway.server.replay import play_until_signalled

if TYPE_CHECKING:
    from gateway.cli.arguments import Subcommands

MAX_SPEED: Final = 1_000_000.0
"""Eleven days in a second: no machine replays faster."""


def add_replay(subcommands: Subcommands) -> None:
    """Add `tidegate replay`."""
    parser = add_command(
        subcommands,
        "replay",
        _replay,
        "Play a venue's log again and serve its market data. Nothing can be changed.",
        "serve a recorded venue again, read-only",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="the data directory")
    parser.add_argument(
        "--speed",
        type=_speed,
        default=1.0,
        metavar="X",
        help="how many times as fast as it was (default: %(default)g)",
    )
    add_config(parser, "TOML file: where to listen, limits, and the keys of accounts that may look")


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed <= MAX_SPEED:
        raise argparse.ArgumentTypeError(
            f"expected a number above 0, to {MAX_SPEED:.0f}, not {text}"
        )
    return speed


def _replay(chosen: argparse.Namespace) -> int:
    config = load_config(chosen.config)
    raise_limit()
    directory = DataDirectory(chosen.directory)
    trio.run(play_until_signalled, config, directory, chosen.speed, announce)
    return 0
