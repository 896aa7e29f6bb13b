"""The command line: `tidegate serve` and what else can be started from it.

A subcommand is a function that adds its own parser, with `run` among the defaults: called with
the parsed arguments, it returns the exit status. More of them join `COMMANDS`.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import trio

from gateway.cli.log import add_log
from gateway.config.schema import Config, load
from gateway.config.toml_reader import ConfigError
from gateway.demo.command import add_demo, add_shock
from gateway.demo.percentages import escape_negative_percentages
from gateway.log.errors import ApplyError, DiskError, LogError
from gateway.printable import printable
from gateway.server.failure import report
from gateway.server.process import serve_until_signalled
from gateway.server.replay import add_replay
from gateway.server.server import Running

if TYPE_CHECKING:
    # argparse has no public name for what add_subparsers returns.
    Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

USAGE_ERROR: Final = 2

Failed = TypeVar("Failed", bound=Exception)


def add_serve(subcommands: Subcommands) -> None:
    """`tidegate serve`."""
    parser = subcommands.add_parser(
        "serve",
        help="run the venue until it is stopped",
        description="Run the venue until SIGTERM or SIGINT; a second signal ends it at once.",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file; all keys optional")
    parser.set_defaults(run=_serve)


COMMANDS: Final[list[Callable[[Subcommands], None]]] = [
    add_serve,
    add_demo,
    add_shock,
    add_log,
    add_replay,
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the console script; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="tidegate", description="A derivatives exchange that speaks the Deribit API v2."
    )
    parser.add_argument("--version", action="version", version=f"tidegate {version('tidegate')}")
    subcommands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(subcommands)
    chosen = parser.parse_args(
        escape_negative_percentages(sys.argv[1:] if arguments is None else arguments)
    )
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    status = USAGE_ERROR
    try:
        status = chosen.run(chosen)
    except* ConfigError as errors:
        # From inside the venue it comes wrapped by each nursery on its way.
        print(f"tidegate: {printable(str(_first(errors)))}", file=sys.stderr)
    except* (DiskError, ApplyError, LogError) as errors:
        status = report(_first(errors))
    return status


def _first(errors: ExceptionGroup[Failed]) -> Failed:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, ExceptionGroup) else error


def _serve(chosen: argparse.Namespace) -> int:
    trio.run(serve_until_signalled, load(chosen.config) if chosen.config else Config(), announce)
    return 0


def announce(running: Running) -> None:
    """Say where the venue is, for people and for the programs that start it."""
    print(f"tidegate ready http={running.http_url} ws={running.websocket_url}", flush=True)
