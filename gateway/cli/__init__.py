"""The command line: `tidegate serve` and the other subcommands.

Each function in `COMMANDS` adds the parser of one subcommand, with a `run` default that takes the
parsed arguments and returns the exit status.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, TypeVar

from gateway.cli.demo import add_demo, add_shock
from gateway.cli.log import add_log
from gateway.cli.percentages import escape_negative_percentages
from gateway.cli.replay import add_replay
from gateway.cli.serve import add_serve
from gateway.config.toml_reader import ConfigError
from gateway.log.errors import ApplyError, DiskError, LogError
from gateway.printable import escape_unprintable
from gateway.server.failure import report_failure

if TYPE_CHECKING:
    from gateway.cli.arguments import Subcommands

USAGE_ERROR: Final = 2

COMMANDS: Final[list[Callable[[Subcommands], None]]] = [
    add_serve,
    add_demo,
    add_shock,
    add_log,
    add_replay,
]

Failure = TypeVar("Failure", bound=Exception)


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
        # Raised inside the venue, it is wrapped in an exception group by each nursery it leaves.
        print(f"tidegate: {escape_unprintable(str(_innermost(errors)))}", file=sys.stderr)
    except* (DiskError, ApplyError, LogError) as errors:
        status = report_failure(_innermost(errors))
    return status


def _innermost(errors: ExceptionGroup[Failure]) -> Failure:
    error = errors.exceptions[0]
    return _innermost(error) if isinstance(error, ExceptionGroup) else error
