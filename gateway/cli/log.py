"""`tidegate log`: inspect, verify and maintain a data directory."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Final

from gateway.cli.arguments import add_command, count, write_line
from gateway.clock import RealClock
from gateway.log import maintenance
from gateway.log.data_directory import DataDirectory
from gateway.log.disk import Disk
from gateway.log.entry_format import Selection, format_json, format_line
from gateway.log.errors import LockedError, LogError
from gateway.log.follower import SNAPSHOT_ENTRIES, Follower
from gateway.log.frames import Frame
from gateway.log.segments import SegmentReader
from gateway.log.tail import LogTail
from gateway.log.verify import CHECK_ENTRIES, Verification, Verified
from gateway.printable import escape_unprintable

if TYPE_CHECKING:
    from gateway.cli.arguments import Run, Subcommands

logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.1
"""Interval of looking for new entries, which takes some hundred microseconds."""

WRITE_POLLS: Final = 10
"""How long `show` waits for an unfinished frame, in polls. A write takes less time."""

NICENESS: Final = 10
"""On a machine with few processors the venue takes precedence over the follower."""


def add_log(subcommands: Subcommands) -> None:
    """Add `tidegate log` and its subcommands."""
    parser = subcommands.add_parser(
        "log",
        help="look at, prove and keep a venue's log",
        description="Work on the data directory of a venue, DIR: `data_dir` of its configuration.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (_add_snapshot, _add_verify, _add_show, _add_skip, _add_prune):
        add(commands)


def _add(commands: Subcommands, name: str, run: Run, text: str) -> argparse.ArgumentParser:
    parser = add_command(commands, name, run, text)
    parser.add_argument("directory", type=_directory, metavar="DIR", help="the data directory")
    return parser


def _directory(text: str) -> DataDirectory:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a directory")
    return DataDirectory(path)


def _reason(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("it must say something")
    return text.strip()


# Snapshots


def _add_snapshot(commands: Subcommands) -> None:
    parser = _add(
        commands,
        "snapshot",
        _snapshot,
        "Write a snapshot, from which the next start goes on: of a venue that runs, too, by"
        " following its log.",
    )
    parser.add_argument(
        "--follow", action="store_true", help="go on, check the venue, and write one now and then"
    )
    parser.add_argument(
        "--every",
        type=count,
        default=SNAPSHOT_ENTRIES,
        metavar="N",
        help="entries between snapshots, with --follow (default: %(default)s)",
    )
    parser.add_argument(
        "--prune", action="store_true", help="remove segments that no snapshot needs any more"
    )
    # Passed by the venue to its follower, which ends by itself after the venue was killed.
    parser.add_argument("--parent", type=count, metavar="PID", help=argparse.SUPPRESS)


def _snapshot(chosen: argparse.Namespace) -> int:
    directory, disk = chosen.directory, Disk()
    if chosen.follow:
        return _follow(chosen)
    try:
        sequence = maintenance.write_snapshot(directory, disk)
    except LockedError:
        follower = Follower.open(directory, disk)
        follower.catch_up()
        sequence = follower.write_snapshot()
    write_line(f"snapshot of entry {sequence}")
    if chosen.prune:
        _prune_and_report(directory, disk)
    return 0


def _follow(chosen: argparse.Namespace) -> int:
    os.nice(NICENESS)
    follower = Follower.open(chosen.directory, Disk(), every=chosen.every, pruning=chosen.prune)
    logger.info("follows %s from entry %d on", chosen.directory.path, follower.sequence)
    try:
        # A process whose parent has ended gets another parent.
        while chosen.parent is None or os.getppid() == chosen.parent:
            if not follower.catch_up():
                sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        # An unfinished snapshot still has its temporary name.
        logger.info("stopped after entry %d", follower.sequence)
    return 0


# Verification


def _add_verify(commands: Subcommands) -> None:
    parser = _add(
        commands,
        "verify",
        _verify,
        "Prove a log: its checksums and its chain; and by replaying it from the start and from"
        " each snapshot that it leads to what the venue said, with all money accounted for.",
    )
    parser.add_argument(
        "--check-every",
        type=count,
        default=CHECK_ENTRIES,
        metavar="N",
        help="entries between proofs that money and margin add up (default: %(default)s)",
    )


def _verify(chosen: argparse.Namespace) -> int:
    # Imported late: rich takes long to import, and `tidegate serve` imports this module.
    from rich.console import Console

    from gateway.cli.progress import ConsoleMeter

    began = perf_counter()
    try:
        verified = Verification(chosen.directory, ConsoleMeter(Console()), chosen.check_every).run()
    except KeyboardInterrupt:
        return 128 + 2
    write_line(format_report(verified, perf_counter() - began))
    return 0


def format_report(verified: Verified, seconds: float) -> str:
    """Return the result of a verification as text."""
    scan = verified.scan
    lines = [f"entries {scan.first} to {scan.last}: checksums right, chain whole"]
    if scan.torn:
        lines.append(
            f"after them {scan.torn} bytes of an unfinished frame, which was never acknowledged;"
            " the next start cuts them off"
        )
    starts = [start.sequence for start in scan.starts()]
    if starts:
        places = ", ".join(
            f"the snapshot of entry {each}" if each else "the start" for each in starts
        )
        lines.append(f"replayed from {places}: one state, digest {verified.digest}")
    if not starts or starts[0] >= scan.first:
        last = starts[0] if starts else scan.last
        why = "written under other rules" if scan.foreign else "no snapshot leads there"
        lines.append(f"entries {scan.first} to {last}: not replayed, {why}")
    lines += [
        f"entry {each} is skipped: {escape_unprintable(why)}" for each, why in scan.skips.items()
    ]
    lines.append(
        f"compared: {verified.checkpoints} checkpoints, {verified.snapshots} snapshots;"
        f" money and margin proved {verified.checks} times"
    )
    rate = verified.entries / seconds if seconds else 0
    lines.append(f"{verified.entries:,} entries replayed in {seconds:.1f} s, {rate:,.0f}/s")
    return "\n".join(lines)


# Showing


def _add_show(commands: Subcommands) -> None:
    parser = _add(commands, "show", _show, "Print entries, one a line.")
    parser.add_argument("--from", dest="first", type=count, default=1, metavar="N")
    parser.add_argument("--to", dest="last", type=count, metavar="N")
    parser.add_argument("--account", metavar="NAME", help="a name or a number")
    parser.add_argument(
        "--follow", action="store_true", help="go on, with each entry once it is durable"
    )
    parser.add_argument("--json", action="store_true", help="whole entries, in integer units")


def _show(chosen: argparse.Namespace) -> int:
    selection = Selection(chosen.directory, chosen.first, chosen.last, chosen.account)
    try:
        _print_entries(selection, follow=chosen.follow, json=chosen.json)
    except KeyboardInterrupt:
        return 128 + 2
    except BrokenPipeError:
        # The reading program has ended. Python would print an error when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if chosen.account is not None and selection.account_names.number_of(chosen.account) is None:
        raise LogError(f"{chosen.directory.path}: no account is named {chosen.account}")
    return 0


def _print_entries(selection: Selection, *, follow: bool, json: bool) -> None:
    names = selection.account_names

    def printed(frames: Iterator[Frame]) -> bool:
        """Print the selected entries of the frames; return whether the selection ends there."""
        for frame in frames:
            for entry in selection.select(frame, tail.reader.entries):
                write_line(format_json(entry) if json else format_line(entry, names))
            if selection.is_past(frame.last + 1):
                return True
        return False

    tail = LogTail(selection.open())
    if not follow:
        _print_to_end(tail.reader, printed)
        return
    while not printed(tail.frames()):
        sys.stdout.flush()
        sleep(POLL_SECONDS)


def _print_to_end(reader: SegmentReader, printed: Callable[[Iterator[Frame]], bool]) -> None:
    """Print the log to its last complete frame. Raises LogError if bytes follow that frame."""
    if printed(reader.frames()):
        return
    left, sequence = reader.unfinished_bytes(), reader.sequence
    for _ in range(WRITE_POLLS):
        if reader.fault is None or reader.sequence != sequence:
            return
        # A running venue may be writing the frame.
        sys.stdout.flush()
        sleep(POLL_SECONDS)
        if printed(reader.frames()):
            return
        left = reader.unfinished_bytes()
    if left:
        raise LogError(
            f"{reader.segment.path}: after entry {reader.sequence}, at byte {reader.offset}, {left}"
            f" bytes are no whole frame ({reader.fault.what if reader.fault else ''}): the"
            " unfinished write of a crash, which the next start cuts off, or damage"
        )


# Maintenance


def _add_skip(commands: Subcommands) -> None:
    parser = _add(
        commands,
        "skip",
        _skip,
        "Leave an entry out: the one that a venue stopped at since it cannot be applied. Every"
        " start and replay honours it.",
    )
    parser.add_argument("sequence", type=count, metavar="SEQ", help="number of the entry")
    parser.add_argument(
        "--reason", type=_reason, required=True, metavar="TEXT", help="why, for the log's readers"
    )


def _skip(chosen: argparse.Namespace) -> int:
    poison = maintenance.skip_entry(
        chosen.directory, chosen.sequence, chosen.reason, clock=RealClock(), disk=Disk()
    )
    write_line(f"entry {poison.sequence} is left out from now on: {poison}")
    return 0


def _add_prune(commands: Subcommands) -> None:
    _add(
        commands,
        "prune",
        _prune,
        "Remove the segments that no snapshot needs. What is removed can be replayed no more.",
    )


def _prune(chosen: argparse.Namespace) -> int:
    maintenance.require_log(chosen.directory)
    _prune_and_report(chosen.directory, Disk())
    return 0


def _prune_and_report(directory: DataDirectory, disk: Disk) -> None:
    removed = maintenance.prune_segments(directory, disk)
    for segment in removed:
        write_line(f"{segment.path} removed")
    if not removed:
        write_line(
            "nothing to remove: every segment holds entries after the older of two snapshots"
        )
