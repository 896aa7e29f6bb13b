"""`tidegate log …` on the command line: what operators do with a data directory."""

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
"""How often a log is looked at for what is new: soon enough for a person who watches, and some
hundred microseconds each."""

WRITE_POLLS: Final = 10
"""How often `show` looks whether an unfinished frame is being written: a write takes less."""

NICENESS: Final = 10
"""The follower gets what time is left over: where processors are few, the venue comes first."""


def add_log(subcommands: Subcommands) -> None:
    """`tidegate log` and its subcommands."""
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
    # What a venue passes to the follower that it starts: a venue that is killed can end nobody.
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
        _tell_pruned(directory, disk)
    return 0


def _follow(chosen: argparse.Namespace) -> int:
    os.nice(NICENESS)
    follower = Follower.open(chosen.directory, Disk(), every=chosen.every, pruning=chosen.prune)
    logger.info("follows %s from entry %d on", chosen.directory.path, follower.sequence)
    try:
        # A process whose parent has gone belongs to another one.
        while chosen.parent is None or os.getppid() == chosen.parent:
            if not follower.catch_up():
                sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        # Whatever was being written has no name yet.
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
    # What draws takes long to import, and `tidegate serve`, which draws nothing, comes by here.
    from rich.console import Console

    from gateway.cli.progress import ConsoleMeter

    began = perf_counter()
    try:
        found = Verification(chosen.directory, ConsoleMeter(Console()), chosen.check_every).run()
    except KeyboardInterrupt:
        return 128 + 2
    write_line(report(found, perf_counter() - began))
    return 0


def report(found: Verified, seconds: float) -> str:
    """What was proved, in some lines."""
    survey = found.scan
    lines = [f"entries {survey.first} to {survey.last}: checksums right, chain whole"]
    if survey.torn:
        lines.append(
            f"after them {survey.torn} bytes of an unfinished frame, which nobody was told of; the"
            " next start cuts them off"
        )
    starts = [start.sequence for start in survey.starts()]
    if starts:
        told = ", ".join(
            f"the snapshot of entry {each}" if each else "the start" for each in starts
        )
        lines.append(f"replayed from {told}: one state, digest {found.digest}")
    if not starts or starts[0] >= survey.first:
        last = starts[0] if starts else survey.last
        why = "written under other rules" if survey.foreign else "no snapshot leads there"
        lines.append(f"entries {survey.first} to {last}: not replayed, {why}")
    lines += [
        f"entry {each} is skipped: {escape_unprintable(why)}" for each, why in survey.skips.items()
    ]
    lines.append(
        f"compared: {found.checkpoints} checkpoints, {found.snapshots} snapshots; money and margin"
        f" proved {found.checks} times"
    )
    rate = found.entries / seconds if seconds else 0
    lines.append(f"{found.entries:,} entries replayed in {seconds:.1f} s, {rate:,.0f}/s")
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
    wanted = Selection(chosen.directory, chosen.first, chosen.last, chosen.account)
    try:
        _print_entries(wanted, follow=chosen.follow, json=chosen.json)
    except KeyboardInterrupt:
        return 128 + 2
    except BrokenPipeError:
        # Whoever read has seen enough, and Python would complain when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if chosen.account is not None and wanted.account_names.number_of(chosen.account) is None:
        raise LogError(f"{chosen.directory.path}: no account is named {chosen.account}")
    return 0


def _print_entries(wanted: Selection, *, follow: bool, json: bool) -> None:
    def printed(frames: Iterator[Frame]) -> bool:
        """Print what is wanted of the frames; whether nothing more is wanted."""
        for frame in frames:
            for entry in wanted.select(frame, tail.reader.entries):
                write_line(format_json(entry) if json else format_line(entry, wanted.account_names))
            if wanted.is_past(frame.last + 1):
                return True
        return False

    tail = LogTail(wanted.open())
    if not follow:
        _print_to_end(tail.reader, printed)
        return
    while not printed(tail.frames()):
        sys.stdout.flush()
        sleep(POLL_SECONDS)


def _print_to_end(reader: SegmentReader, printed: Callable[[Iterator[Frame]], bool]) -> None:
    """Print the log as far as it goes. Raises LogError where that is not its end."""
    if printed(reader.frames()):
        return
    left, sequence = reader.unfinished_bytes(), reader.sequence
    for _ in range(WRITE_POLLS):
        if reader.fault is None or reader.sequence != sequence:
            return
        # A venue that runs may be writing it.
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


# Upkeep


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
    _tell_pruned(chosen.directory, Disk())
    return 0


def _tell_pruned(directory: DataDirectory, disk: Disk) -> None:
    removed = maintenance.prune_segments(directory, disk)
    for segment in removed:
        write_line(f"{segment.path} removed")
    if not removed:
        write_line(
            "nothing to remove: every segment holds entries after the older of two snapshots"
        )
